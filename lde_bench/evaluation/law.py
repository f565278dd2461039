"""The verdict of one law on one model, as a run record holds it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Law:
    """The verdict of one law: passed where `value` <= `bound`; `detail` says what the value is, and where it was
    measured.

    Where `verified` is False the measurement could not tell: the law counts as passed, whatever the value, since no
    fault was found, but none was ruled out.
    """

    passed: bool
    value: float | None
    bound: float | None
    detail: str = ""
    verified: bool = True

    @classmethod
    def of(cls, value: float, bound: float, detail: str) -> Law:
        """Judge `value`; NaN never passes, and becomes the largest float so that the result can be written as JSON."""
        value = float(value)
        finite = value if math.isfinite(value) else sys.float_info.max
        return cls(value <= bound, finite, float(bound), detail)

    @classmethod
    def unsure(cls, value: float, bound: float, detail: str) -> Law:
        """A measurement that could not tell."""
        return cls(True, value if math.isfinite(value) else sys.float_info.max, bound, detail, verified=False)

    @property
    def strain(self) -> tuple[bool, bool, float]:
        """Orders verdicts of one law from the mildest to the worst."""
        value = self.value or 0.0
        return not self.passed, not self.verified, value / self.bound if self.bound else value


def judge(measure: Callable[[], Law]) -> Law:
    """`measure()`; a model that raises breaks the law, and the others are still measured."""
    try:
        return measure()
    except Exception as error:  # whatever a user's model raises is a finding, not a crash of the suite
        return Law.of(math.nan, 0.0, f"raised {type(error).__name__}: {error}")
