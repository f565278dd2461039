"""The base of every explicit density: checked `log_prob`, and what each kind of density adds."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor, nn

from lde_bench.arrays import as_rows
from lde_bench.process import generators_unchanged
from lde_bench.registry import LAST_PLACE
from lde_bench.seeds import derive_seed
from lde_bench.training.device import Compiler
from lde_bench.training.learner import GradientLearner, Learner, evaluate_rows
from lde_bench.training.model import Model, TrainingRequest
from lde_bench.training.plan import Budget, Plan, plan_of

#: Numbers from which on a code is wide: the paper has 100 for images of 64x64 in colour, and 8 for digits.
WIDE_CODE = 64

#: Of the number of parameters, how much of it is in the time of a step.
SIZE_POWER = 0.8

LOG_2PI = math.log(2 * math.pi)

#: What a density does to its rows before all else, the log-determinant counted: nothing; a division by one number; each
#: feature by its own mean and deviation; whitening by the Cholesky factor of their covariance. `any`: the fit is the
#: same under each of them.
Input = Literal["any", "raw", "scalar unit", "standardised", "Cholesky"]


class Part(NamedTuple):
    """A term w p(y) |det dy/dx| of a mixture: `view` is y [B, D], `log_abs_det` is in nats [B], `weight` is w."""

    density: Density
    view: Tensor
    log_abs_det: Tensor
    weight: float


def equal_parts(terms: Sequence[tuple[Density, Tensor]]) -> list[Part]:
    """The terms of an equal mixture of densities, each of a view y of x that keeps volumes."""
    return [Part(density, view, view.new_zeros(len(view)), 1 / len(terms)) for density, view in terms]


@functools.cache
def _usual_parameters(kind: Callable[[int], Density], features: int) -> int:
    """How many parameters a density of the package has at its usual arguments; 1 of one without."""
    with generators_unchanged():
        return kind(features).parameter_count() or 1


class Density(Model):
    """An explicit density p(x) over R^D.

    A subclass sets `name`, `card` and `plans`, and gives `forward` ([B, D] -> [B] nats), `draw` and, if it has
    parameters to initialise, `reset_parameters`.

    Args:
        features: D, from 1 up.
    """

    #: Where its rows stand in Table 1: the lower, the further up, simplest first.
    place: ClassVar[int] = LAST_PLACE
    #: Constructor arguments that change how the density is evaluated and nothing of its training or its weights.
    evaluation_only: ClassVar[frozenset[str]] = frozenset()
    #: Rows of Table 1 under `--methods all`; by default its plain name, a mixture at its default number of components.
    #: Beside a row that is not whitened stands one that is (`+w`), where that makes another density of it.
    rows: ClassVar[tuple[str, ...]] = ()
    #: What it does to its rows first; None of one that leaves this to the density that it wraps.
    input: ClassVar[Input | None] = "raw"
    #: The one width there is; None for a density of any.
    only_features: ClassVar[int | None] = None
    #: True where the numbers must be those of an 8x8 patch.
    patches_only: ClassVar[bool] = False
    #: True where training must know where patches lie in their photographs, as of those drawn afresh.
    needs_places: ClassVar[bool] = False
    #: Of a density that wraps a density (`base`): it trains exactly as `base` and gives it the trained weights.
    trains_as_base: ClassVar[bool] = False
    #: Of a density from outside this package: which code it is. Part of what names a run, and of its record.
    origin: ClassVar[dict[str, str]] = {}
    #: Plans by profile for the codes of an autoencoder, where they are others than for the rows of a dataset.
    code_plans: ClassVar[dict[str, Plan]] = {}
    #: Those for codes of `WIDE_CODE` numbers or more, of images in colour, where they are others again.
    wide_code_plans: ClassVar[dict[str, Plan]] = {}
    #: Whether every batch of a training step asks for the same kernels in the same order, none of which waits for a
    #: number: a GPU then replays them (`lde_bench.training.graphs`). Says nothing of classes that inherit from it.
    replayable: ClassVar[bool] = False
    #: How one sees that the density is autoregressive: `conditional_log_prob` and `conditional_cdf` exist.
    autoregressive: bool = False
    #: How one sees that the density is a flow: `encode` and `decode` exist.
    invertible: bool = False

    #: How one sees that units do not matter: the same training on a x + b, a and b per feature, gives log p(x) - sum
    #: log a without a standardisation in front, since the density brings its rows to unit scale by itself.
    equivariant: bool = False

    # -- what a subclass gives -------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """log p(x) in nats: [B, D] -> [B]."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        """log p(x_i | x_<i) in nats, of autoregressive densities: [B, D] -> [B, D]."""
        raise TypeError(f"{type(self).__name__} is not autoregressive")

    def conditional_cdf(self, x: Tensor) -> Tensor:
        """P(X_i <= x_i | x_<i), of autoregressive densities: [B, D] -> [B, D]; uniform for samples of the density."""
        raise TypeError(f"{type(self).__name__} is not autoregressive")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u = f(x) and log |det df/dx| in nats, of flows: [B, D] -> [B, D], [B]."""
        raise TypeError(f"{type(self).__name__} is no flow")

    def decode(self, u: Tensor) -> Tensor:
        """x = f^-1(u), of flows: [B, D] -> [B, D]."""
        raise TypeError(f"{type(self).__name__} is no flow")

    def base_density(self) -> Density | None:
        """Give the density of u of a flow; None where it is the standard normal."""
        return None

    def parts(self, x: Tensor) -> list[Part] | None:
        """The terms of a mixture p(x) = sum_m w_m p_m(y_m) |det dy_m/dx| at `x` [B, D]; None for any other density."""
        return None

    def request(self, request: TrainingRequest) -> None:
        """Passed on to the densities that this one wraps."""
        for index, inner in enumerate(self.inner_densities()):
            seed = derive_seed(request.seed, "member", index) if index else request.seed
            inner.request(replace(request, seed=seed))

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        """Maximum likelihood by gradients, unless a subclass brings another."""
        return GradientLearner(self, plan, device, precision, compiler(self), compiler)

    def describe_training(
        self, budget: Budget, precision: str, device: torch.device, plan: Plan | None = None
    ) -> dict[str, Any]:
        return super().describe_training(budget, precision, device, plan) | self.treatment() | self.revised()

    @property
    def size(self) -> float:
        """By the number of parameters, to a power: wide products are faster by the number. Of `tan:hidden=256` it says
        5.3 times (6.1 was measured, against 40 components), of `mcgsm:components=128` 2.4 (3.4), of `lde:components=30`
        1.07 (1.03), of a `resmade-mog` twice and three times as wide 2.4 and 4.2 (2.1 and 3.5).
        """
        kind: Callable[[int], Density] = type(self)
        usual = _usual_parameters(kind, self.features)
        return max(1.0, (self.parameter_count() or 1) / usual) ** SIZE_POWER

    # -- public ----------------------------------------------------------------------------------------------------

    def treatment(self) -> dict[str, Any]:
        """What `fit` does to the rows that neither the arguments nor the plan tell: part of what names a run, and of
        its record. By default what the densities do that this one wraps.
        """
        return {key: value for inner in self.inner_densities() for key, value in inner.treatment().items()}

    @classmethod
    def input_under(cls, arguments: Mapping[str, Any]) -> Input | None:
        """`input`, of one made with these arguments."""
        return cls.input

    @property
    def lacks(self) -> frozenset[str]:
        """What the density, or one that it wraps, cannot do: of `samples`, `gradients`, `float64`, `weights` (to keep)
        and `perturbation` (to be a density at any weights). Nothing, for those of this package.
        """
        return frozenset().union(*(inner.lacks for inner in self.inner_densities()))

    def code_plan(self, budget: Budget) -> Plan:
        """The training plan, under a budget's profile, for the codes of an autoencoder."""
        wide = self.wide_code_plans if self.features >= WIDE_CODE else {}
        return plan_of(wide, budget.profile) or plan_of(self.code_plans, budget.profile) or self.plan(budget)

    def inner_densities(self) -> Iterator[Density]:
        """The densities that this one wraps, not those that they wrap."""
        return _densities_below(self)

    def revised(self) -> dict[str, Any]:
        later = {name: revision for name, revision in sorted(self.revisions().items()) if revision > 1}
        return {"revisions": later} if later else {}

    def revisions(self) -> dict[str, int]:
        """The revisions of the density and of all that it wraps, by name."""
        own = {self.name: self.revision}
        return own | {name: number for inner in self.inner_densities() for name, number in inner.revisions().items()}

    @property
    def passes(self) -> int:
        """About how many networks one log p runs through, by which the laws of a trained model measure their effort."""
        return max((inner.passes for inner in self.inner_densities()), default=1)

    def parameter_count(self) -> int | None:
        """None where a density that this one wraps cannot tell."""
        if any(inner.parameter_count() is None for inner in self.inner_densities()):
            return None
        return super().parameter_count()

    @overload
    def log_prob(self, x: np.ndarray) -> np.ndarray: ...
    @overload
    def log_prob(self, x: Tensor) -> Tensor: ...
    def log_prob(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """log p(x) in nats: [n, D] -> [n].

        NumPy in, NumPy out, evaluated in blocks without gradient; a tensor in, a tensor with its gradient out.
        Always in evaluation mode: the statistics of a batch never enter (BatchNorm).

        Raises:
            InputError: `x` is no [n, D] of real numbers.
        """
        with self._evaluating():
            if isinstance(x, Tensor):
                x = self._check_tensor("the array of log_prob", x).to(self.device, self.dtype)
                return self(x) if len(x) else x.sum(-1)  # some libraries cannot reshape nothing
            rows = torch.tensor(
                as_rows(self.name, "the array of log_prob", x, self.features), dtype=self.dtype, device=self.device
            )
            return evaluate_rows(self, rows).cpu().numpy()


def _densities_below(module: nn.Module) -> Iterator[Density]:
    for child in module.children():
        if isinstance(child, Density):
            yield child
        else:
            yield from _densities_below(child)
