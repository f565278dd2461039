from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

import lde_bench as lb
from lde_bench.errors import InputError
from lde_bench.training.learner import GradientLearner
from lde_bench.training.plan import LONG_STEPS, PROFILES, Budget, Plan, plan_of


def test_cosine_warms_up_linearly_and_falls_to_zero():
    plan = Plan(steps=1000, rate=2.0, warmup=10)
    rates = [plan.rate_at(step, step / 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0, rel=1e-3)
    assert rates[500] == pytest.approx(1.0)
    assert rates[999] < 1e-5
    assert plan.rate_at(1000, 1.0) == pytest.approx(0, abs=1e-15)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))


def test_cosine_follows_the_share_of_the_budget_and_not_the_step():
    plan = Plan(steps=10, rate=1.0, warmup=0)
    assert plan.rate_at(12_345, 0.25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_halving_halves_at_every_multiple():
    plan = Plan(steps=100, rate=1.0, schedule="halving", halve_every=30)
    assert [plan.rate_at(step, 0.0) for step in (0, 29, 30, 59, 60, 90)] == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_halving_halves_at_shares_of_the_budget_whatever_the_step():
    plan = Plan(steps=400, rate=1.0, schedule="halving", halve_at=(0.25, 0.75))
    assert [plan.rate_at(0, share) for share in (0, 0.24, 0.25, 0.74, 0.75, 1)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    # At the very step, though a share is rounded.
    epochs = Plan(steps=280 * 430, rate=1.0, schedule="halving", halve_at=tuple(e / 280 for e in (20, 50, 100, 200)))
    for epoch in (20, 50, 100, 200):
        before, after = (epochs.rate_at(step, step / epochs.steps) for step in (epoch * 430 - 1, epoch * 430))
        assert after == before / 2


def test_a_plan_of_epochs_has_as_many_on_other_rows():
    plan = Plan(
        steps=200 * 430, rows=55_000, batch_size=128, schedule="exponential", decay=0.999, reference_seconds=100
    )
    assert plan.over(55_000) == plan
    half = plan.over(27_500)
    assert (half.steps, half.reference_seconds) == (100 * 430, 50)
    # The rate has fallen as far at the end.
    assert half.rate_at(half.steps, 1.0) == pytest.approx(plan.rate_at(plan.steps, 1.0))
    assert plan.over(1).steps == 2
    assert plan.over(None) == plan
    assert Plan(steps=7).over(3) == Plan(steps=7)


def test_exponential_falls_by_the_same_factor_at_every_step_whatever_the_budget():
    plan = Plan(steps=100, rate=2.0, schedule="exponential", decay=0.9)
    assert [plan.rate_at(step, 0.7) for step in (0, 1, 2)] == pytest.approx([2.0, 1.8, 1.62])


def test_what_came_later_is_left_out_of_the_description_of_plans_without_it():
    """The names of runs are made of descriptions, and were given without."""
    later = {"rows", "halve_at", "momentum", "decay"}
    assert not later & set(Plan(steps=3).describe())
    assert later <= set(Plan(steps=3, rows=9, halve_at=(0.5,), momentum=0.5, decay=0.9).describe())


def test_constant_stays():
    plan = Plan(steps=100, rate=0.3, schedule="constant")
    assert {plan.rate_at(step, step / 100) for step in range(100)} == {0.3}


def test_a_plan_is_described_in_json():
    description = Plan(steps=3, betas=(0.5, 0.999)).describe()
    assert json.loads(json.dumps(description)) == description
    assert description["betas"] == [0.5, 0.999]


def test_without_a_budget_the_profile_is_quick():
    assert Budget.of() == Budget("quick")
    assert Budget.of().label == "quick"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_a_budget_and_depends_on_no_machine(profile):
    budget = Budget.of(profile)
    assert (budget.profile, budget.machine_dependent) == (profile, False)


def test_explicit_steps_replace_those_of_the_profile():
    plan, budget = Plan(steps=100), Budget.of("standard", steps=7)
    assert plan.steps_within(budget) == 7
    assert plan.steps_within(Budget.of("standard")) == 100
    assert budget.label != Budget.of("standard").label


def test_seconds_are_marked_machine_dependent():
    assert Budget.of(seconds=3.5).machine_dependent


def test_cpu_seconds_are_another_budget_and_those_on_the_wall_keep_the_names_of_their_runs():
    wall, cpu = Budget.of(seconds=3.5), Budget.of(seconds=3.5, clock="cpu")
    assert (wall.label, cpu.label) == ("quick-3.5-seconds", "quick-3.5-cpu-seconds")
    assert set(cpu.describe()) - set(wall.describe()) == {"clock"}


def test_a_batch_of_its_own_is_another_budget_and_changes_the_names_of_no_other_runs():
    assert Budget.of("long", batch=1024).label == "long-of-1024"
    assert Budget.of("long", steps=9, batch=1024).label == "long-9-steps-of-1024"
    assert Budget.of(seconds=3.5, clock="cpu", batch=64).label == "quick-3.5-cpu-seconds-of-64"
    with_batch, without = Budget.of(steps=9, batch=1024), Budget.of(steps=9)
    assert with_batch.describe() == {**without.describe(), "batch": 1024}


def test_the_rate_grows_with_the_square_root_of_the_batch_and_the_steps_stay():
    plan = Plan(steps=100, batch_size=128, rate=1e-3, clip=0.5, average=0.99, warmup=7, reference_seconds=10)
    wide = replace(plan, batch_size=2048, rate=4e-3, reference_seconds=160)
    assert plan.of_batch(2048) == wide
    assert wide.of_batch(128) == plan
    assert plan.of_batch(None) == plan
    fit = Plan(steps=1, closed_form=True)
    assert fit.of_batch(5) == fit


@pytest.mark.parametrize("method", ["lde", "lde+w+sym", "made-mog+w", "resmade-mog+ens"])
def test_a_density_trains_on_the_batch_of_its_budget(method):
    density = lb.create(method, features=63)
    own, asked = density.plan(Budget.of("long")), density.plan(Budget.of("long", batch=32))
    members = own.batch_size // lb.create(method.removesuffix("+ens"), features=63).plan(Budget.of("long")).batch_size
    assert asked.batch_size == 32 * members
    assert asked.rate == pytest.approx(own.rate * math.sqrt(asked.batch_size / own.batch_size))
    assert asked.steps == own.steps


@pytest.mark.parametrize("method", ["gmm", "gmm+w", "gaussian"])
def test_what_is_not_trained_by_gradients_keeps_its_batch(method):
    density = lb.create(method, features=63)
    assert density.plan(Budget.of("standard", batch=64)) == density.plan(Budget.of("standard"))


def test_places_of_the_jpeg_grid_have_a_plan_of_their_own_and_take_no_batch():
    density = lb.create("made-mog+sym+jpeg", features=63)
    assert density.plan(Budget.of("long")).batch_size == 512
    with pytest.raises(InputError, match=r"\+jpeg trains the densities of its places by a plan of their own"):
        density.plan(Budget.of("long", batch=1024))


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch": 0},
        {"batch": 2.5},
        {"batch": True},
        {"steps": 0},
        {"steps": -3},
        {"steps": 2.5},
        {"steps": True},
        {"steps": "ten"},
        {"steps": math.nan},
        {"seconds": "long"},
        {"seconds": 0},
        {"seconds": -1.0},
        {"seconds": math.nan},
        {"seconds": math.inf},
        {"steps": 3, "seconds": 4.0},
        {"clock": "cpu"},
        {"clock": "cpu", "steps": 3},
        {"clock": "sand", "seconds": 3.0},
        {"profile": "fast"},
        {"profile": ""},
    ],
)
def test_a_bad_budget_is_an_input_error(arguments):
    with pytest.raises(InputError):
        Budget.of(**arguments)


@pytest.mark.parametrize("clip", [None, 0.7, 1e6])
def test_clip_and_weight_decay_of_nats_act_as_on_a_loss_in_nats(clip):
    """Plain gradient descent at a rate that is divided by D in place of the loss."""
    plan = Plan(steps=3, rate=0.1, optimizer="sgd", weight_decay=0.3, schedule="constant", clip=clip, of_nats=True)
    ours, theirs = (lb.create("made-mog:hidden=8", features=5, components=2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(3))
    learner = GradientLearner(ours, plan, torch.device("cpu"), "fp32")
    descent = torch.optim.SGD(theirs.parameters(), lr=plan.rate / 5, weight_decay=0.3)
    for step in range(3):
        learner.step(rows, step, step / 3)
        descent.zero_grad()
        (-theirs(rows).mean()).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        descent.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_decay_of_adamw_knows_no_loss():
    plan = Plan(steps=1, optimizer="adamw", weight_decay=0.3, clip=6.3, of_nats=True).per_feature(63)
    assert (plan.weight_decay, plan.clip) == (0.3, pytest.approx(0.1))


# -- a night on a laptop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule",
    [
        {"schedule": "cosine", "warmup": 20},
        {"schedule": "halving", "halve_every": 100},
        {"schedule": "halving", "halve_at": (0.2, 0.5)},
        {"schedule": "exponential", "decay": 0.99},
    ],
)
def test_a_lengthened_plan_has_the_rates_of_the_short_one_over_the_fourth_root_of_its_length_at_every_share(schedule):
    short = Plan(steps=400, reference_seconds=100, **schedule)
    long = short.lengthened()
    assert long.steps == LONG_STEPS * short.steps
    assert long.reference_seconds == LONG_STEPS * short.reference_seconds
    for step in (0, 19, 99, 100, 300):
        share = step / short.steps
        # The warm-up counts its first step as one: at the end of a step of the short plan, that of its many.
        end = LONG_STEPS * step + (LONG_STEPS - 1) * (schedule["schedule"] == "cosine")
        assert long.rate_at(end, share) == pytest.approx(short.rate_at(step, share) / LONG_STEPS**0.25)


def test_a_lengthened_plan_averages_over_the_same_share_and_looks_as_often():
    long = Plan(steps=400, average=0.99, validate_every=50, patience=3, reference_seconds=100).lengthened()
    assert long.average == pytest.approx(1 - 0.01 / LONG_STEPS)
    assert (long.validate_every, long.patience) == (50 * LONG_STEPS, 3)


def test_a_lengthened_plan_keeps_to_two_hours_and_a_fit_in_closed_form_to_itself():
    long = Plan(steps=400, reference_seconds=1440).lengthened()
    assert (long.steps, long.reference_seconds) == (2000, 7200)
    assert long.rate == pytest.approx(Plan.rate / 5**0.25)
    larger = Plan(steps=400, reference_seconds=1440).lengthened(size=10)
    assert (larger.steps, larger.reference_seconds, larger.rate) == (200, 720, Plan.rate)
    closed = Plan(steps=1, closed_form=True)
    assert closed.lengthened() == closed


def test_the_plan_of_long_is_a_models_own_where_it_has_one():
    plans = {"quick": Plan(steps=1), "standard": Plan(steps=10)}
    assert plan_of(plans, "long") == plans["standard"].lengthened()
    assert plan_of(plans | {"long": Plan(steps=7)}, "long") == Plan(steps=7)
    assert plan_of({"paper": Plan(steps=9)}, "long") is None
    assert plan_of(plans, "paper") is None
