"""What is measured of models on a device, and whole trials there, held against the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from on_device import Device

import lde_bench as lb
from lde_bench.data import Dataset, mixed
from lde_bench.data.unit import Unit
from lde_bench.densities.standardised import Standardised
from lde_bench.evaluation import likelihood_bounds
from lde_bench.evaluation.ais import Annealing
from lde_bench.evaluation.interpolation import decoded
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.evaluation.parzen import parzen_log_prob, parzen_sums, select_sigma
from lde_bench.evaluation.scoring import score_file
from lde_bench.experiments.interpolate import Interpolate
from lde_bench.experiments.parzen import Parzen
from lde_bench.features import feature_space
from lde_bench.generators import create_generator
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.training.plan import Budget
from lde_bench.trials import density as density_trials
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import plan_trials


def options(device: str) -> TrainingOptions:
    return TrainingOptions(device=device, precision="fp32", compile=False)


def figures(record: Record) -> tuple[object, ...]:
    """The numbers of a record, without what names the trial."""
    result = record.result
    measures = {name: (measure.value, measure.standard_error) for name, measure in result.measures.items()}
    return result.test_nats, result.validation_nats, result.best_step, measures


def check_records(device: Device, here: list[Record], there: list[Record]) -> None:
    """All ran, here on the device; with the CPU's arithmetic to the same figures."""
    for record, other in zip(here, there, strict=True):
        assert record.done, record.reason
        assert record.training["device"] == device.name
        assert {name for name, law in record.laws.items() if not law.passed} == set()
        if device.exact:  # a GPU has random numbers of its own, and so other weights
            assert figures(record) == figures(other)


def test_the_window_is_that_of_the_cpu(device: Device):
    generator = np.random.default_rng(0)
    test, samples = generator.random((30, 16)).astype(np.float32), generator.random((50, 16)).astype(np.float32)
    grid = np.array([0.05, 0.3, 1.0])
    device.check(parzen_log_prob(test, samples, 0.2, device=device.name), parzen_log_prob(test, samples, 0.2), 1e-9)
    here, there = parzen_sums(test, samples, grid, device=device.name), parzen_sums(test, samples, grid)
    device.check(here.log_prob(), there.log_prob(), 1e-9)
    assert select_sigma(test, samples, grid, device=device.name)[0] == select_sigma(test, samples, grid)[0]


def test_codes_are_decoded_where_the_model_is(device: Device):
    model = create_generator("ae:latent=3,backbone=mlp", (8, 8))
    codes = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    there = decoded(model, codes)
    device.check(decoded(model.to(device.place), codes), there)


def test_features_of_mnist_are_those_of_the_cpu(device: Device):
    shape = (1, 28, 28)
    images = np.random.default_rng(0).random((5, 784)).astype(np.float32)
    here, there = feature_space("mnist", device.name), feature_space("mnist")
    features = there.features(images, shape)
    device.check(here.features(images, shape), features)
    np.testing.assert_array_equal(here.classes(features), there.classes(features))


@pytest.mark.slow
def test_features_of_vgg19_are_those_of_the_cpu(device: Device, vgg_file):
    from lde_bench.features.vgg19 import use_weights

    use_weights(vgg_file)
    images = np.random.default_rng(0).random((3, 3 * 16 * 16)).astype(np.float32)
    there = feature_space("vgg").features(images, (3, 16, 16))
    device.check(feature_space("vgg", device.name).features(images, (3, 16, 16)), there)
    model = create_generator("ae:latent=3,perceptual=0.1", (3, 16, 16))
    model.fit(images, steps=2, device=device.name, precision="fp32", compile=False)
    assert device.holds(model)


def test_a_density_in_the_unit_of_the_data_is_that_of_the_cpu(device: Device):
    rows = skewed_rows(60, 3, 0)
    unit = Unit(np.full(3, 5.0), np.full(3, 100.0))
    here, there = (
        Standardised(lb.create("gaussian", 3).fit(rows, device=place), unit) for place in (device.name, "cpu")
    )
    device.check(here.log_prob(100 * rows + 5), there.log_prob(100 * rows + 5))
    assert here.sample(4).shape == (4, 3)


def test_a_file_is_scored_on_the_device(device: Device, tmp_path):
    rows = skewed_rows(50, 3, 0)
    np.save(tmp_path / "rows.npy", rows)
    density = lb.create("gaussian", 3).fit(rows, device=device.name)
    density.save(tmp_path / "weights")
    scored = score_file(tmp_path / "weights", tmp_path / "rows.npy", tmp_path / "out.npy", device=device.name)
    assert (scored.rows, scored.not_finite) == (50, 0)
    device.check(np.load(tmp_path / "out.npy"), lb.load_density(tmp_path / "weights").log_prob(rows))


@pytest.mark.slow
def test_trials_of_densities_and_of_what_borrows_their_weights_run(device: Device, tmp_path, monkeypatch):
    monkeypatch.setattr(density_trials, "trial_laws", lambda *_, **__: {})  # which are held on the device elsewhere
    rows = skewed_rows(360, 63, 0)
    data = Dataset.of(
        "made-up", "1", 0, {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]}, is_patch=True
    )
    methods = ["made-mog:hidden=8", "made-mog+sym:hidden=8", "made-mog+ens:hidden=8", "gmm+w"]

    def run(where: str) -> list[Record]:
        trials = plan_trials("tests", data, methods, [2], 1, Budget.of(steps=3), options(where))
        return run_sweep(ResultStore(tmp_path / where), trials)

    here, there = run(device.name), run("cpu")
    check_records(device, here, there)
    assert not any("gpu" in record.provenance["machine"] for record in there)
    if device.name == "cuda":
        assert {record.provenance["machine"]["gpu"] for record in here} == {torch.cuda.get_device_name()}


@pytest.mark.slow
def test_trials_of_images_run_and_their_samples_are_measured(device: Device, tmp_path, monkeypatch):
    few = {"SIGMA_IMAGES": 10, "SIMULATED_IMAGES": 10, "CODES": 5, "ANNEALING": Annealing(2, 8)}
    for name, value in few.items():
        monkeypatch.setattr(likelihood_bounds, name, value)
    data = lb.load_dataset("digits8x8", train=300, validation=100, test=60)
    methods = ["vae:hidden=12", "ae+gmm:backbone=mlp,latent=3"]

    def run(where: str) -> list[Record]:
        plan = Parzen().plan(Budget.of(steps=4), options(where), [data], methods=methods, samples=100, components=[2])
        return run_sweep(ResultStore(tmp_path / where), [replace(trial, bound_images=10) for trial in plan])

    here = run(device.name)
    assert {"ais_nats", "iwae_nats"} <= set(here[0].result.measures)
    check_records(device, here, run("cpu"))


@pytest.mark.slow
def test_walks_between_codes_are_those_of_the_cpu(device: Device, tmp_path):
    sizes = {"train": 40, "validation": 20, "test": 30}
    domains = mixed(lb.load_dataset("natural32", **sizes), lb.load_dataset("digits32", **sizes))

    def run(where: str) -> list[Record]:
        plan = Interpolate().plan(Budget.of(steps=2), options(where), domains, methods=["ae"], pairs=6, space="pixels")
        return run_sweep(ResultStore(tmp_path / where), plan)

    check_records(device, run(device.name), run("cpu"))


def test_training_in_bf16_runs_on_the_device(device: Device):
    rows = skewed_rows(60, 3, 0)
    density = lb.create("lde:components=2", 3)
    density.fit(rows, rows, steps=3, device=device.name, precision="bf16", compile=False)
    assert density.training_setup["precision"] == "bf16"
    assert density.dtype == torch.float32
    assert np.isfinite(density.log_prob(rows)).all()
