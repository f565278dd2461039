from __future__ import annotations

import json

import pytest


def run_gaussian(cli) -> None:
    assert cli("bsds300", "--source", "embedded", "--methods", "gaussian", "--trials", "2").code == 0


@pytest.mark.slow
def test_report_writes_a_page_and_its_twin_beside_the_records(cli, here):
    run_gaussian(cli)
    done = cli("report")
    assert (done.code, done.out) == (0, "")
    assert done.err.count("written: ") == 2
    twin = (here / "results" / "report.md").read_text()
    assert "gaussian" in twin
    assert "64 patches: test patches" in twin  # the prepared patches are in the cache
    assert "64 patches: gaussian" in twin
    assert "Published BSDS300 figures" not in twin  # these are other photographs
    assert "one Gaussian with a full covariance" in (here / "results" / "report.html").read_text()


@pytest.mark.slow
def test_report_of_some_records_into_another_folder(cli, here):
    run_gaussian(cli)
    assert cli("report", "--dataset", "natural8x8", "--profile", "quick", "--output", "elsewhere").code == 0
    assert (here / "elsewhere" / "report.html").is_file()
    assert not (here / "results" / "report.html").exists()
    record = next((here / "results").rglob("*t0-*.json"))
    mean = json.loads(record.read_text())["result"]["test_nats"]
    assert f"{mean:.2f}" in (here / "elsewhere" / "report.md").read_text()


def test_nothing_to_report_is_said_in_one_sentence(cli, here):
    missing = cli("report", "--results-dir", "nowhere")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    (here / "results").mkdir()
    empty = cli("report")
    assert (empty.code, empty.err.count("\n")) == (3, 1)
    assert "results: holds no run record; run `lde-bench bsds300` first." in empty.err
    run_gaussian(cli)
    none = cli("report", "--dataset", "bsds300")
    assert none.code == 3
    assert "no run record of bsds300" in none.err
    assert cli("report", "--pair", "gaussian", "lde").code == 2
    assert not (here / "results" / "report.html").exists()
