"""Options of `bsds300` that change which rows there are and what they are measured on."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from lde_bench.densities.base import Density

EMBEDDED = ("bsds300", "--source", "embedded", "--steps", "3", "--K", "2", "--json")
PLACE = Path("results/bsds300/natural8x8-v1/quick-3-steps")


@pytest.mark.slow
def test_fewer_test_patches_are_a_prefix_trained_on_once(cli, records, monkeypatch):
    methods = ("--methods", "made-mog+w:hidden=8")
    whole = cli(*EMBEDDED, *methods)
    monkeypatch.setattr(Density, "fit", None)
    part = cli(*EMBEDDED, *methods, "--test", "100")
    assert (whole.code, part.code) == (0, 0), part.err
    of = {record["dataset"]["sizes"]["test"]: record for record in records().values()}
    assert set(of) == {400, 100}
    assert of[100]["training"]["weights_of"] == [of[400]["run_id"]]
    items = {size: np.load(PLACE / f"{record['run_id']}.npy") for size, record in of.items()}
    np.testing.assert_allclose(items[100], items[400][:100], atol=1e-4)
    # Neither table took the place of the other.
    assert {path.name for path in PLACE.glob("table*.csv")} == {"table.csv", "table-test100.csv"}
    assert len((PLACE / "table.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_symmetry_average_and_a_mixture_of_trials_are_rows_like_any(cli, records):
    methods = ("gaussian+sym", "made-mog+w:hidden=8", "made-mog+w+ens:hidden=8,members=2")
    outcome = cli(*EMBEDDED, "--methods", *methods)
    assert outcome.code == 0, outcome.err
    (table,) = outcome.payload["tables"]
    assert {row["method"] for row in table["rows"]} >= {"made-mog+w:hidden=8", "gaussian+sym"}
    by_method = {(record["method"], record["trial"]): record for record in records().values()}
    assert set(by_method) == {
        ("gaussian", 0),
        ("gaussian+sym", 0),
        ("made-mog+w:hidden=8", 0),
        ("made-mog+w:hidden=8", 1),
        ("made-mog+w+ens:hidden=8,members=2", 0),
    }
    mixture = by_method["made-mog+w+ens:hidden=8,members=2", 0]
    assert mixture["training"]["weights_of"] == [by_method["made-mog+w:hidden=8", t]["run_id"] for t in (0, 1)]
    assert all(law["passed"] for record in by_method.values() for law in record["laws"].values())
    sources = by_method["gaussian+sym", 0]["training"]["weights_of"]
    assert sources == [by_method["gaussian", 0]["run_id"]]


@pytest.mark.slow
def test_tables_of_other_data_in_one_folder_do_not_replace_each_other(cli, here):
    folder = Path("results/table/ring-v1/quick-2-steps")
    job = ("table", "--dataset", "ring", "--methods", "gaussian", "--steps", "2", "--test", "50", "--validation", "50")
    assert cli(*job, "--train", "100").code == 0
    (first,) = folder.glob("table*.csv")
    before = first.read_bytes()
    time.sleep(1)  # records tell the second in which they were begun
    assert cli(*job, "--train", "200").code == 0
    assert first.read_bytes() == before
    assert len(list(folder.glob("table*.csv"))) == 2
    assert cli(*job, "--train", "100").code == 0  # whose table is the first still
    assert first.read_bytes() == before
    assert len(list(folder.glob("table*.csv"))) == 2


def test_a_batch_of_its_own_is_trained_on_and_has_a_folder_of_its_own(cli, records):
    outcome = cli(*EMBEDDED, "--methods", "made-mog:hidden=8", "--batch", "16")
    assert outcome.code == 0, outcome.err
    (record,) = records().values()
    assert record["budget"]["batch"] == record["training"]["batch_size"] == 16
    assert (PLACE.parent / "quick-3-steps-of-16" / f"{record['run_id']}.json").is_file()
    outcome = cli(*EMBEDDED, "--methods", "made-mog:hidden=8", "--batch", "0")
    assert outcome.code == 2
    assert "batch = 0 is not a whole number from 1 up" in outcome.err
