from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lde_bench as lb
from lde_bench.densities.base import Density
from lde_bench.densities.lde import LDE
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.process import generator_states, seeded, set_generator_states
from lde_bench.training import loop
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.learner import GradientLearner
from lde_bench.training.loop import train
from lde_bench.training.model import Card
from lde_bench.training.plan import Budget, Plan
from lde_bench.training.start import Start

ROWS, HELD_OUT = skewed_rows(300, 5, 0), skewed_rows(80, 5, 1)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short_plan(monkeypatch):
    """Looks at the validation set every ten steps, batches that do not divide the epoch, an average of the weights."""
    plan = replace(LDE.plans["quick"], validate_every=10, batch_size=64, warmup=5)
    assert plan.average is not None
    monkeypatch.setitem(LDE.plans, "quick", plan)


class Killed(Exception):
    pass


def fit(checkpoint: Path | None = None, kill_at: int | None = None, precision: str = "fp32", **more: Any) -> Density:
    def on_progress(progress: loop.Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    density = lb.create("lde+w", 5, components=3)
    return density.fit(
        ROWS,
        HELD_OUT,
        seed=3,
        steps=45,
        device="cpu",
        precision=precision,
        checkpoint=checkpoint,
        on_progress=on_progress,
        **more,
    )


def assert_same_weights(one: Density, other: Density) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert torch.equal(mine[name], theirs[name]), name


def steps_and_scores(density: Density) -> list[tuple[int, float]]:
    assert density.training_state is not None
    return [(look.step, look.validation_nats) for look in density.training_state.curve]


# -- resume --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kill_at", [1, 10, 37])
def test_a_killed_run_ends_with_the_same_weights_to_the_bit(tmp_path, monkeypatch, precision, kill_at):
    whole = fit(precision=precision)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "checkpoint"
    notices: list[str] = []
    with pytest.raises(Killed):
        fit(checkpoint, kill_at, precision)
    resumed = fit(checkpoint, precision=precision, notify=notices.append)
    assert any(f"step {kill_at}" in notice for notice in notices)
    assert_same_weights(resumed, whole)
    assert steps_and_scores(resumed) == steps_and_scores(whole)
    assert resumed.training_state.best_step == whole.training_state.best_step


@pytest.mark.slow
def test_a_run_killed_twice_ends_with_the_same_weights_too(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "checkpoint"
    for kill_at in (13, 29):
        with pytest.raises(Killed):
            fit(checkpoint, kill_at)
    assert_same_weights(fit(checkpoint), fit())


@pytest.mark.parametrize(("seconds_to_write", "expected"), [(0.1, [3, 5, 7, 9]), (1.5, [3, 9])])
def test_checkpoints_that_take_long_to_write_lie_further_apart(tmp_path, monkeypatch, seconds_to_write, expected):
    clock, written = [0.0], []

    def write(path, learner, best, state, maker, run):
        clock[0] += seconds_to_write
        written.append(state.step)

    def on_progress(progress):
        clock[0] += 1.0

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 1.9)
    monkeypatch.setattr(loop, "WRITE_SECONDS", 0.5)
    monkeypatch.setattr(loop, "_write_checkpoint", write)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    density = lb.create("lde+w", 5, components=3)
    density.fit(ROWS, seed=3, steps=10, device="cpu", checkpoint=tmp_path / "c", on_progress=on_progress)
    assert written == expected


@pytest.mark.slow
def test_what_a_kill_loses_since_the_last_checkpoint_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        fit(checkpoint, 12)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 1e9)
    with pytest.raises(Killed):
        fit(checkpoint, 31)
    assert_same_weights(fit(checkpoint), fit())


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_starts_the_trial_again(tmp_path, monkeypatch, share):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "checkpoint"
    notices: list[str] = []
    with pytest.raises(Killed):
        fit(checkpoint, 20)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    resumed = fit(checkpoint, notify=notices.append)
    assert any("starts again from its first step" in notice for notice in notices)
    assert_same_weights(resumed, fit())


@pytest.mark.slow
def test_a_checkpoint_of_another_model_starts_the_trial_again(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "checkpoint"
    notices: list[str] = []
    lb.create("lde+w", 5, components=7).fit(ROWS, HELD_OUT, steps=4, checkpoint=checkpoint)
    resumed = fit(checkpoint, notify=notices.append)
    assert any("starts again from its first step" in notice for notice in notices)
    assert_same_weights(resumed, fit())


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"steps": 30}, {"rows": ROWS + 1}, {"held_out": HELD_OUT[:20]}, {"plan": None}],
    ids=["seed", "steps", "rows", "validation", "plan"],
)
def test_a_checkpoint_of_another_run_is_left_aside_and_none_of_this_one(tmp_path, monkeypatch, change):
    def trained(checkpoint: Path | None, notices: list[str], **asked: Any) -> Density:
        density = lb.create("lde+w", 5, components=3)
        rows, held_out = asked.pop("rows", ROWS), asked.pop("held_out", HELD_OUT)
        if "plan" in asked:
            asked["plan"] = replace(density.plan(Budget.of(steps=12)), rate=1e-4)
        options = {"seed": 3, "steps": 12, "device": "cpu", "checkpoint": checkpoint, "notify": notices.append, **asked}
        return density.fit(rows, held_out, **options)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint, notices = tmp_path / "checkpoint", list[str]()
    trained(checkpoint, notices)
    assert notices == []
    other = trained(checkpoint, notices, **change)
    assert any("of another model, seed, plan, budget or other data" in notice for notice in notices)
    assert_same_weights(other, trained(None, [], **change))


def test_a_checkpoint_has_all_global_generators(tmp_path):
    with seeded(5):
        states = generator_states()
        expected = (random.random(), np.random.random(), torch.rand(2).tolist())  # noqa: NPY002
    torch.save(states, tmp_path / "states")
    with seeded(6):
        set_generator_states(torch.load(tmp_path / "states", weights_only=True))
        assert (random.random(), np.random.random(), torch.rand(2).tolist()) == expected  # noqa: NPY002


def test_the_rows_of_a_step_are_told_as_they_were():
    density = lb.create("gaussian", 5).fit(ROWS[:50], seed=0)
    made = lb.create("made-mog:hidden=8", 5, components=2).fit(ROWS[:50], HELD_OUT, seed=0, steps=2)
    assert made.training_setup["batch_size"] == 50
    assert density.training_setup["closed_form"]


@pytest.mark.slow
def test_seconds_of_a_resumed_run_count_those_before(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        fit(checkpoint, 30)
    before = torch.load(checkpoint, weights_only=True)["state"]["wall_seconds"]
    assert fit(checkpoint).training_state.wall_seconds > before > 0


# -- the choice of the weights -----------------------------------------------------------------------------------


class Scripted:
    """A learner whose weights are the number of steps taken and whose scores are given."""

    was_clipped = False
    score_rows = None

    def __init__(self, scores: list[float]) -> None:
        self.scores = iter(scores)
        self.weights = 0.0
        self.adopted: float | None = None

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        self.weights += 1
        return 1.0

    def score(self, validation: Tensor) -> float:
        return next(self.scores)

    def candidate(self) -> dict[str, Tensor]:
        return {"weights": torch.tensor(self.weights)}

    def adopt(self, weights: dict[str, Tensor]) -> None:
        self.adopted = weights["weights"].item()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def run(scores: list[float], steps: int, validation: bool = True, **plan: Any) -> tuple[Scripted, loop.TrainingState]:
    learner = Scripted(scores)
    batches = ArrayBatches(ROWS, 0)
    held_out = torch.as_tensor(HELD_OUT) if validation else None
    plan_ = Plan(steps=steps, **plan)
    return learner, train(learner, batches, held_out, plan_, Budget.of(), device=CPU)


def test_the_weights_of_the_best_validation_score_are_adopted():
    learner, state = run([1.0, 3.0, 2.0, 2.5, 2.9], steps=10, validate_every=2)
    assert (learner.adopted, state.best_step, state.best_score) == (4.0, 4, 3.0)
    assert [look.step for look in state.curve] == [2, 4, 6, 8, 10]


def test_the_last_step_is_looked_at_even_between_two_looks():
    learner, state = run([1.0, 2.0], steps=7, validate_every=5)
    assert (learner.adopted, [look.step for look in state.curve]) == (7.0, [5, 7])


def test_of_equal_scores_the_first_is_kept():
    assert run([2.0, 2.0, 2.0], steps=3, validate_every=1)[0].adopted == 1.0


def test_patience_stops_early_with_the_best_weights():
    learner, state = run([1.0, 3.0, 2.0, 2.5, 2.9, 9.0], steps=60, validate_every=10, patience=3)
    assert state.stopped_early
    assert (state.step, learner.adopted) == (50, 20.0)


def test_an_improvement_renews_the_patience():
    _, state = run([1.0, 0.0, 2.0, 0.0, 3.0, 0.0], steps=6, validate_every=1, patience=2)
    assert not state.stopped_early
    assert state.step == 6


def test_without_validation_the_last_weights_are_kept():
    learner, state = run([], steps=9, validation=False, validate_every=2)
    assert (learner.adopted, state.best_step, state.best_score, state.curve) == (9.0, 9, None, [])


# -- where a training starts, and what its clip does ---------------------------------------------------------------


def start_of(density: Density) -> Start:
    return density.training_starts["model"]


@pytest.mark.parametrize("method", ["made-mog:components=2", "made-mog+w:components=2"])
def test_the_first_loss_is_that_of_the_model_before_any_step(method):
    density = lb.create(method, 5)
    still = Plan(steps=3, batch_size=len(ROWS), rate=0.0, warmup=0)
    density.fit(ROWS, HELD_OUT, seed=3, plan=still, device="cpu", precision="fp32")
    assert start_of(density).first_loss == pytest.approx(-density.log_prob(ROWS).mean().item(), rel=1e-5)


def test_the_first_loss_is_not_that_of_later_steps():
    plans = [Plan(steps=steps, batch_size=64, rate=0.02, warmup=0) for steps in (1, 40)]
    starts = [start_of(lb.create("made-mog:components=2", 5).fit(ROWS, HELD_OUT, seed=3, plan=plan)) for plan in plans]
    assert starts[0].first_loss == starts[1].first_loss


@pytest.mark.parametrize("method", ["made-mog:components=2", "made-mog+w:components=2", "made-mog+ens:components=2"])
@pytest.mark.parametrize(("clip", "share"), [(1e-9, 1.0), (1e9, 0.0), (None, None)])
def test_the_share_of_steps_that_the_clip_cut_is_told(method, clip, share):
    plan = Plan(steps=8, batch_size=64, clip=clip)
    start = start_of(lb.create(method, 5).fit(ROWS, HELD_OUT, seed=3, plan=plan, device="cpu"))
    assert (start.steps, start.clip, start.clipped_share) == (8, clip, share)


def test_the_clip_that_is_told_is_the_one_that_cuts():
    plan = Plan(steps=2, batch_size=64, clip=10.0, of_nats=True)
    start = start_of(lb.create("made-mog:components=2", 5).fit(ROWS, HELD_OUT, seed=3, plan=plan, device="cpu"))
    assert start.clip == 2.0


def test_a_clip_between_the_norms_of_the_gradients_cuts_some_steps(monkeypatch):
    density = lb.create("made-mog:components=2", 5)
    norms, cut = [], nn.utils.clip_grad_norm_

    def share(clip: float) -> float | None:
        still = Plan(steps=20, batch_size=64, rate=0.0, warmup=0, clip=clip)
        density.fit(ROWS, HELD_OUT, seed=3, plan=still, device="cpu", precision="fp32")
        return start_of(density).clipped_share

    with monkeypatch.context() as patch:
        patch.setattr(nn.utils, "clip_grad_norm_", lambda *given: norms.append(cut(*given)) or norms[-1])
        share(1e9)
    assert share(sum(sorted(map(float, norms))[9:11]) / 2) == 0.5


def test_a_resumed_run_tells_the_start_and_the_clip_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    whole = start_of(fit())
    with pytest.raises(Killed):
        fit(tmp_path / "checkpoint", kill_at=20)
    assert start_of(fit(tmp_path / "checkpoint")) == whole
    assert whole.clipped_share is not None
    assert whole.clipped_share > 0


def test_a_fit_leaves_the_averaged_weights_that_scored_best():
    density = fit()
    state = density.training_state
    best = max(look.validation_nats for look in state.curve)
    assert density.log_prob(HELD_OUT).mean() == pytest.approx(best, abs=1e-4)
    assert state.best_score == best


def test_the_average_is_that_of_the_weights_and_buffers_of_every_step():
    module = nn.BatchNorm1d(2)
    plan = Plan(steps=5, average=0.5, rate=0.1, schedule="constant")
    learner = GradientLearner(module, plan, CPU, "fp32", lambda x: -module(x + 1).square().sum(-1))
    expected = {name: value.clone().double() for name, value in module.state_dict().items()}
    for step in range(5):
        learner.step(torch.randn(16, 2, generator=torch.Generator().manual_seed(step)), step, 0.0)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            expected[name] = (
                decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
            )
    for name, value in learner.candidate().items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-5, atol=1e-6)


# -- stops -------------------------------------------------------------------------------------------------------


class FallsApart(Density):
    name = "falls-apart"
    card = Card("nothing", "nowhere", "nothing")
    plans = dict.fromkeys(("quick", "standard", "paper"), Plan(steps=20, rate=0.25, validate_every=5))
    training_calls = 0
    bad_in = "training"

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        log_p = -0.5 * (x - self.shift).square().sum(-1)
        if self.training:
            self.training_calls += 1
        falls = self.training_calls > 7 and self.training == (self.bad_in == "training")
        return log_p * torch.nan if falls else log_p


def test_a_loss_that_is_nan_stops_the_run_and_names_step_and_remedy():
    with pytest.raises(TrainingDiverged, match=r"loss became nan at step 7; try a lower rate \(now 0.25\).*fp32"):
        FallsApart(5).fit(ROWS, HELD_OUT)


def test_a_validation_score_that_is_nan_stops_the_run_too():
    density = FallsApart(5)
    density.bad_in = "evaluation"
    with pytest.raises(TrainingDiverged, match="validation log-likelihood became nan at step 10"):
        density.fit(ROWS, HELD_OUT)


def test_a_budget_in_seconds_ends_by_the_clock():
    density = lb.create("made-mog", 5, hidden=8).fit(ROWS, HELD_OUT, seconds=0.3, device="cpu")
    state = density.training_state
    assert 0.3 <= state.wall_seconds < 10
    assert state.step >= 1
    assert state.curve[-1].step == state.step


# -- what fit leaves alone, and what it refuses ---------------------------------------------------------------------


def global_generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


def test_fitting_leaves_the_global_random_generators_as_they_were():
    density = lb.create("lde+w", 5, components=3)
    before = global_generators()
    density.fit(ROWS, HELD_OUT, steps=5, device="cpu")
    assert global_generators() == before


@pytest.mark.slow
def test_the_seed_and_nothing_before_decides_the_weights():
    one = fit()
    torch.rand(7)
    assert_same_weights(one, fit())
    other = lb.create("lde+w", 5, components=3).fit(ROWS, HELD_OUT, seed=4, steps=45, device="cpu", precision="fp32")
    assert not np.array_equal(other.log_prob(HELD_OUT), one.log_prob(HELD_OUT))


@pytest.mark.slow
def test_fitting_again_starts_from_scratch():
    density = fit()
    again = density.fit(ROWS, HELD_OUT, seed=3, steps=45, device="cpu", precision="fp32")
    assert_same_weights(again, fit())


def test_fitting_leaves_the_rows_as_they_were():
    rows = ROWS.copy()
    fit()
    np.testing.assert_array_equal(ROWS, rows)


@pytest.mark.parametrize(
    ("rows", "validation", "message"),
    [
        (ROWS[:, :4], None, r"training array should be \[n, 5\], got \[300, 4\]"),
        (ROWS[0], None, "training array should be"),
        (ROWS[:0], None, "training array is empty"),
        (np.where(ROWS > 4, np.nan, ROWS), None, "rows of the training array hold NaN"),
        (ROWS, HELD_OUT[:, :2], r"validation array should be \[n, 5\]"),
        (ROWS, HELD_OUT[:0], "validation array is empty"),
        (ROWS, np.full((2, 5), np.inf), "2 rows of the validation array hold NaN or infinity"),
        (ArrayBatches(ROWS[:, :3], 0), None, "3 features, the model 5"),
    ],
)
def test_bad_rows_are_refused_before_training(rows, validation, message):
    with pytest.raises(InputError, match=message):
        lb.create("lde", 5).fit(rows, validation, steps=1)


def test_float64_rows_and_lists_and_tensors_are_taken_alike():
    expected = lb.create("made-mog", 5, hidden=8).fit(ROWS, steps=3)
    for rows in (ROWS.astype(np.float64), ROWS.tolist(), torch.as_tensor(ROWS)):
        assert_same_weights(lb.create("made-mog", 5, hidden=8).fit(rows, steps=3), expected)


# -- CPU seconds ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_budget_in_cpu_seconds_ends_by_the_processor_and_not_by_the_clock(monkeypatch):
    """Half of the wall time is slept, so a budget of wall seconds would have ended at half the CPU seconds."""
    learner = Scripted([1.0])
    step = learner.step

    def slow_step(*arguments: Any) -> float:
        time.sleep(0.02)
        until = time.process_time() + 0.01
        while time.process_time() < until:
            pass
        return step(*arguments)

    monkeypatch.setattr(learner, "step", slow_step)
    plan = Plan(steps=1, validate_every=1000)
    budget = Budget.of(seconds=0.2, clock="cpu")
    state = train(learner, ArrayBatches(ROWS, 0), torch.as_tensor(HELD_OUT), plan, budget, device=CPU)
    assert 0.2 <= state.cpu_seconds < 0.3
    assert state.wall_seconds > 0.4


def test_cpu_seconds_count_children_that_have_ended():
    before = loop.cpu_seconds()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert loop.cpu_seconds() - before >= 0.25  # the children's clock ticks every 10 ms


@pytest.mark.slow
def test_cpu_seconds_of_a_resumed_run_add_up_to_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "checkpoint"

    def fit_within(stop: float) -> Density:
        def on_progress(progress: loop.Progress) -> None:
            if progress.share > stop:
                raise Killed

        density = lb.create("made-mog+w", 5, hidden=8)
        seconds: dict[str, Any] = {"seconds": 1.0, "clock": "cpu"}
        return density.fit(ROWS, HELD_OUT, **seconds, device="cpu", checkpoint=checkpoint, on_progress=on_progress)

    lb.create("made-mog+w", 5, hidden=8).fit(ROWS, steps=1, device="cpu")  # a first step loads half of torch
    with pytest.raises(Killed):
        fit_within(0.5)
    before = torch.load(checkpoint, weights_only=True)["state"]["cpu_seconds"]
    began = loop.cpu_seconds()
    state = fit_within(2.0).training_state
    assert 0.5 < before < 0.9
    assert state.cpu_seconds >= 1.0
    assert state.resumed_cpu_seconds == before
    assert loop.cpu_seconds() - began < 0.8


def test_the_initialisation_counts_as_cpu_seconds(monkeypatch):
    def prepare(self: LDE, batches: Any) -> None:
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass

    monkeypatch.setattr(LDE, "prepare", prepare)
    density = lb.create("lde", 5, components=3).fit(ROWS, HELD_OUT, seconds=0.2, clock="cpu", device="cpu")
    assert density.training_state.step == 1
    assert density.training_state.curve[0].cpu_seconds >= 0.3


@pytest.mark.slow
def test_the_initialisation_of_a_resumed_run_counts_once(tmp_path, monkeypatch):
    def prepare(self: LDE, batches: Any) -> None:
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(LDE, "prepare", prepare)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        fit(checkpoint, 28)
    before = torch.load(checkpoint, weights_only=True)["state"]["cpu_seconds"]
    state = fit(checkpoint).training_state
    assert before >= 0.5
    assert before < state.cpu_seconds < before + 0.4


@pytest.mark.parametrize(("looks", "steps"), [(1, [12]), (3, [4, 7, 10]), (100, [1, 2, 3, 4, 5, 6])])
def test_looks_lie_at_equal_shares_of_a_budget_in_seconds(monkeypatch, looks, steps):
    """By a clock that goes on by a second with every step and every look, over 12 seconds."""
    seconds = iter(range(100))
    monkeypatch.setattr(loop.Seconds, "now", classmethod(lambda cls: cls(*[float(next(seconds))] * 2)))
    learner = Scripted([1.0] * 20)
    plan = Plan(steps=1, validate_every=1, looks=looks)
    budget = Budget.of(seconds=12)
    state = train(learner, ArrayBatches(ROWS, 0), torch.as_tensor(HELD_OUT), plan, budget, device=CPU)
    assert [look.step for look in state.curve] == steps


def test_a_plan_of_the_callers_replaces_that_of_the_profile_and_is_recorded():
    plan = replace(LDE.plans["quick"], rate=0.0123, batch_size=17)
    density = lb.create("lde+w", 5, components=3).fit(ROWS, HELD_OUT, steps=3, plan=plan, device="cpu")
    assert (density.training_setup["rate"], density.training_setup["batch_size"]) == (0.0123, 17)


def test_a_step_is_told_the_share_of_the_budget_that_is_spent(monkeypatch):
    """By a clock that goes on by a second with every step, over 10 seconds; the plan's own steps say nothing."""
    seconds, shares = iter(range(100)), []
    monkeypatch.setattr(loop.Seconds, "now", classmethod(lambda cls: cls(*[float(next(seconds))] * 2)))
    learner = Scripted([])
    learner.step = lambda batch, step, progress: shares.append(progress) or 1.0
    train(learner, ArrayBatches(ROWS, 0), None, Plan(steps=1000), Budget.of(seconds=10), device=CPU)
    assert shares == pytest.approx([step / 10 for step in range(10)])


def test_a_resumed_run_keeps_the_best_weights_of_before_it_was_killed(tmp_path, monkeypatch):
    class Kept(Scripted):
        def state_dict(self):
            return {"weights": self.weights}

        def load_state_dict(self, state):
            self.weights = state["weights"]

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    plan, held_out = Plan(steps=5, validate_every=1), torch.as_tensor(HELD_OUT)
    given = {"device": CPU, "checkpoint": tmp_path / "c"}
    with pytest.raises(KeyboardInterrupt):
        train(Kept([1.0, 3.0, 2.0]), ArrayBatches(ROWS, 0), held_out, plan, Budget.of(), on_progress=stop, **given)
    learner = Kept([2.5, 2.9])
    state = train(learner, ArrayBatches(ROWS, 0), held_out, plan, Budget.of(), **given)
    assert (learner.adopted, state.best_step) == (2.0, 2)
