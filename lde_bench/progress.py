"""Lines of chatter for a person, on stderr, and how they tell durations."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """One line of chatter, on stderr."""
    print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """`40 s`, `7 min`, `3.5 h`, `12 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
