"""Faults in the middle of a sweep: each costs one sentence, the right exit code, and nothing that was done."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import small
from test_main_job import MADE, measured

from lde_bench import files
from lde_bench.cli import main
from lde_bench.training import loop
from lde_bench.trials import density as density_trials

pytestmark = pytest.mark.slow

JOB = ("bsds300", "--source", "embedded", "--steps", "4", "--K", "1", "--methods", "gaussian", MADE, "--threads", "1")
LONG = tuple("200" if word == "4" else word for word in JOB)


@pytest.fixture(autouse=True)
def _checkpoint_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def whole(cli, records) -> dict[str, Any]:
    """The records of a sweep that nothing befell, and its weights."""
    assert cli(*JOB, "--results-dir", "whole").code == 0
    return records("whole")


def assert_equal(found: dict[str, Any], whole: dict[str, Any], folder: str = "results") -> None:
    """Every run is there, with the numbers and weights of the whole sweep to the bit, and nothing unfinished is."""
    assert found.keys() == whole.keys()
    for run_id, record in found.items():
        assert measured(record) == measured(whole[run_id])
        weights = [next(Path(name).rglob(f"{run_id}.safetensors")).read_bytes() for name in (folder, "whole")]
        assert weights[0] == weights[1]
    assert not [path for path in Path(folder).rglob("*quick-4-steps-t0*") if path.suffix in (".ckpt", ".tmp")]


def sentence(err: str) -> str:
    """The one line that is the command's own."""
    (line,) = [line for line in err.splitlines() if line.startswith("lde-bench: ")]
    assert not re.search(r"\.\)? +[(A-Z]", line), "one sentence"
    return line


@contextmanager
def forked(*arguments: str, before: Callable[[], None] = lambda: None) -> Iterator[BaseProcess]:
    """The command in a process that has all imports behind it; what it says goes to the file `err`."""

    def run() -> None:
        before()
        with Path("err").open("w") as err, redirect_stderr(err):
            code = main(arguments)
        sys.exit(code)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def file_of(descriptor: int) -> str:
    """The name that a file will have that is being written atomically."""
    return re.sub(r"^\.(.*)\.[^.]*\.tmp$", r"\1", Path(f"/proc/self/fd/{descriptor}").readlink().name)


def test_a_sweep_killed_within_each_of_its_writes_ends_as_if_it_had_not_been(cli, records, whole, here, monkeypatch):
    monkeypatch.setenv("LDE_BENCH_CACHE", str(here / "cache"))

    def kill_at(ending: str) -> None:
        def fsync(descriptor: int) -> None:
            if file_of(descriptor).endswith(ending):
                os.kill(os.getpid(), signal.SIGKILL)

        files.os.fsync = fsync

    for ending in (".h5", ".ckpt", ".safetensors", ".samples.npy", ".npy", ".json", "table.csv"):
        with forked(*JOB, before=lambda ending=ending: kill_at(ending)) as process:
            process.join(300)
            assert process.exitcode == -signal.SIGKILL, (ending, Path("err").read_text())
        done = records()
        assert all(measured(record) == measured(whole[run_id]) for run_id, record in done.items())
    outcome = cli(*JOB)
    assert (outcome.code, outcome.err.count("(done before)")) == (0, 2)
    assert_equal(records(), whole)


def test_killed_between_training_and_evaluation_it_is_not_trained_again(cli, records, whole, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(density_trials, "evaluate", stop)
        for _ in range(2):
            stopped = cli(*JOB[:-4], MADE)
            assert stopped.code == 130
            assert (
                sentence(stopped.err)
                == "lde-bench: interrupted; give the same command again, which goes on from what was kept."
            )
    resumed = cli(*JOB)
    assert resumed.code == 0
    assert "continuing from step 4 of 4" in resumed.err
    assert_equal(records(), whole)


def await_checkpoint(process: BaseProcess, folder: Path) -> None:
    """Wait until the trial of MADE MoG that a process runs has written a checkpoint."""
    deadline = time.monotonic() + 240
    while not list(folder.rglob("*made-mog*.ckpt")):
        assert process.is_alive(), Path("err").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended")]
)
def test_signals_stop_within_seconds_and_it_is_said_how_to_continue(here, records, number, code, word):
    def heed() -> None:  # a shell that runs the tests in the background has its children ignore SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with forked(*LONG, before=heed) as process:
        await_checkpoint(process, here)
        os.kill(process.pid, number)
        process.join(20)
        assert process.exitcode == code
    assert (
        sentence(Path("err").read_text())
        == f"lde-bench: {word}; give the same command again, which goes on from what was kept."
    )
    assert [record["method"] for record in records().values()] == ["gaussian"]
    assert list(here.rglob("*made-mog*.ckpt")), "what it continues from"
    assert not list(here.rglob("*.tmp"))


def test_a_truncated_checkpoint_costs_a_sentence_and_time(cli, records, whole, monkeypatch, here):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(density_trials, "evaluate", stop)
        cli(*JOB[:-4], MADE)
    (checkpoint,) = here.rglob("*.ckpt")
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    outcome = cli(*JOB)
    assert outcome.code == 0
    assert outcome.err.count("starts again from its first step") == 1
    assert_equal(records(), whole)


def test_a_disk_that_fills_up_in_the_middle_stops_the_sweep_and_keeps_what_is_done(cli, records, whole, monkeypatch):
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if re.search(r"made-mog.*\.safetensors", file_of(descriptor)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        outcome = cli(*JOB)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "made-mog" in sentence(outcome.err)
    assert "the disk is full" in sentence(outcome.err)
    assert [record["method"] for record in records().values()] == ["gaussian"]
    assert cli(*JOB).code == 0
    assert_equal(records(), whole)


@pytest.mark.parametrize(("options", "told"), [("size=1m", "the disk is full"), ("size=1m,ro", "no permission")])
def test_a_full_or_read_only_disk_is_told_before_training(here, options, told):
    (here / "results").mkdir()
    mount = f"mount -t tmpfs -o {options} tmpfs results"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("NOT TESTED ON A FULL DISK: this user may not mount one")
    command = f'{mount} && "$0" "$@"; code=$?; ls -A results; exit $code'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, sys.executable, small.__file__, "0", *JOB],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert told in sentence(done.stderr)
    assert set(done.stdout.split()) <= {".locks"}


def test_a_results_folder_that_goes_in_the_middle_is_made_again_or_told_of(cli, here, records):
    with forked(*LONG) as process:
        await_checkpoint(process, here)
        shutil.move(here / "results", here / "gone")
        process.join(300)
    said = Path("err").read_text()
    assert process.exitcode in (0, 2), said
    if process.exitcode == 2:
        assert "vanished" in sentence(said)
    assert [record["method"] for record in records("gone").values()] == ["gaussian"]
    assert cli(*LONG).code == 0
    assert {record["status"] for record in records().values()} == {"done"}
    merged = cli("merge", "gone", "results", "--into", "both")
    assert merged.code == 0, merged.err


def test_a_clock_that_runs_backwards_changes_nothing(cli, records, whole, monkeypatch):
    start = time.time()
    calls = iter(range(10**9))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: start - 3600 * next(calls))
        assert cli(*JOB).code == 0
    assert_equal(records(), whole)
    for record in records().values():
        assert 0 < record["cost"]["wall_seconds"] < 600
    for path in Path("results").rglob("*"):
        os.utime(path, (2e9, 2e9))
    again = cli(*JOB)
    assert (again.code, again.err.count("(done before)")) == (0, 2)


def test_records_from_elsewhere_without_their_weights_still_count(cli, records, whole):
    for path in Path("whole").rglob("*.safetensors"):
        path.unlink()
    before = {path: path.read_bytes() for path in Path("whole").rglob("*.json")}
    again = cli(*JOB, "--results-dir", "whole")
    assert (again.code, again.err.count("(done before)")) == (0, 2)
    assert {path: path.read_bytes() for path in Path("whole").rglob("*.json")} == before
    run_id = next(run_id for run_id, record in whole.items() if record["method"] == MADE)
    refused = cli("sample", run_id, "--results-dir", "whole")
    assert refused.code == 2
    assert "the weights of this record are not beside it" in sentence(refused.err)
    symmetric = cli(*JOB[:-4], "made-mog+sym:hidden=256", "--results-dir", "whole")
    assert symmetric.code == 0, symmetric.err
    assert {path: path.read_bytes() for path in before} == before
