from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from linear_gaussian import LATENT, draws, exact_log_prob, linear
from scipy import stats

from lde_bench.errors import InputError
from lde_bench.generators.evae import EVAE, epitome_masks, usual_size
from lde_bench.generators.vae import VAE, gaussian_kl


def images(n: int) -> torch.Tensor:
    return torch.rand(n, 64, generator=torch.Generator().manual_seed(7))


def test_one_epitome_of_the_whole_code_is_the_vae():
    torch.manual_seed(0)
    vae, evae = VAE((8, 8), latent=4, layers=3, hidden=500), EVAE((8, 8), latent=4, size=4)
    evae.load_state_dict(vae.state_dict())
    losses = []
    for model in (vae, evae):
        torch.manual_seed(1)
        losses.append(model.loss(images(32), 0.0))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0)
    np.testing.assert_array_equal(vae.sample(5).shape, evae.sample(5).shape)
    np.testing.assert_allclose(vae.log_prob_bound(images(8).numpy(), 3), evae.log_prob_bound(images(8).numpy(), 3))


def test_units_out_of_use_have_no_gradient_and_those_in_use_have_one():
    torch.manual_seed(0)
    model = EVAE((8, 8), latent=6, size=2)
    x = images(32)
    mean, log_scale = (each.detach().requires_grad_() for each in model.posterior(x))
    model.posterior = lambda rows: (mean, log_scale)
    torch.manual_seed(1)
    used = model.infer(x).z != 0
    assert (used.sum(1) == 2).all()
    assert used.any(0).sum() > 2  # not all images use the same epitome
    torch.manual_seed(1)
    model.loss(x, 0.0).backward()
    for leaf in (mean, log_scale):
        assert leaf.grad is not None
        assert (leaf.grad[~used] == 0).all()
        assert (leaf.grad[used] != 0).all()


def test_the_loss_is_that_of_the_best_epitome():
    torch.manual_seed(0)
    model = EVAE((8, 8), latent=6, size=3, beta=2.0)
    x = images(32)
    torch.manual_seed(1)
    noise = torch.randn(32, 6)
    mean, log_scale = model.posterior(x)
    losses = torch.stack(
        [
            2.0 * gaussian_kl(mean[:, mask.bool()], log_scale[:, mask.bool()])
            - model.log_likelihood(x, mask * (mean + log_scale.exp() * noise))
            for mask in model.masks
        ]
    )  # [E, B]
    torch.manual_seed(1)
    torch.testing.assert_close(model.loss(x, 0.0), losses.amin(0).mean())
    assert losses.amin(0).mean() < losses.mean(1).min()


def test_the_bound_lies_below_the_exact_likelihood_of_the_mixture_over_epitomes():
    model = linear(EVAE, size=1)
    assert model.masks.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    x = draws(model, 400)
    each = np.stack([exact_log_prob(model, x, mask) for mask in model.masks])
    exact = np.logaddexp.reduce(each) - math.log(3)
    bound = model.log_prob_bound(x, 50)
    assert model.bounds(x, 50).evidence.mean() < bound.mean()
    # Given its epitome the posterior is exact, so that only the other epitomes' part of p(x) is missing.
    assert (bound < exact + 1e-9).all()
    assert (bound > exact - math.log(3) - 2.0).all()
    np.testing.assert_allclose(each.max(0).mean() - math.log(3), bound.mean(), atol=0.05)


def test_a_sample_uses_one_epitome_and_every_epitome_as_often():
    model = EVAE((8, 8), latent=6, size=2)
    codes = []
    model.decode = lambda z: codes.append(z) or z.new_zeros(len(z), 64)
    model.sample(3000, seed=0)
    z = torch.cat(codes).numpy()
    used = (z != 0).reshape(-1, 3, 2)
    assert (used.all(2).sum(1) == 1).all()
    assert (used.any(2).sum(1) == 1).all()
    assert stats.chisquare(used.all(2).sum(0)).pvalue > 1e-3
    assert stats.kstest(z[z != 0], "norm").pvalue > 1e-3


def test_codes_are_zero_out_of_the_epitome():
    model = EVAE((8, 8), latent=6, size=2)
    codes = model.codes(images(20).numpy())
    assert ((codes != 0).sum(1) == 2).all()


def test_epitomes_are_runs_that_divide_the_code():
    assert epitome_masks(4, 2).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert epitome_masks(3, 3).tolist() == [[1, 1, 1]]


def test_unless_given_epitomes_have_the_published_sizes_where_they_divide_the_code():
    assert {latent: usual_size(latent) for latent in (8, 48, 15, 25, 50, 100)} == {
        8: 4, 48: 4, 15: 5, 25: 5, 50: 5, 100: 5,
    }  # fmt: skip
    assert [usual_size(latent) for latent in (1, 2, 3, 4, 5, 7)] == [1, 1, 1, 2, 1, 1]


def test_the_networks_are_the_published_three_layers_of_500_unless_others_are_asked_for():
    def widths(**arguments):
        model = EVAE((28, 28), **arguments)
        return [layer.out_features for layer in model.decoder.modules() if isinstance(layer, torch.nn.Linear)]

    assert widths() == [500, 500, 500, 784]
    assert widths(layers=2, hidden=1000) == [1000, 1000, 784]
    EVAE((8, 8), backbone="conv")
    with pytest.raises(InputError, match="layers and hidden are those of backbone=mlp"):
        EVAE((8, 8), backbone="conv", layers=2)


@pytest.mark.parametrize("size", [2, 4, 0, -1, 1.5])
def test_a_size_that_does_not_divide_the_code_is_refused(size):
    with pytest.raises(InputError, match="size"):
        EVAE((8, 8), latent=LATENT, size=size)
