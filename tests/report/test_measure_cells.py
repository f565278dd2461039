from __future__ import annotations

import pytest

from lde_bench.evaluation.sample_measures import Measure
from lde_bench.report.measures import measure_cell
from lde_bench.report.numbers import DASH
from lde_bench.report.rows import RowMeasure


def measure(*trials: float, standard_error: float | None = None, band: tuple[float, float] | None = None) -> RowMeasure:
    low, high = band or (None, None)
    null = None if band is None else sum(band) / 2
    return RowMeasure.of([Measure(value, standard_error, null, low, high, "") for value in trials])


@pytest.mark.parametrize(
    ("shown", "cell"),
    [
        (measure(606.2), "606.2"),
        (measure(606.2, standard_error=20.04), "606.2 ± 20.0"),
        (measure(600.0, 610.0, standard_error=20.04), "605.0 (600.0, 610.0) SE 20.0"),
        (measure(600.0, 605.0, 610.0), "605.0 ± 10.0"),
        (measure(600.0, 605.0, 610.0, standard_error=20.04), "605.0 ± 10.0 SE 20.0"),
        (measure(600.0, 605.0, 610.0, standard_error=20.04, band=(0.0, 1.0)), "605.0 ± 10.0 SE 20.0 *"),
        # Faults on opposite sides of the null are two faults; a trial just outside beside one in the middle is chance.
        (measure(-0.595, 0.722, band=(-0.1, 0.1)), "0.1 (-0.6, 0.7) *"),
        (measure(0.11, 0.0, 0.0, band=(-0.1, 0.1)), "0.0 ± 0.1"),
    ],
)
def test_spread_over_trials_and_error_over_items_stand_side_by_side(shown, cell):
    assert measure_cell(shown, 1) == cell


def test_what_was_not_measured_is_a_dash():
    assert measure_cell(None, 1) == DASH


def test_what_is_said_of_some_trials_alone_is_said_as_such():
    told = [RowMeasure.of([Measure(1.0, detail=detail) for detail in details]).detail for details in ("aa", "ab")]
    assert told == ["a", "of the first trial: a"]
