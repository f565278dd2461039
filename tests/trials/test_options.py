"""What `--patches auto` comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lde_bench.data import Dataset
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.training.plan import Budget, Plan
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, plan_trials

AUTO = TrainingOptions("auto", device="cpu")


class Photographs:
    """Stands for photographs to cut patches from, which nothing here does."""


@pytest.fixture
def data() -> Dataset:
    rows = skewed_rows(360, 63, 0)
    arrays = {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]}
    return Dataset.of("made-up", "1", 0, arrays, is_patch=True, fresh=Photographs())


def chosen(data: Dataset, steps: int, profile: str = "long") -> str:
    plan = Plan(steps=steps, batch_size=20, reference_seconds=1.0)
    return AUTO.for_run(plan, Budget.of(profile), data).patches


def test_a_long_run_of_three_passes_over_its_patches_gets_fresh_ones(data):
    assert [chosen(data, steps) for steps in (29, 30)] == ["fixed", "fresh"]
    assert chosen(data, 10_000, "paper") == chosen(data, 10_000, "standard") == "fixed"
    assert chosen(replace(data, fresh=None), 10_000) == "fixed"
    assert AUTO.for_run(Plan(steps=10_000, batch_size=20), Budget.of("long", steps=29), data).patches == "fixed"


def test_a_run_of_so_many_seconds_gets_the_patches_of_as_long_a_plan(data):
    plan = Plan(steps=10, batch_size=20, reference_seconds=60.0)  # of one pass
    found = [AUTO.for_run(plan, Budget.of("long", seconds=seconds), data).patches for seconds in (179, 180)]
    assert found == ["fixed", "fresh"]
    closed = replace(plan, closed_form=True)
    assert AUTO.for_run(closed, Budget.of("long", seconds=1e6), data).patches == "fixed"


def test_what_was_asked_for_is_not_overruled(data):
    asked = TrainingOptions("fixed", device="cpu")
    assert asked.for_run(Plan(steps=10_000), Budget.of("long"), data) == asked


def trials(data: Dataset, budget: Budget, options: TrainingOptions = AUTO) -> list[DensityTrial]:
    methods = ["made-mog+w:hidden=8", "made-mog+w+ens:hidden=8,members=3", "gaussian"]
    return plan_trials("tests", data, methods, [2], 1, budget, options)


def test_a_mixture_of_trials_has_the_patches_of_its_members(data):
    # At a batch of 512 a member passes 200 rows 2.56 times with a step, their mixture 7.68 times.
    for steps, patches in ((1, "fixed"), (2, "fresh")):
        member, mixture = (each for each in trials(data, Budget.of("long", steps=steps)) if each.components)
        assert {member.options.patches, mixture.options.patches} == {patches}
        assert member.run_id in [each.run_id for each in mixture.members()]


def test_runs_of_before_are_found_again(data):
    fixed = trials(data, Budget.of(steps=4), TrainingOptions(device="cpu"))
    assert [each.run_id for each in trials(data, Budget.of(steps=4))] == [each.run_id for each in fixed]
