"""What the training loop drives: a learner owns a model's own step, its optimiser state and its candidate weights.

Models trained by maximum likelihood use `GradientLearner`; a model with another kind of step (EM, alternating
optimisers) brings its own learner and needs no second loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lde_bench.arrays import Table, row_blocks
from lde_bench.training.device import Compiler, autocast
from lde_bench.training.graphs import Replayed, is_replayed
from lde_bench.training.plan import Plan

#: Rows, and numbers in them, evaluated at once: bounds the memory of an evaluation, not its result.
EVALUATION_ROWS = 2048
EVALUATION_NUMBERS = 5_000_000


class Learner(Protocol):
    """What `lde_bench.training.loop.train` calls and reads."""

    @property
    def score_rows(self) -> int | None:
        """Give the most validation rows that the score is taken over; None: all of them."""

    @property
    def was_clipped(self) -> bool:
        """Whether the gradient of the last step was longer than the plan's `clip`, and was cut."""

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        """One training step on `batch` [B, D]; the mean training loss per sample, of densities in nats."""

    def score(self, validation: Tensor) -> float:
        """Mean validation log-likelihood, in nats, of the candidate weights, or another score that grows."""

    def candidate(self) -> dict[str, Tensor]:
        """A copy of the weights that would be kept if training stopped now."""

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """Put chosen weights into the model."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@torch.no_grad()
def evaluate_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """`function` over `rows` [n, D] in blocks: [n]."""
    if len(rows) == 0:
        return rows.new_zeros(0)
    return torch.cat([function(rows[block]) for block in evaluation_blocks(rows)])


def evaluation_blocks(rows: Table) -> Iterator[slice]:
    """The blocks in which a model is evaluated over `rows` [n, D]."""
    return row_blocks(rows, EVALUATION_NUMBERS, EVALUATION_ROWS)


def clone_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def spread_rows(rows: Tensor, most: int | None) -> Tensor:
    """At most so many of the rows, every so many-th: neighbours may come from the same photograph."""
    return rows if most is None else rows[:: max(1, len(rows) // most)][:most]


class ModuleLearner:
    """What learners of one module share: its weights are the candidate, its own log-density is the score.

    Args:
        module: to train.
        average: decay of an exponential moving average of its weights, which is then the candidate; None: without one.
    """

    was_clipped = False

    #: The score is that of so many validation rows, spread over all, where more would cost as much as the training.
    score_rows: int | None = None

    def __init__(self, module: nn.Module, average: float | None = None) -> None:
        self.module = module
        #: Whose mean over the validation rows is the score.
        self.scored: Callable[[Tensor], Tensor] = module
        self.decay = average
        # The average covers buffers too: the running statistics of BatchNorm belong to the weights they follow.
        self.average = None if average is None else clone_state(module)

    def follow(self, step: int) -> None:
        """Move the average, where there is one, towards the weights after a step."""
        if self.average is None or self.decay is None:
            return
        # A short memory at first, so that the average forgets the initial weights at any budget.
        decay = min(self.decay, (1 + step) / (10 + step))
        slow, fast = [], []
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                slow.append(self.average[name])
                fast.append(value.detach())
            else:
                self.average[name].copy_(value)
        torch._foreach_lerp_(slow, fast, 1 - decay)

    def score(self, validation: Tensor) -> float:
        own = clone_state(self.module) if self.average is not None else None
        if self.average is not None:
            self.module.load_state_dict(self.average)
        self.module.eval()
        mean = evaluate_rows(self.scored, spread_rows(validation, self.score_rows)).double().mean().item()
        if own is not None:
            self.module.load_state_dict(own)
        return mean

    def candidate(self) -> dict[str, Tensor]:
        if self.average is None:
            return clone_state(self.module)
        return {name: value.clone() for name, value in self.average.items()}

    def adopt(self, weights: dict[str, Tensor]) -> None:
        self.module.load_state_dict(weights)
        self.module.eval()

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        if self.average is not None:
            self.average = {name: value.to(self.average[name].device) for name, value in state["average"].items()}


def make_optimizer(parameters: Iterable[nn.Parameter], plan: Plan, *, fused: bool = False) -> torch.optim.Optimizer:
    """The plan's optimiser of those parameters that require a gradient.

    `fused` takes torch's fused Adam: equal but for rounding, and four times faster where a step of the optimiser costs
    as much as its gradients, as with the millions of weights of wide networks.
    """
    learnt = [parameter for parameter in parameters if parameter.requires_grad]
    if plan.optimizer == "sgd":
        return torch.optim.SGD(learnt, lr=plan.rate, momentum=plan.momentum, weight_decay=plan.weight_decay)
    kind = torch.optim.AdamW if plan.optimizer == "adamw" else torch.optim.Adam
    return kind(learnt, lr=plan.rate, betas=plan.betas, weight_decay=plan.weight_decay, fused=fused or None)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class OptimisedLearner(ModuleLearner):
    """One optimiser of a module or several, under one plan; a subclass gives `step`.

    Args:
        module: to train.
        plan: of each of the optimisers.
        device: where it is trained.
        precision: of the steps, `fp32` or `bf16`.
        optimizers: by their names.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        device: torch.device,
        precision: str,
        optimizers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        super().__init__(module, plan.average)
        self.plan = plan
        self.device = device
        self.precision = precision
        self.optimizers = optimizers

    def begin(self, step: int, progress: float) -> None:
        """Make module and optimisers ready for a step."""
        for optimizer in self.optimizers.values():
            set_rate(optimizer, self.plan.rate_at(step, progress))
        self.module.train()

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which losses are computed."""
        return autocast(self.device, self.precision)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **{name: each.state_dict() for name, each in self.optimizers.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])


class PartedLearner(OptimisedLearner):
    """Several optimisers, each of some networks of one module, as adversaries have them.

    Args:
        module: to train, and so are `plan`, `device` and `precision` as of `OptimisedLearner`.
        parts: the networks of each optimiser, by its name.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        device: torch.device,
        precision: str,
        parts: Mapping[str, Sequence[nn.Module]],
    ) -> None:
        self.parts = {name: [each for part in own for each in part.parameters()] for name, own in parts.items()}
        optimizers = {name: make_optimizer(own, plan, fused=True) for name, own in self.parts.items()}
        super().__init__(module, plan, device, precision, optimizers)

    def descend(self, part: str, loss: Tensor) -> None:
        """Take one step of an optimiser down the gradient of `loss`."""
        self.module.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[part].step()


class LossLearner(OptimisedLearner):
    """Stochastic gradients on one loss: `loss(x [B, D], progress) -> scalar`, `progress` in [0, 1] the share of the
    budget spent. `fused` is that of `make_optimizer`; `compiler` is what compiled a part of the loss, if anything did.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        device: torch.device,
        precision: str,
        loss: Callable[[Tensor, float], Tensor],
        *,
        fused: bool = False,
        compiler: Compiler | None = None,
    ) -> None:
        self.loss = loss
        self.optimizer = make_optimizer(module.parameters(), plan, fused=fused)
        super().__init__(module, plan, device, precision, {"optimizer": self.optimizer})
        self.compiler = compiler or Compiler(device, False, lambda message: None)

    def _gradients(self, batch: Tensor, progress: float) -> Tensor:
        """The loss on `batch` [B, D], its gradients in the parameters."""
        with self.autocast():
            loss = self.loss(batch, progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        self.begin(step, progress)
        loss = self.compiler.attempt(lambda: self._gradients(batch, progress), self.module)
        if self.plan.clip is not None:
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.clip)
            self.was_clipped = norm.item() > self.plan.clip
        self.optimizer.step()
        self.follow(step)
        return loss.item()


class GradientLearner(LossLearner):
    """Maximum likelihood by stochastic gradients on -log p(x) / D nats (Yoo et al. 2020, eq. 4).

    `log_density(x)`: [B, D] -> [B] nats, usually the module itself or its compiled twin. `fused` is that of
    `make_optimizer`. On a GPU the gradients of a module that is `replayable`, and not compiled, are a CUDA graph.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        device: torch.device,
        precision: str,
        log_density: Callable[[Tensor], Tensor] | None = None,
        compiler: Compiler | None = None,
        *,
        fused: bool = False,
    ) -> None:
        density = log_density or module

        def loss(batch: Tensor, progress: float) -> Tensor:
            return -density(batch).mean() / batch.shape[1]

        plan = plan.per_feature(getattr(module, "features", 1))
        super().__init__(module, plan, device, precision, loss, fused=fused, compiler=compiler)
        self.replayed: Replayed | None = None
        if is_replayed(module, device) and not self.compiler.compiled:
            self.replayed = Replayed(module)

    def _gradients(self, batch: Tensor, progress: float) -> Tensor:
        usual = super()._gradients  # its loss knows no progress
        if self.replayed is not None:
            try:
                return self.replayed(batch, lambda rows: usual(rows, progress))
            except RuntimeError as error:
                self.replayed = None
                self.compiler.notify(f"CUDA graphs are not used: {error}; training steps are launched, only slower.")
        return usual(batch, progress)

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        return super().step(batch, step, progress) * batch.shape[1]
