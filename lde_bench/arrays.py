"""What the public functions take for an array of rows, said once: every array library's rows, or one clear sentence."""

from __future__ import annotations

import numbers

import numpy as np

from lde_bench.errors import InputError


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
    wanted = f"[n, {'D' if features is None else features}]"
    if given is None:
        raise InputError(f"{owner}: {name} is None; give numbers {wanted}.")
    if np.ma.is_masked(given):
        raise InputError(f"{owner}: {name} has masked values; fill them in or remove their rows.")
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a device or with a gradient
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(f"{owner}: {name} is no array ({reason}); give numbers {wanted}.") from error
    if array.ndim != 2 or (array.shape[1] == 0 if features is None else array.shape[1] != features):
        raise InputError(f"{owner}: {name} should be {wanted}, got {list(array.shape)}; reshape it, one row an item.")
    real = array.dtype.kind in "fiu" or (
        array.dtype.kind == "O"
        and all(isinstance(each, numbers.Real) and not isinstance(each, bool) for each in array.flat)
    )
    if not real:
        raise InputError(f"{owner}: {name} holds {array.dtype} values; give an array of numbers.")
    if len(array) < least:
        found = "is empty" if len(array) == 0 else f"has {len(array)} rows, too few"
        raise InputError(f"{owner}: {name} {found}; give at least {least} {'row' if least == 1 else 'rows'}.")
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
