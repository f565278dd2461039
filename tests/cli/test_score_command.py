"""`lde-bench score` and `merge` through the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import lde_bench as lb

MAIN = (sys.executable, "-m", "lde_bench")


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def stop(command: tuple[str, ...], number: signal.Signals, grown_beyond: int) -> subprocess.CompletedProcess[str]:
    """Send a signal once there is a partial file of more bytes; all processes are gone soon after."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size > grown_beyond for path in Path().glob(".out.npy.*.partial")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(workers) > 1
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.slow
def test_scoring_that_was_stopped_or_killed_continues_to_the_same_bytes(cli, here):
    density = lb.create("made-mog:hidden=256", 3, components=2)
    density.save("model.safetensors")
    rows = np.random.default_rng(0).normal(size=(400_000, 3)).astype(np.float32)
    np.save("rows.npy", rows)
    job = ("score", "model.safetensors", "--data", "rows.npy", "-o", "out.npy", "--workers", "2")
    ended = stop((*MAIN, *job), signal.SIGTERM, 200)
    assert (ended.returncode, ended.stdout) == (143, "")
    assert ended.stderr.splitlines() == [
        "lde-bench: ended; give the same command again, which goes on from what was kept."
    ]
    (partial,) = here.glob(".out.npy.*.partial")
    killed = stop((*MAIN, *job), signal.SIGKILL, partial.stat().st_size)
    assert killed.returncode == -signal.SIGKILL
    done = cli(*job[:-2])
    assert done.code == 0
    assert "continued from row" in done.err
    assert np.load("out.npy").tobytes() == density.log_prob(rows).tobytes()
    assert not list(here.glob(".*"))


@pytest.mark.slow
def test_a_record_is_scored_by_the_weights_beside_it_and_merged_with_them(cli, here):
    assert cli("bsds300", "--source", "embedded", "--methods", "gaussian", "--results-dir", "a").code == 0
    (record,) = here.glob("a/bsds300/**/*.json")
    items = np.load(record.with_suffix(".npy"))
    data = lb.load_dataset("natural8x8")
    np.save("rows.npy", data.test)
    merged = cli("merge", "a", "--into", "b")
    assert (merged.code, merged.out) == (0, "")
    assert "merged into b: 1 runs" in merged.err
    outcome = cli("score", record.stem, "--results-dir", "b", "--data", "rows.npy", "-o", "out.npy")
    assert (outcome.code, outcome.out) == (0, "")
    np.testing.assert_allclose(np.load("out.npy"), items, rtol=1e-6)
    next(here.glob("b/**/*.safetensors")).unlink()
    refused = cli("score", record.stem, "--results-dir", "b", "--data", "rows.npy", "-o", "other.npy")
    assert refused.code == 2
    assert "the weights of this record are not beside it" in refused.err
    assert not Path("other.npy").exists()


def test_score_writes_npy_alone(cli):
    outcome = cli("score", "model.safetensors", "--data", "rows.npy", "-o", "out.csv")
    assert outcome.code == 2
    assert "written as .npy" in outcome.err


def test_a_window_around_samples_is_scored_and_asks_for_its_width(cli, here):
    np.save("samples.npy", np.zeros((4, 2)))
    np.save("rows.npy", np.zeros((3, 2)))
    assert cli("score", "samples.npy", "--data", "rows.npy", "--sigma", "0.5", "-o", "out.npy").code == 0
    np.testing.assert_allclose(np.load("out.npy"), -np.log(2 * np.pi * 0.25), rtol=1e-12)
    for path in ("samples.npy", "rows.npy"):
        before = Path(path).read_bytes()
        outcome = cli("score", "samples.npy", "--data", "rows.npy", "--sigma", "0.5", "-o", path)
        assert outcome.code == 2
        assert "log-likelihoods would take" in outcome.err
        assert Path(path).read_bytes() == before
    for wrong in (("samples.npy",), ("m.safetensors", "--sigma", "1"), ("samples.npy", "--sigma", "1", "--float64")):
        outcome = cli("score", *wrong, "--data", "rows.npy", "-o", "other.npy")
        assert outcome.code == 2
        assert "--sigma" in outcome.err
    assert not Path("other.npy").exists()
