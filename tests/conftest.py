"""What all tests share: one thread of arithmetic, the real photographs where they are at hand, and weights of VGG19."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

# Of the processes that pytest-xdist and the tests start, which inherit it; this one has loaded its libraries.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REAL_DATA = os.environ.get("LDE_BENCH_DATA")  # read before any test hides it


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """The networks of tests are tiny: a second thread costs more than it brings, and figures depend on the count."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data."""
    from lde_bench.data import bsds300

    if not REAL_DATA or bsds300.find(Path(REAL_DATA)) is None:
        pytest.skip("NOT TESTED ON REAL DATA: set LDE_BENCH_DATA to the folder that holds bsds300/")
    return Path(REAL_DATA)


@pytest.fixture
def vgg_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Made-up weights of VGG19 that pass for torchvision's; neither the user's files nor the network are there."""
    from lde_bench.data.base import content_hash
    from lde_bench.features import kept, vgg19, vgg19_weights

    generator = np.random.default_rng(0)
    channels = (3, 64, 64, 128, 128, 256)
    weights = {}
    for layer, deep, wide in zip(vgg19_weights.LAYERS, channels[:-1], channels[1:], strict=True):
        # He's initialisation, so that no layer dies or grows.
        kernels = generator.normal(0, np.sqrt(2 / (9 * deep)), (wide, deep, 3, 3))
        weights[f"{layer}.weight"] = kernels.astype(np.float32)
        weights[f"{layer}.bias"] = generator.normal(0, 0.1, wide).astype(np.float32)
    monkeypatch.setattr(vgg19_weights, "CONTENT_SHA256", content_hash(weights))
    monkeypatch.setattr(vgg19_weights, "URLS", ("http://127.0.0.1:9/none.pth",))  # the discard port: nothing answers
    monkeypatch.setattr(vgg19, "_named", None)
    monkeypatch.setattr(kept, "_cache_dir", None)
    monkeypatch.setenv("LDE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("LDE_BENCH_DATA", raising=False)
    vgg19._network.cache_clear()
    yield weights
    vgg19._network.cache_clear()


@pytest.fixture
def vgg_file(vgg_weights: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """They as an .npz file."""
    path = tmp_path / "own.npz"
    np.savez(path, **vgg_weights)
    return path


@pytest.fixture(scope="session")
def real_vgg_weights() -> dict[str, np.ndarray]:
    """torchvision's own weights."""
    from lde_bench.features.vgg19_weights import load_weights

    found = next(iter((Path(REAL_DATA or "nowhere") / "vgg19").glob("vgg19*")), None)
    if found is None:
        pytest.skip("NOT TESTED ON REAL WEIGHTS: set LDE_BENCH_DATA to the folder that holds vgg19/")
    return load_weights(found)
