"""How numbers and missing ones are written."""

from __future__ import annotations

DASH = "\N{EN DASH}"


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"
