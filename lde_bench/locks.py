"""Locks by name that processes of one or of several machines hold against each other, in a folder that all of them see.

Where the file system knows `flock`, the system keeps the locks, and lets go of those of a process that dies. On network
file systems it may be refused, or granted on two machines at once: there a lock is a file made by exclusive creation
that names host and process of its holder, who touches it every few seconds (`filelock.SoftFileLease`). One of a process
that died on this machine is taken over at once, one from elsewhere when it was not touched for `LEASE_SECONDS` by the
clock of whoever waits, so that clocks need not agree.

A holder that was halted for longer than that may find that another took over. Both then run the same trial, and of two
records of one run the first stands. The files beside it are those of whoever wrote last: where its bits differ, as on
another kind of machine, they are not those that the record names by their hash, and are refused until the trial is run
again elsewhere; its figures stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import filelock

from lde_bench.files import describe_os_error, ensure_folder

#: A lease that was not touched for so long is nobody's.
LEASE_SECONDS = 60.0

#: In a folder of locks: whoever comes takes leases there, also on a machine where `flock` seems to work.
LEASES = "leases"

#: Network file systems, by the name of the kernel, and the options by which one grants locks to its own machine alone.
_NETWORK = ("nfs", "nfs4", "lustre", "cifs", "smb3", "beegfs", "fuse")
_LOCAL_OPTIONS = ("nolock", "local_lock=all", "local_lock=flock", "localflock", "nobrl")


class FolderLocks:
    """The locks of a folder.

    Args:
        folder: is made when the first lock is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Leases that others held when they were last asked for: how long one was not touched is seen from one asking
        #: to the next, by the object that asks.
        self._watched: dict[str, filelock.SoftFileLease] = {}

    @contextlib.contextmanager
    def hold(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock `name` against every other process; yields whether it is held.

        With `wait=False` it yields False at once when another process holds it. A process that is killed lets go.

        Raises:
            StorageError: the folder cannot be written to.
        """
        ensure_folder(self.folder)
        try:
            held = self._lock(name)
            held.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            if isinstance(held, filelock.SoftFileLease):
                self._watched[name] = held
            yield False
            return
        except OSError as error:
            raise describe_os_error(error, self.folder) from error
        try:
            yield True
        finally:
            with contextlib.suppress(FileNotFoundError):  # the folder is gone, and the lock with it
                held.release()

    @property
    def _leases(self) -> bool:
        """Whether leases are taken here: whoever finds that `flock` cannot be relied on decides so for all, for those
        too who have asked before.
        """
        mark = self.folder / LEASES
        if not mark.exists() and not self._flock_works:
            mark.touch()
        return mark.exists()

    @cached_property
    def _flock_works(self) -> bool:
        return flock_works(self.folder)

    def _lock(self, name: str) -> filelock.BaseFileLock:
        """The lock of that name, not yet acquired."""
        if not self._leases:
            return filelock.FileLock(self.folder / f"{name}.lock")
        if (watched := self._watched.pop(name, None)) is not None:
            return watched
        return filelock.SoftFileLease(self.folder / f"{name}.lease", lease_duration=LEASE_SECONDS)


def flock_works(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether `flock` in a folder keeps two holders apart, on this machine and, as far as that can be known, on all.

    It is tried; and a network file system that is mounted with locks of its own machine alone is believed.

    Args:
        folder: is there, and can be written to.
        mounts: the table of the mounted file systems, where the system has one.

    Raises:
        OSError: the folder cannot be written to.
    """
    if _grants_locally(folder, mounts):
        return False
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".flock-") as one, Path(one.name).open("rb") as other:
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # not supported, or no lock daemon
            return False
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _grants_locally(folder: Path, mounts: Path) -> bool:
    """Whether the file system of a folder is of the network and says that its locks are not."""
    folder = folder.resolve()
    try:
        table = [line.split()[1:4] for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    # Of the mounts that hold the folder the innermost, and of several at one place the last, is the one that is seen.
    around = [entry for entry in table if folder.is_relative_to(entry[0].replace("\\040", " "))]
    if not around:
        return False
    length = max(len(entry[0]) for entry in around)
    kind, options = [entry[1:] for entry in around if len(entry[0]) == length][-1]
    return kind.startswith(_NETWORK) and not set(_LOCAL_OPTIONS).isdisjoint(options.split(","))
