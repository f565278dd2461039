"""A stand-in for the 300 photographs: right names and numbers of files, tiny content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lde_bench.data import bsds300, natural8x8


@pytest.fixture(scope="session")
def small_photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read-only root holding bsds300/images/{train,test} with 300 small JPEGs."""
    from PIL import Image

    root = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    number = 1000
    for split, count in bsds300.PHOTOGRAPHS.items():
        folder = root / "bsds300" / "images" / split
        folder.mkdir(parents=True)
        for _ in range(count):
            shape = (12 + number % 5, 10 + number % 7, 3)
            image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
            image.save(folder / f"{number}.jpg", quality=95)
            number += 1
    return root


@pytest.fixture
def few_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both photograph datasets prepare a few thousand patches only."""
    monkeypatch.setattr(bsds300, "COUNTS", {"train": 3000, "validation": 500, "test": 1000})
    monkeypatch.setattr(natural8x8, "COUNTS", {"train": 3000, "validation": 500, "test": 1000})


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads the user's cache or data folder, nor the network unless it sets it up itself."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LDE_BENCH_CACHE", str(folder))
    monkeypatch.setattr(bsds300, "URLS", ("http://127.0.0.1:9/none.tgz",))  # the discard port: nothing answers
    monkeypatch.delenv("LDE_BENCH_DATA", raising=False)
    return folder
