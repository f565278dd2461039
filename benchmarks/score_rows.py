"""`lde-bench score` on ever more rows: how many a second, and the memory of its processes at their peak.

    python benchmarks/score_rows.py --rows 100000 1000000 10000000

The rows are made up, [n, 63] of float32, in one .h5 that is written in blocks. The memory is what the kernel reports of
the largest of the processes; flat in the number of rows is what it should be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from short_runs import positive

import lde_bench as lb

FEATURES, BLOCK = 63, 100_000

#: How often memory is read, in seconds.
LOOK = 0.2


def write_rows(path: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        rows = file.create_dataset("rows", (count, FEATURES), np.float32)
        for start in range(0, count, BLOCK):
            rows[start : start + BLOCK] = 0.1 * generator.standard_normal((min(BLOCK, count - start), FEATURES))


def peak_bytes(pids: list[int]) -> int:
    """The largest peak of the private and shared memory of these processes, of those that still run."""
    peaks = []
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        peaks += [1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return max(peaks, default=0)


def measure(weights: Path, data: Path, rows: int, workers: int) -> None:
    out = data.with_suffix(".npy")
    out.unlink(missing_ok=True)
    job = ("score", str(weights), "--data", str(data), "-o", str(out), "--workers", str(workers))
    start, peak = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-m", "lde_bench", *job], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            pids = [process.pid, *map(int, children.read_text().split())] if children.exists() else []
            peak = max(peak, peak_bytes(pids))
            time.sleep(LOOK)
    took = time.perf_counter() - start
    assert process.returncode == 0
    assert np.load(out, mmap_mode="r").shape == (rows,)
    print(f"{rows:>12,} rows, {workers} workers: {took:8.1f} s, {rows / took:10,.0f}/s, peak {peak / 2**20:,.0f} MiB")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=positive(int), nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--workers", type=positive(int), nargs="+", default=[2])
    parser.add_argument("--method", default="made-mog:hidden=256")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.safetensors"
        lb.create(asked.method, FEATURES).save(weights)
        for rows in asked.rows:
            data = Path(folder) / "rows.h5"
            write_rows(data, rows)
            for workers in asked.workers:
                measure(weights, data, rows, workers)


if __name__ == "__main__":
    main()
