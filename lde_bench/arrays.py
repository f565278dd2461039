"""What the public functions take for an array of rows, said once: every array library's rows, or one clear sentence.

Sets of images too large for float32 in memory are `PixelRows`: one byte a pixel, read as numbers block by block.
"""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np

from lde_bench.errors import InputError

#: Numbers of a block where all rows of a set are walked through: 16 MiB of float32.
BLOCK_NUMBERS = 1 << 22


class Pixels(Protocol):
    """What holds pixels, uint8 [n, D]: an array, or something on disk that is read as it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """The rows of a slice, or of an array of whole numbers, uint8 [k, D]."""


class PixelRows:
    """Images as rows of float32 in [0, 1], pixel / 255, made of their bytes as they are asked for.

    Stands where an array [n, D] stands that is read and not written: it has a shape, a length, and gives rows by slice,
    by an array of whole numbers, or one by one. `np.asarray` makes all rows at once.

    Args:
        pixels: uint8 [n, D], at most `rows` of which are taken.
        rows: how many of the first rows; all if None.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, pixels: Pixels, rows: int | None = None) -> None:
        self._pixels = pixels
        stored, features = pixels.shape
        self.shape = (stored if rows is None else min(rows, stored), features)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | np.ndarray | list[int] | int) -> np.ndarray:
        if isinstance(index, slice | np.ndarray | list):
            return _as_numbers(self.pixels(index))
        (row,) = _as_numbers(self.pixels(np.array([index])))
        return row

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def first(self, n: int) -> PixelRows:
        """The first `n` rows, where they are."""
        return self if n >= len(self) else PixelRows(self._pixels, n)

    def pixels(self, index: slice | np.ndarray | list[int]) -> np.ndarray:
        """The bytes of the rows of a slice, or of an array of whole numbers: uint8 [k, D]."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._pixels[start:stop] if step == 1 else self._pixels[np.arange(start, stop, step)]
        which = np.asarray(index)
        if which.dtype.kind not in "iu":
            raise TypeError(f"rows of pixels are taken by a slice or by whole numbers, not by {which.dtype}")
        if which.size and not (-len(self) <= which.min() and which.max() < len(self)):
            raise IndexError(f"rows {which.min()} to {which.max()} of {len(self)} rows of pixels")
        return self._pixels[which % max(len(self), 1)]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of all bytes in their order."""
        digest = hashlib.sha256()
        for block in row_blocks(self):
            digest.update(np.ascontiguousarray(self.pixels(block)).data)
        return digest.hexdigest()


#: Rows of numbers [n, D] to read from.
Rows: TypeAlias = np.ndarray | PixelRows


def first_rows(rows: Rows, n: int) -> Rows:
    """The first `n` rows, where they are."""
    return rows.first(n) if isinstance(rows, PixelRows) else rows[:n]


def _as_numbers(pixels: np.ndarray) -> np.ndarray:
    return np.divide(pixels, np.float32(255), dtype=np.float32)


class Table(Protocol):
    """Anything of the form [n, D]: an array, a tensor, pixels."""

    @property
    def shape(self) -> Sequence[int]: ...


def row_blocks(rows: Table, numbers: int = BLOCK_NUMBERS, most: int | None = None) -> Iterator[slice]:
    """Slices that walk through `rows` [n, D], each of at most `numbers` numbers and `most` rows, and at least one."""
    step = max(1, numbers // max(1, rows.shape[1]))
    step = step if most is None else min(step, most)
    for start in range(0, rows.shape[0], step):
        yield slice(start, min(start + step, rows.shape[0]))


def readable_rows(
    owner: str, name: str, given: object, features: int | None = None, *, finite: bool = False, least: int = 0
) -> Rows:
    """As `as_rows`, but `PixelRows` stay what they are, to be read block by block.

    Raises:
        InputError: see `as_rows`.
    """
    if not isinstance(given, PixelRows):
        return as_rows(owner, name, given, features, finite=finite, least=least)
    _check_shape(owner, name, given.shape, features)
    _check_least(owner, name, len(given), least)
    return given


def as_rows(
    owner: str, name: str, given: object, features: int | None = None, *, finite: bool = False, least: int = 0
) -> np.ndarray:
    """Convert `given` to native floating-point rows [n, D], float32 where that holds its type and float64 elsewhere.

    Arrays of any byte order, nested lists, data frames and arrays of Python numbers are taken for the values they hold.
    The result may share its memory with `given`.

    Args:
        owner: who asks, and `name`: the array as the message calls it, as in "gaussian: the training array ...".
        given: what a user gave, [n, D].
        features: D, where it is known.
        finite: whether NaN and infinity are refused.
        least: the fewest rows.

    Raises:
        InputError: it is no [n, D] of real numbers, has masked values, too few rows or, if `finite`, bad ones.
    """
    wanted = _wanted(features)
    if given is None:
        raise InputError(f"{owner}: {name} is None; give numbers {wanted}.")
    if np.ma.is_masked(given):
        raise InputError(f"{owner}: {name} has masked values; fill them in or remove their rows.")
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a device or with a gradient
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(f"{owner}: {name} is no array ({reason}); give numbers {wanted}.") from error
    _check_shape(owner, name, array.shape, features)
    real = array.dtype.kind in "fiu" or (
        array.dtype.kind == "O"
        and all(isinstance(each, numbers.Real) and not isinstance(each, bool) for each in array.flat)
    )
    if not real:
        raise InputError(f"{owner}: {name} holds {array.dtype} values; give an array of numbers.")
    _check_least(owner, name, len(array), least)
    single = array.dtype.kind != "O" and np.result_type(array.dtype, np.float32) == np.float32
    try:
        with np.errstate(over="ignore"):  # a long double beyond float64 is an infinity
            rows = np.ascontiguousarray(array, dtype=np.float32 if single else np.float64)
    except OverflowError as error:  # a Python integer of hundreds of digits
        raise InputError(f"{owner}: {name} holds numbers too large for float64; rescale it.") from error
    if finite and (bad := ~np.isfinite(rows).all(axis=1)).any():
        raise InputError(
            f"{owner}: {int(bad.sum())} rows of {name} hold NaN or infinity, the first is row {int(bad.argmax())}; "
            "remove them."
        )
    return rows


def _wanted(features: int | None) -> str:
    return f"[n, {'D' if features is None else features}]"


def _check_shape(owner: str, name: str, shape: tuple[int, ...], features: int | None) -> None:
    if len(shape) != 2 or (shape[1] == 0 if features is None else shape[1] != features):
        raise InputError(
            f"{owner}: {name} should be {_wanted(features)}, got {list(shape)}; reshape it, one row an item."
        )


def _check_least(owner: str, name: str, found: int, least: int) -> None:
    if found < least:
        told = "is empty" if found == 0 else f"has {found} rows, too few"
        raise InputError(f"{owner}: {name} {told}; give at least {least} {'row' if least == 1 else 'rows'}.")
