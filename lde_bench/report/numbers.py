"""How numbers and missing ones are written."""

from __future__ import annotations

import math

DASH = "\N{EN DASH}"

#: A standard error below this one is the rounding of nats in float32, and is shown as 0.
LEAST_ERROR = 1e-6


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"


def error_text(value: float | None, digits: int = 2) -> str:
    """A standard error with two significant digits, and never fewer than `digits` behind the point: 0.0031, 0.12, 3.64,
    39.20; a dash where there is none.
    """
    if value is None or value < LEAST_ERROR or not math.isfinite(value):
        return decimal(value, digits)
    exponent = int(f"{value:.1e}".partition("e")[2])  # after rounding: 0.00999 is 0.010
    return decimal(value, max(digits, 1 - exponent))
