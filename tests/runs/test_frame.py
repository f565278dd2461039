from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import lde_bench
from lde_bench.errors import InputError
from lde_bench.runs import ResultStore, load_results
from lde_bench.runs.frame import COLUMNS

WINDOW = {
    "samples": 500,
    "sigma": 0.2,
    "at_edge": False,
    "grid": [0.1, 0.2],
    "grid_nats": [240.0, 250.5],
    "counts": [100, 500],
    "count_nats": [230.0, 250.5],
}


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


def test_one_row_a_record_with_flat_columns(store, make_record):
    done = store.write(make_record())
    store.write(make_record(failed=True, run_id="gaussian-0", method="gaussian", components=None, parameters=None))
    frame = lde_bench.load_results(store.folder)
    assert tuple(frame.columns) == COLUMNS
    row = frame.set_index("method").loc["lde+w"]
    assert row["test_nats"] == 150.25
    assert row["test_standard_error_clustered"] == 3.1
    assert (row["dataset"], row["dataset_version"], row["content_hash"]) == ("bsds300", "1", "ab" * 32)
    assert (row["profile"], row["steps"], row["test_size"], row["batch_size"]) == ("quick", 300, 60, 256)
    assert (row["cpu_seconds"], row["training_precision"], row["laws_passed"]) == (19.5, "fp32", True)
    assert (row["features"], row["input"]) == (63, "Cholesky")
    assert row["bits_per_dim"] == pytest.approx(8 - 150.25 / math.log(2) / 63)
    assert row["sample_cost"] == "one column per dimension"
    assert row["path"] == f"bsds300/bsds300-v1/quick/{done.run_id}.json"
    assert (row["groups.ids"], row["groups.mean_nats"]) == ([3, 5, 9], [149.0, 150.25, 151.5])
    assert (row["curve.step"], row["curve.validation_nats"]) == ([100], [140.0])
    assert pd.isna(row["parzen.sigma"])
    assert pd.isna(row["window.grid"])
    failed = frame.set_index("method").loc["gaussian"]
    assert failed["reason"] == "ValueError: no"
    assert pd.isna(failed["test_nats"])
    assert pd.isna(failed["components"])
    assert frame["components"].dtype == "Int64"
    assert frame["laws_passed"].dtype == "boolean"


def test_the_window_and_every_figure_of_a_measure_that_a_record_has_are_columns(store, make_record, example):
    measures = {
        "mmd2": {"value": 0.02, "standard_error": 0.01, "null": 0.0, "null_low": -0.01, "null_high": 0.01},
        "reconstruction_mse": {"value": 0.5, "standard_error": 0.1, "detail": "60 held-out items, per pixel"},
    }
    result = {**example["result"], "parzen": WINDOW, "measures": measures}
    store.write(make_record(run_id="ae-0", method="ae+lde", result=result, training={"encoder": "ab12", "threads": 2}))
    store.write(make_record())
    frame = load_results(store.folder)
    assert list(frame.columns[len(COLUMNS) :]) == [
        "measure.mmd2.value",
        "measure.mmd2.standard_error",
        "measure.mmd2.null",
        "measure.mmd2.null_low",
        "measure.mmd2.null_high",
        "measure.reconstruction_mse.value",
        "measure.reconstruction_mse.standard_error",
    ]
    row, other = (frame.set_index("method").loc[method] for method in ("ae+lde", "lde+w"))
    assert (row["parzen.samples"], row["parzen.sigma"], row["parzen.at_edge"]) == (500, 0.2, False)
    assert (row["window.grid"], row["window.grid_nats"]) == ([0.1, 0.2], [240.0, 250.5])
    assert (row["window.counts"], row["window.count_nats"]) == ([100, 500], [230.0, 250.5])
    assert (row["measure.mmd2.value"], row["measure.mmd2.null_high"]) == (0.02, 0.01)
    assert (row["encoder"], row["threads"]) == ("ab12", 2)
    assert pd.isna(other["measure.mmd2.value"])
    assert frame["measure.mmd2.value"].dtype == float


def test_an_empty_folder_has_the_columns(tmp_path):
    frame = load_results(tmp_path)
    assert len(frame) == 0
    assert tuple(frame.columns) == COLUMNS


def test_a_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        load_results(tmp_path / "nowhere")


def test_the_published_records_give_sigma_and_every_measure():
    frame = load_results(Path(__file__).parents[2] / "results")
    assert frame["parzen.sigma"].notna().sum() == (frame["experiment"] == "parzen").sum() > 0
    assert frame["measure.mmd2.value"].notna().sum() == frame["experiment"].isin(["parzen", "generate"]).sum()


@pytest.mark.slow
def test_reading_results_does_not_import_torch(store, make_record):
    store.write(make_record())
    code = f"import sys, lde_bench as lb; lb.load_results({str(store.folder)!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
