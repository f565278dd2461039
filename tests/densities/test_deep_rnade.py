"""Deep RNADE: the orderless loss, the running first layer, and mixtures over orderings, each against the direct way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import lde_bench as lb
from lde_bench.densities import deep_rnade
from lde_bench.densities.deep_rnade import DeepRnade, fixed_orderings, random_seen
from lde_bench.evaluation.laws import check
from lde_bench.evaluation.laws.quadrature import ks_bound, ks_distance
from lde_bench.training import learner


def awake(features: int, **arguments: int) -> DeepRnade:
    """A small network in float64 whose weights, biases and input units are all random."""
    small = {"components": 3, "hidden": 16, "layers": 3, **arguments}
    density = lb.create("deep-rnade", features=features, **small).double()
    assert isinstance(density, DeepRnade)
    generator = torch.Generator().manual_seed(features)
    with torch.no_grad():
        for value in [*density.parameters(), density.location, density.log_scale]:
            value.add_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return density


def rows(n: int, features: int) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def directly(density: DeepRnade, x: Tensor, seen: Tensor) -> Tensor:
    """log p(x_i | x_seen) for every i, by the plain network on (x * seen, seen): [B, D]."""
    z = (x - density.location) / density.log_scale.exp()
    h = torch.cat([z * seen, seen.double()], -1)
    for layer in (density.inputs, *density.hidden):
        h = torch.relu(h @ layer.weight.T + layer.bias)
    logits, means, log_sigmas = (
        (h @ density.outputs.weight.T + density.outputs.bias).unflatten(-1, (-1, 3, 3)).unbind(2)
    )
    normal = torch.distributions.Normal(means, log_sigmas.exp())
    return torch.logsumexp(torch.log_softmax(logits, -1) + normal.log_prob(z.unsqueeze(-1)), -1) - density.log_scale


def along(density: DeepRnade, x: Tensor, ordering: list[int]) -> Tensor:
    """log p(x | ordering) by one direct pass per dimension: [B]."""
    total = x.new_zeros(len(x))
    for t, i in enumerate(ordering):
        seen = torch.zeros(x.shape, dtype=torch.bool)
        seen[:, ordering[:t]] = True
        total = total + directly(density, x, seen)[:, i]
    return total


def test_the_orderless_loss_is_unbiased_for_the_mean_over_all_orderings():
    density, x = awake(3), rows(5, 3)
    orderings = list(itertools.permutations(range(3)))
    wanted = torch.stack([along(density, x, list(ordering)) for ordering in orderings]).mean(0)
    expected = torch.zeros(5, dtype=torch.float64)
    for ordering in orderings:
        for size in range(3):
            seen = torch.zeros(5, 3, dtype=torch.bool)
            seen[:, list(ordering[:size])] = True
            expected += density.unseen_log_prob(x, seen) / (len(orderings) * 3)
    torch.testing.assert_close(expected, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_seen_sets_are_uniform_in_size_and_within_a_size():
    torch.manual_seed(0)
    n = 30_000
    seen = torch.cat([random_seen(1, 3, torch.device("cpu")) for _ in range(n)])  # sizes across batches
    shares = torch.bincount((seen * torch.tensor([1, 2, 4])).sum(-1), minlength=8) / n
    wanted = torch.tensor([1 / 3, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 0])
    assert (shares - wanted).abs().max() < 5 * math.sqrt(0.25 / n)


def test_sizes_are_dealt_out_evenly_within_a_batch():
    torch.manual_seed(1)
    sizes = random_seen(126, 63, torch.device("cpu")).sum(-1)
    assert torch.equal(torch.bincount(sizes), torch.full((63,), 2))


def test_the_running_first_layer_equals_direct_passes():
    density, x = awake(6), rows(200, 6)  # more rows than run as one batch
    for ordering in ([0, 1, 2, 3, 4, 5], [4, 0, 5, 2, 1, 3]):
        torch.testing.assert_close(
            density.log_prob_in(x, torch.tensor(ordering)), along(density, x, ordering), rtol=1e-11, atol=1e-11
        )


def test_conditionals_see_only_what_the_ordering_puts_before_them():
    density, ordering = awake(5), torch.tensor([3, 0, 4, 1, 2])
    x = rows(1, 5)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: density.conditionals_in(x, ordering).log_prob(x).squeeze(0), x
    ).squeeze(1)
    place = ordering.argsort()
    later = place[None] > place[:, None]
    assert (jacobian[later] == 0).all()
    assert (jacobian[~later] != 0).any(-1)


def test_several_orderings_are_the_mixture_of_the_single_ones():
    density, x = awake(4, orderings=3), rows(7, 4)
    single = torch.stack([along(density, x, ordering.tolist()) for ordering in density.orderings])
    torch.testing.assert_close(density.log_prob(x), torch.log(single.exp().mean(0)), rtol=1e-11, atol=1e-11)
    assert not density.autoregressive
    with pytest.raises(TypeError, match="several orderings"):
        density.conditional_log_prob(x)


def test_orderings_are_fixed_and_start_with_the_sequential_one():
    few, many = fixed_orderings(63, 2), fixed_orderings(63, 32)
    assert torch.equal(few[0], torch.arange(63))
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=False))
    assert len({tuple(ordering.tolist()) for ordering in many}) == 32
    assert all(torch.equal(ordering.sort().values, torch.arange(63)) for ordering in many)


@pytest.mark.slow
def test_two_orderings_make_a_density_in_two_dimensions_and_samples_follow_it():
    arguments = {"orderings": 2}
    laws = check(
        lambda features, components=3, hidden=64, layers=2: lb.create(
            "deep-rnade", features=features, components=components, hidden=hidden, layers=layers, **arguments
        ),
        laws=["normalised", "samples", "entropy", "seeds"],
    )
    assert [name for name, law in laws.items() if not law.passed] == []
    # The second ordering of two dimensions has to be the other one for this to test anything.
    assert [ordering.tolist() for ordering in fixed_orderings(2, 2)] == [[0, 1], [1, 0]]


def test_samples_in_an_ordering_follow_its_conditionals():
    density, ordering = awake(4), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        x = density._draw_in(torch.empty(4000, 4).double(), ordering, torch.Generator().manual_seed(0))
        uniforms = density.conditionals_in(x, ordering).cdf(x)
        other = density.conditionals_in(x, ordering.flip(0)).cdf(x)
    assert ks_distance(uniforms) < ks_bound(4000, 4)
    assert ks_distance(other) > ks_bound(4000, 4), "the orderings are alike: nothing was tested"


def test_every_sample_has_an_ordering_of_its_own(monkeypatch):
    # Orderings that are trained alike give samples that are alike: only the calls tell which were taken.
    monkeypatch.setattr(DeepRnade, "_draw_in", lambda self, x, ordering, generator: ordering.expand(len(x), -1).to(x))
    density = awake(6, orderings=3)
    drawn, counts = torch.as_tensor(density.sample(600, seed=0)).unique(dim=0, return_counts=True)
    assert {tuple(row) for row in drawn.tolist()} == {tuple(ordering.tolist()) for ordering in density.orderings}
    assert counts.min() > 150


def test_orderings_do_not_touch_training():
    data = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    weights = []
    for orderings in (1, 4):
        density = lb.create("deep-rnade", features=3, components=2, hidden=8, layers=2, orderings=orderings)
        density.fit(data, data[:32], steps=5, device="cpu", precision="fp32")
        weights.append(density.state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert DeepRnade.evaluation_only == {"orderings"}


def test_a_killed_run_sees_the_same_random_sets_again(tmp_path, monkeypatch):
    from lde_bench.training import loop

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    data = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)

    def fit(**arguments):
        density = lb.create("deep-rnade", features=3, components=2, hidden=8, layers=2)
        return density.fit(data, data[:32], steps=8, device="cpu", precision="fp32", **arguments)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 5:
            raise Killed

    with pytest.raises(Killed):
        fit(checkpoint=tmp_path / "run", on_progress=kill)
    resumed, whole = fit(checkpoint=tmp_path / "run"), fit()
    assert resumed.training_state.resumed_cpu_seconds > 0
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize(("hidden", "layers"), [(384, 6), (1000, 6), (2000, 2)])
def test_parameters_are_those_of_the_layers(hidden, layers):
    features, components = 63, 10
    by_hand = (2 * features + 1) * hidden  # values and mask in, and a bias
    by_hand += (layers - 1) * (hidden + 1) * hidden
    by_hand += (hidden + 1) * features * 3 * components
    density = lb.create("deep-rnade", features=features, components=components, hidden=hidden, layers=layers)
    assert density.parameter_count() == by_hand
    if (hidden, layers) == (384, 6):
        assert by_hand == 1_515_618


def test_weights_are_chosen_by_the_sequential_ordering_and_few_rows_also_within_others(monkeypatch):
    rng = np.random.default_rng(0)
    rows, held_out = (rng.normal(size=(n, 63)).astype(np.float32) for n in (64, 40))
    monkeypatch.setattr(deep_rnade._OrderlessLearner, "score_rows", 8)
    seen: list[int] = []
    evaluate = learner.evaluate_rows
    monkeypatch.setattr(learner, "evaluate_rows", lambda of, x: seen.append(len(x)) or evaluate(of, x))
    scores = []
    for method in ("deep-rnade", "deep-rnade:orderings=4", "deep-rnade+w", "deep-rnade+ens", "deep-rnade+haar"):
        density = lb.create(method, 63, components=2, hidden=8, layers=1)
        density.fit(rows, held_out, seed=1, steps=1, device="cpu", precision="fp32")
        scores.append(density.training_state.best_score)
    assert scores[0] == scores[1]
    assert set(seen) == {8}
