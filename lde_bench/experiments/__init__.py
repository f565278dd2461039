"""Experiments: one file = one table or figure of the paper, found by itself.

A file holds a subclass of `lde_bench.report.experiment.Experiment` with a `name`: what it trains (`plan`), its columns,
order, notes, picture, and its part of the report.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from lde_bench.registry import discover

if TYPE_CHECKING:
    from lde_bench.report.experiment import Experiment


@functools.cache
def experiments() -> dict[str, type[Experiment]]:
    """Every experiment of this package by the name in its records."""
    from lde_bench.report.experiment import Experiment

    return discover(__name__, Experiment)


def experiment_of(name: str) -> Experiment:
    """The experiment that records of this name are of; one that is not known here is a plain table."""
    from lde_bench.report.experiment import Experiment

    return experiments().get(name, Experiment)()
