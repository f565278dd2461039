"""p(z) = N(0, I), p(x|z) = N(W z + b, sigma^2 I), of which log p(x) is known: 9 pixels, 3 latent dimensions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lde_bench.generators.vae import VAE

SIDE, LATENT, SIGMA = 3, 3, 0.3


def linear(kind: type[VAE], *, shift: float = 0.0, widen: float = 0.0, **arguments) -> VAE:
    """A model of `kind` in float64 whose decoder is x = W z + b; W has orthogonal columns, so that the posterior is a
    diagonal Gaussian. The encoder gives that one, its mean shifted and its log scale widened.
    """
    torch.manual_seed(1)
    scales = torch.tensor([1.0, 0.6, 0.4], dtype=torch.float64)
    weight = torch.linalg.qr(torch.randn(SIDE**2, LATENT, dtype=torch.float64)).Q * scales  # [D, Z]
    offset = torch.rand(SIDE**2, dtype=torch.float64)
    variance = 1 / (1 + scales**2 / SIGMA**2)  # [Z]

    class Linear(kind):  # type: ignore[valid-type]
        def decode(self, z: Tensor) -> Tensor:
            return z @ weight.T + offset

    model = Linear((SIDE, SIDE), latent=LATENT, pixels="gaussian", **arguments).double().eval()
    model.weight, model.offset = weight, offset
    torch.nn.init.constant_(model.log_sigma, float(np.log(SIGMA)))

    class Encoder(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = (x - offset) @ weight * variance / SIGMA**2
            log_scale = (0.5 * variance.log()).expand_as(mean)
            context = mean.new_ones(len(x), sum(model.posterior_sizes[2:]))
            return torch.cat([mean + shift, log_scale + widen, context], 1)

    model.encoder = Encoder()
    return model


def exact_log_prob(model: VAE, x: np.ndarray, active: Tensor | None = None) -> np.ndarray:
    """log p(x) in nats, or that of the model whose other dimensions are zero: [n, D] -> [n]."""
    weight = model.weight if active is None else model.weight * active
    covariance = weight @ weight.T + SIGMA**2 * torch.eye(SIDE**2, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(model.offset, covariance).log_prob(torch.from_numpy(x)).numpy()


def draws(model: VAE, n: int) -> np.ndarray:
    """Draws of p(x): [n, D]."""
    torch.manual_seed(2)
    z = torch.randn(n, LATENT, dtype=torch.float64)
    return (model.decode(z) + SIGMA * torch.randn(n, SIDE**2, dtype=torch.float64)).numpy()
