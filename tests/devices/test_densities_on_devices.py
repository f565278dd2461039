"""Every density on a device: fitted, continued, evaluated, sampled, and held against itself on the CPU."""

from __future__ import annotations

import contextlib
from functools import cache, partial

import numpy as np
import pytest
import torch
from on_device import Device, Killed, fit

import lde_bench as lb
from lde_bench.data.patches import FEATURES as PATCH
from lde_bench.data.patches import FreshPatches, Photographs
from lde_bench.densities import density_names
from lde_bench.densities.base import Density
from lde_bench.evaluation.laws import trial_laws
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.training.batches import FreshBatches

FEATURES = 3

SMALL = {
    "deep-rnade": "deep-rnade:hidden=8,layers=2,orderings=2",
    "gmm": "gmm:components=2",
    "lde": "lde:components=2",
    "made-mog": "made-mog:components=2,hidden=8",
    "maf-ddsf": "maf-ddsf:transforms=1,hidden=8,sigmoids=2",
    "maf-mog": "maf-mog:components=2,transforms=2,hidden=8,layers=1",
    "mcgsm": "mcgsm:components=2,scales=2,quadratic_features=2",
    "nsf": "nsf:transforms=2,hidden=8,blocks=1,bins=3",
    "real-nvp": "real-nvp:transforms=2,hidden=8,layers=1",
    "resmade-mog": "resmade-mog:components=2,hidden=8,blocks=1",
    "tan": "tan",
}
METHODS = [
    *(SMALL.get(name, name) for name in density_names()),
    "made-mog+w:components=2,hidden=8",
    "gmm+w+ens:components=2",
    "zuko.flows:NSF:transforms=1,hidden_features=[8],bins=3",
]
each_method = pytest.mark.parametrize(
    "method",
    [method if method == SMALL["made-mog"] else pytest.param(method, marks=pytest.mark.slow) for method in METHODS],
)

TRAIN, HELD_OUT = np.split(skewed_rows(400, FEATURES, 0), [300])


def fitted(method: str, device: Device, where: str | None = None, **options) -> Density:
    return fit(lb.create(method, FEATURES), TRAIN, HELD_OUT, device, where, steps=4, **options)


@cache
def trained(method: str, device: Device) -> Density:
    """Fitted on the device once for all tests."""
    return fitted(method, device)


@each_method
def test_a_density_of_the_device_is_the_same_on_the_cpu(method, device: Device, tmp_path):
    here = trained(method, device)
    assert device.holds(here)
    here.save(tmp_path / "density")
    there = lb.load_density(tmp_path / "density")
    assert there.device.type == "cpu"
    with torch.no_grad():
        of_tensor = here.log_prob(torch.as_tensor(HELD_OUT, device=device.place))
    assert of_tensor.device.type == device.name
    device.check(of_tensor.cpu().numpy(), there.log_prob(HELD_OUT))
    device.check(here.log_prob(HELD_OUT), there.log_prob(HELD_OUT))
    samples = here.sample(5, seed=1)
    assert samples.shape == (5, FEATURES)
    if device.exact:  # a GPU has random numbers of its own, and so other weights and samples
        np.testing.assert_array_equal(samples, there.sample(5, seed=1))
        np.testing.assert_array_equal(here.log_prob(HELD_OUT), fitted(method, device, "cpu").log_prob(HELD_OUT))


@each_method
def test_a_killed_fit_goes_on_from_its_checkpoint(method, device: Device, tmp_path, kill_halfway):
    device.have_own_random_numbers()
    whole = fitted(method, device)
    told: list[str] = []
    checkpoint = {"checkpoint": tmp_path / "run.ckpt", "notify": told.append}
    with contextlib.suppress(Killed):
        fitted(method, device, **checkpoint, on_progress=kill_halfway)
    again = fitted(method, device, **checkpoint)
    assert device.holds(again)
    device.check(again.log_prob(HELD_OUT), whole.log_prob(HELD_OUT))
    if whole.training_state.step > 1:
        assert any("continuing from step" in line for line in told)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deep-rnade", "gmm", "made-mog", "real-nvp"])
def test_the_laws_of_a_trial_hold(name, device: Device):
    """Of one density of each kind: they ask each kind other things."""
    laws = trial_laws(trained(SMALL[name], device), HELD_OUT, train=TRAIN)
    assert {law for law, verdict in laws.items() if not verdict.passed} == set()


@pytest.mark.slow
def test_places_of_the_jpeg_grid_live_on_a_device(device: Device, monkeypatch, tmp_path):
    """They alone are of patches, need batches that know where these lie, and keep tensors of their own."""
    monkeypatch.setattr("lde_bench.densities.jpeg_lattice.ROWS", 500)
    brightness = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    fresh = FreshPatches(Photographs.of({0: brightness}))
    batches = FreshBatches(fresh.draw, PATCH, 0, draw_at=fresh.draw_at)
    rows = fresh.draw(20, np.random.default_rng(1))
    method = "made-mog+haar+neg+sym+jpeg:components=2,hidden=63,width=63"

    def fitted_on(where: str) -> Density:
        density = lb.create(method, PATCH)
        return density.fit(batches, rows, seed=3, steps=33, device=where, precision="fp32", compile=False)

    here = fitted_on(device.name)
    assert device.holds(here)
    here.save(tmp_path / "density")
    # Not to the bit: a card makes the products of a masked layer in one, a processor in blocks.
    check = partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-3)
    check(here.log_prob(rows), lb.load_density(tmp_path / "density").log_prob(rows))
    if device.exact:  # a GPU has random numbers of its own, and so other weights and samples
        there = fitted_on("cpu")
        check(here.log_prob(rows), there.log_prob(rows))
        check(here.sample(20, seed=0), there.sample(20, seed=0))
