"""The default preparation of the real BSDS300: needs `LDE_BENCH_DATA`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from lde_bench.data import bsds300, load_dataset
from lde_bench.data.base import Dataset
from lde_bench.data.patches import FEATURES, complete

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

#: Of the default sizes, seed 0; the bytes are the same on every machine.
CONTENT_HASH = "e241f45ae1a5b194a395919faf29af306efbd50f7b57ff33474812218bb45624"


#: Runs a script and prints its peak of memory: that of getrusage is also one of the process that started it.
PEAK = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("peak", next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def written(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file the recipe script writes, within the promised time and memory."""
    path = tmp_path_factory.mktemp("recipe") / "patches.h5"
    command = [sys.executable, "-c", PEAK, "data_prep/bsds300.py", "--data-dir", data_dir, "--out", path]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert "the official files" in done.stdout
    assert "NOT" not in done.stdout
    kilobytes = int(done.stdout.split("peak")[-1])
    print(f"prepared in {seconds:.1f} s, {kilobytes / 1e6:.2f} GB peak")
    assert seconds < 15
    assert kilobytes < 1.5e6
    return path


@pytest.fixture(scope="module")
def data(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("bsds300", data_dir=data_dir, cache_dir=tmp_path_factory.mktemp("real"))


def test_the_recipe_script_writes_what_the_program_loads(written, data):
    with h5py.File(written) as file:
        assert file.attrs["content_hash"] == data.content_hash == CONTENT_HASH
        np.testing.assert_array_equal(file["test"][-100:], data.test[-100:])


def test_sizes_groups_and_sums_are_those_of_the_protocol(data):
    assert data.sizes == bsds300.COUNTS
    assert [len(np.unique(g)) for g in (data.train_groups, data.validation_groups, data.test_groups)] == [180, 20, 100]
    assert np.abs(complete(data.test).sum(axis=1, dtype=np.float64)).max() < 1e-6
    assert np.unique(data.test_groups[:1000], return_counts=True)[1].tolist() == [10] * 100


def test_a_full_covariance_gaussian_scores_between_95_9_and_97_nats(data):
    train = data.train.astype(np.float64)
    mean, factor = train.mean(axis=0), np.linalg.cholesky(np.cov(train, rowvar=False))
    white = np.linalg.solve(factor, (data.test - mean).T)
    constant = np.log(np.diag(factor)).sum() + 0.5 * FEATURES * np.log(2 * np.pi)
    log_prob = -0.5 * (white**2).sum(axis=0) - constant
    print(f"one full-covariance Gaussian: {log_prob.mean():.3f} nats")
    assert 95.9 < log_prob.mean() < 97.0
