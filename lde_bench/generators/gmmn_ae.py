"""GMMN+AE: a network trained to match all moments of the codes of an autoencoder (Li, Swersky, Zemel 2015, arXiv
1502.02761). Sizes are those of the authors' public repository (yujiali/gmmn).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from lde_bench.arrays import Rows
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.generators.decoder_model import DecoderModel, standard_normal, uniform_of_normal
from lde_bench.generators.networks import is_large
from lde_bench.generators.staged import Stage, StagedGenerator
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, LossLearner
from lde_bench.training.model import Card, Model, positive_number
from lde_bench.training.plan import Budget, Plan


class Published(NamedTuple):
    """The authors' settings for images of one size.

    Attributes:
        units: of the encoder's layers, the last the code.
        dropped: share of each layer's inputs that is dropped in training.
        scales: s of the kernels exp(-|a - b|^2 / (2 s)), which are summed.
        autoencoder_steps: of all of the autoencoder's training: as many for each layer by itself as for all together.
        code_steps: of the training of the generator of codes.
    """

    units: tuple[int, ...]
    dropped: tuple[float, ...]
    scales: tuple[float, ...]
    autoencoder_steps: int
    code_steps: int


MNIST = Published((1024, 32), (0.2, 0.5), (1.0,), autoencoder_steps=3 * 3_000, code_steps=40_000)
TFD = Published(
    (512, 512, 128), (0.1, 0.1, 0.1), (1.0, 2.0, 5.0, 10.0, 20.0, 40.0), autoencoder_steps=4 * 15_000, code_steps=48_000
)


def published(image_shape: Sequence[int]) -> Published:
    """The settings for images [C, H, W]."""
    return TFD if is_large(image_shape) else MNIST


#: What the published scale of MNIST is multiplied by. The MMD tells two clouds of codes apart no finer than its kernel:
#: codes of our autoencoder are 3.4 apart in mean squared distance, so that a scale of 1 is wide. On them 1,800 steps at
#: scale 1 and 0.3 gave Parzen windows of 206.1 and 260.7 nats on validation images, the decoded training codes 326.9.
NARROWER = 0.3

#: Units of the generator of codes: the uniform noise, then the hidden layers.
NOISE, *HIDDEN = 10, 64, 256, 256, 1024

#: Under the root of the loss, whose slope has no bound at 0.
LEAST_MMD2 = 1e-12


class SigmoidAutoencoder(Autoencoder):
    """Sigmoid units both ways, dropout on the inputs of the encoder's layers, trained on the cross-entropy of pixels.

    The layers are trained together from the start, in place of the paper's layer-wise pre-training.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
    """

    has_no_prior = True
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=450, batch_size=128, rate=5e-3, warmup=20, reference_seconds=12.0),
        "standard": Plan(steps=12_000, batch_size=128, rate=3e-3, reference_seconds=150.0),
        "paper": Plan(steps=MNIST.autoencoder_steps, batch_size=100, rate=1e-3, reference_seconds=180.0),
    }

    def __init__(self, image_shape: Sequence[int]) -> None:
        units, dropped, *_ = published(image_shape)
        super().__init__(image_shape, units[-1])
        # Of the instance: a class with a name would be listed as a model of images of its own.
        self.name = "gmmn+ae autoencoder"  # type: ignore[misc]
        self.encoder, self.decoder = nn.Sequential(), nn.Sequential()
        sizes = self.features, *units
        for (inside, outside), share in zip(itertools.pairwise(sizes), dropped, strict=True):
            self.encoder.extend([nn.Dropout(share), nn.Linear(inside, outside), nn.Sigmoid()])
        for inside, outside in itertools.pairwise(sizes[::-1]):
            self.decoder.extend([nn.Linear(inside, outside), nn.Sigmoid()])

    def reset_parameters(self) -> None:
        # The slope of the sigmoid at 0 is a quarter.
        _reset_linear(self, lambda weight: nn.init.xavier_uniform_(weight, gain=4.0))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        *layers, last = self.decoder
        for layer in layers:
            z = layer(z)
        # In bfloat16 a probability above 0.998 is 1, and its pixel has no gradient any more.
        with torch.autocast(z.device.type, enabled=False):
            return last(z.to(self.dtype))

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return LossLearner(self, plan, device, precision, self.loss, fused=True)

    def loss(self, x: Tensor, progress: float) -> Tensor:
        pixels = self.decode(self.encode(x))
        with torch.autocast(x.device.type, enabled=False):  # no cross-entropy of probabilities in bfloat16
            return binary_cross_entropy(pixels.to(x.dtype), x)


class CodeGenerator(Model):
    """Uniform noise in [-1, 1] through layers of ReLU to codes in (0, 1), trained on the root of the MMD^2.

    Args:
        features: Z, the size of the code.
        scales: of the kernels, see `root_mmd`.
    """

    name = "gmmn"
    # In bfloat16 the differences between kernel means would be lost.
    trains_in_bf16: ClassVar[bool] = False
    chooses_on_validation: ClassVar[bool] = False
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=60, batch_size=1000, rate=3e-3, warmup=10, bf16=False, reference_seconds=8.0),
        "standard": Plan(steps=5_400, batch_size=1000, rate=6e-3, bf16=False, reference_seconds=220.0),
        "paper": Plan(steps=MNIST.code_steps, batch_size=1000, rate=1e-3, bf16=False, reference_seconds=3000.0),
    }

    def __init__(self, features: int, scales: Sequence[float] = MNIST.scales) -> None:
        super().__init__(features)
        self.scales = tuple(scales)
        self.layers = nn.Sequential()
        for inside, outside in itertools.pairwise((NOISE, *HIDDEN)):
            self.layers.extend([nn.Linear(inside, outside), nn.ReLU()])
        self.layers.extend([nn.Linear(HIDDEN[-1], self.features), nn.Sigmoid()])

    def reset_parameters(self) -> None:
        # A network that starts out as nearly a constant learns to be one.
        _reset_linear(self, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.rand(n, NOISE, generator=generator, dtype=self.dtype, device=self.device)
        return self.layers(2 * noise - 1)

    def loss(self, x: Tensor, progress: float) -> Tensor:
        """The root of the MMD^2 between codes [B, Z] and as many generated ones, a scalar."""
        return root_mmd(x, self.draw(len(x)), self.scales)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return LossLearner(self, plan, device, precision, self.loss)


def _reset_linear(module: nn.Module, reset: Callable[[Tensor], Tensor]) -> None:
    """Fresh weights, and biases of zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            reset(layer.weight)
            nn.init.zeros_(layer.bias)


def root_mmd(x: Tensor, y: Tensor, scales: Sequence[float]) -> Tensor:
    """The root of the squared maximum mean discrepancy of two sets, all pairs counted: [n, Z], [m, Z] -> scalar.

    The kernel is the sum of exp(-|a - b|^2 / (2 s)) over the scales s (Li et al. 2015, eq. 3, whose means run over each
    item with itself too). `y` alone has a gradient.
    """
    return _RootMMD.apply(x, y, scales)


class _RootMMD(torch.autograd.Function):
    """Its gradient is written out: autograd would keep, and go back through, the matrices of every kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scales: Sequence[float]) -> Tensor:
        within, pull_within = _kernels(y, y, scales)
        across, pull_across = _kernels(y, x, scales)
        squared = _kernels(x, x, scales)[0] + within - 2 * across
        root = squared.clamp_min(LEAST_MMD2).sqrt()
        # Each y stands on both sides of its pairs within.
        ctx.save_for_backward((pull_within - pull_across) / root)  # [m, Z]
        return root

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, upstream[0] * gradient, None


def _kernels(a: Tensor, b: Tensor, scales: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The mean over all pairs of the sum of kernels, and its slope in each item of `a`, the other side held still:
    [n, Z], [m, Z] -> scalar, [n, Z].
    """
    halves = torch.addmm(b.square().sum(1) / -2, a, b.T).sub_(a.square().sum(1)[:, None] / 2)  # -|a - b|^2 / 2, [n, m]
    total, weights = halves.new_zeros(()), torch.zeros_like(halves)
    for scale in scales:
        kernel = (halves / scale).exp_()
        total = total + kernel.mean()
        weights.add_(kernel, alpha=1 / scale)
    return total, (weights @ b - weights.sum(1)[:, None] * a) / halves.numel()


class GMMNAE(StagedGenerator):
    """An autoencoder, and a generator of its codes, trained one after the other; a sample is a decoded code.

    Images of less than 48x48 pixels have the published networks and kernels of MNIST, all others those of TFD.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        scale: what the published scales of the kernels are multiplied by, above 0; 0.3 unless given for images of less
            than 48x48 pixels, which have one kernel, and 1 for all others, which have six.

    Raises:
        InputError: `scale` is not a finite number above 0.
    """

    name = "gmmn+ae"
    place = 50
    revision = 2
    card = Card(
        summary="generative moment matching network on the codes of an autoencoder",
        source="Li, Swersky, Zemel 2015, arXiv 1502.02761",
        sample_cost="one pass and one decoding",
        differences="Adam and a cosine rate in place of momentum and a rate that falls once; the autoencoder is "
        "trained as a whole from the start, in place of layer-wise pre-training, and on MNIST the kernel of its codes "
        "is narrower (published: scale=1); paper: as many steps as pre-training and training had together",
        bibtex=("li2015generative",),
    )
    plans: ClassVar[dict[str, Plan]] = CodeGenerator.plans

    def __init__(self, image_shape: Sequence[int], scale: float | None = None) -> None:
        super().__init__(image_shape)
        usual = 1.0 if is_large(self.image_shape) else NARROWER
        factor = usual if scale is None else positive_number("scale", scale)
        self.autoencoder = SigmoidAutoencoder(self.image_shape)
        scales = tuple(factor * each for each in published(self.image_shape).scales)
        self.codes = CodeGenerator(self.autoencoder.latent, scales)

    def reset_parameters(self) -> None:
        """Each part resets its own before it is trained."""

    def parts(self) -> dict[str, Model]:
        return {"autoencoder": self.autoencoder, "codes": self.codes}

    def part_plan(self, part: Model, budget: Budget) -> Plan:
        plan = super().part_plan(part, budget)
        if budget.profile != "paper":
            return plan
        own = published(self.image_shape)
        steps = own.autoencoder_steps if part is self.autoencoder else own.code_steps
        return replace(plan, steps=steps, reference_seconds=plan.reference_seconds * steps / plan.steps)

    def stages(self, train: Rows, validation: Rows | None) -> Iterator[Stage]:
        yield Stage("autoencoder", train, validation)
        held_out = None if validation is None else self.autoencoder.codes(validation)
        yield Stage("codes", self.autoencoder.codes(train), held_out)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.autoencoder.decode(self.codes.draw(n, generator))

    @property
    def decoder_models(self) -> tuple[DecoderModel, ...]:
        def decode(z: Tensor) -> Tensor:
            return self.autoencoder.decode(self.codes.layers(uniform_of_normal(z)))

        return (standard_normal(self, NOISE, decode),)

    @property
    def reconstructs(self) -> Callable[[Rows], np.ndarray]:
        return self.autoencoder.reconstructs
