"""Every density obeys every law; every law catches the fault it is there for."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lde_bench as lb
from lde_bench.densities import density_names
from lde_bench.densities.base import Density
from lde_bench.densities.lde import LDE
from lde_bench.densities.made_mog import MadeMog
from lde_bench.densities.mixture import Mixture
from lde_bench.densities.whitened import Whitened
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import LAWS, check, quadrature, trial_laws
from lde_bench.evaluation.laws.quadrature import ks_bound, ks_distance
from lde_bench.evaluation.laws.suite import AUTOREGRESSIVE, INVERTIBLE, skewed_rows
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

METHODS = [name + wrapper for name in density_names() for wrapper in ("", "+w")]


#: The densities that a fast loop holds to the laws; the others take seconds each.
FAST = ("gaussian", "gmm", "made-mog")


def _slow_if_dear(method: str) -> object:
    """The method as a parameter of a test."""
    return pytest.param(method, marks=[] if method in FAST else [pytest.mark.slow])


@pytest.mark.parametrize("method", [_slow_if_dear(method) for method in METHODS])
def test_every_density_obeys_every_law(method):
    results = check(method)
    density = lb.create(method, features=2)
    left_out = {
        *(() if density.autoregressive else AUTOREGRESSIVE),
        *(() if density.invertible else INVERTIBLE),
        *(() if density.equivariant else ("units",)),
    }
    assert set(results) == set(LAWS) - left_out
    assert {law: str(result) for law, result in results.items() if not result.passed} == {}


# -- mutations: each is a fault that others shipped, and the law that must find it ---------------------------


def broken(fault: type) -> type[Density]:
    """A MADE MoG with `fault` mixed in: fast, and right but for the fault."""
    return type(fault.__name__, (fault, MadeMog), {})


class UnnormalisedWeights:
    def conditionals(self, x: Tensor) -> Mixture:
        class Unnormalised(Mixture):
            def log_prob(self, x: Tensor) -> Tensor:
                return super().log_prob(x) + torch.logsumexp(self.logits, -1)

        return Unnormalised(*super().conditionals(x))


class FloorUnderTheDensity:
    def conditional_log_prob(self, x: Tensor) -> Tensor:
        return (super().conditional_log_prob(x).exp() + 1e-3).log()


class SeesItself:
    """The output mask shifted forwards by one: p(x_i | x_<=i)."""

    def __init__(self, features: int, components: int = 3, hidden: int = 64, layers: int = 1) -> None:
        super().__init__(features, components, hidden, layers)
        self.outputs.mask.copy_(self.outputs.mask.roll(-3 * components, 0))


class SeesAhead:
    def conditionals(self, x: Tensor) -> Mixture:
        return super().conditionals(x.roll(-2, -1))


class WastesItsPast:
    """The output mask shifted backwards by one: p(x_i | x_<i-1), a density, but not the one that was meant."""

    def __init__(self, features: int, components: int = 3, hidden: int = 64, layers: int = 1) -> None:
        super().__init__(features, components, hidden, layers)
        shifted = self.outputs.mask.roll(3 * components, 0)
        shifted[: 3 * components] = 0
        self.outputs.mask.copy_(shifted)


class WrongCdf:
    def conditional_cdf(self, x: Tensor) -> Tensor:
        return super().conditional_cdf(0.9 * x)


class ForgetsADimension:
    def forward(self, x: Tensor) -> Tensor:
        return self.conditional_log_prob(x)[:, 1:].sum(-1)


class OneComponentForTheBatch:
    def conditionals(self, x: Tensor) -> Mixture:
        class Shared(Mixture):
            def sample(self, generator: torch.Generator) -> Tensor:
                component = torch.multinomial(self.logits[0].softmax(-1), 1, generator=generator)
                chosen = Mixture(*(part[..., component] for part in self))
                return chosen.sample(generator)

        return Shared(*super().conditionals(x))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        x = torch.zeros(n, self.features, dtype=self.dtype)
        for i in range(self.features):
            mixture = self.conditionals(x)
            x[:, i] = type(mixture)(*(part[:, i] for part in mixture)).sample(generator)
        return x


class CoolSamples:
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return 0.8 * super().draw(n, generator)


class GlobalNoise:
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return super().draw(n, torch.default_generator)


class IdleParameter:
    def __init__(self, features: int, components: int = 3, hidden: int = 64, layers: int = 1) -> None:
        super().__init__(features, components, hidden, layers)
        self.idle = nn.Parameter(torch.ones(3))


class NanSlope:
    """Its log p is right; what torch.where does not take has a slope of 0 times infinity."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:  # or no weight would be a number
            return super().forward(x)
        bias = self.outputs.bias[0]
        return super().forward(x) + torch.where(x[:, 0].isfinite(), 0.0, (bias - bias.detach()).sqrt())


class LogOfSums:
    """log of a sum of exponentials: minus infinity far out."""

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        return super().conditional_log_prob(x).exp().log()


class HalfPrecision:
    def conditional_log_prob(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return super().conditional_log_prob(x.bfloat16().float())
        return super().conditional_log_prob(x)


class TrainingModeInLogProb:
    def log_prob(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        if self.training:
            return super().log_prob(x + 0.1)
        return super().log_prob(x)


class Brittle:
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        raise RuntimeError("no sampler")


class LoosenedContract:
    def log_prob(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        return super().log_prob(x[..., : self.features] if np.ndim(x) == 2 else x[None])


class AssumesItsUnit:
    equivariant = True


class BatchStatistics(LDE):
    """BatchNorm with the statistics of the batch at evaluation."""

    def train(self, mode: bool = True) -> BatchStatistics:
        return super().train(True)


class NoLogDeterminant(Whitened):
    def forward(self, x: Tensor) -> Tensor:
        return self.base(self._inverse(x))


class ForgetsItsMean(Whitened):
    def __init__(self, base: Density) -> None:
        super().__init__(base)
        self.config = {"method": "made-mog+w:components=3,hidden=64,layers=1", "features": base.features}

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        state["mean"] = torch.zeros_like(state["mean"])
        return state


MUTATIONS = [
    (broken(UnnormalisedWeights), "normalised"),
    (broken(UnnormalisedWeights), "conditionals"),
    (broken(FloorUnderTheDensity), "normalised"),
    (broken(SeesItself), "normalised"),
    (broken(SeesItself), "conditionals"),
    (broken(SeesAhead), "causal"),
    (broken(WastesItsPast), "causal"),
    (broken(WrongCdf), "conditionals"),
    (broken(WrongCdf), "samples"),
    (broken(ForgetsADimension), "chain_rule"),
    (broken(OneComponentForTheBatch), "samples"),
    (broken(CoolSamples), "samples"),
    (broken(CoolSamples), "entropy"),
    (broken(GlobalNoise), "seeds"),
    (broken(IdleParameter), "gradients"),
    (broken(NanSlope), "gradients"),
    (broken(LogOfSums), "finite"),
    (broken(HalfPrecision), "float64"),
    (broken(TrainingModeInLogProb), "modes"),
    (broken(Brittle), "samples"),
    (broken(LoosenedContract), "contract"),
    (broken(AssumesItsUnit), "units"),
    (lambda features: NoLogDeterminant(lb.create("made-mog", features, components=3, hidden=8)), "units"),
    (BatchStatistics, "batch_split"),
    (lambda features: NoLogDeterminant(lb.create("lde", features)), "normalised"),
    (lambda features: ForgetsItsMean(lb.create("made-mog:hidden=64", features, components=3, layers=1)), "round_trip"),
]


@pytest.fixture
def first_grid(monkeypatch):
    """The integral in two dimensions on its first grid alone, where a right density passes: the finer ones, which a
    wrong one is given too, take most of the time.
    """
    monkeypatch.setitem(quadrature.GRIDS, 2, quadrature.GRIDS[2][:1])


@pytest.mark.usefixtures("first_grid")
@pytest.mark.parametrize(
    ("make", "law"),
    [pytest.param(make, law, marks=[pytest.mark.slow] if law == "normalised" else []) for make, law in MUTATIONS],
    ids=[f"{getattr(make, '__name__', 'whitened')}-{law}" for make, law in MUTATIONS],
)
def test_a_broken_density_breaks_the_law(make, law):
    result = check(make, laws=[law])[law]
    assert not result.passed, f"{law} did not see it: {result.value:g} <= {result.bound:g}"
    assert math.isfinite(result.value)


@pytest.mark.slow
@pytest.mark.usefixtures("first_grid")
def test_the_same_density_unbroken_obeys_them():
    class Nothing:
        pass

    assert all(result.passed for result in check(broken(Nothing)).values())


def test_rows_that_depend_on_their_place_break_the_permutation_law():
    class ByPlace:
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1e-3 * torch.arange(len(x))

    (result,) = check(broken(ByPlace), laws=["permutation"]).values()
    assert not result.passed


@pytest.mark.slow
def test_the_densities_that_assume_a_unit_are_those_that_are_said_to():
    assumes = {method for method in METHODS if not lb.create(method, features=2).equivariant}
    assert assumes == {"lde", "made-mog", "resmade-mog"}


# -- densities without a chain rule --------------------------------------------------------------------------


class TwoBumps(Density):
    """Two Gaussians of unequal weight on a diagonal, no conditionals: only p and samples."""

    name = "two-bumps"
    card = Card("two bumps", "none", "one draw")
    plans = dict.fromkeys(("quick", "standard", "paper"), Plan(steps=1))
    sampled_weight = 0.8

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.shift = nn.Parameter(torch.full((features,), 1.5))

    def forward(self, x: Tensor) -> Tensor:
        def normal(y: Tensor) -> Tensor:
            return -0.5 * (y.square() + math.log(2 * math.pi)).sum(-1)

        return torch.logaddexp(math.log(0.8) + normal(x - self.shift), math.log(0.2) + normal(x + self.shift))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        side = torch.rand(n, 1, generator=generator) < self.sampled_weight
        noise = torch.randn(n, self.features, generator=generator, dtype=self.dtype)
        return noise + self.shift * (2.0 * side - 1)


class WrongWeights(TwoBumps):
    """Every slice through the samples is right, their marginals are not."""

    sampled_weight = 0.5

    def __init__(self, features: int) -> None:
        super().__init__(features)
        nn.init.constant_(self.shift, 4.0)


class TooNarrow(TwoBumps):
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return 0.7 * super().draw(n, generator)


@pytest.mark.slow
def test_a_density_without_conditionals_is_held_to_the_other_laws():
    found = check(TwoBumps)
    assert set(found) == set(LAWS) - {*AUTOREGRESSIVE, *INVERTIBLE, "round_trip", "units"}
    assert all(result.passed for result in found.values())
    rows = skewed_rows(100, 20, 0)
    verdict = trial_laws(TwoBumps(20), rows)
    assert verdict["samples"].passed
    assert not trial_laws(TooNarrow(20), rows)["samples"].passed


@pytest.mark.slow
@pytest.mark.parametrize("make", [WrongWeights, TooNarrow])
def test_its_samples_are_compared_by_slices_and_by_marginals(make):
    result = check(make, laws=["samples"])["samples"]
    assert not result.passed


# -- the laws of a trained model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> Density:
    return lb.create("made-mog+w", 9, components=3, hidden=32).fit(skewed_rows(500, 9, 0), steps=60)


def test_a_trained_model_is_held_to_its_laws_in_json(trained):
    verdict = trial_laws(trained, skewed_rows(300, 9, 1))
    assert set(verdict) == {
        "batch_split", "permutation", "samples", "float64", "finite", "conditionals", "chain_rule", "causal",
    }  # fmt: skip
    assert all(law.passed is True for law in verdict.values())
    told = {name: asdict(law) for name, law in verdict.items()}
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert not trained.training


def test_the_laws_of_a_trial_include_the_integral_in_two_dimensions():
    assert trial_laws(TwoBumps(2), skewed_rows(50, 2, 0))["normalised"].passed


def test_a_trained_model_with_nan_fails_and_is_still_json(trained):
    rows = skewed_rows(300, 9, 1)
    spoiled = copy.deepcopy(trained)
    with torch.no_grad():
        spoiled.base.outputs.bias[0] = math.nan
    verdict = trial_laws(spoiled, rows)
    assert not verdict["finite"].passed
    assert not verdict["samples"].passed
    json.dumps({name: asdict(law) for name, law in verdict.items()}, allow_nan=False)


# -- the suite itself ----------------------------------------------------------------------------------------


def test_an_unknown_law_or_method_is_an_input_error():
    with pytest.raises(InputError, match="law 'normal' is unknown"):
        check("made-mog", laws=["normal"])
    with pytest.raises(InputError, match="did you mean 'lde'"):
        check("ldee")


def test_only_the_laws_asked_for_are_measured():
    assert list(check("gaussian", laws=["seeds", "modes"])) == ["seeds", "modes"]


@pytest.mark.slow
def test_a_correct_sampler_exceeds_the_kolmogorov_smirnov_bound_as_rarely_as_said():
    # At a 1000 times laxer significance the rate can be counted: the bound holds for the largest of 20 distances.
    generator = torch.Generator().manual_seed(0)
    lax, trials = 1000 * quadrature.SIGNIFICANCE, 3000
    bound = ks_bound(500, 20 / 1000)
    exceeded = sum(
        ks_distance(torch.rand(500, 20, generator=generator, dtype=torch.float64)) > bound for _ in range(trials)
    )
    assert abs(exceeded - lax * trials) < 4 * math.sqrt(lax * trials)


def test_the_kolmogorov_smirnov_distance_is_the_textbook_one():
    from scipy import stats

    values = np.random.default_rng(0).random((50, 3)) ** 1.3
    expected = max(stats.kstest(column, "uniform").statistic for column in values.T)
    assert ks_distance(torch.as_tensor(values)) == pytest.approx(expected, abs=1e-15)
    values[3, 1] = np.nan
    assert math.isnan(ks_distance(torch.as_tensor(values)))


class NanAtOneConditional:
    def conditional_log_prob(self, x: Tensor) -> Tensor:
        poison = torch.zeros(self.features).index_fill(0, torch.tensor([1]), torch.nan)
        return super().conditional_log_prob(x) + poison.to(x)


class NanInBatchesOfSeven:
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (torch.nan if len(x) == 7 else 0.0)


@pytest.mark.parametrize(
    ("fault", "law"), [(NanAtOneConditional, "conditionals"), (NanInBatchesOfSeven, "batch_split")]
)
def test_a_nan_among_good_values_breaks_the_law(fault, law):
    (result,) = check(broken(fault), laws=[law]).values()
    assert not result.passed


@pytest.mark.slow
def test_a_trained_network_may_be_too_narrow_to_look_back_everywhere():
    rows = skewed_rows(300, 20, 0)
    narrow = lb.create("made-mog:hidden=4,layers=1", features=20, components=2).fit(rows, steps=5)
    assert trial_laws(narrow, rows)["causal"].passed
    ahead = lb.create("made-mog:hidden=64,layers=1", features=20, components=2).fit(rows, steps=5)
    ahead.outputs.mask.copy_(ahead.outputs.mask.roll(-12, 0))
    assert not trial_laws(ahead, rows)["causal"].passed
