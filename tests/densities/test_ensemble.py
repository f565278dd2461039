from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.densities import takes_argument
from lde_bench.densities.ensemble import Ensemble
from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import check
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.plan import Budget

ROWS = skewed_rows(600, 4, 0)


@pytest.fixture(scope="module")
def fitted() -> Ensemble:
    density = lb.create("made-mog+w+ens:members=3", 4, components=2, hidden=16).fit(ROWS, ROWS[:100], steps=30)
    assert isinstance(density, Ensemble)
    return density.double()


def test_log_prob_is_the_log_of_the_mean_over_the_members(fitted):
    x = ROWS[:50].astype(np.float64)
    parts = np.stack([member.log_prob(x) for member in fitted.members])
    np.testing.assert_allclose(fitted.log_prob(x), np.logaddexp.reduce(parts, 0) - np.log(3), rtol=1e-12)
    assert np.ptp(parts, 0).max() > 0.01, "the members differ"


def test_parameters_are_those_of_all_members(fitted):
    single = lb.create("made-mog+w", 4, components=2, hidden=16)
    assert fitted.parameter_count() == 3 * single.parameter_count()


def test_the_mixture_is_no_worse_than_its_members_on_average(fitted):
    x = ROWS.astype(np.float64)
    assert fitted.log_prob(x).mean() > np.mean([member.log_prob(x).mean() for member in fitted.members])


def test_every_member_trains_on_a_share_of_its_own(monkeypatch):
    density = lb.create("made-mog+ens:members=3", 4, hidden=8)
    single = lb.create("made-mog", 4, hidden=8)
    budget = Budget.of("quick")
    assert density.plan(budget).batch_size == 3 * single.plan(budget).batch_size
    seen: list[np.ndarray] = []

    def learner(self, *arguments):
        inner = ordinary(self, *arguments)
        step = inner.step
        inner.step = lambda batch, *rest: seen.append(batch.numpy().copy()) or step(batch, *rest)
        return inner

    kind = type(single)
    ordinary = kind.learner
    monkeypatch.setattr(kind, "learner", learner)
    density.fit(ROWS, steps=1, seed=5)
    whole = ArrayBatches(ROWS, 5).batch(0, min(len(ROWS), density.plan(budget).batch_size))
    np.testing.assert_array_equal(np.concatenate(seen), whole)
    assert [len(part) for part in seen] == [200, 200, 200]


def test_fewer_rows_than_members_still_train():
    density = lb.create("made-mog+ens:members=5", 4, hidden=8).fit(ROWS[:3], steps=2)
    assert np.isfinite(density.log_prob(ROWS[:3])).all()


def test_the_score_of_training_is_the_likelihood_of_the_mixture_that_is_kept(fitted):
    state = fitted.training_state
    assert state is not None
    kept = fitted.float().log_prob(ROWS[:100]).mean()
    fitted.double()
    assert state.best_score == pytest.approx(kept, abs=1e-4)


def test_a_killed_fit_continues_to_the_same_weights(tmp_path, monkeypatch):
    from lde_bench.training import loop

    def make() -> Any:
        return lb.create("made-mog+w+ens", 4, components=2, hidden=8)

    whole = make().fit(ROWS, ROWS[:100], steps=12, seed=2)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def kill(progress: loop.Progress) -> None:
        if progress.step == 7:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        make().fit(ROWS, ROWS[:100], steps=12, seed=2, checkpoint=checkpoint, on_progress=kill)
    continued = make().fit(ROWS, ROWS[:100], steps=12, seed=2, checkpoint=checkpoint)
    np.testing.assert_array_equal(continued.log_prob(ROWS), whole.log_prob(ROWS))


def test_it_is_saved_and_loaded_to_the_bit(fitted, tmp_path):
    fitted.save(tmp_path / "d")
    loaded = lb.load_density(tmp_path / "d")
    np.testing.assert_array_equal(loaded.log_prob(ROWS), fitted.log_prob(ROWS))
    np.testing.assert_array_equal(loaded.sample(5), fitted.sample(5))


def test_the_conditionals_sum_to_the_mixture_and_not_to_a_product_of_averages(fitted):
    x = torch.as_tensor(ROWS[:50]).double()
    with torch.no_grad():
        torch.testing.assert_close(fitted.conditional_log_prob(x).sum(-1), fitted.log_prob(x), rtol=1e-12, atol=0)


@pytest.mark.slow
def test_the_laws_hold():
    assert [law for law, result in check("made-mog+ens:members=3").items() if not result.passed] == []


class Unmixed(Ensemble):
    """Draws from its first member alone."""

    name = "unmixed"

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return self._first.draw(n, generator)


@pytest.mark.slow
def test_samples_of_one_member_alone_break_a_law():
    def make(features: int) -> Ensemble:
        return Unmixed(lb.create("made-mog", features, hidden=16, components=3), members=3)

    results = check(make, laws=["samples", "chain_rule"])
    assert results["chain_rule"].passed
    assert not results["samples"].passed


def test_an_argument_goes_to_the_density_or_the_wrapper_that_has_it():
    density = lb.create("lde+w+ens:components=3,members=4", 5)
    assert isinstance(density, Ensemble)
    assert [member.base.components for member in density.members] == [3] * 4
    assert density.config == {"method": "lde+w+ens:components=3,members=4", "features": 5}
    assert len(lb.create("gaussian+ens", 5, members=3).members) == 3
    assert takes_argument(parse_method("gaussian+w+ens"), "members")
    assert not takes_argument(parse_method("gaussian+w"), "members")


def test_an_argument_that_neither_has_is_an_input_error():
    with pytest.raises(InputError, match=r"gaussian\+ens has no argument 'member'; did you mean 'members'"):
        lb.create("gaussian+ens:member=3", 5)
    with pytest.raises(
        InputError, match=r"made-mog\+w has no argument 'members'; .*it takes components, hidden, layers"
    ):
        lb.create("made-mog+w:members=3", 5)


@pytest.mark.parametrize("method", ["gaussian+w+sym", "gaussian+w+ens", "gaussian+ens+sym", "gaussian+sym+ens"])
def test_wrappers_stand_in_any_order(method):
    rows = skewed_rows(100, 63, 0)
    density = lb.create(method, 63).fit(rows, rows[:30], steps=2)
    assert np.isfinite(density.log_prob(rows)).all()
    assert density.sample(3).shape == (3, 63)


@pytest.mark.parametrize("members", [0, -1, 2.5, "two"])
def test_a_bad_number_of_members_is_an_input_error(members):
    with pytest.raises(InputError, match="members = "):
        lb.create("gaussian+ens", 3, members=members)


def test_the_laws_know_how_many_networks_one_log_density_runs_through():
    methods = {"lde": 1, "lde+w+sym": 8, "lde+ens:members=3": 3, "lde+w+ens+sym": 16, "deep-rnade:orderings=2": 126}
    small = {"deep-rnade:orderings=2": {"hidden": 8, "layers": 1}}
    assert {method: lb.create(method, features=63, **small.get(method, {})).passes for method in methods} == methods
