"""How numbers are written: two significant digits of a standard error, whatever its size."""

from __future__ import annotations

import math

import pytest

from lde_bench.report.numbers import DASH, decimal, error_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, DASH),
        (0.0, "0.00"),
        (3.64, "3.64"),
        (39.2, "39.20"),
        (0.125, "0.12"),
        (0.0999, "0.10"),
        (0.044, "0.044"),
        (0.0031, "0.0031"),
        (0.00999, "0.010"),
        (1.3e-7, "0.00"),
        (1.3e-6, "0.0000013"),
        (1234.5, "1234.50"),
    ],
)
def test_a_standard_error_has_two_significant_digits_and_never_fewer_than_two_decimals(value, text):
    assert error_text(value) == text


def test_it_is_the_plain_decimal_from_a_tenth_up_and_never_further_off_than_the_second_digit():
    for k in range(-800, 500):
        value = math.exp(k / 100)
        told = error_text(value)
        assert abs(float(told) - value) <= 0.051 * value
        assert "e" not in told
        if value >= 0.0995:
            assert told == decimal(value)


def test_more_decimals_can_be_asked_for():
    assert error_text(0.12, 3) == "0.120"
    assert error_text(0.00031, 3) == "0.00031"
