"""How fast patches are prepared, drawn afresh and flipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from races import Timing

from lde_bench.data import Dataset, load_dataset
from lde_bench.data.bsds300 import COUNTS as BSDS300
from lde_bench.data.natural8x8 import COUNTS as NATURAL8X8
from lde_bench.data.patches import apply_symmetries

PREPARATION_SECONDS = 15
DRAWN = 20_000

EVERY_DATASET = pytest.mark.parametrize("name", ["natural8x8", pytest.param("bsds300", marks=pytest.mark.real_data)])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


def load(name: str, cache: Path) -> Dataset:
    """Some rows; the whole dataset is prepared into `cache` where that has not been done."""
    if name == "bsds300" and not os.environ.get("LDE_BENCH_DATA"):
        pytest.skip("NOT MEASURED: set LDE_BENCH_DATA to the folder that holds bsds300/images")
    return load_dataset(name, cache_dir=cache, train=DRAWN, validation=1, test=1)


@EVERY_DATASET
def test_preparation(timing: Timing, name: str, cache: Path) -> None:
    """Photographs decoded, patches cut, dequantised, hashed and written."""
    assert not list(cache.glob(f"{name}*")), "it has been prepared before, so there is nothing to time"
    total = sum((BSDS300 if name == "bsds300" else NATURAL8X8).values())
    target = total / PREPARATION_SECONDS if name == "bsds300" else None
    timing.rate(f"{name}: {total:,} prepared", lambda: load(name, cache), total, rounds=1, target=target)


@EVERY_DATASET
def test_drawing_afresh(timing: Timing, name: str, cache: Path) -> None:
    fresh = load(name, cache).fresh
    assert fresh is not None
    rng = np.random.default_rng(0)
    timing.rate(f"{name}: drawn afresh", lambda: fresh.draw(DRAWN, rng), DRAWN, rounds=15)


def test_symmetries(timing: Timing, cache: Path) -> None:
    patches = np.asarray(load("natural8x8", cache).train)
    which = np.random.default_rng(0).integers(0, 8, len(patches))
    timing.rate("flips and rotations", lambda: apply_symmetries(patches, which), len(patches), rounds=15)
