"""The public contract: what `import lde_bench as lb` promises a user (README, "From Python")."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.cli import main
from lde_bench.errors import InputError


def test_the_public_contract_from_data_to_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LDE_BENCH_CACHE", str(tmp_path / "cache"))

    data = lb.load_dataset("gaussian-correlated", train=2000, validation=300, test=400)
    assert data.train.shape == (2000, data.features)
    assert data.train.dtype == np.float32
    assert (data.name, data.version, data.test_groups) == ("gaussian-correlated", "1", None)

    model = lb.create("made-mog", features=data.features, components=2, hidden=16)
    assert sum(parameter.numel() for parameter in model.parameters()) == model.parameter_count() > 0
    model.fit(data.train, data.validation, seed=0, profile="quick", steps=40)
    scores = model.log_prob(data.test)
    assert isinstance(scores, np.ndarray)
    assert scores.shape == (400,)
    np.testing.assert_allclose(np.concatenate([model.log_prob(data.test[:7]), model.log_prob(data.test[7:])]), scores,
                               rtol=1e-5)  # fmt: skip

    x = torch.from_numpy(data.test[:5]).requires_grad_()
    model.log_prob(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0

    samples = model.sample(50, seed=0)
    assert samples.shape == (50, data.features)
    np.testing.assert_array_equal(samples, model.sample(50, seed=0))
    assert not np.array_equal(samples, model.sample(50, seed=1))

    path = tmp_path / "model.safetensors"
    model.save(path)
    np.testing.assert_array_equal(lb.load_density(path).log_prob(data.test), scores)

    again = lb.create("made-mog:hidden=16", features=data.features, components=2).fit(
        data.train, data.validation, steps=40
    )
    np.testing.assert_array_equal(again.log_prob(data.test), scores)


def test_whitening_by_argument_and_by_name_is_the_same_density():
    data = lb.load_dataset("gaussian-correlated", train=500, validation=100, test=100)
    scores = [
        model.fit(data.train, data.validation, steps=3).log_prob(data.test)
        for model in (lb.create("lde+w", features=8), lb.create("lde", features=8, whiten="cholesky"))
    ]
    np.testing.assert_array_equal(*scores)


def test_every_density_takes_one_feature_and_an_unknown_name_is_asked_back():
    for method in ("gaussian", "gmm", "made-mog", "resmade-mog", "lde", "lde+w"):
        assert lb.create(method, features=1).log_prob(np.zeros((3, 1))).shape == (3,)
    with pytest.raises(InputError, match="did you mean 'lde'"):
        lb.create("lda", features=2)


def test_the_parzen_window_is_the_mean_over_samples_of_a_gaussian():
    rng = np.random.default_rng(0)
    test, samples, sigma = rng.normal(size=(20, 3)), rng.normal(size=(30, 3)), 0.4
    square = ((test[:, None] - samples) ** 2).sum(-1)
    p = np.exp(-square / (2 * sigma**2)).mean(1) / (2 * np.pi * sigma**2) ** 1.5
    np.testing.assert_allclose(lb.parzen_log_prob(test, samples, sigma), np.log(p), rtol=1e-5)

    grid = np.array([0.05, 0.4, 5.0])
    best, curve = lb.select_sigma(test, samples, grid)
    means = [lb.parzen_log_prob(test, samples, value).mean() for value in grid]
    np.testing.assert_allclose(curve, means, rtol=1e-5)
    assert best == grid[int(np.argmax(means))]


def test_a_model_of_images_is_made_trained_kept_and_sampled_from_python(tmp_path):
    digits = lb.load_dataset("digits8x8")
    model = lb.create_generator("ae+gaussian", digits.image_shape, latent=3).fit(digits.train, steps=3)
    samples = model.sample(30, seed=0)
    assert samples.shape == (30, digits.features)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(lb.load_generator(tmp_path / "model.safetensors").sample(30, seed=0), samples)
    figures = lb.measure_samples(lb.SampleSets(digits.train, digits.test, samples, 0), ["mmd"])
    assert all(np.isfinite(figure.value) for figure in figures.values())


@pytest.mark.slow
def test_run_records_load_as_a_frame(tmp_path, monkeypatch, capsys):
    from lde_bench.data import natural8x8

    monkeypatch.setattr(natural8x8, "COUNTS", {"train": 3000, "validation": 2000, "test": 20_000})
    monkeypatch.setenv("LDE_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "results"
    assert main(["bsds300", "--source", "embedded", "--methods", "gaussian", "--results-dir", str(folder)]) == 0
    frame = lb.load_results(folder)
    (record,) = (json.loads(path.read_text()) for path in folder.rglob("*.json"))
    assert frame["test_nats"].tolist() == [record["result"]["test_nats"]]
    assert frame["method"].tolist() == ["gaussian"]


def test_an_unknown_name_is_an_attribute_error_and_dir_lists_the_contract():
    assert {"load_dataset", "create", "load_density", "parzen_log_prob", "select_sigma", "load_results"} <= set(dir(lb))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lb.nonsense
    for name in dir(lb):
        assert getattr(lb, name) is not None
