"""What all tests share: one thread of arithmetic, and the real photographs where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

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
