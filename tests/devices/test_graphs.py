"""Training steps that a GPU replays: the same as those that are launched, and only where they can be."""

from __future__ import annotations

import gc
import os
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from fake_card import RECORDING
from on_device import Device, fit

import lde_bench as lb
from lde_bench.data.patches import FEATURES as PATCH
from lde_bench.densities import density_class
from lde_bench.densities.base import Density
from lde_bench.densities.jpeg_lattice import LatticeMade
from lde_bench.densities.made_mog import MadeMog
from lde_bench.errors import InputError
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.device import Compiler
from lde_bench.training.graphs import SWITCH, WARM_UP, Replayed
from lde_bench.training.learner import GradientLearner
from lde_bench.training.plan import Plan

FEATURES, STEPS = 3, 9
TRAIN, HELD_OUT = np.split(skewed_rows(400, FEATURES, 0), [300])
MADE, COUPLING = "made-mog:components=2,hidden=8", "real-nvp:transforms=2,hidden=8,layers=1"


@pytest.fixture
def card(device: Device) -> Device:
    """A device that replays."""
    if device.name == "cpu":
        pytest.skip("a processor replays nothing")
    return device


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch):
    """Has the steps of a class counted that run its Python."""

    def count(kind: type[Density]) -> list[int]:
        ran: list[int] = []
        forward = kind.forward

        def counted(self: Density, x: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                ran.append(len(x))
            return forward(self, x)

        monkeypatch.setattr(kind, "forward", counted)
        return ran

    return count


class Inherits(MadeMog):
    """May compute what it likes, in Python."""


class Waits(MadeMog):
    """Says that it can be replayed, and waits for a number."""

    replayable = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert bool(torch.isfinite(x).all())
        return super().forward(x)


def small(kind: type[MadeMog]) -> MadeMog:
    return kind(FEATURES, components=2, hidden=8)


def learner_on(device: Device, density: Density, plan: Plan | None = None) -> GradientLearner:
    density.to(device.place)
    density.train()
    off = Compiler(device.place, False, lambda message: None)
    return GradientLearner(density, plan or Plan(steps=9), device.place, "fp32", compiler=off)


@pytest.mark.parametrize(("method", "runs"), [(MADE, WARM_UP + 1), (COUPLING, STEPS)])
def test_steps_are_recorded_once_where_they_can_be_replayed(method, runs, card: Device, forwards):
    ran = forwards(density_class(method.partition(":")[0]))
    density = fit(lb.create(method, FEATURES), TRAIN, HELD_OUT, card, steps=STEPS)
    assert len(ran) == runs
    assert density.training_state.step == STEPS


def test_a_switch_has_every_step_launched(card: Device, forwards, monkeypatch):
    monkeypatch.setitem(os.environ, SWITCH, "0")
    ran = forwards(MadeMog)
    fit(lb.create(MADE, FEATURES), TRAIN, HELD_OUT, card, steps=STEPS)
    assert len(ran) == STEPS


def test_a_class_that_inherits_is_not_replayed_until_it_says_so(card: Device, forwards):
    ran = forwards(Inherits)
    fit(small(Inherits), TRAIN, HELD_OUT, card, steps=STEPS)
    assert len(ran) == STEPS


def test_what_cannot_be_recorded_is_launched_after_one_notice(card: Device):
    told: list[str] = []
    here = fit(small(Waits), TRAIN, HELD_OUT, card, steps=STEPS, notify=told.append)
    assert len(told) == 1
    assert told[0].startswith("CUDA graphs are not used: ")
    if card.exact:
        there = fit(small(Waits), TRAIN, HELD_OUT, card, "cpu", steps=STEPS)
        np.testing.assert_array_equal(here.log_prob(HELD_OUT), there.log_prob(HELD_OUT))


def test_what_was_recorded_before_a_recording_that_failed_is_launched_or_replayed_to_the_same_numbers(card: Device):
    learners = {kind: learner_on(card, small(kind)) for kind in (MadeMog, Waits)}
    alone = learner_on(card, small(MadeMog))
    alone.module.load_state_dict(learners[MadeMog].module.state_dict())
    batch = torch.as_tensor(TRAIN[:8], device=card.place)
    learners[MadeMog].step(batch, 0, 0.0)
    learners[Waits].step(batch, 0, 0.0)
    assert learners[Waits].replayed is None
    here = [learners[MadeMog].step(batch, step, 0.0) for step in (1, 2)]
    assert here == pytest.approx([alone.step(batch, step, 0.0) for step in range(3)][1:])


def test_random_numbers_of_the_device_are_drawn_as_before_after_a_recording_that_failed(card: Device):
    """torch leaves the generator of a failed recording in a state in which nothing can be drawn, not even weights."""
    card.have_own_random_numbers()
    learner = learner_on(card, small(Waits))
    torch.manual_seed(5)
    expected = torch.rand(3, device=card.place).cpu()
    torch.manual_seed(5)
    learner.step(torch.as_tensor(TRAIN[:8], device=card.place), 0, 0.0)
    assert learner.replayed is None
    np.testing.assert_array_equal(torch.rand(3, device=card.place).cpu(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["made-mog+w+ens:components=2,hidden=8,members=2", "made-mog+haar:hidden=63"])
def test_several_graphs_of_one_fit_are_each_their_own(method, card: Device):
    rows = 0.1 * np.random.default_rng(0).normal(size=(200, PATCH))
    here, there = (fit(lb.create(method, PATCH), rows, rows[:50], card, where, steps=5) for where in (card.name, "cpu"))
    if card.exact:  # but for products of masks, which a card makes in one
        np.testing.assert_allclose(here.log_prob(rows), there.log_prob(rows), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("place", [(0, 0), (1, 1)])
def test_the_density_of_a_place_of_the_jpeg_grid_is_replayed_as_it_is_launched(place, card: Device, forwards):
    """`+jpeg` trains ten of them, whose numbers are decoded one after the other: by hundreds of small kernels."""
    ran = forwards(LatticeMade)
    rows = 0.1 * np.random.default_rng(0).normal(size=(400, PATCH)).astype(np.float32)

    def trained(where: Device) -> list[float]:
        density = LatticeMade(place, components=2, hidden=63, blocks=1)
        torch.manual_seed(1)
        density.reset_parameters()
        density.to(where.place)
        density.prepare(ArrayBatches(rows, 0))
        learner = learner_on(where, density)
        return [
            learner.step(torch.as_tensor(rows[start : start + 50], device=where.place), step, 0.0)
            for step, start in enumerate(range(0, 400, 50))
        ]

    here = trained(card)
    assert len(ran) == WARM_UP + 1
    np.testing.assert_allclose(here, trained(Device("cpu", "cpu")), rtol=2e-3)


def test_a_learner_and_its_graph_are_freed_with_their_last_reference(card: Device):
    learner = learner_on(card, small(MadeMog))
    for step in range(2):
        learner.step(torch.as_tensor(TRAIN[:8], device=card.place), step, 0.0)
    assert learner.replayed is not None
    alive, graph = weakref.ref(learner), weakref.ref(learner.replayed)
    gc.disable()
    try:
        del learner
        assert alive() is None
        assert graph() is None
    finally:
        gc.enable()


def test_gradients_that_somebody_took_away_are_put_back(card: Device):
    density = small(MadeMog)
    learner = learner_on(card, density, Plan(steps=9, rate=0.1, schedule="constant"))
    batch = torch.as_tensor(TRAIN[:8], device=card.place)
    weights = []
    for step in range(4):
        learner.step(batch, step, 0.0)
        density.zero_grad()
        weights.append(next(density.parameters()).detach().clone())
    assert not any(torch.equal(one, other) for one, other in pairwise(weights))


def test_batches_of_another_shape_are_one_clear_error(card: Device):
    learner = learner_on(card, small(MadeMog))
    rows = torch.as_tensor(TRAIN, device=card.place)
    learner.step(rows[:8], 0, 0.0)
    with pytest.raises(InputError, match=r"a training batch is \[7, 3\] and the first was \[8, 3\]"):
        learner.step(rows[:7], 1, 0.0)


def test_the_random_numbers_of_a_replay_are_new_ones_of_the_device(card: Device):
    """And the host's generator stays where it is."""
    card.have_own_random_numbers()
    module = torch.nn.Linear(2, 2).to(card.place)
    replayed = Replayed(module)

    def gradients(batch: torch.Tensor) -> torch.Tensor:
        module.zero_grad(set_to_none=True)
        loss = (module(batch) * torch.rand(1, device=batch.device)).sum()
        loss.backward()
        return loss

    batch = torch.ones(4, 2, device=card.place)
    host = torch.get_rng_state()
    losses = [replayed(batch, gradients).item() for _ in range(4)]
    assert len(set(losses)) == 4
    assert torch.equal(torch.get_rng_state(), host)


@pytest.mark.parametrize(
    "recorded",
    [lambda x: x + torch.ones(2).to(x.device), lambda x: x.cpu(), lambda x: x * x.sum().item(), lambda x: x[x > 0]],
    ids=["to the card", "from the card", "a number", "rows by what is in them"],
)
def test_the_fake_card_refuses_to_record_what_the_processor_waits_for(recorded, device: Device):
    if device.fake is None:
        pytest.skip("of the fake card")
    with pytest.raises(RuntimeError, match=RECORDING):
        Replayed(torch.nn.Linear(1, 1))(torch.ones(2, device="cuda"), recorded)


class Buffered(ArrayBatches):
    """A user's own batches: of one buffer, and of the thread that trains."""

    def batch(self, step: int, size: int) -> np.ndarray:
        self.buffer: Any = getattr(self, "buffer", np.empty((size, FEATURES), np.float32))
        self.buffer[:] = super().batch(step, size)
        return self.buffer


def test_batches_of_a_users_own_are_not_drawn_ahead(card: Device):
    own, usual = Buffered(TRAIN.astype(np.float32), 3), ArrayBatches(TRAIN.astype(np.float32), 3)
    here, there = (fit(lb.create(MADE, FEATURES), each, HELD_OUT, card, steps=STEPS) for each in (own, usual))
    card.check(here.log_prob(HELD_OUT), there.log_prob(HELD_OUT))
