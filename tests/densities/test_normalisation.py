"""Every density is held to normalisation at its own D: what is none is refused, or said to be unverified."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import lde_bench as lb
from lde_bench.data.unit import Unit
from lde_bench.densities.base import Density
from lde_bench.densities.ensemble import Ensemble
from lde_bench.densities.made_mog import MadeMog
from lde_bench.densities.maf_mog import MafMog
from lde_bench.densities.mixture import Mixture
from lde_bench.densities.real_nvp import RealNvp
from lde_bench.densities.standardised import Standardised
from lde_bench.densities.symmetric import Symmetric
from lde_bench.evaluation.law import Law
from lde_bench.evaluation.laws import check, trial_laws
from lde_bench.evaluation.laws.integral import DECISIVE, Students, _wealth
from lde_bench.evaluation.laws.measures import conditionals, constant_patch, normalisation
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.runs import Record
from lde_bench.runs.rows import unverified


class Box(Density):
    """log p of which nothing is known but its values, too large by `excess` nats; samples where it has a sampler."""

    name = "box"

    def __init__(self, features: int, excess: float = 0.0, *, sampler: bool = True, degrees: float = 30.0) -> None:
        super().__init__(features)
        self.true = Students(torch.zeros(1, features, dtype=torch.float64), 0.5 * torch.eye(features).double(), degrees)
        self.excess, self.sampler = excess, sampler
        self.weight = nn.Parameter(torch.zeros(1))

    @property
    def lacks(self) -> frozenset[str]:
        return frozenset() if self.sampler else frozenset({"samples"})

    def forward(self, x: Tensor) -> Tensor:
        return (self.true.log_prob(x.double()) + self.excess).to(x)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.true.draw(n, np.random.default_rng(generator.initial_seed())).float()

    def rows(self, n: int = 600) -> Tensor:
        return self.true.draw(n, np.random.default_rng(7)).float()


def held(density: Density, rows: Tensor):
    return normalisation(density.eval(), rows[:100], rows, 0)


# -- importance sampling -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [1.0, 30.0])
@pytest.mark.parametrize("sampler", [True, False])
def test_what_is_a_density_in_three_dimensions_is_verified(sampler, degrees):
    box = Box(3, sampler=sampler, degrees=degrees)
    result = held(box, box.rows())
    assert result.passed
    assert result.verified, result.detail


@pytest.mark.slow
@pytest.mark.parametrize("features", [3, 8])
def test_a_constant_that_is_wrong_by_half_is_found(features):
    for excess in (math.log(1.5), -math.log(1.5)):
        box = Box(features, excess)
        result = held(box, box.rows())
        assert not result.passed, result.detail
        assert result.value == pytest.approx(math.log(1.5), abs=0.15)


def test_without_a_sampler_what_is_missing_is_not_verified_and_what_is_too_much_is_found():
    low, high = (Box(3, excess, sampler=False) for excess in (-0.5, 0.5))
    result = held(low, low.rows())
    assert result.passed
    assert not result.verified
    assert not held(high, high.rows()).passed


def test_in_many_dimensions_a_verdict_is_right_or_none():
    true, lie = Box(63, sampler=False), Box(63, 30.0, sampler=False)
    rows = true.rows(400)
    assert held(true, rows).passed
    assert not held(lie, rows).passed


@pytest.mark.parametrize("reach", [1.0, 30.0, 1000.0])
def test_a_bounded_score_is_no_density_however_wide_one_looks(monkeypatch, reach):
    class Score(Box):
        def forward(self, x: Tensor) -> Tensor:
            return -1 + 0.5 * torch.exp(-x.square().sum(-1))

    from lde_bench.evaluation.laws import integral

    monkeypatch.setattr(integral, "WIDE", (reach,))
    score = Score(3, sampler=False)
    assert not held(score, score.rows()).passed


def test_a_bet_on_a_mean_of_at_most_one_seldom_pays_whatever_the_weights():
    # Pareto weights of mean 1 and infinite variance: their sample means are far off as often as not.
    generator = np.random.default_rng(0)
    weights = torch.as_tensor(generator.pareto(1.3, (1000, 200)) * 0.3)
    wealth = np.array([_wealth(row.log()) for row in weights])
    for lax in (0.1, 0.01):
        assert (wealth >= -math.log(lax)).mean() <= lax + 3 * math.sqrt(lax / len(wealth))
    assert _wealth((1.5 * weights.flatten()[:20_000]).log()) > DECISIVE


def test_the_proposal_is_the_student_distribution_that_it_says():
    factor = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    students = Students(torch.tensor([[1.0, 2.0], [-3.0, 0.0]], dtype=torch.float64), factor, 3.0)
    z = np.random.default_rng(0).normal(size=(20, 2)) * 3
    each = [stats.multivariate_t(centre, (factor @ factor.t()).numpy(), 3.0).pdf(z) for centre in students.centres]
    np.testing.assert_allclose(students.log_prob(torch.as_tensor(z)), np.log(np.mean(each, axis=0)), rtol=1e-10)
    drawn = students.draw(20_000, np.random.default_rng(1)).numpy()
    assert np.median(drawn, axis=0) == pytest.approx([-1.0, 1.0], abs=0.12)


# -- structure: flows and mixtures -------------------------------------------------------------------------------------


def fitted(density: Density, rows: np.ndarray) -> Density:
    return density.fit(rows, steps=2).eval()


class ForgetsItsBase(RealNvp):
    def forward(self, x: Tensor) -> Tensor:
        u, log_abs_det = self.encode(x)
        return log_abs_det - 0.5 * u.square().sum(-1)


class UnnormalisedMade(MadeMog):
    def conditionals(self, x: Tensor) -> Mixture:
        class Unnormalised(Mixture):
            def log_prob(self, x: Tensor) -> Tensor:
                return super().log_prob(x) + 1e-3

        return Unnormalised(*super().conditionals(x))


class UnnormalisedBase(MafMog):
    def __init__(self, features: int) -> None:
        super().__init__(features, components=2, transforms=1, hidden=8, layers=1)
        self.base = UnnormalisedMade(features, 2, 8, 1)


class SumOfMembers(Ensemble):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + math.log(len(self.members))


class Stretched(Ensemble):
    def parts(self, x):
        return [part._replace(view=2 * x) for part in super().parts(x)]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


@pytest.mark.parametrize(
    ("make", "broken_by"),
    [
        (lambda: lb.create("real-nvp:hidden=8,layers=1,transforms=2", 5), None),
        (lambda: lb.create("maf-mog:components=2,hidden=8,layers=1,transforms=1", 5), None),
        (lambda: lb.create("tan+w:components=2,hidden=8,blocks=1", 5), None),
        (lambda: lb.create("deep-rnade+w:components=2,hidden=8,layers=1,orderings=2", 5), None),
        (lambda: lb.create("real-nvp+ens:hidden=8,layers=1,transforms=2", 5), None),
        (lambda: ForgetsItsBase(5, 2, 8, 1), "base"),
        (lambda: UnnormalisedBase(5), "conditionals"),
        (lambda: SumOfMembers(lb.create("real-nvp:hidden=8,layers=1,transforms=2", 5)), "mixed"),
        (lambda: Stretched(lb.create("real-nvp:hidden=8,layers=1,transforms=2", 5)), "mixed"),
        (lambda: Ensemble(ForgetsItsBase(5, 2, 8, 1)), "base"),
    ],
)
def test_flows_and_mixtures_are_held_to_what_makes_them_densities(make, broken_by):
    rows = skewed_rows(120, 5, 0)
    result = held(fitted(make(), rows), torch.as_tensor(rows))
    assert result.passed is (broken_by is None), result.detail
    assert result.verified
    assert broken_by is None or result.detail.startswith(broken_by)


class Halved(Symmetric):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + math.log(2)


def test_the_average_over_symmetries_is_held_to_it_at_its_one_width():
    rows = skewed_rows(200, 63, 0)
    for kind, passes in ((Symmetric, True), (Halved, False)):
        assert held(fitted(kind(lb.create("gaussian", 63)), rows), torch.as_tensor(rows)).passed is passes


# -- conditionals ------------------------------------------------------------------------------------------------------


def along(density: Density, rows: np.ndarray):
    return conditionals(density.double().eval(), torch.as_tensor(rows).double(), range(rows.shape[1]))


HEAVY = {
    "lognormal": lambda r: np.exp(2 * r.normal(size=(400, 3))),
    "student": lambda r: r.standard_t(2, (400, 3)),
    "whole numbers": lambda r: r.integers(0, 5, (400, 3)) * 1.0,
    "wide": lambda r: 1e3 * r.normal(size=(400, 3)),
    "outlier": lambda r: np.concatenate([np.full((1, 3), 1e6), r.normal(size=(399, 3))]),
}


@pytest.mark.parametrize("data", HEAVY)
@pytest.mark.parametrize("method", ["gaussian", "gmm", "lde", "made-mog"])
def test_no_tail_and_no_spike_is_too_much_for_the_law_of_conditionals(method, data):
    rows = HEAVY[data](np.random.default_rng(0)).astype(np.float32)
    # One row repeated makes a Gaussian of rank 1; noise as a float32 of that size has.
    rows += np.random.default_rng(1).normal(size=rows.shape).astype(np.float32) * 0.1
    arguments = {} if method == "gaussian" else {"components": 3}
    density = lb.create(method, 3, **arguments).fit(rows, steps=20)
    result = along(density, rows[-60:])
    assert result.passed, result.detail
    assert result.value < result.bound / 2


class Scaled(UnnormalisedMade):
    """A density 1.001 times too large in every conditional."""


class OwnCdf(MadeMog):
    def conditional_cdf(self, x: Tensor) -> Tensor:
        return super().conditional_cdf(x + 0.003)


class NeverOne(MadeMog):
    def conditional_cdf(self, x: Tensor) -> Tensor:
        return 0.999 * super().conditional_cdf(x)


class NeverNought(MadeMog):
    def conditional_cdf(self, x: Tensor) -> Tensor:
        return 0.001 + 0.999 * super().conditional_cdf(x)


@pytest.mark.parametrize("kind", [Scaled, OwnCdf, NeverOne, NeverNought])
def test_conditionals_off_by_a_thousandth_are_found(kind):
    rows = skewed_rows(200, 3, 0)
    assert along(fitted(MadeMog(3, 3, 8, 1), rows), rows).passed
    assert not along(fitted(kind(3, 3, 8, 1), rows), rows).passed


# -- patches -----------------------------------------------------------------------------------------------------------


class Constant(Density):
    """The true density of constant patches, too large by `excess` nats: 64 * 256^63 times the room of the noise."""

    name = "constant"

    def __init__(self, excess: float = 0.0) -> None:
        super().__init__(63)
        self.excess = excess
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        pixels = torch.cat([x, -x.sum(1, keepdim=True)], 1).double()
        room = 1 - 256 * (pixels.amax(1) - pixels.amin(1))
        return math.log(64) + 63 * math.log(256) + room.clamp_min(1e-12).log() + self.excess


def test_no_density_beats_that_of_constant_patches():
    # log 64 + 63 log 256 + E log(1 - range of 64 uniforms), which is Beta(2, 63).
    from scipy.special import digamma

    expected = math.log(64) + 63 * math.log(256) + digamma(2) - digamma(65)
    assert expected == pytest.approx(349.76, abs=0.005)
    true = constant_patch(Constant(), 0)
    assert true.passed
    assert float(true.detail.split("patches, ")[1].split(" nats")[0]) == pytest.approx(expected, abs=0.2)
    assert not constant_patch(Constant(0.1), 0).passed
    rows = skewed_rows(300, 63, 0)
    verdict = trial_laws(lb.create("gaussian", 63).fit(rows), rows, patches=True)
    assert verdict["constant_patch"].passed


# -- in records --------------------------------------------------------------------------------------------------------


def test_an_unverified_law_stands_in_the_record_and_an_old_record_reads_as_verified():
    box = Box(3, -0.5, sampler=False)
    rows = box.rows(300).numpy()
    verdict = trial_laws(box, rows)["normalised"]
    assert (verdict.passed, verdict.verified) == (True, False)
    record = object.__new__(Record)
    object.__setattr__(record, "laws", {"normalised": verdict})
    assert unverified(record).startswith("normalisation not verified: ")
    object.__setattr__(record, "laws", {"normalised": Law(True, 0.0, 1.0)})
    assert unverified(record) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["sklearn.svm:OneClassSVM", "sklearn.ensemble:IsolationForest", "adapters:Unnormalised"]
)
def test_what_is_no_density_is_refused_in_three_dimensions(method):
    rows = skewed_rows(300, 3, 0)
    verdict = trial_laws(lb.create(method, 3).fit(rows), rows, train=rows)
    assert not verdict["normalised"].passed


def test_what_breaks_the_law_in_two_dimensions_is_refused_in_sixty_three():
    # In 63 dimensions nothing finds a constant that is too small and has no sampler; in 1 and 2 the grid does.
    rows = skewed_rows(100, 63, 0)
    density = lb.create("adapters:TooLow", 63).fit(rows)
    verdict = trial_laws(density, rows, train=rows)
    assert not verdict["normalised"].passed
    assert "synthetic rows" in verdict["normalised"].detail


@pytest.mark.slow
def test_a_module_without_a_sampler_is_not_blamed():
    assert [law for law, result in check("adapters:Scaled").items() if not result.passed] == []


@pytest.mark.parametrize(
    "method", ["deep-rnade+w:orderings=2,hidden=8,layers=1", "maf-mog:hidden=8,layers=1,transforms=1"]
)
def test_the_units_of_the_data_keep_what_a_density_is_made_of(method):
    rows = skewed_rows(120, 3, 0)
    density = Standardised(
        fitted(lb.create(method, 3, components=2), rows), Unit(np.ones(3), np.array([1e-3, 1.0, 50.0]))
    )
    there = torch.as_tensor(density.unit.mean + rows * density.unit.scale)
    result = held(density.double(), there)
    assert result.passed, result.detail
