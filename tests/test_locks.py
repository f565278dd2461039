from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from lde_bench import locks
from lde_bench.locks import LEASES, FolderLocks, flock_works


def hold(folder: Path, seconds: float, taken) -> None:
    locks.LEASE_SECONDS = seconds
    with FolderLocks(folder).hold("run", wait=False) as held:
        assert held
        taken.set()
        time.sleep(60)


@contextmanager
def holder(folder: Path, seconds: float = 60) -> Iterator[BaseProcess]:
    """Another process that holds the lock `run`."""
    context = multiprocessing.get_context("spawn")
    taken = context.Event()
    process = context.Process(target=hold, args=(folder, seconds, taken))
    process.start()
    try:
        assert taken.wait(60)
        yield process
    finally:
        process.kill()
        process.join()


def is_free(folder: Path, name: str = "run", *, wait: bool = False) -> bool:
    with FolderLocks(folder).hold(name, wait=wait) as held:
        return held


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    (tmp_path / LEASES).touch()
    return tmp_path


def test_where_flock_works_the_system_keeps_the_locks(tmp_path):
    assert flock_works(tmp_path)
    with FolderLocks(tmp_path).hold("run") as held:
        assert held
        assert not is_free(tmp_path)
        assert is_free(tmp_path, "other")
    assert is_free(tmp_path)
    assert not (tmp_path / LEASES).exists()


def refused(handle, operation) -> None:
    raise OSError(37, "No locks available")


@pytest.mark.parametrize("flock", [refused, lambda handle, operation: None], ids=["refused", "granted-twice"])
def test_where_flock_does_not_work_all_processes_take_leases(tmp_path, monkeypatch, flock):
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        assert not flock_works(tmp_path)
        assert is_free(tmp_path)
    assert (tmp_path / LEASES).exists()
    with FolderLocks(tmp_path).hold("run"):  # a machine where it does work
        assert (tmp_path / "run.lease").exists()
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


@pytest.mark.parametrize(
    ("mount", "works"),
    [
        ("server:/home {} nfs4 rw,vers=4.2,local_lock=none 0 0", True),
        ("server:/home {} nfs rw,vers=3,nolock,local_lock=all 0 0", False),
        ("mds@tcp:/scratch {} lustre rw,localflock 0 0", False),
        ("server:/home {} nfs rw,nolock 0 0\n/dev/sda {}/locks ext4 rw 0 0", True),
    ],
)
def test_a_network_mount_with_local_locks_is_not_trusted(tmp_path, mount, works):
    folder = tmp_path / "locks"
    folder.mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/root / ext4 rw 0 0\n" + mount.format(tmp_path, tmp_path) + "\n")
    assert flock_works(folder, mounts) == works


@pytest.mark.slow
def test_a_lease_names_its_holder_and_is_free_when_that_was_killed(leases):
    with holder(leases) as process:
        marker = (leases / "run.lease").read_text()
        assert str(process.pid) in marker
        assert os.uname().nodename in marker
        assert not is_free(leases)
        process.kill()
        process.join()
        assert is_free(leases, wait=True)


@pytest.mark.slow
def test_a_lease_is_kept_by_its_heartbeat_and_taken_over_without(leases, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 5.0)
    with holder(leases, seconds=5.0) as process:
        waiting = FolderLocks(leases)
        deadline = time.monotonic() + 7
        while time.monotonic() < deadline:
            with waiting.hold("run", wait=False) as held:
                assert not held, "its holder lives and touches it"
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGSTOP)  # as a machine that no longer answers
        assert is_free(leases, wait=True)


@pytest.mark.slow
def test_a_lease_of_a_machine_that_is_gone_is_taken_over_by_who_asks_now_and_then(leases, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    marker, asking = leases / "run.lease", FolderLocks(leases)
    with FolderLocks(leases).hold("run"):
        content = marker.read_text()
    marker.write_text(content.replace(os.uname().nodename, "another-machine"))
    asked: list[bool] = []
    deadline = time.monotonic() + 30
    while not any(asked) and time.monotonic() < deadline:
        with asking.hold("run", wait=False) as held:
            asked.append(held)
        time.sleep(0.2)
    assert asked[0] is False
    assert asked[-1] is True


def test_a_clock_set_back_holds_nobody_up(leases, monkeypatch):
    marker = leases / "run.lease"
    with FolderLocks(leases).hold("run"):
        os.utime(marker, (2e9, 2e9))  # touched in the far future
    assert is_free(leases)


def test_locks_in_a_folder_that_is_gone_are_let_go(tmp_path):
    for mark in (False, True):
        folder = tmp_path / f"locks-{mark}"
        folder.mkdir()
        if mark:
            (folder / LEASES).touch()
        with FolderLocks(folder).hold("run"):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        assert not folder.exists()


def test_who_took_locks_of_the_system_takes_leases_once_another_has_decided_so(tmp_path):
    early, late = FolderLocks(tmp_path), FolderLocks(tmp_path)
    with early.hold("before") as held:
        assert held
    (tmp_path / LEASES).touch()
    with late.hold("run"), early.hold("run", wait=False) as held:
        assert not held
