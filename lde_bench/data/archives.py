"""Files that somebody else wrote, read with suspicion: NumPy's .npz, HDF5, and MATLAB's .mat.

Whatever is wrong with such a file (cut short, a byte flipped, encrypted, packed by an unknown method, a header that
asks for terabytes, open in another program) is one `InputError` of one sentence, raised before memory is taken for it.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from lde_bench.errors import InputError
from lde_bench.memory import check_memory

_PIECE = 1 << 20  # bytes that are unpacked at once
_MOST_NAMES = 20  # of a file's arrays, told where one is missing
_OF_RIGHTS = (errno.EACCES, errno.EPERM)

log = logging.getLogger(__name__)


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever a parser raises over the bytes of `path` into one sentence that ends in `remedy`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: holds more than fits into the memory of this machine; {remedy}") from error
    except Exception as error:  # over damaged bytes a parser may raise anything
        if _is_open_elsewhere(error):
            raise InputError(
                f"{path}: another program has this file open for writing, or ended without closing it; close it there, "
                "or copy the file and give the copy."
            ) from error
        if isinstance(error, OSError) and error.errno in _OF_RIGHTS:
            raise InputError(f"{path}: cannot be read ({os.strerror(error.errno)}); check its rights.") from error
        raise InputError(f"{path}: cannot be read ({_reason(error)}); {remedy}") from error


def _reason(error: Exception) -> str:
    """The first line of a message as a part of a sentence."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:160].strip().rstrip(".").replace(". ", "; ")


def read_npz(
    path: Path, required: Iterable[str], optional: Iterable[str] = (), *, remedy: str
) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by name: those `required`, and those `optional` that are there.

    Raises:
        InputError: the file cannot be read, lacks an array, or holds Python objects, which are never unpickled.
    """
    with reading(path, remedy):
        with path.open("rb") as handle:  # by its name, a file that may not be read would be no archive
            if not zipfile.is_zipfile(handle):
                raise InputError(f"{path}: is no whole .npz archive; {remedy}")
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            arrays = {}
            for name in present(path, members, required, remedy, optional):
                with archive.open(members[name]) as stream:
                    arrays[name] = _read_npy(stream, members[name].file_size, f"{path}: '{name}'", remedy)
            return arrays


def _read_npy(stream: IO[bytes], stored: int, what: str, remedy: str) -> np.ndarray:
    """One array in NumPy's format from a stream of `stored` bytes, which its header must agree with."""
    shape, column_major, dtype = npy_header(stream, what)
    size, there = math.prod(shape) * dtype.itemsize, stored - stream.tell()
    if size != there:
        raise ValueError(f"its header tells of {size:,} bytes where {there:,} are stored")
    check_memory(f"{what}: its numbers", size, remedy)
    array = np.empty(math.prod(shape), dtype)
    raw = array.view(np.uint8)
    for start in range(0, size, _PIECE):
        piece = stream.read(min(_PIECE, size - start))
        if len(piece) < min(_PIECE, size - start):
            raise EOFError("it ends before its numbers do")
        raw[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
    stream.read(1)  # at its end the archive's checksum is compared
    return array.reshape(shape, order="F" if column_major else "C")


def npy_header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether column after column is stored, and type of an array in NumPy's format, whose numbers are next.

    Raises:
        InputError: it holds Python objects.
        ValueError: it is no such array.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, column_major, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, column_major, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"an array in format {version}, which holds no plain numbers")
    if dtype.hasobject:
        raise InputError(f"{what} holds Python objects, which are not read; save arrays of numbers.")
    return shape, column_major, dtype


def open_hdf5(path: Path) -> Any:
    """An `h5py.File` to read, also where another process has locked it, or the file system knows no locks.

    A file that another program has open is read as far as it is written, with a warning.

    Raises:
        OSError: what h5py raises over a file that it cannot read.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "lock file" not in str(error):
            raise
        file = h5py.File(path, "r", locking=False)
        if isinstance(error, BlockingIOError):
            log.warning("%s: another program has this file open; what it has not yet written is not read.", path)
        return file


def _is_open_elsewhere(error: Exception) -> bool:
    """Whether HDF5 refuses a file because of the mark that a writer leaves in it until it closes it."""
    return isinstance(error, OSError) and "already open for" in str(error)


def read_hdf5(
    path: Path, required: Iterable[str], optional: Iterable[str] = (), *, remedy: str
) -> dict[str, np.ndarray]:
    """The arrays of an HDF5 file by name: those `required`, and those `optional` that are there.

    Raises:
        InputError: the file cannot be read, lacks an array, or asks for more memory than there is.
    """
    import h5py

    with reading(path, remedy), open_hdf5(path) as file:
        members = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        names = present(path, members, required, remedy, optional)
        return {name: _read_dataset(members[name], f"{path}: '{name}'", remedy) for name in names}


def _read_dataset(item: Any, what: str, remedy: str) -> np.ndarray:
    check_memory(f"{what}: its numbers", math.prod(item.shape or ()) * item.dtype.itemsize, remedy)
    return np.asarray(item[()])


def read_mat(path: Path, required: Iterable[str], *, remedy: str) -> dict[str, np.ndarray]:
    """The full arrays of a MATLAB file by name, with the axes in MATLAB's order.

    Versions 4 to 7 are read by SciPy; 7.3 is HDF5 with the axes reversed.

    Raises:
        InputError: the file cannot be read, lacks an array, or holds it sparse or as something else than an array.
    """
    import h5py
    from scipy.io import loadmat

    names = list(required)
    with reading(path, remedy):
        if h5py.is_hdf5(path):
            with open_hdf5(path) as file:
                return {
                    name: _read_mat73(path, name, file[name], remedy) for name in present(path, file, names, remedy)
                }
        content = loadmat(path, variable_names=names)
        there = [name for name in content if not name.startswith("__")]
        return {name: _full(path, name, content[name]) for name in present(path, there, names, remedy)}


def _read_mat73(path: Path, name: str, item: Any, remedy: str) -> np.ndarray:
    import h5py

    whole = _read_dataset(item, f"{path}: '{name}'", remedy) if isinstance(item, h5py.Dataset) else None
    return _full(path, name, whole).T


def _full(path: Path, name: str, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise InputError(f"{path}: '{name}' is no full array; save full({name}) in its place.")
    return value


def present(
    path: Path, there: Iterable[str], required: Iterable[str], remedy: str, optional: Iterable[str] = ()
) -> list[str]:
    """The names to read: all that are required, and of the optional ones those that are there."""
    names, needed = set(there), list(required)
    for name in needed:
        if name not in names:
            told = [*sorted(names)[:_MOST_NAMES], *(["and others"] if len(names) > _MOST_NAMES else [])]
            holds = "".join(c if c.isprintable() else "?" for c in ", ".join(told)) or "nothing"
            raise InputError(f"{path}: the array '{name}' is missing (it holds {holds}); {remedy}")
    return [*needed, *(name for name in optional if name in names)]
