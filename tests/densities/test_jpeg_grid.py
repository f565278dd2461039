from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import lde_bench as lb
from lde_bench.data.patches import (
    FEATURES,
    FLIPS,
    PIXELS,
    SIDE,
    SYMMETRIES,
    FreshPatches,
    Offset,
    Photographs,
    apply_symmetries,
)
from lde_bench.densities.base import Density, Part
from lde_bench.densities.jpeg_grid import EVERY, PLACES, JpegGrid, _turn
from lde_bench.densities.view_mixture import View
from lde_bench.errors import InputError
from lde_bench.evaluation.laws.measures import normalisation
from lde_bench.training.batches import ArrayBatches, FreshBatches
from lde_bench.training.device import Compiler
from lde_bench.training.plan import Plan

VIEWS, ANYWHERE = JpegGrid.views, JpegGrid.own_weight
TRANSPOSE = [tuple(each) for each in SYMMETRIES].index(tuple(np.arange(PIXELS).reshape(SIDE, SIDE).T.ravel()))
#: That of the density of patches from anywhere.
UNTURNED = View.of(np.eye(FEATURES), ANYWHERE)


def blocky(side: int, seed: int) -> np.ndarray:
    """A photograph whose blocks are rough or flat from left to right and from top to bottom: uint8 [side, side]."""
    rng = np.random.default_rng(seed)
    image = rng.normal(128, 20, (side // SIDE, 1, side // SIDE, 1))
    slopes = rng.normal(0, 4, (2, side // SIDE, 1, side // SIDE, 1))
    ramp = np.arange(SIDE) - 3.5
    whole = image + slopes[0] * ramp[:, None, None] + slopes[1] * ramp
    return np.clip(whole, 0, 255).astype(np.uint8).reshape(side, side)


@pytest.fixture(scope="module")
def fresh() -> FreshPatches:
    return FreshPatches(Photographs.of({i: blocky(160, i) for i in range(4)}))


def batches_of(fresh: FreshPatches, seed: int = 0) -> FreshBatches:
    return FreshBatches(fresh.draw, FEATURES, seed, draw_at=fresh.draw_at)


class Gaussians(JpegGrid):
    """With a Gaussian at each place, whose likelihoods are known."""

    @staticmethod
    def density_at(place: Offset, width: int) -> Density:
        return lb.create("gaussian", FEATURES)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("lde_bench.densities.jpeg_lattice.ROWS", 2000)


@pytest.fixture(scope="module")
def fitted(fresh) -> JpegGrid:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lde_bench.densities.gaussian.STREAM_ROWS", 5000)
        return gaussians(fresh)


def gaussians(fresh: FreshPatches) -> JpegGrid:
    density, plan = Gaussians(lb.create("gaussian", FEATURES)), Plan(steps=1)
    return density.fit(batches_of(fresh), steps=EVERY * len(PLACES), device="cpu", plan=plan).double()


def test_shares_are_those_of_the_places_that_a_flip_brings_there():
    shares = np.reshape([view.weight * 64 for view in VIEWS], (len(PLACES), len(FLIPS)))
    assert (shares == shares[:, :1]).all()
    assert shares.sum(1).tolist() == [1, 4, 2, 2, 2, 1, 2, 2, 2, 1]


def test_log_prob_is_that_of_a_gaussian_of_each_view_in_pixels(fitted, fresh):
    rng = np.random.default_rng(1)
    x = np.concatenate([fresh.draw_at(place, 5, rng) for place in PLACES] + [fresh.draw(10, rng)]).astype(float)
    terms = []
    for view, density in zip([UNTURNED, *VIEWS], [fitted.base, *fitted.each_view()], strict=True):
        mean, covariance = (part.detach().numpy() for part in moments_of(density))
        turn = np.linalg.inv(view.matrix)
        pixels = multivariate_normal(turn @ mean, turn @ covariance @ turn.T, allow_singular=True)
        terms.append(np.log(view.weight) + pixels.logpdf(x))
    np.testing.assert_allclose(fitted.log_prob(x), logsumexp(terms, 0), rtol=1e-6)


def moments_of(density) -> tuple[torch.Tensor, torch.Tensor]:
    whitening = density._whitening()[0]
    return density.means[0], torch.linalg.inv(whitening.T @ whitening)


def test_samples_come_from_all_places_and_have_the_moments_of_the_mixture(fitted):
    drawn = fitted.sample(40_000, seed=3)
    expected = 0.0
    for view, density in zip([UNTURNED, *VIEWS], [fitted.base, *fitted.each_view()], strict=True):
        mean, covariance = (part.detach().numpy() for part in moments_of(density))
        turn = np.linalg.inv(view.matrix)
        second = turn @ (covariance + np.outer(mean, mean)) @ turn.T
        expected = expected + view.weight * second
    error = drawn.T @ drawn / len(drawn) - expected
    assert np.abs(error).max() < 0.05 * np.abs(expected).max()
    own = fitted.log_prob(drawn[:2000]).mean()
    assert own > fitted.base.log_prob(drawn[:2000]).mean() + 1


def test_it_says_more_of_blocks_than_what_it_wraps_does(fitted, fresh):
    rows = fresh.draw_at((0, 0), 500, np.random.default_rng(5)).astype(np.float64)
    assert fitted.log_prob(rows).mean() > fitted.base.log_prob(rows).mean() + 20
    anywhere = fresh.draw(2000, np.random.default_rng(6)).astype(np.float64)
    lost = fitted.base.log_prob(anywhere) - fitted.log_prob(anywhere)
    assert lost.max() < -np.log(ANYWHERE) + 1e-6, "no patch can lose more than the prior takes"


def test_a_flipped_patch_is_at_the_same_place_and_a_transposed_one_is_not(fitted, fresh):
    rows = fresh.draw_at((0, 3), 200, np.random.default_rng(7)).astype(np.float64)
    places = lambda x: np.exp(fitted.log_prob(x)) - ANYWHERE * np.exp(fitted.base.log_prob(x))  # noqa: E731
    flipped = apply_symmetries(rows, np.random.default_rng(8).choice(FLIPS, size=len(rows)))
    np.testing.assert_allclose(places(flipped), places(rows), rtol=1e-6)
    transposed = apply_symmetries(rows, np.full(len(rows), TRANSPOSE))
    assert np.abs(np.log(places(transposed)) - np.log(places(rows))).max() > 1


def test_it_stands_around_the_symmetries_too_and_is_scored_without_them(fresh):
    density = lb.create("made-mog+sym+jpeg", FEATURES, components=2, hidden=8, width=16).double()
    assert isinstance(density, JpegGrid)
    x = torch.from_numpy(fresh.draw(20, np.random.default_rng(15))).double()
    inner = next(density.base.inner_densities())
    terms = [inner(x) + np.log(ANYWHERE)]
    for view, place in zip(VIEWS[:: len(FLIPS)], density.each()[1:], strict=True):
        terms.append(place(view.tensor(x)) + view.log_det + np.log(len(FLIPS) * view.weight))
    torch.testing.assert_close(density.unaveraged(x), torch.stack(terms).logsumexp(0))
    assert density.passes == 8 + len(FLIPS) * len(PLACES)


def test_steps_go_round_the_places_and_are_counted_for_each():
    turns = [_turn(step) for step in range(10 * EVERY * len(PLACES))]
    for which in range(1 + len(PLACES)):
        own = [count for whose, count in turns if whose == which]
        assert own == list(range(10 if which else 10 * (EVERY - 1) * len(PLACES)))


def test_the_loss_of_a_step_is_that_of_whose_turn_it_is_in_nats_of_the_pixels(fresh):
    torch.manual_seed(0)
    density = lb.create("made-mog+jpeg", FEATURES, components=2, hidden=8, width=16)
    device, plan = torch.device("cpu"), Plan(steps=EVERY, schedule="constant")
    x = torch.from_numpy(fresh.draw(64, np.random.default_rng(14)))
    with torch.no_grad():
        expected = [-density.base(x).mean(), -(density.each()[1](x) + VIEWS[0].log_det).mean()]
    learner = density.learner(plan, device, "fp32", Compiler(device, False, lambda message: None))
    losses = [learner.step(x, step, 0.0) for step in (0, EVERY - 1)]  # of patches from anywhere, of the first place
    np.testing.assert_allclose(losses, [float(each) for each in expected], rtol=1e-5)


def test_what_it_wraps_learns_of_patches_from_anywhere_what_it_would_learn_alone(fresh):
    # The base's own 14 of 21 steps: the same rows and the same weights as of 14 steps alone, at a constant rate.
    method, arguments = "made-mog+w", {"components": 2, "hidden": 16}
    whole = lb.create(method + "+jpeg", FEATURES, width=16, **arguments)
    alone = lb.create(method, FEATURES, **arguments)
    plan = Plan(steps=1, batch_size=32, schedule="constant")
    for density, steps in ((whole, 21), (alone, 14)):
        density.fit(batches_of(fresh), steps=steps, seed=4, device="cpu", plan=plan)
    rows = fresh.draw(50, np.random.default_rng(9))
    np.testing.assert_array_equal(whole.base.log_prob(rows), alone.log_prob(rows))


def test_a_killed_run_goes_on_to_the_same_weights(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr("lde_bench.training.loop.CHECKPOINT_SECONDS", 0.0)
    rows = fresh.draw(60, np.random.default_rng(10))

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 27:
            raise Killed

    def fit(**more) -> np.ndarray:
        density = lb.create("made-mog+jpeg", FEATURES, components=2, hidden=8, width=16)
        return density.fit(batches_of(fresh), rows, steps=45, device="cpu", notify=notices.append, **more).log_prob(
            rows
        )

    notices: list[str] = []
    whole = fit()
    with pytest.raises(Killed):
        fit(checkpoint=tmp_path / "c", on_progress=kill)
    np.testing.assert_array_equal(fit(checkpoint=tmp_path / "c"), whole)
    assert notices == ["continuing from step 27 of 45"]


def test_it_is_saved_and_loaded(fresh, tmp_path):
    density = lb.create("made-mog+jpeg", FEATURES, components=2, hidden=8, width=16)
    density.fit(batches_of(fresh), steps=EVERY * len(PLACES), device="cpu")
    rows = np.random.default_rng(11).normal(0, 0.05, (20, FEATURES))
    density.save(tmp_path / "d")
    np.testing.assert_array_equal(lb.load_density(tmp_path / "d").log_prob(rows), density.log_prob(rows))


@pytest.mark.parametrize("rows", ["an array", "a stream without places"])
def test_rows_of_unknown_places_are_refused(fresh, rows):
    drawn = fresh.draw(50, np.random.default_rng(12))
    given = drawn if rows == "an array" else FreshBatches(fresh.draw, FEATURES, 0)
    with pytest.raises(InputError, match="train it on patches drawn afresh"):
        lb.create("made-mog+jpeg:width=16", FEATURES).fit(given, steps=1)
    assert isinstance(ArrayBatches(drawn, 0).size, int)


def test_rows_that_are_no_patches_are_refused():
    with pytest.raises(InputError, match="leave out \\+jpeg"):
        lb.create("gaussian+jpeg", 4)
    with pytest.raises(InputError, match="whiten inside"):
        lb.create("gaussian+jpeg+w", FEATURES)
    with pytest.raises(InputError, match="leave out one"):
        lb.create("made-mog+jpeg+jpeg", FEATURES, width=16)


def test_a_density_in_closed_form_says_not_how_long_to_train_the_others(fresh):
    with pytest.raises(InputError, match="closed form"):
        lb.create("gaussian+jpeg", FEATURES).fit(batches_of(fresh), device="cpu")


class Unweighted(Gaussians):
    """Its terms count alike, which makes seven densities of one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) - np.log(ANYWHERE)

    def parts(self, x: torch.Tensor) -> list[Part]:
        return [part._replace(weight=part.weight / ANYWHERE) for part in super().parts(x)]


class Unturned(Gaussians):
    """Forgets the determinants of the views."""

    def parts(self, x: torch.Tensor) -> list[Part]:
        return [part._replace(log_abs_det=torch.zeros_like(part.log_abs_det)) for part in super().parts(x)]


@pytest.mark.parametrize(("kind", "passes"), [(Gaussians, True), (Unweighted, False), (Unturned, False)])
def test_it_is_held_to_what_makes_a_mixture_a_density(fitted, kind, passes):
    density = kind(lb.create("gaussian", FEATURES)).double()
    density.load_state_dict(fitted.state_dict())
    rows = torch.from_numpy(np.random.default_rng(13).normal(0, 0.05, (100, FEATURES)))
    result = normalisation(density.eval(), rows, rows, seed=0)
    assert result.passed is passes, result.detail
    assert result.verified
    assert passes or result.detail.startswith("mixed")
