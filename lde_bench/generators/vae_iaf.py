"""VAE + IAF: an inverse autoregressive flow behind the posterior of a VAE (Kingma, Salimans, Jozefowicz, Chen,
Sutskever, Welling 2016, arXiv 1606.04934).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.masked import MaskedLinear, input_degrees
from lde_bench.generators.vae import VAE, Inference, gaussian_log_prob, infer_gaussian
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: Bias of the gates before training, so that sigma = sigmoid(2) is near 1 and a step near the identity: the paper's
#: forget gate bias.
FORGET_BIAS = 2.0

#: Size of h, what the encoder tells the steps of the image.
CONTEXT = 64


class AutoregressiveStep(nn.Module):
    """z -> sigma z + (1 - sigma) m, where m_i and sigma_i are functions of z_1 ... z_{i-1} and of h (eqs. 13 and 14).

    The Jacobian is lower triangular with sigma on its diagonal. The masks are those of MADE; the context h has degree
    0 and so have some hidden units, which see h alone: m_1 and sigma_1 depend on it too.

    Args:
        latent: Z.
        context: C, size of h.
        hidden: units of the one hidden layer, ELU.
    """

    def __init__(self, latent: int, context: int, hidden: int) -> None:
        super().__init__()
        degrees = torch.arange(hidden) % latent  # 0 ... Z - 1, dealt out in turn
        sources = torch.cat([torch.zeros(context, dtype=torch.long), input_degrees(latent)])
        self.hidden = MaskedLinear(sources, degrees)
        self.outputs = MaskedLinear(degrees, input_degrees(latent).repeat(2), strict=True)

    def reset_parameters(self) -> None:
        self.hidden.reset_parameters()
        self.outputs.reset_parameters()
        with torch.no_grad():
            self.outputs.bias[len(self.outputs.bias) // 2 :] += FORGET_BIAS

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The next z and log |det dz'/dz|: [B, Z], [B, C] -> [B, Z], [B]."""
        outputs = self.outputs(F.elu(self.hidden(torch.cat([h, z], -1))))
        m, gate = outputs.to(z.dtype).chunk(2, -1)
        sigma = torch.sigmoid(gate)
        return sigma * z + (1 - sigma) * m, F.logsigmoid(gate).sum(-1)


class VAEIAF(VAE):
    """The VAE whose posterior is a diagonal Gaussian sent through autoregressive steps; see `VAE` for the rest.

    The order of the dimensions is reversed between two steps. The KL has no closed form: it is estimated by the code
    that is drawn. The code of an image, `encode`, is what the mean of the Gaussian is sent to.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: Z, size of the code.
        beta: weight of the KL in the loss.
        backbone: `mlp` or `conv`, as of `VAE`.
        pixels: `bernoulli` or `gaussian`, as of `VAE`.
        layers: hidden layers of `mlp`, as of `VAE`.
        hidden: units of each, as of `VAE`.
        transforms: number of autoregressive steps.
        step_hidden: units of the hidden layer of each.

    Raises:
        InputError: see `VAE`; or a number of steps or units below 1.
    """

    name = "vae-iaf"
    place = 80
    card = Card(
        summary="variational autoencoder with an inverse autoregressive flow posterior",
        source="Kingma et al. 2016, arXiv 1606.04934",
        sample_cost=VAE.card.sample_cost,
        differences="the networks and pixels of our VAE; quick and standard: a cosine rate; published: a convolutional "
        "ResNet on binary MNIST; no free bits",
        bibtex=("kingma2016improved",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": replace(VAE.plans["quick"], steps=450),
        "standard": replace(VAE.plans["standard"], steps=11_000, batch_size=128, rate=4e-3),
        "paper": VAE.plans["paper"],
    }

    def __init__(
        self,
        image_shape: Sequence[int],
        latent: int = 8,
        beta: float = 1.0,
        backbone: Literal["mlp", "conv"] = "mlp",
        pixels: Literal["bernoulli", "gaussian"] = "bernoulli",
        layers: int | None = None,
        hidden: int | None = None,
        transforms: int = 4,
        step_hidden: int = 320,
    ) -> None:
        super().__init__(image_shape, latent, beta, backbone, pixels, layers, hidden)
        width = positive_integer("step_hidden", step_hidden)
        self.flow = nn.ModuleList(
            AutoregressiveStep(self.latent, CONTEXT, width) for _ in range(positive_integer("transforms", transforms))
        )

    @property
    def posterior_sizes(self) -> list[int]:
        """Outputs of the encoder: mean and log scale of the Gaussian before the steps, and h."""
        return [*super().posterior_sizes, CONTEXT]

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for step in self.flow:
            assert isinstance(step, AutoregressiveStep)
            step.reset_parameters()

    def infer(self, x: Tensor, posterior: tuple[Tensor, ...] | None = None) -> Inference:
        mean, log_scale, h = posterior or self.posterior(x)
        start = infer_gaussian(mean, log_scale, torch.randn_like(mean))
        z, log_abs_det = self.transform(start.z, h)
        # log q(z|x) = log q(z_0|x) - log |det dz/dz_0|; start.log_ratio has log p(z_0) in place of log p(z).
        log_ratio = start.log_ratio - gaussian_log_prob(start.z) + gaussian_log_prob(z) + log_abs_det
        return Inference(z, -log_ratio, log_ratio)

    def encode(self, x: Tensor) -> Tensor:
        mean, _, h = self.posterior(x)
        return self.transform(mean, h)[0]

    def transform(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """All steps: the code and log |det dz_T/dz_0| in nats: [B, Z], [B, C] -> [B, Z], [B]."""
        log_abs_det = z.new_zeros(len(z))
        for index, step in enumerate(self.flow):
            z, change = step(z.flip(-1) if index else z, h)
            log_abs_det = log_abs_det + change
        return z, log_abs_det
