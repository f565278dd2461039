"""How much memory and how many cores there are to be had: asked before an array is made that cannot fit."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from lde_bench.errors import InputError

#: What torch says on Windows, on Linux and macOS, and of a GPU.
_TORCH_SAYS = ("not enough memory", "can't allocate memory", "out of memory")

#: Names of glibc's <malloc.h>, and the values that its own adaptation ends at: 32 MiB, and twice that.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _LARGEST = -1, -3, 32 << 20


def usable_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def group_limits(process: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Limits in bytes of the control groups of Linux that this process is in, one inside the other.

    Args:
        process: names its groups, a line for each hierarchy: version 2 has one, version 1 one for memory.
        root: where the hierarchies are mounted; in a container, that of the container's own group.
    """
    with contextlib.suppress(OSError):
        for line in process.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if not controllers:
                mounted, name = root, "memory.max"
            elif "memory" in controllers.split(","):
                mounted, name = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            inner = mounted / place.lstrip("/")
            for folder in (each for each in (inner, *inner.parents) if each.is_relative_to(mounted)):
                with contextlib.suppress(OSError, ValueError):  # one that is mounted elsewhere, or says `max`
                    yield int((folder / name).read_text())


def usable_memory() -> int | None:
    """Bytes of memory that this process may have, of the machine or of a container or job; None if nothing says."""
    machine = physical_memory()
    return min([*([] if machine is None else [machine]), *group_limits()], default=None)


def check_memory(what: str, size: int, remedy: str) -> None:
    """Refuse what cannot fit: an allocation that the system only promises ends the process when it is used.

    Args:
        what: is made, with a plural verb's subject: `9 samples of 784 numbers`.
        size: bytes that it takes.
        remedy: what to do instead, the end of the sentence.

    Raises:
        InputError: `size` is more than the memory that there is.
    """
    most = usable_memory()
    if most is not None and size > most:
        raise InputError(f"{what} take {size / 1e9:,.0f} GB, and there are {most / 1e9:,.0f} GB; {remedy}")


def keep_freed_memory() -> None:
    """Have the C library keep what tensors leave for the next ones, as glibc learns to do by itself where it may.

    Dask starts workers with `MALLOC_TRIM_THRESHOLD_`, which ends that learning: each tensor of more than 128 KiB is
    then mapped anew, page by page, which costs a training step a third more CPU. Other C libraries stay as they are.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch says so by a RuntimeError."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH_SAYS)
    )
