from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lde_bench.errors import InputError
from lde_bench.runs import Budget, Record, make_run_id
from lde_bench.runs.store import REPORT_SUFFIX

PUBLISHED = Path(__file__).parents[2] / "results"

#: The fields of a result that records before them do not have.
ADDED: dict[str, Any] = {
    **dict.fromkeys(("true_test_nats", "true_gap_standard_error", "parzen", "blocks", "training_cpu_seconds", "batch")),
    **dict.fromkeys(("features", "input")),
    "measures": {},
    "beside": {},
    "starts": {},
    "side_by_side": False,
    "verified": True,
    "clock": "wall",
}


def change(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`record` with the dotted `path` set to `value`; `...` removes it."""
    *parents, last = path.split(".")
    place = record
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return record


def test_a_record_reads_back_equal_and_its_text_is_stable(make_record):
    record = make_record()
    text = record.to_json()
    assert Record.from_json(text) == record
    assert Record.from_json(text).to_json() == text
    assert json.loads(text)["schema"] == 1
    assert text.startswith('{\n  "schema": 1,\n  "benchmark_version": "1",\n  "experiment": "bsds300",\n')


def test_a_trial_that_measured_no_log_likelihood_has_a_result_too(make_record, example):
    record = make_record(result={"measures": {"separation": {"value": 0.5}}})
    assert record.done
    assert record.test_nats is None
    assert record.result.true_gap is None
    assert Record.from_json(record.to_json()) == record
    assert make_record(failed=True).test_nats is None
    assert make_record().test_nats == 150.25


@pytest.mark.slow
def test_published_records_read_as_they_were_written():
    """Fields that were added later are all that a new version writes beside what it read."""
    paths = [path for path in PUBLISHED.rglob("*.json") if not path.name.endswith(REPORT_SUFFIX)]
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert_kept(json.loads(text), json.loads(Record.from_json(text).to_json()), path.name)


def assert_kept(old: Any, new: Any, where: str) -> None:
    """What was written stands, in its order; beside it what was added later, at the value of what was not measured."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        assert new == old, where
        return
    assert [name for name in new if name in old] == list(old), where
    for name, value in new.items():
        if name in old:
            assert_kept(old[name], value, f"{where}: {name}")
        else:
            assert value == ADDED[name], f"{where}: {name}"


def test_per_photograph_lists_stand_on_one_line(make_record):
    text = make_record().to_json()
    assert any('"mean_nats": [149.0, 150.25, 151.5]' in line for line in text.splitlines())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan"), np.float64("-inf")])
@pytest.mark.parametrize("place", ["result", "training"])
def test_nan_and_infinity_are_refused_with_the_field_named(make_record, bad, place):
    if place == "training":
        record = make_record(training={"rate": bad})
        name = "record.training.rate"
    else:
        record = make_record()
        object.__setattr__(record.result, "test_nats", bad)
        name = "record.result.test_nats"
    with pytest.raises(ValueError, match=name):
        record.to_json()


def test_numpy_numbers_become_plain_ones(make_record):
    record = make_record(training={"rate": np.float32(0.5), "steps": np.int64(3), "list": np.arange(2)})
    assert json.loads(record.to_json())["training"] == {"rate": 0.5, "steps": 3, "list": [0, 1]}


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("method", ..., "no field 'method'"),
        ("surplus", 1, "unknown field 'surplus'"),
        ("trial", "0", "record.trial is '0', expected int"),
        ("trial", True, "record.trial is True, expected int"),
        ("trial", 0.5, "expected int"),
        ("status", "running", "expected one of 'done', 'failed'"),
        ("result", None, "needs a result"),
        ("reason", "why", "needs a result and no reason"),
        ("result.test_nats", "high", "record.result.test_nats"),
        ("result.test_nats", 10**400, "not a finite number"),
        ("result.groups.counts", [20, 20], "differ in length"),
        ("result.groups.counts", [20, 20, 0], "counts at least 1"),
        ("result.groups.ids", [3, 3, 9], "distinct"),
        ("dataset.sizes", [1, 2, 3], "record.dataset.sizes is .*expected an object"),
        ("laws.normalised.passed", 1, "record.laws.normalised.passed"),
        ("curve", [{"step": 1}], r"record.curve\[0\]"),
        ("schema", 2, "schema is 2"),
        ("run_id", "../../etc/passwd", "run_id"),
        ("experiment", "/etc", "record.experiment '/etc' is not a name that can be a folder's"),
        ("experiment", "..", "record.experiment '..' is not"),
        ("dataset.name", "../../elsewhere", "record.dataset '../../elsewhere-v1' is not"),
        ("dataset.version", "1/../../..", "record.dataset 'bsds300-v1/../../..' is not"),
        ("budget.profile", "../quick", "record.budget '../quick' is not"),
    ],
)
def test_a_wrong_record_is_refused_with_place_and_fault(example, path, value, fault):
    with pytest.raises(InputError, match=fault):
        Record.from_dict(change(example, path, value))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a": NaN}', "[" * 100_000, json.dumps({"version": 3}), "1e999"]
)
def test_text_that_is_no_record_is_an_input_error(text):
    with pytest.raises(InputError):
        Record.from_json(text)


def test_infinity_in_disguise_is_refused(example):
    text = json.dumps(example).replace("150.25,", "1e999,", 1)
    with pytest.raises(InputError, match="not a finite number"):
        Record.from_json(text)


def run_id(determines: dict[str, Any], **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "experiment": "bsds300",
        "method": "lde+w",
        "components": 10,
        "budget": Budget(profile="quick"),
        "trial": 0,
    }
    return make_run_id(**{**arguments, **changes}, determines=determines)


def test_the_run_id_is_a_slug_and_twelve_hex_digits():
    # The hash is of the canonical JSON: {"a":1,"b":[2.5]}, computed once with sha256sum.
    assert run_id({"b": [2.5], "a": 1}) == "bsds300-lde+w-K10-quick-t0-1d97f1c6350e"
    assert run_id({"a": 1, "b": (2.5,)}) == run_id({"b": [np.float64(2.5)], "a": np.int64(1)})


def test_the_run_id_changes_with_anything_that_determines_the_run():
    assert run_id({"a": 1}) != run_id({"a": 2})
    assert run_id({"a": 1}) != run_id({"a": 1, "b": None})
    with pytest.raises(ValueError, match=r"determines\.a"):
        run_id({"a": float("nan")})


def test_the_run_id_is_a_file_name_whatever_the_method_is_called(make_record):
    odd = run_id({}, method="my.package:Class:path=/a b/../c*", components=None, budget=Budget.of(seconds=1.5))
    assert odd.startswith("bsds300-my.package-Class-path=-a-b-..-c--quick-1.5-seconds-t0-")
    assert make_record(run_id=odd).to_json()
