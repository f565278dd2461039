from __future__ import annotations

import pytest

from lde_bench.report.measures import measure_cell
from lde_bench.report.numbers import DASH
from lde_bench.report.rows import RowMeasure


def measure(*trials: float, standard_error: float | None = None, band: tuple[float, float] | None = None) -> RowMeasure:
    low, high = band or (None, None)
    null = None if band is None else sum(band) / 2
    return RowMeasure(sum(trials) / len(trials), standard_error, null, low, high, "", trials)


@pytest.mark.parametrize(
    ("shown", "cell"),
    [
        (measure(606.2), "606.2"),
        (measure(606.2, standard_error=20.04), "606.2 ± 20.0"),
        (measure(600.0, 610.0, standard_error=20.04), "605.0 (600.0, 610.0) SE 20.0"),
        (measure(600.0, 605.0, 610.0), "605.0 ± 10.0"),
        (measure(600.0, 605.0, 610.0, standard_error=20.04), "605.0 ± 10.0 SE 20.0"),
        (measure(600.0, 605.0, 610.0, standard_error=20.04, band=(0.0, 1.0)), "605.0 ± 10.0 SE 20.0 *"),
    ],
)
def test_spread_over_trials_and_error_over_items_stand_side_by_side(shown, cell):
    assert measure_cell(shown, 1) == cell


def test_what_was_not_measured_is_a_dash():
    assert measure_cell(None, 1) == DASH
