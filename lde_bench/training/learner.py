"""What the training loop drives: a learner owns a model's own step, its optimiser state and its candidate weights.

Models trained by maximum likelihood use `GradientLearner`; a model with another kind of step (EM, alternating
optimisers) brings its own learner and needs no second loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lde_bench.training.device import autocast
from lde_bench.training.plan import Plan

#: Rows evaluated at once: bounds the memory of an evaluation, not its result.
EVALUATION_ROWS = 2048


class Learner(Protocol):
    """The methods that `lde_bench.training.loop.train` calls."""

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        """One training step on `batch` [B, D]; the mean training loss in nats per sample."""

    def score(self, validation: Tensor) -> float:
        """Mean validation log-likelihood, in nats, of the candidate weights."""

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
    return torch.cat([function(block) for block in rows.split(EVALUATION_ROWS)])


def clone_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


class ModuleLearner:
    """What learners of one module share: its weights are the candidate, its own log-density is the score."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def score(self, validation: Tensor) -> float:
        self.module.eval()
        return evaluate_rows(self.module, validation).double().mean().item()

    def candidate(self) -> dict[str, Tensor]:
        return clone_state(self.module)

    def adopt(self, weights: dict[str, Tensor]) -> None:
        self.module.load_state_dict(weights)
        self.module.eval()

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])


class GradientLearner(ModuleLearner):
    """Maximum likelihood by stochastic gradients on -log p(x) / D nats (Yoo et al. 2020, eq. 4).

    `log_density(x)`: [B, D] -> [B] nats, usually the module itself or its compiled twin.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        device: torch.device,
        precision: str,
        log_density: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(module)
        self.plan = plan
        self.device = device
        self.precision = precision
        self.log_density = log_density or module
        kind = torch.optim.AdamW if plan.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            [parameter for parameter in module.parameters() if parameter.requires_grad],
            lr=plan.rate,
            betas=plan.betas,
            weight_decay=plan.weight_decay,
        )
        # The average covers buffers too: the running statistics of BatchNorm belong to the weights they follow.
        self.average = clone_state(module) if plan.average is not None else None

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        rate = self.plan.rate_at(step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        with autocast(self.device, self.precision):
            loss = -self.log_density(batch).mean() / batch.shape[1]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.plan.clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.clip)
        self.optimizer.step()
        if self.average is not None:
            self._follow(step)
        return loss.item() * batch.shape[1]

    def _follow(self, step: int) -> None:
        assert self.average is not None
        assert self.plan.average is not None
        # A short memory at first, so that the average forgets the initial weights at any budget.
        decay = min(self.plan.average, (1 + step) / (10 + step))
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
        mean = super().score(validation)
        if own is not None:
            self.module.load_state_dict(own)
        return mean

    def candidate(self) -> dict[str, Tensor]:
        if self.average is not None:
            return {name: value.clone() for name, value in self.average.items()}
        return super().candidate()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average = {name: value.to(self.device) for name, value in state["average"].items()}
