"""The validation curve of a training run. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CurvePoint:
    """One look at the validation set during training (nats)."""

    step: int
    cpu_seconds: float
    wall_seconds: float
    validation_nats: float
