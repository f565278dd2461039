"""Every model of images on a device: fitted, continued, sampled, and held against itself on the CPU."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import pytest
from on_device import Device, Killed, fit

import lde_bench as lb
from lde_bench.generators import create_generator, generator_classes, load_generator
from lde_bench.generators.base import Generator

SHAPE = (8, 8)

SMALL = {
    "aae": "aae:hidden=12",
    "ae": "ae+gmm:components=2,backbone=mlp,latent=3",
    "deep-gsn": "deep-gsn:hidden=12",
    "evae": "evae:hidden=12",
    "gan": "gan:hidden=12,units=10",
    "iae": "iae+gmm:components=2,latent=3",
    "vae": "vae:hidden=12",
    "vae-iaf": "vae-iaf:hidden=12,step_hidden=8",
}
#: They learn nothing by steps.
UNTRAINED = {"kmeans", "train-samples", "validation-images"}
METHODS = [SMALL.get(name, name) for name in generator_classes()]
each_method = pytest.mark.parametrize(
    "method",
    [method if method == "vae:hidden=12" else pytest.param(method, marks=pytest.mark.slow) for method in METHODS],
)


@cache
def digits() -> lb.data.Dataset:
    return lb.load_dataset("digits8x8")


def fitted(method: str, device: Device, where: str | None = None, **options) -> Generator:
    data = digits()
    return fit(
        create_generator(method, SHAPE), data.train[:300], data.validation[:100], device, where, steps=3, **options
    )


@cache
def trained(method: str, device: Device) -> Generator:
    """Fitted on the device once for all tests."""
    return fitted(method, device)


@each_method
def test_a_model_of_the_device_is_the_same_on_the_cpu(method, device: Device, tmp_path):
    here = trained(method, device)
    assert device.holds(here)
    here.save(tmp_path / "model")
    there = load_generator(tmp_path / "model")
    assert there.device.type == "cpu"
    if here.coder is not None:
        images = digits().test[:9]
        device.check(here.coder.codes(images), there.coder.codes(images))
        device.check(here.reconstructs(images), there.reconstructs(images))
    if here.code_log_prob is not None:
        device.check(here.code_log_prob(images), there.code_log_prob(images))
    samples = here.sample(5, seed=1)
    assert samples.shape == (5, 64)
    if device.exact:  # a GPU has random numbers of its own, and so other weights and samples
        np.testing.assert_array_equal(samples, there.sample(5, seed=1))
        np.testing.assert_array_equal(samples, fitted(method, device, "cpu").sample(5, seed=1))


@each_method
def test_a_killed_fit_goes_on_from_its_checkpoint(method, device: Device, tmp_path, kill_halfway):
    device.have_own_random_numbers()
    whole = fitted(method, device)
    told: list[str] = []
    checkpoint = {"checkpoint": tmp_path / "run.ckpt", "notify": told.append}
    with nullcontext() if method in UNTRAINED else pytest.raises(Killed):
        fitted(method, device, **checkpoint, on_progress=kill_halfway)
    again = fitted(method, device, **checkpoint)
    assert device.holds(again)
    device.check(again.sample(5, seed=1), whole.sample(5, seed=1))
    assert method in UNTRAINED or any("continuing from step" in line for line in told)


def test_an_autoencoder_that_is_shared_is_where_the_density_of_its_codes_is(device: Device, tmp_path):
    data, options = digits(), {"steps": 2, "device": device.name, "precision": "fp32", "compile": False}
    model: Any
    other: Any
    model, other = (create_generator("ae+gaussian:backbone=mlp,latent=3", SHAPE) for _ in range(2))
    model.fit_shared_part(data.train[:100], file=tmp_path / "shared", **options)
    other.fit(data.train[:100], shared=tmp_path / "shared", **options)
    assert device.holds(other)
