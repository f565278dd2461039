"""The one training loop: budget, validation-based choice of the weights, checkpoints, progress, a clear stop on NaN."""

from __future__ import annotations

import copy
import io
import math
import os
import pickle  # for the error that torch.load raises, nothing else
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from lde_bench.errors import TrainingDiverged
from lde_bench.files import write_bytes_atomic
from lde_bench.process import generator_states, set_generator_states
from lde_bench.training.batches import Batches, drawn_ahead
from lde_bench.training.curve import CurvePoint
from lde_bench.training.learner import Learner
from lde_bench.training.plan import Budget, Plan
from lde_bench.training.start import Start

#: Wall seconds between two checkpoints: what a killed run can lose. Those that take more than `WRITE_SECONDS` to write,
#: as a gigabyte of a large model does, lie as much further apart, so that they cost 3 % of the time; but not more than
#: `FURTHER` times.
CHECKPOINT_SECONDS, WRITE_SECONDS, FURTHER = 20.0, 0.6, 15


def cpu_seconds() -> float:
    """CPU seconds of this process and of its ended children, such as the compiler behind `torch.compile`."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class Seconds(NamedTuple):
    """A reading of both clocks."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.perf_counter(), cpu_seconds())


@dataclass
class TrainingState:
    """Where a run stands; all of it goes into the checkpoint."""

    step: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    best_step: int = 0
    best_score: float | None = None
    looks_since_best: int = 0
    stopped_early: bool = False
    first_loss: float | None = None
    clipped_steps: int = 0
    #: Of the runs that this one continues.
    resumed_wall_seconds: float = 0.0
    resumed_cpu_seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)

    def start(self, clip: float | None) -> Start:
        """Where it began, and what the plan's `clip` did."""
        share = None if clip is None or self.step == 0 else round(self.clipped_steps / self.step, 4)
        return Start(self.step, self.first_loss, clip, share)


@dataclass(frozen=True)
class Progress:
    """What a progress display needs: `share` of the budget spent in [0, 1], and seconds left at the present pace."""

    step: int
    share: float
    loss: float
    score: float | None
    seconds_left: float


def train(
    learner: Learner,
    batches: Batches,
    validation: Tensor | None,
    plan: Plan,
    budget: Budget,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    checkpoint: Path | None = None,
    code: str = "",
    run: str = "",
    started: Seconds | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    notify: Callable[[str], None] = lambda message: None,
) -> TrainingState:
    """Train until the budget is spent and leave the weights of the best validation score in the model.

    Without `validation` the last weights are kept. With `checkpoint`, a run that was killed continues from that file
    and ends, on one machine, with the same weights to the bit. A checkpoint of other code (`code` names it), of another
    torch or of another number of threads would not, and one of another `run` is none of this one's: it is left aside,
    and the run starts from its first step.

    Seconds of a budget, on the wall or of the CPU, are counted from `started` (by default now), so that what had to be
    done before the first step can count too, once. Those of a run that is continued add up.

    Raises:
        TrainingDiverged: the loss or the validation score is NaN or infinite.
    """
    state = TrainingState()
    best: dict[str, Tensor] | None = None
    total = plan.steps_within(budget)
    batch_size = min(plan.batch_size, batches.size or plan.batch_size)
    maker = f"{code}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    if checkpoint is not None and checkpoint.exists():
        try:
            state, best = _resume(checkpoint, learner, maker, run)
            notify(f"continuing from step {state.step:,}" + ("" if budget.seconds is not None else f" of {total:,}"))
        except _UnusableCheckpoint as error:
            # Nothing is lost but time: the run starts again from its first step and ends the same.
            notify(f"{checkpoint.name} {error}: this trial starts again from its first step.")

    state.resumed_wall_seconds, state.resumed_cpu_seconds = state.wall_seconds, state.cpu_seconds
    if (
        started is None or state.step > 0
    ):  # what came before the first step of a run that continues counts in it already
        started = Seconds.now()
    next_checkpoint = time.perf_counter() + CHECKPOINT_SECONDS
    loss = math.nan

    def share() -> float:
        if budget.seconds is not None and not plan.closed_form:
            return min(1.0, (state.cpu_seconds if budget.clock == "cpu" else state.wall_seconds) / budget.seconds)
        return state.step / total

    def tick() -> None:
        now = Seconds.now()
        state.wall_seconds = state.resumed_wall_seconds + now.wall - started.wall
        state.cpu_seconds = state.resumed_cpu_seconds + now.cpu - started.cpu

    def is_look(before: float) -> bool:
        """Whether to look after the step that began at that share of the budget."""
        after = share()
        if plan.looks is None:
            return state.step % plan.validate_every == 0 or after >= 1.0
        return int(after * plan.looks) > int(before * plan.looks)

    ahead = device.type == "cuda" and not plan.closed_form
    with drawn_ahead(batches, batch_size, ahead) as draw:
        while (begun := share()) < 1.0 and not state.stopped_early:
            batch = torch.as_tensor(draw(state.step), dtype=dtype, device=device)
            loss = learner.step(batch, state.step, begun)
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"the training loss became {loss} at step {state.step}; try a lower rate (now {plan.rate:g}), "
                    "gradient clipping, or --precision fp32."
                )
            if state.step == 0 and not plan.closed_form:  # a closed form has the loss of what it fitted
                state.first_loss = loss
            state.step += 1
            state.clipped_steps += learner.was_clipped
            tick()
            if validation is not None and is_look(begun):
                score = learner.score(validation)
                tick()
                _look(state, score)
                if state.best_step == state.step:
                    best = learner.candidate()
                state.stopped_early = plan.patience is not None and state.looks_since_best >= plan.patience
            now = time.perf_counter()
            if checkpoint is not None and now > next_checkpoint:
                _write_checkpoint(checkpoint, learner, best, state, maker, run)
                written = time.perf_counter()
                next_checkpoint = written + CHECKPOINT_SECONDS * min(FURTHER, max(1.0, (written - now) / WRITE_SECONDS))
            spent = share()
            seconds_left = state.wall_seconds / spent * (1 - spent)
            on_progress(Progress(state.step, spent, loss, state.best_score, seconds_left))
    learner.adopt(best if best is not None else learner.candidate())
    if best is None:
        state.best_step = state.step
    return state


def _look(state: TrainingState, score: float) -> None:
    """Enter one validation score in the curve and in the choice of the weights."""
    if not math.isfinite(score):
        raise TrainingDiverged(
            f"the validation log-likelihood became {score} at step {state.step}; try a lower rate or --precision fp32."
        )
    state.curve.append(CurvePoint(state.step, round(state.cpu_seconds, 3), round(state.wall_seconds, 3), score))
    if state.best_score is None or score > state.best_score:
        state.best_score, state.best_step, state.looks_since_best = score, state.step, 0
    else:
        state.looks_since_best += 1


class _UnusableCheckpoint(Exception):
    """Why a checkpoint cannot be continued."""


def _write_checkpoint(
    path: Path, learner: Learner, best: dict[str, Tensor] | None, state: TrainingState, maker: str, run: str
) -> None:
    content = {
        "maker": maker,
        "run": run,
        "learner": learner.state_dict(),
        "best": best,
        "state": asdict(state),
        "random": generator_states(),
    }
    buffer = io.BytesIO()  # torch.save on a full disk raises errors of its own
    torch.save(content, buffer)
    write_bytes_atomic(path, buffer.getvalue())


def _resume(path: Path, learner: Learner, maker: str, run: str) -> tuple[TrainingState, dict[str, Tensor] | None]:
    """Put the checkpoint into the learner and the random generators; the loop's state and the best weights.

    Raises:
        _UnusableCheckpoint: it is damaged, or was made by something that would not continue it to the bit.
    """
    fresh = copy.deepcopy(learner.state_dict())
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["maker"] != maker:
            raise _UnusableCheckpoint(f"was made by {saved['maker']}, this is {maker}")
        if saved["run"] != run:
            raise _UnusableCheckpoint("is of another model, seed, plan, budget or other data")
        curve = [CurvePoint(**point) for point in saved["state"]["curve"]]
        state = TrainingState(**saved["state"] | {"curve": curve})
        learner.load_state_dict(saved["learner"])
        set_generator_states(saved["random"])
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, pickle.UnpicklingError) as error:
        learner.load_state_dict(fresh)  # whatever was taken over before it failed
        raise _UnusableCheckpoint(f"cannot be read ({type(error).__name__})") from error
    return state, saved["best"]
