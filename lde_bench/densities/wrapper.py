"""The base of densities that wrap one density and train as it does."""

from __future__ import annotations

from typing import ClassVar

import torch

from lde_bench.densities.base import Density, Input
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner
from lde_bench.training.plan import Budget, Plan


class Wrapper(Density):
    """A density made of another, `base`: plan, initial weights and learner are those of `base` unless said otherwise.

    Args:
        base: the density that it wraps.
    """

    wraps: ClassVar[bool] = True
    input: ClassVar[Input | None] = None

    def __init__(self, base: Density) -> None:
        super().__init__(base.features)
        self.base = base

    def reset_parameters(self) -> None:
        self.base.reset_parameters()

    def training_precision(self, choice: str, device: torch.device, plan: Plan) -> str:
        return self.base.training_precision(choice, device, plan)

    def reference_seconds(self, plan: Plan) -> float:
        return self.base.reference_seconds(plan)

    @property
    def size(self) -> float:
        return self.base.size

    def plan(self, budget: Budget) -> Plan:
        return self.base.plan(budget)

    def code_plan(self, budget: Budget) -> Plan:
        return self.base.code_plan(budget)

    def training_batches(self, batches: Batches) -> Batches:
        return self.base.training_batches(batches)

    def prepare(self, batches: Batches) -> None:
        self.base.prepare(batches)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return self.base.learner(plan, device, precision, compiler)
