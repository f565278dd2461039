"""The outcome of holding a density to a law."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LawResult:
    """One law: passed if and only if `value` <= `bound`; `detail` says what the value is, and where it was measured."""

    law: str
    passed: bool
    value: float
    bound: float
    detail: str

    @classmethod
    def of(cls, law: str, value: float, bound: float, detail: str) -> LawResult:
        """Judge `value`; NaN never passes, and becomes the largest float so that the result can be written as JSON."""
        value = float(value)
        finite = value if math.isfinite(value) else sys.float_info.max
        return cls(law, value <= bound, finite, float(bound), detail)

    @property
    def strain(self) -> tuple[bool, float]:
        """Orders results of one law from the mildest to the worst."""
        return not self.passed, self.value / self.bound if self.bound else self.value

    def describe(self) -> dict[str, Any]:
        """The JSON-able part that stands in a run record."""
        return {"passed": self.passed, "value": self.value, "bound": self.bound, "detail": self.detail}


def judge(law: str, measure: Callable[[], LawResult]) -> LawResult:
    """`measure()`; a model that raises breaks the law, and the others are still measured."""
    try:
        return measure()
    except Exception as error:  # whatever a user's model raises is a finding, not a crash of the suite
        return LawResult.of(law, math.nan, 0.0, f"raised {type(error).__name__}: {error}")
