"""What records say of their rows beside the figures: the treatment of the input, bits per dimension."""

from __future__ import annotations

import dataclasses
import math

import pytest

from lde_bench.evaluation import bits
from lde_bench.evaluation.statistics import Difference
from lde_bench.runs import Record
from lde_bench.runs.rows import bits_per_dim, difference_of_rows, ended_by_itself, input_of


def of_before(record: Record, method: str) -> Record:
    return dataclasses.replace(record, method=method, features=None, input=None)


def test_a_record_tells_the_input_that_its_model_had_and_one_of_before_by_its_method(make_record):
    record = make_record()
    assert input_of(record) == "Cholesky"
    assert input_of(dataclasses.replace(record, method="lde", input="raw")) == "raw"  # whatever lde does today
    assert input_of(of_before(record, "lde+w")) == "Cholesky"
    assert input_of(of_before(record, "lde:unit=1")) == "raw"
    assert input_of(of_before(record, "made-mog+sym")) == "scalar unit"
    assert input_of(of_before(record, "gone+w:components=3")) == "Cholesky"
    for unknown in ("ae+lde", "no.such.module:Class", "gone", "a+b+"):
        assert input_of(of_before(record, unknown)) is None


def test_bits_are_those_of_grey_levels_for_patches_and_of_the_units_of_the_data_elsewhere(make_record, example):
    record = make_record()
    assert bits_per_dim(record) == bits_per_dim(of_before(record, "lde"))  # patches have 63 numbers
    mine = {**example["dataset"], "name": "mine", "version": "user"}
    uniform = example["result"] | {"test_nats": 0.0}  # on the unit cube
    assert bits_per_dim(make_record(result=uniform)) == 8.0  # uniform over 256 levels
    own = make_record(dataset=mine, features=4, result=uniform)
    assert bits_per_dim(own) == 0.0
    assert bits_per_dim(of_before(own, "lde")) is None
    assert bits_per_dim(make_record(failed=True)) is None


def test_bits_of_a_window_around_samples_are_none(make_record, example):
    window = {"samples": 5, "sigma": 0.2, "at_edge": False}
    curves = {"grid": [0.2], "grid_nats": [1.0], "counts": [5], "count_nats": [1.0]}
    assert bits_per_dim(make_record(result=example["result"] | {"parzen": window | curves})) is None


@pytest.mark.parametrize("levels", [1, 2, 256])
def test_scaling_the_numbers_by_their_levels_costs_the_bits_of_a_level(levels):
    # N(0, s^2 I) in 5 dimensions, whose entropy is known: -log p = H on average, and that of L x is H + 5 log L.
    def entropy(scale: float) -> float:
        return 0.5 * math.log2(2 * math.pi * math.e * scale**2)

    nats = -5 * entropy(0.1) * math.log(2)
    assert bits.bits_per_dim(nats, 5, levels) == pytest.approx(entropy(0.1 * levels))


@pytest.mark.parametrize(
    ("training", "ended"),
    [
        ({"closed_form": True}, True),
        ({"closed_form": False, "stopped_early": True, "revisions": {"jpeg": 3}}, True),
        ({"closed_form": False, "revisions": {"jpeg": 3}}, False),
        ({"closed_form": True, "own_fit": True}, False),
        ({"ae": {"closed_form": False}, "gaussian": {"closed_form": True}}, False),
        ({"ae": {"closed_form": False, "stopped_early": True}, "gaussian": {"closed_form": True}}, True),
    ],
)
def test_only_a_fit_that_more_time_would_not_change_ended_by_itself(training, ended):
    assert ended_by_itself(training) is ended


def test_a_log_likelihood_of_exactly_0_is_one(make_record, example):
    def trial(nats: float, number: int) -> Record:
        result, training = example["result"] | {"test_nats": nats}, example["training"] | {"training_id": str(number)}
        return make_record(result=result, training=training, seeds={"trial": number})

    first, second = [trial(0.0, 0), trial(0.0, 1)], [trial(1.0, 0), trial(3.0, 1)]
    found = difference_of_rows(Difference(-2.0, 0.0), 30, first, second)
    assert found.standard_error == pytest.approx(math.sqrt(2) / math.sqrt(2))
