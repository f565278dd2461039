"""An array [n, D] in a file of any size, of which rows are read as they are asked for."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lde_bench.data.archives import npy_header, open_hdf5, present, reading
from lde_bench.data.user_file import HDF5
from lde_bench.errors import InputError

#: Of the header of a member of a zip archive: its fixed part, and where in it the lengths of what follows stand.
_ZIP_HEADER, _ZIP_LENGTHS = 30, slice(26, 30)

_REMEDY = "save the array again, e.g. with numpy.save."


@dataclass(frozen=True)
class RowFile:
    """An array [n, D] in an .npy, an .npz that is not compressed, or an HDF5 file.

    It can be sent to another process. The file is opened for each slice, so that the system counts no page of it as
    memory of the process for longer.

    Attributes:
        path: of the file.
        key: the name of the array in an .npz or HDF5 file.
        shape: (n, D).
        dtype: of the numbers in the file.
        offset: where the numbers of an array in NumPy's format begin; None in an HDF5 file.
        column_major: whether they are stored column after column.
    """

    path: Path
    key: str | None
    shape: tuple[int, int]
    dtype: np.dtype
    offset: int | None = None
    column_major: bool = False

    @classmethod
    def open(cls, path: Path, key: str | None = None) -> RowFile:
        """Find the array; without `key` it is the only one of the file.

        Raises:
            InputError: the file is absent or cannot be read, there is no such array, several are meant, it is no matrix
                of numbers, or it is compressed in an .npz.
        """
        kind = path.suffix.lower()
        if kind not in (".npy", ".npz", *HDF5):
            raise InputError(f"{path}: is neither .npy, .npz nor .h5; save the rows [n, D] as one, e.g. by numpy.save.")
        if not path.is_file():
            raise InputError(f"{path}: there is no such file; give an .npy, .npz or .h5 file of rows [n, D].")
        with reading(path, _REMEDY):
            if kind == ".npy":
                if key is not None:
                    raise InputError(f"{path}: is one array and has no key '{key}'; leave the key out.")
                with path.open("rb") as stream:
                    found = cls._in_numpys_format(path, None, stream, path.stat().st_size)
            else:
                found = cls._in_archive(path, key) if kind == ".npz" else cls._in_hdf5(path, key)
            if found.dtype.kind not in "fiu":
                raise InputError(f"{found.name} holds {found.dtype} values; give an array of numbers.")
            if len(found.shape) != 2:
                raise InputError(f"{found.name} is of shape {list(found.shape)}; give rows [n, D].")
        return found

    @classmethod
    def _in_numpys_format(cls, path: Path, key: str | None, stream: IO[bytes], end: int) -> RowFile:
        """Read the header of an array from a stream that stands where it begins; it ends at byte `end` of the file.

        Raises:
            ValueError: the header tells of more or fewer bytes than there are.
        """
        shape, column_major, dtype = npy_header(stream, f"{path}: '{key}'" if key else f"{path}:")
        found = cls(path, key, shape, dtype, stream.tell(), column_major)  # type: ignore[arg-type]  # checked by `open`
        size, there = math.prod(shape) * dtype.itemsize, end - stream.tell()
        if size != there:
            raise ValueError(f"its header tells of {size:,} bytes where {there:,} are stored")
        return found

    @classmethod
    def _in_archive(cls, path: Path, key: str | None) -> RowFile:
        with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            name = _chosen(path, list(members), key)
            member = members[name]
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise InputError(
                    f"{path}: '{name}' is compressed, so that its rows cannot be read one by one; save it as .npy or "
                    ".h5, or by numpy.savez."
                )
            stream.seek(member.header_offset)
            name_length, extra_length = np.frombuffer(stream.read(_ZIP_HEADER)[_ZIP_LENGTHS], "<u2").tolist()
            start = stream.seek(name_length + extra_length, 1)
            return cls._in_numpys_format(path, name, stream, start + member.file_size)

    @classmethod
    def _in_hdf5(cls, path: Path, key: str | None) -> RowFile:
        import h5py

        with open_hdf5(path) as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            name = _chosen(path, names, key)
            return cls(path, name, file[name].shape, file[name].dtype)

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.path}: the array" if self.key is None else f"{self.path}: '{self.key}'"

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows of a slice, [k, D], in memory.

        Raises:
            InputError: they cannot be read.
        """
        with reading(self.path, _REMEDY):
            if self.offset is None:
                with open_hdf5(self.path) as file:
                    return np.asarray(file[self.key][rows])
            stored: Any = np.memmap(
                self.path, self.dtype, "r", self.offset, self.shape, order="F" if self.column_major else "C"
            )
            return np.array(stored[rows])


def _chosen(path: Path, names: list[str], key: str | None) -> str:
    """The array that is meant, of those that a file holds."""
    if key is None and len(names) != 1:
        told = ", ".join(sorted(names)[:20]) or "nothing"
        raise InputError(f"{path}: holds {told}; name one array with --key.")
    (name,) = names if key is None else present(path, names, [key], "name another with --key.")
    return name
