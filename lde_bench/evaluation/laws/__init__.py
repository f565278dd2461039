"""The laws of a density: what must hold for a number of nats to mean anything.

`check` holds a model, built small, to every law; `trial_laws` holds a trained model to those that take seconds. A law
passes when its measured value is at most its bound.
"""

from __future__ import annotations

from lde_bench.evaluation.laws.suite import LAWS, check, trial_laws

__all__ = ["LAWS", "check", "trial_laws"]
