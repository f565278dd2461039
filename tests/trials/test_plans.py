"""Plans of real trials: what `+sym`, `+ens`, `orderings` and shared autoencoders need first, and shares of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from swept import contents

import lde_bench as lb
from lde_bench.data import Dataset
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.experiments.parzen import Parzen
from lde_bench.generators.aae import AAE
from lde_bench.generators.ae import AE
from lde_bench.runs import Plan, ResultStore, run_sweep
from lde_bench.training.plan import Budget
from lde_bench.trials import density as density_trials
from lde_bench.trials.base import TrainingOptions, Trial
from lde_bench.trials.density import plan_trials
from lde_bench.trials.images import ImageTrial

OPTIONS = TrainingOptions(device="cpu", precision="fp32")
MADE = "made-mog:components=2,hidden=8"
SYM = MADE.replace("made-mog", "made-mog+sym")
ENS = MADE.replace("made-mog", "made-mog+ens")


@pytest.fixture(scope="module")
def patches() -> Dataset:
    rows = skewed_rows(360, 63, 0)
    return Dataset.of(
        "made-up", "1", 0, {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]}, is_patch=True
    )


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return lb.load_dataset("digits8x8", train=120, validation=40, test=40)


def densities(data: Dataset, *methods: str, trials: int = 1) -> Sequence[Trial]:
    return plan_trials("tests", data, methods, [2], trials, Budget.of(steps=3), OPTIONS)


def images(data: Dataset, *methods: str, trials: int = 1, **budget: float) -> Sequence[ImageTrial]:
    budget_ = Budget.of(**(budget or {"steps": 3}))
    return Parzen().plan(budget_, OPTIONS, [data], methods=methods, samples=60, components=[2], trials=trials)


def told(trials: Sequence[Trial]) -> list[tuple[int, str, bool, list[int]]]:
    """Number, title, whether it was asked for, and the numbers of what it needs, of every node."""
    plan = Plan.of(trials)
    numbers = {node.run_id: node.number for node in plan.nodes}
    return [
        (node.number, node.task.title, node.asked, [numbers[each] for each in node.depends_on]) for node in plan.nodes
    ]


def test_an_average_needs_its_base_and_a_mixture_its_members(patches):
    assert told(densities(patches, SYM, ENS, MADE)) == [
        (1, "made-mog:hidden=8 K=2, trial 1", True, []),
        (2, "made-mog+sym:hidden=8 K=2, trial 1", True, [1]),
        (3, "made-mog:hidden=8 K=2, trial 2", False, []),
        (4, "made-mog+ens:hidden=8 K=2, trial 1", True, [1, 3]),
    ]


def test_an_average_of_a_mixture_needs_the_mixture_and_one_over_orderings_the_plain_density(patches):
    nodes = told(densities(patches, MADE.replace("made-mog", "made-mog+ens+sym")))
    assert [(asked, needs) for _, _, asked, needs in nodes] == [(False, []), (False, []), (False, [1, 2]), (True, [3])]
    plain = "deep-rnade:components=2,hidden=8,layers=1"
    nodes = told(densities(patches, f"{plain},orderings=3"))
    assert [(asked, needs) for _, _, asked, needs in nodes] == [(False, []), (True, [1])]


def test_models_that_share_an_autoencoder_need_it_and_budgets_of_seconds_share_none(digits):
    assert told(images(digits, "ae+gmm", "ae+gaussian", "vae", trials=1)) == [
        (1, "autoencoder ae, trial 1", False, []),
        (2, "ae+gmm K=2, trial 1", True, [1]),
        (3, "ae+gaussian, trial 1", True, [1]),
        (4, "vae, trial 1", True, []),
    ]
    assert [needs for *_, needs in told(images(digits, "ae+gmm", "ae+gaussian", seconds=1.0))] == [[], []]


@pytest.mark.parametrize(("budget", "encoders"), [({"steps": 3}, 1), ({"seconds": 1.0}, 2)])
def test_only_models_of_one_trained_autoencoder_name_the_same_encoder(digits, budget, encoders):
    trials = images(digits, "ae+gmm", "ae+gaussian", "vae", **budget)
    named = [trial.encoder(trial.model()) for trial in trials]
    assert len(set(named[:2])) == encoders
    assert named[2] == ""


@pytest.mark.parametrize(("method", "renamed"), [("aae", True), ("aae+gmm", True), ("ae+gmm", False)])
def test_an_autoencoder_that_came_to_mean_another_network_renames_the_models_on_it(
    digits, method, renamed, monkeypatch
):
    before = images(digits, method)[0]
    names = before.run_id, before.training_id
    monkeypatch.setattr(AAE, "revision", AAE.revision + 1)
    after = images(digits, method)[0]
    assert (names[0] != after.run_id, names[1] != after.training_id) == (renamed, renamed)


def test_the_seconds_of_a_plan_count_no_training_twice(digits, patches):
    plan = Plan.of(images(digits, "ae+gmm"))
    (trial,) = (node.task for node in plan.nodes if node.asked)
    assert isinstance(trial, ImageTrial)
    whole = trial.model().expected_seconds(trial.budget, rows=len(digits.train))
    assert sum(node.task.reference_seconds() for node in plan.nodes) == pytest.approx(whole)
    seconds = [node.task.reference_seconds() for node in Plan.of(densities(patches, SYM)).nodes]
    assert seconds[0] > 0
    assert seconds[1] == 0


def test_a_trial_without_what_it_takes_over_trains_nothing_in_its_place(digits, patches, tmp_path):
    store = ResultStore(tmp_path)
    quiet = (lambda progress: None, lambda message: None)
    (average,) = densities(patches, SYM)
    with pytest.raises(InputError, match=r"the weights of made-mog:hidden=8 K=2, trial 1, which are taken over"):
        average.run(store, *quiet)
    (model,) = images(digits, "ae+gaussian")
    with pytest.raises(InputError, match="there is no such file"):
        model.run(store, *quiet)


def test_an_autoencoder_that_diverges_fails_the_models_on_it_with_its_reason(digits, tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise TrainingDiverged("the loss became NaN.")

    monkeypatch.setattr(AE, "fit", diverge)
    store = ResultStore(tmp_path)
    records = run_sweep(store, images(digits, "ae+gmm", "ae+gaussian"))
    expected = "autoencoder ae, trial 1, whose weights it takes, failed: TrainingDiverged: the loss became NaN."
    assert [record.reason for record in records] == [expected] * 2
    assert {record.run_id for record in store.load()} == {record.run_id for record in records}


@pytest.mark.slow
def test_shares_give_the_records_of_one_run_to_the_bit(digits, patches, tmp_path, monkeypatch):
    monkeypatch.setattr(density_trials, "trial_laws", lambda *_, **__: {})
    trials = [*densities(patches, MADE, SYM, ENS), *images(digits, "ae+gmm", "ae+gaussian")]
    run_sweep(ResultStore(tmp_path / "one"), trials)
    shares = ResultStore(tmp_path / "shares")
    for index in (2, 3, 1):
        run_sweep(shares, Plan.of(trials).share(index, 3))
    one = contents(tmp_path / "one")
    assert len(one) == 6
    assert contents(tmp_path / "shares") == one
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.*"))
        for name in ("one", "shares")
    ]
    assert files[0] == files[1]
