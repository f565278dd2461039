"""The base of every model of images that can be sampled: what it learns from is its own `loss` or its own learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.densities.base import Density
from lde_bench.errors import InputError
from lde_bench.generators.decoder_model import DecoderModel
from lde_bench.generators.networks import ImageShape, is_colour, is_large
from lde_bench.registry import LAST_PLACE
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, LossLearner
from lde_bench.training.model import Model, positive_integer
from lde_bench.training.plan import Budget, Plan, plan_of

#: Pixels of the images whose trials `Plan.reference_seconds` of a model of images are measured on: MNIST.
REFERENCE_PIXELS = 784

#: Of those of `Generator.colour_plans`: 64x64.
COLOUR_PIXELS = 64 * 64

#: About the share of them that does not depend on the number of pixels: hidden layers and the optimiser.
FIXED_SHARE = 0.4


class Coder(Protocol):
    """An encoder and a decoder of images."""

    @property
    def device(self) -> torch.device:
        """Where it takes codes to decode."""

    def codes(self, x: Rows) -> np.ndarray:
        """The codes of images: [n, D] -> float32 [n, Z]."""

    def decode(self, z: Tensor) -> Tensor:
        """The images of codes, pixels in [0, 1]: [B, Z] -> [B, D]."""


class Generator(Model):
    """A model of images, float rows [n, D] of D = C * H * W pixels in [0, 1], channel by channel, that can be sampled.

    A subclass sets `name`, `card` and `plans`, and gives `draw` and either `loss` or `learner`.

    Args:
        image_shape: (C, H, W), C = 1 grey or 3 in colour; (H, W) is taken for grey.
    """

    #: There is no likelihood to choose weights by, so the last ones are kept, as in the papers.
    chooses_on_validation: ClassVar[bool] = False

    #: Where its rows stand in a table: the lower, the further up. The references, the older models, the paper's own.
    place: ClassVar[int] = LAST_PLACE

    #: How it is trained on grey images of the size of TFD's or more, by profile, where that is not as on MNIST.
    large_plans: ClassVar[dict[str, Plan]] = {}

    #: How it is trained on images in colour, by profile, where that is not how it is on grey ones.
    colour_plans: ClassVar[dict[str, Plan]] = {}

    #: True of what models nothing, and shows what a figure of samples is worth.
    is_reference: ClassVar[bool] = False

    #: True of an autoencoder that can be sampled only once a density of its codes is fitted.
    has_no_prior: ClassVar[bool] = False

    def __init__(self, image_shape: Sequence[int]) -> None:
        if not isinstance(image_shape, Sequence) or isinstance(image_shape, str) or len(image_shape) not in (2, 3):
            raise InputError(
                f"image_shape = {image_shape!r} is not (channels, height, width) of an image; give for example "
                "(1, 28, 28)."
            )
        channels, height, width = (
            positive_integer("image_shape", each) for each in (*(() if len(image_shape) == 3 else (1,)), *image_shape)
        )
        if channels not in (1, 3):
            raise InputError(
                f"image_shape = {image_shape!r}: an image has 1 channel (grey) or 3 (colour); convert them."
            )
        super().__init__(channels * height * width)
        self.image_shape: ImageShape = channels, height, width

    def _rows(self, what: str, rows: Rows | Tensor) -> Tensor:
        """As of every model, and pixels lie in [0, 1]."""
        array = super()._rows(what, rows)
        if array.min() < 0 or array.max() > 1:
            raise InputError(
                f"{self.name}: the pixels of the {what} array go from {array.min():g} to {array.max():g} and should "
                "lie in [0, 1]; scale them, those from 0 to 255 by 1 / 255."
            )
        return array

    def loss(self, x: Tensor, progress: float) -> Tensor:
        """What a training step makes smaller: [B, D] -> scalar; `progress` in [0, 1] is the share of the budget
        spent.
        """
        raise TypeError(f"{type(self).__name__} does not define loss")

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        """Stochastic gradients on `loss`, unless a subclass brings another."""
        return LossLearner(self, plan, device, precision, self.loss)

    def plan(self, budget: Budget) -> Plan:
        return plan_of(self.own_plans(), budget.profile) or super().plan(budget)

    def own_plans(self) -> dict[str, Plan]:
        """The plans, by profile, of a model of such images, where they are not the usual `plans`."""
        if is_colour(self.image_shape):
            return self.colour_plans
        return self.large_plans if is_large(self.image_shape) else {}

    def reference_seconds(self, plan: Plan) -> float:
        if self.colour_plans and is_colour(self.image_shape):
            _, height, width = self.image_shape
            return plan.reference_seconds * height * width / COLOUR_PIXELS
        return plan.reference_seconds * (FIXED_SHARE + (1 - FIXED_SHARE) * self.features / REFERENCE_PIXELS)

    def check_needs(self) -> None:
        """Find out before training that something it needs, beyond the images, is not at hand.

        Raises:
            InputError: it is not.
        """

    def parts(self) -> dict[str, Model]:
        """The models that are trained one after the other, by the names of their stages; as a rule the model itself."""
        return {"": self}

    def part_seconds(self, budget: Budget, rows: int | None) -> dict[str, float]:
        """About how long each of the parts takes on the reference machine: 2 cores with bf16."""
        return {name: part.expected_seconds(budget, None, rows) for name, part in self.parts().items()}

    def part_plan(self, part: Model, budget: Budget) -> Plan:
        """How a part is trained under a budget's profile."""
        return part.plan(budget)

    @property
    def coder(self) -> Coder | None:
        """The encoder and decoder, of models that have both; else None."""
        return None

    @property
    def code_density(self) -> Density | None:
        """The explicit density of the codes, of an autoencoder that has one; else None."""
        return None

    @property
    def code_log_prob(self) -> Callable[[Rows], np.ndarray] | None:
        """x [n, D] -> log p(z) in nats of its codes, exact, [n], where these have an explicit density; else None.

        Only figures over one and the same trained encoder compare: scaling the codes shifts them.
        """
        return None

    @property
    def decoder_models(self) -> tuple[DecoderModel, ...]:
        """The equally weighted decoder models that it is a mixture of, as a rule one; none where it has no decoder, or
        a prior that cannot be differentiated.
        """
        return ()

    @property
    def pixel_kind(self) -> str:
        """What the pixels of `importance_weighted` are, in a word."""
        return ""

    @property
    def importance_weighted(self) -> Callable[[np.ndarray, int, int], np.ndarray] | None:
        """x [n, D], number of codes, seed -> a lower bound of log p(x) in nats under the model's own pixels, [n], of
        models with a random encoder; else None.
        """
        return None

    @property
    def most_samples(self) -> int | None:
        """How many samples there are, of a reference row that hands out a fixed set; None where there is no end."""
        return None

    @property
    def used_validation(self) -> int:
        """How many of the last validation images it hands out as samples: what is chosen on validation images, and
        nulls that are made of them, take the others. 0 of every model.
        """
        return 0

    @property
    def reconstructs(self) -> Callable[[Rows], np.ndarray] | None:
        """x [n, D] -> the decoding of its encoding [n, D], of models with an encoder; else None."""
        return None
