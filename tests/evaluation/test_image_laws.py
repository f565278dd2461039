"""The laws of models of images: they hold for the package's own, and each is broken by a fault of its own."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lde_bench.checks import check
from lde_bench.densities.gaussian import Gaussian
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import images
from lde_bench.generators.ae import AE
from lde_bench.generators.base import Generator
from lde_bench.generators.gan import GAN

OF_CODES = {"code_batch", "code_permutation", "decode_batch", "batch"}
OF_SAMPLES = {"pixels", "seed"}
OF_ALL = {"round_trip", "fit_seed"}


@pytest.fixture(autouse=True)
def two_steps(monkeypatch):
    monkeypatch.setattr(images, "STEPS", 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "laws"),
    [
        ("gan", OF_SAMPLES | OF_ALL),
        ("kmeans", OF_SAMPLES | OF_ALL),
        ("ae", OF_CODES | OF_ALL),
        ("aae", OF_CODES | OF_SAMPLES | OF_ALL),
        ("ae+gaussian", OF_CODES | OF_SAMPLES | OF_ALL),
    ],
)
def test_each_kind_is_held_to_the_laws_that_it_can_have(method, laws):
    found = images.check_images(method)
    assert {law for law in found if not law.startswith("density.")} == laws
    assert any(law.startswith("density.") for law in found) == ("+" in method)
    assert all(law.passed for law in found.values())


def by_the_batch(self, x):
    return self.encoder(x) + x.mean()


def by_place(self, x):
    return self.encoder(x) + 0.1 * torch.arange(len(x))[:, None]


def centred(self, z):
    return torch.sigmoid(self.decoder(z - z.mean(0)))


def noisy_start(self):
    """The fault that the law must find: no seed decides these weights."""
    for parameter in self.parameters():
        parameter.data.copy_(
            torch.from_numpy(np.random.default_rng(time.perf_counter_ns()).normal(0, 0.05, tuple(parameter.shape)))
        )


def beyond_white(self, n, generator):
    return 1.5 * torch.rand(n, self.features, generator=generator)


def of_the_clock(self, n, generator):
    """The fault that the law must find: no seed decides these samples."""
    return torch.from_numpy(np.random.default_rng(time.perf_counter_ns()).random((n, self.features), dtype=np.float32))


def always_one(self, n, generator):
    return torch.full((n, self.features), 0.5)


FAULTS = {
    "a-batch-norm": ("ae", AE, "encode", by_the_batch, {"batch", "code_batch"}),
    "a-place-in-the-batch": ("ae", AE, "encode", by_place, {"batch", "code_batch", "code_permutation"}),
    "a-decoder-of-batches": ("ae", AE, "decode", centred, {"batch", "decode_batch"}),
    "an-unseeded-start": ("ae", AE, "reset_parameters", noisy_start, {"fit_seed"}),
    "pixels-beyond-white": ("gan", GAN, "draw", beyond_white, {"pixels"}),
    "unseeded-samples": ("gan", GAN, "draw", of_the_clock, {"seed", "round_trip"}),
    "one-sample": ("gan", GAN, "draw", always_one, {"seed"}),
    "a-hole-in-the-file": ("gan", Generator, "state_dict", None, {"round_trip"}),
}


@pytest.mark.parametrize(("method", "kind", "attribute", "fault", "laws"), FAULTS.values(), ids=FAULTS)
def test_a_fault_breaks_its_laws_and_no_other(monkeypatch, method, kind, attribute, fault, laws):
    if fault is None:  # what is written is not what was trained
        own = torch.nn.Module.state_dict

        def fault(self, *args, **kwargs):
            found = own(self, *args, **kwargs)
            return {name: value * 1.01 if value.ndim > 1 else value for name, value in found.items()}

        monkeypatch.setattr(images, "_fit_seed", lambda *_: images.Law.of(0.0, 0.0, ""))
    monkeypatch.setattr(kind, attribute, fault, raising=False)
    assert {name for name, law in images.check_images(method).items() if not law.passed} == laws


def test_a_weight_that_is_nan_is_not_the_same_again():
    states = [{"a": torch.zeros(2), "b": torch.tensor([1.0, value])} for value in (1.0, torch.nan)]
    one, other = (SimpleNamespace(state_dict=lambda state=state: state) for state in states)
    assert not images._fit_seed(one, other).passed
    assert images._fit_seed(one, one).passed


def test_a_broken_law_of_the_density_of_the_codes_is_told(capsys, monkeypatch):
    own = Gaussian.forward
    monkeypatch.setattr(Gaussian, "forward", lambda self, x: own(self, x) + x.mean())
    assert check.check_methods(["ae+gaussian", "train-samples"], json=False) == 1
    captured = capsys.readouterr()
    assert "law broken by ae+gaussian: density." in captured.err
    assert "train-samples" in captured.out
    assert "law broken by train-samples" not in captured.err


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("aee", "did you mean 'ae'"),
        ("ae+gausian", "did you mean 'gaussian'"),
        ("gan+lde", "no codes to fit a density to"),
        ("ae:latent=0", "latent = 0"),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_trained(monkeypatch, method, message):
    monkeypatch.setattr(Generator, "fit", lambda *a, **k: pytest.fail("trained in vain"))
    with pytest.raises(InputError, match=message):
        check.check_methods(["gan", method], json=True)
