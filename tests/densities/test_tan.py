from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

import lde_bench as lb
from lde_bench.densities.bijections import Rescale
from lde_bench.densities.tan import LeakyReLU, RecurrentShift, Reverse, ScalarGRU, Tan, _Recurrence
from lde_bench.errors import InputError


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def random_model(features: int, components: int = 3, hidden: int = 5, blocks: int = 2) -> Tan:
    """A model whose every parameter is random, in float64."""
    torch.manual_seed(3)
    model = Tan(features, components, hidden, blocks).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / (2 * features**0.5))
        model.mean.normal_()
        model.scale.uniform_(0.5, 2)
    return model.eval()


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def states(weights: dict[str, np.ndarray], prefix: str, numbers: np.ndarray) -> np.ndarray:
    """States of a GRU after -1, x_1, ... x_{D-1}, gate by gate, unit by unit: [D, H]."""
    inputs, bias = weights[prefix + "inputs"], weights[prefix + "bias"]
    gates, candidate = weights[prefix + "gates"], weights[prefix + "candidate"]
    width = len(candidate)
    h = np.zeros(width)
    found = []
    for x in np.concatenate([[-1.0], numbers[:-1]]):
        pre = x * inputs + bias
        reset = sigmoid(pre[:width] + h @ gates[:, :width])
        update = sigmoid(pre[width : 2 * width] + h @ gates[:, width:])
        proposed = np.tanh(pre[2 * width :] + (reset * h) @ candidate)
        h = update * h + (1 - update) * proposed
        found.append(h)
    return np.array(found)


def published_log_prob(model: Tan, row: np.ndarray) -> float:
    """The published composition for one row, written out in NumPy."""
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    z = (row - weights["mean"]) / weights["scale"]
    log_det = -np.log(weights["scale"]).sum()
    blocks = (len(model.layers) - 3) // 5
    kinds = ["linear", *(["leaky", "rescale", "shift", "reverse", "linear"] * blocks), "leaky", "rescale"]
    for position, kind in enumerate(kinds):
        own = f"layers.{position}."
        if kind == "linear":
            factors, diagonal = weights[own + "factors"], np.diag(weights[own + "factors"])
            lower = np.tril(factors, -1) + np.eye(len(z))
            z = lower @ (np.triu(factors, 1) + np.diag(np.exp(diagonal))) @ z + weights[own + "bias"]
            log_det += diagonal.sum()
        elif kind == "leaky":
            slope = sigmoid(weights[own + "logit"])
            log_det += (z < 0).sum() * np.log(slope)
            z = np.where(z < 0, slope * z, z)
        elif kind == "rescale":
            z = z * np.exp(weights[own + "log_scale"])
            log_det += weights[own + "log_scale"].sum()
        elif kind == "shift":
            h = states(weights, own + "network.", z)
            z = z + h @ weights[own + "shift.weight"][0] + weights[own + "shift.bias"][0]
        else:
            z = z[::-1]
    h = states(weights, "base.network.", z)
    for position, squash in ((0, lambda v: np.maximum(v, 0)), (2, np.tanh), (4, np.tanh), (6, lambda v: v)):
        h = squash(h @ weights[f"base.head.{position}.weight"].T + weights[f"base.head.{position}.bias"])
    logits, means, log_scales = np.split(h, 3, axis=1)
    terms = logits + norm.logpdf(z[:, None], means, np.exp(log_scales))
    return float((logsumexp(terms, 1) - logsumexp(logits, 1)).sum() + log_det)


@pytest.mark.parametrize("features", [1, 2, 5, 9])
def test_log_prob_is_that_of_the_published_composition(features):
    model = random_model(features)
    rows = np.random.default_rng(0).normal(size=(6, features))
    np.testing.assert_allclose(model.log_prob(rows), [published_log_prob(model, row) for row in rows], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("features", [1, 2, 5, 63])
def test_decoding_undoes_encoding_and_the_determinant_is_autograds(features):
    model = random_model(features, blocks=1)
    x = torch.randn(3, features, dtype=torch.float64)
    u, log_abs_det = model.encode(x)
    torch.testing.assert_close(model.decode(u), x, rtol=1e-7, atol=1e-8)
    for row, found in zip(x, log_abs_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda z: model.encode(z[None])[0][0], row)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], found)


def test_the_backward_pass_written_by_hand_is_the_right_one():
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (15,), (15,), (5, 10), (5, 5)]
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    assert torch.autograd.gradcheck(_Recurrence.apply, [part.requires_grad_() for part in inputs])


def test_one_step_is_one_step_of_the_whole_recurrence():
    network = ScalarGRU(6)
    network.reset_parameters()
    x = torch.randn(7, 5)
    state = torch.zeros(7, 6)
    numbers = torch.cat([torch.full((7, 1), -1.0), x[:, :-1]], 1)
    for i, whole in enumerate(network(x)):
        state = network.step(numbers[:, i], state)
        torch.testing.assert_close(state, whole)


def test_published_settings_have_the_published_layers():
    # lupalab/tan, demos/mafdata_demo.py and experiments/config.py: 4 shifts and the mixture under GRUs of 256 units, 40
    # components, two hidden layers of 120. One GRU: 3 * 256 units that each read 256 states, a number and a bias.
    gru = 3 * 256 * (256 + 1 + 1)
    linear = 5 * (63 * 63 + 63)
    simple = 5 * (1 + 63)
    shifts = 4 * (gru + 256 + 1)
    mixture = gru + (256 + 1) * 120 + 3 * (120 + 1) * 120
    model = lb.create("tan", features=63, hidden=256)
    kinds = [type(layer) for layer in model.layers]
    assert [kinds.count(kind) for kind in (LeakyReLU, Rescale, RecurrentShift, Reverse)] == [5, 5, 4, 4]
    assert model.parameter_count() == linear + simple + shifts + mixture == 1_086_628


def test_the_start_is_whitened_by_the_first_linear_map():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(5000, 4)) @ np.tril(generator.normal(size=(4, 4)) + 2 * np.eye(4)).T + 5
    model = lb.create("tan", features=4, hidden=4, blocks=1)
    model.fit(rows, steps=1)
    z = (torch.as_tensor(rows, dtype=torch.float32) - model.mean) / model.scale
    e, _ = model.layers[0].encode(z)
    np.testing.assert_allclose(np.cov(e.detach().numpy().T), np.eye(4), atol=0.05)


@pytest.mark.slow
def test_training_learns_what_no_linear_map_can():
    generator = np.random.default_rng(0)

    def bent(n: int) -> np.ndarray:
        first = generator.normal(size=n)
        return np.stack([first, first**2 + 0.3 * generator.normal(size=n)], -1)

    rows, test = bent(5000), bent(2000)
    truth = (norm.logpdf(test[:, 0]) + norm.logpdf(test[:, 1], test[:, 0] ** 2, 0.3)).mean()
    gaussian = lb.create("gaussian", features=2).fit(rows).log_prob(test).mean()
    tan = lb.create("tan", features=2, components=5, hidden=16, blocks=1).fit(rows, steps=250).log_prob(test).mean()
    assert tan > truth - 0.15
    assert gaussian < truth - 1.0


@pytest.mark.parametrize("arguments", [{"components": 0}, {"hidden": 0}, {"blocks": "four"}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(InputError):
        lb.create("tan", features=2, **arguments)
