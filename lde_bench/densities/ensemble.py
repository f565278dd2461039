"""The equal mixture of several densities of one kind that differ in their initial weights and in the rows they saw.

p(x) = 1/M sum_m p_m(x). The logarithm is concave, so the mixture is never worse than its members are on average. The
conditionals of a mixture of autoregressive densities are mixtures of theirs, weighted by what each member made of the
dimensions before: p(x_i | x_<i) = sum_m w_m(x_<i) p_m(x_i | x_<i), with w_m(x_<i) proportional to p_m(x_<i).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.base import Density, Part, equal_parts
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, ModuleLearner, clone_state
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Budget, Plan


class Ensemble(Density):
    """The equal mixture of `members` densities like `base`; method suffix `+ens`.

    `fit` trains all members at once, each on its own share of a batch `members` times as large and from its own initial
    weights. In a sweep, trial t is the mixture of the trials t * members ... t * members + members - 1 of the method
    that it wraps, so nothing is trained twice.

    Args:
        base: the first member; the others are copies of it with fresh weights.
        members: M, from 1 up.
    """

    name = "ens"
    wraps: ClassVar[bool] = True
    input = None
    card = Card(
        summary="the equal mixture of several trials, 2 unless members says otherwise",
        source="standard model averaging, e.g. Hoeting, Madigan, Raftery, Volinsky 1999, Statistical Science 14(4)",
        sample_cost="one evaluation costs one of every member",
        bibtex=("hoeting1999bayesian",),
    )

    def __init__(self, base: Density, members: int = 2) -> None:
        super().__init__(base.features)
        others = [copy.deepcopy(base) for _ in range(positive_integer("members", members) - 1)]
        for other in others:
            other.reset_parameters()
        self.members = nn.ModuleList([base, *others])
        self.autoregressive = base.autoregressive
        self.equivariant = base.equivariant

    def each(self) -> Iterator[Density]:
        """The members, in the order of their trials."""
        for member in self.members:
            assert isinstance(member, Density)
            yield member

    @property
    def _first(self) -> Density:
        return next(self.each())

    @property
    def passes(self) -> int:
        return sum(member.passes for member in self.each())

    def reset_parameters(self) -> None:
        for member in self.each():
            member.reset_parameters()

    def training_precision(self, choice: str, device: torch.device, plan: Plan) -> str:
        return self._first.training_precision(choice, device, plan)

    def reference_seconds(self, plan: Plan) -> float:
        return len(self.members) * self._first.reference_seconds(plan)

    @property
    def size(self) -> float:
        return self._first.size

    def plan(self, budget: Budget) -> Plan:
        return self._for_all(self._first.plan(budget))

    def code_plan(self, budget: Budget) -> Plan:
        return self._for_all(self._first.code_plan(budget))

    def _for_all(self, plan: Plan) -> Plan:
        return replace(plan, batch_size=plan.batch_size * len(self.members))

    def training_batches(self, batches: Batches) -> Batches:
        return self._first.training_batches(batches)

    def prepare(self, batches: Batches) -> None:
        for member in self.each():
            member.prepare(batches)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return _EnsembleLearner(self, [member.learner(plan, device, precision, compiler) for member in self.each()])

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).logsumexp(0) - math.log(len(self.members))

    def parts(self, x: Tensor) -> list[Part]:
        return equal_parts([(member, x) for member in self.each()])

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        parts, past = self._conditionals(x)
        return (past + parts).logsumexp(0) - past.logsumexp(0)

    def conditional_cdf(self, x: Tensor) -> Tensor:
        _, past = self._conditionals(x)
        cdf = torch.stack([member.conditional_cdf(x) for member in self.each()])
        return (past.softmax(0) * cdf).sum(0)

    def _conditionals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p_m(x_i | x_<i) and log p_m(x_<i) of every member: two of [M, B, D]."""
        parts = torch.stack([member.conditional_log_prob(x) for member in self.each()])
        return parts, F.pad(parts[..., :-1].cumsum(-1), (1, 0))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        which = torch.randint(len(self.members), (n,), generator=generator, device=generator.device)
        return draw_each(list(self.each()), which, generator)


def draw_each(densities: Sequence[Density], which: Tensor, generator: torch.Generator) -> Tensor:
    """Row i drawn from the density number `which[i]`: int [n] -> [n, D]."""
    first = densities[0]
    rows = torch.empty(len(which), first.features, dtype=first.dtype, device=first.device)
    for index, density in enumerate(densities):
        mine = which == index
        if count := int(mine.sum()):
            rows[mine] = density.draw(count, generator)
    return rows


class JointLearner(ModuleLearner):
    """Learners of several densities within one, as one; its score is that of the whole. A subclass gives `step`."""

    def __init__(self, module: nn.Module, inner: list[Learner]) -> None:
        super().__init__(module)
        self.inner = inner

    @property
    def was_clipped(self) -> bool:  # type: ignore[override] # those of one module set it, this one asks its own
        # Whether the steps of the densities were, of one or all.
        return any(learner.was_clipped for learner in self.inner)

    @property
    def score_rows(self) -> int | None:  # type: ignore[override]
        return min((learner.score_rows for learner in self.inner if learner.score_rows is not None), default=None)

    def score(self, validation: Tensor) -> float:
        own = clone_state(self.module)
        for learner in self.inner:
            learner.adopt(learner.candidate())
        mean = super().score(validation)
        self.module.load_state_dict(own)
        return mean

    def candidate(self) -> dict[str, Tensor]:
        return {
            f"{index}.{name}": value
            for index, learner in enumerate(self.inner)
            for name, value in learner.candidate().items()
        }

    def adopt(self, weights: dict[str, Tensor]) -> None:
        for index, learner in enumerate(self.inner):
            mark = f"{index}."
            learner.adopt({name.removeprefix(mark): value for name, value in weights.items() if name.startswith(mark)})
        self.module.eval()

    def state_dict(self) -> dict[str, Any]:
        return {"inner": [learner.state_dict() for learner in self.inner]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for learner, saved in zip(self.inner, state["inner"], strict=True):
            learner.load_state_dict(saved)


class _EnsembleLearner(JointLearner):
    """The members' own learners side by side, each on its share of the batch."""

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        # Fewer rows than members: all of them for everyone.
        whole = [batch] * len(self.inner)
        shares = batch.tensor_split(len(self.inner)) if len(batch) >= len(self.inner) else whole
        losses = [learner.step(share, step, progress) for learner, share in zip(self.inner, shares, strict=True)]
        return sum(losses) / len(losses)
