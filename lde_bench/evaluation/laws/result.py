"""The outcome of holding a density to a law."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LawResult:
    """One law: passed if and only if `value` <= `bound`; `detail` says what the value is, and where it was measured.

    Where `verified` is False the measurement could not tell: the law counts as passed, whatever the value, since no
    fault was found, but none was ruled out.
    """

    law: str
    passed: bool
    value: float
    bound: float
    detail: str
    verified: bool = True

    @classmethod
    def of(cls, law: str, value: float, bound: float, detail: str) -> LawResult:
        """Judge `value`; NaN never passes, and becomes the largest float so that the result can be written as JSON."""
        value = float(value)
        finite = value if math.isfinite(value) else sys.float_info.max
        return cls(law, value <= bound, finite, float(bound), detail)

    @classmethod
    def unsure(cls, law: str, value: float, bound: float, detail: str) -> LawResult:
        """A measurement that could not tell."""
        return cls(law, True, value if math.isfinite(value) else sys.float_info.max, bound, detail, verified=False)

    @property
    def strain(self) -> tuple[bool, bool, float]:
        """Orders results of one law from the mildest to the worst."""
        return not self.passed, not self.verified, self.value / self.bound if self.bound else self.value

    def describe(self) -> dict[str, Any]:
        """The JSON-able part that stands in a run record."""
        told = {"passed": self.passed, "value": self.value, "bound": self.bound, "detail": self.detail}
        return told if self.verified else {**told, "verified": False}


def judge(law: str, measure: Callable[[], LawResult]) -> LawResult:
    """`measure()`; a model that raises breaks the law, and the others are still measured."""
    try:
        return measure()
    except Exception as error:  # whatever a user's model raises is a finding, not a crash of the suite
        return LawResult.of(law, math.nan, 0.0, f"raised {type(error).__name__}: {error}")
