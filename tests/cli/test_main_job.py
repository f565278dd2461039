"""The main job through the command line, from an empty folder to tables: small networks, few steps."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from small import Outcome, make_small

import lde_bench as lb
from lde_bench.cli import main
from lde_bench.densities.gaussian import Gaussian
from lde_bench.densities.made_mog import MadeMog
from lde_bench.trials import density as density_trials

MADE = "made-mog:hidden=256"
JOB = ("bsds300", "--source", "embedded", "--steps", 8, "--K", 1, 2, "--methods", "gaussian", MADE)
PLACE = Path("results/bsds300/natural8x8-v1/quick-8-steps")


@pytest.fixture(scope="module")
def once(cache, tmp_path_factory) -> tuple[Path, Outcome]:
    """The folder in which the job ran once, and what it said."""
    folder = tmp_path_factory.mktemp("once")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        make_small(patch, folder, cache)
        code = main([str(argument) for argument in JOB])
    return folder, Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture
def done(once, here) -> Outcome:
    """The job has run in the current folder."""
    folder, outcome = once
    shutil.copytree(folder / "results", here / "results")
    assert outcome.code == 0, outcome.err
    return outcome


def test_the_table_is_on_stdout_and_the_chatter_on_stderr(done):
    assert "gaussian" in done.out
    assert done.out.count(MADE) >= 2
    assert "natural8x8" in done.out
    assert "quick" in done.out
    assert "written:" not in done.out
    assert "..." not in done.out
    assert "3 trials to run" in done.err
    assert done.err.count("written: ") == 7  # the table three times, two pictures twice


def test_off_a_terminal_there_is_no_colour_and_no_row_is_folded(done):
    assert "\x1b" not in done.out + done.err
    rows = [line for line in done.out.splitlines() if line.strip().startswith(MADE)]
    assert sorted(row.split()[1] for row in rows[:2]) == ["1", "2"]
    assert min(map(len, rows)) > 60  # COLUMNS is 40


def test_the_files_of_a_table_and_of_every_trial_are_written(done, records):
    names = {path.name for path in PLACE.iterdir()}
    assert {f"table.{kind}" for kind in ("md", "csv", "tex", "png")} <= names
    assert len(records()) == 3
    for run_id in records():
        assert {f"{run_id}.json", f"{run_id}.safetensors", f"{run_id}.npy"} <= names
    assert not [name for name in names if name.endswith((".ckpt", ".tmp"))]
    rows = list(csv.DictReader((PLACE / "table.csv").open()))
    assert len(rows) == 3
    assert (PLACE / "table.png").read_bytes().startswith(b"\x89PNG")
    assert MADE in (PLACE / "table.md").read_text()


def test_a_record_says_all_that_makes_its_number_again(done, records, here):
    record = next(record for record in records().values() if record["components"] == 2)
    data = lb.load_dataset("natural8x8")
    assert record["dataset"] == {
        "name": "natural8x8", "version": "1", "content_hash": data.content_hash, "seed": 0, "sizes": data.sizes,
    }  # fmt: skip
    asked = {"profile": "quick", "steps": 8, "seconds": None, "batch": None}
    assert record["budget"] == {**asked, "machine_dependent": False, "clock": "wall"}
    assert record["benchmark_version"] == lb.BENCHMARK_VERSION
    assert record["method"] == MADE
    assert record["parameters"] == lb.create(MADE, 63, components=2).parameter_count()
    assert {"batch_size", "rate", "precision", "device", "threads", "compile", "patches", "augment"} <= set(
        record["training"]
    )
    assert record["seeds"]["trial"] > 0
    assert [point["step"] for point in record["curve"]] == [8]
    assert record["cost"]["cpu_seconds"] > 0
    assert record["laws"]
    assert all(law["passed"] for law in record["laws"].values())
    provenance = record["provenance"]
    assert {"lde_bench", "commit", "dirty", "python", "packages", "machine", "started", "finished", "command"} == set(
        provenance
    )
    assert provenance["packages"]["torch"]
    for path in (here, Path.home(), Path(lb.__file__).parent):
        assert str(path) not in json.dumps(record)

    items = np.load(PLACE / f"{record['run_id']}.npy")
    assert items.shape == (400,)
    assert items.mean() == pytest.approx(record["result"]["test_nats"], abs=1e-4)
    groups = record["result"]["groups"]
    assert np.average(groups["mean_nats"], weights=groups["counts"]) == pytest.approx(items.mean(), abs=1e-4)
    model = lb.load_density(PLACE / f"{record['run_id']}.safetensors")
    np.testing.assert_allclose(model.log_prob(data.test), items, atol=1e-3)


@pytest.mark.slow
def test_the_same_command_again_trains_nothing_and_changes_no_record(cli, done, monkeypatch):
    before = {path: path.read_bytes() for path in PLACE.glob("*.json")}
    monkeypatch.setattr(density_trials, "evaluate", lambda *a, **k: pytest.fail("something was evaluated again"))
    again = cli(*JOB)
    assert again.code == 0
    assert again.out == done.out
    assert again.err.count("(done before)") == 3
    assert {path: path.read_bytes() for path in PLACE.glob("*.json")} == before


@pytest.mark.slow
def test_json_is_the_whole_of_stdout(cli):
    outcome = cli(*JOB, "--json")
    assert outcome.code == 0
    (table,) = outcome.payload["tables"]
    assert len(table["rows"]) == 3
    assert {row["method"] for row in table["rows"]} == {"gaussian", MADE}


@pytest.mark.slow
def test_three_trials_show_their_spread_and_have_seeds_of_their_own(cli, records):
    outcome = cli("bsds300", "--source", "embedded", "--steps", 8, "--K", 1, "--methods", MADE, "--trials", 3)
    assert outcome.code == 0
    assert len({record["seeds"]["trial"] for record in records().values()}) == 3
    nats = [record["result"]["test_nats"] for record in records().values()]
    (row,) = (line for line in outcome.out.splitlines() if line.strip().startswith(MADE) and "±" in line)
    assert f"{np.mean(nats):.2f} ± {2 * np.std(nats, ddof=1):.2f}" in row


@pytest.mark.slow
def test_augmented_and_fresh_patches_are_runs_of_their_own(cli, records):
    job = ("bsds300", "--source", "embedded", "--steps", 8, "--K", 1, "--methods", MADE)
    for options in ((), ("--augment", "symmetries"), ("--patches", "fresh"), ("--seed", 1)):
        assert cli(*job, *options).code == 0
    asked = {(r["training"]["patches"], r["training"]["augment"], r["seeds"]["base"]) for r in records().values()}
    assert asked == {("fixed", None, 0), ("fixed", "symmetries", 0), ("fresh", None, 0), ("fixed", None, 1)}


# -- trials that fail, and laws that break -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_failing_trial_is_recorded_with_its_reason_and_the_others_finish(cli, records, monkeypatch):
    own = Gaussian.learner

    def run_out(*_):
        raise MemoryError("no more of it")

    monkeypatch.setattr(Gaussian, "learner", run_out)
    outcome = cli(*JOB)
    assert outcome.code == 0
    states = {record["method"]: (record["status"], record["reason"]) for record in records().values()}
    assert states == {"gaussian": ("failed", "MemoryError: no more of it"), MADE: ("done", None)}
    assert "no more of it" in outcome.err

    monkeypatch.setattr(Gaussian, "learner", own)
    assert cli(*JOB).code == 0, "a failure is tried again"
    assert [r["status"] for name, r in records().items() if not name.endswith(".failed")] == ["done"] * 3


def test_nan_is_a_failure_with_its_reason_and_all_failing_is_exit_code_3(cli, records, monkeypatch):
    monkeypatch.setattr(MadeMog, "forward", lambda self, x: self.conditional_log_prob(x).sum(-1) * float("nan"))
    outcome = cli(*JOB[:-2], MADE)
    assert outcome.code == 3
    assert {record["status"] for record in records().values()} == {"failed"}
    assert all("nan at step 0" in record["reason"] for record in records().values())
    assert outcome.err.splitlines()[-1].startswith("lde-bench: no trial finished")


@pytest.mark.slow
def test_a_broken_law_is_named_and_exit_code_1(cli, records, monkeypatch):
    own = MadeMog.conditional_log_prob
    monkeypatch.setattr(MadeMog, "conditional_log_prob", lambda self, x: own(self, x) + 1e-3)
    outcome = cli(*JOB)
    assert outcome.code == 1
    assert "breaks a law" in outcome.err
    assert "conditionals" in outcome.err.splitlines()[-1]
    broken = {law for r in records().values() for law, verdict in r["laws"].items() if not verdict["passed"]}
    assert broken == {"conditionals"}


# -- processes that are killed, or run side by side --------------------------------------------------------------------

LONG = ("bsds300", "--source", "embedded", "--steps", 200, "--K", 2, "--methods", "gaussian", MADE)


def measured(record: dict) -> tuple:
    """What two runs of one trial must have in common."""
    return record["result"], [(p["step"], p["validation_nats"]) for p in record["curve"]], record["seeds"]


@pytest.mark.slow
def test_a_sweep_killed_while_training_continues_to_the_same_record_and_weights(cli, start, records, here):
    process = start(*LONG, "--threads", 1)
    deadline = time.monotonic() + 120
    while not (saved := list(here.rglob("*made-mog*.ckpt"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert saved, process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert [record["method"] for record in records().values()] == ["gaussian"]

    resumed = cli(*LONG)
    assert resumed.code == 0, resumed.err
    assert (step := re.search(r"continuing from step (\d+) of 200", resumed.err))
    assert 0 < int(step[1]) < 200
    assert cli(*LONG, "--results-dir", "whole").code == 0
    killed, whole = records(), records("whole")
    assert killed.keys() == whole.keys()
    for run_id, record in killed.items():
        assert measured(record) == measured(whole[run_id])
        weights = [next(here.glob(f"{name}/**/{run_id}.safetensors")).read_bytes() for name in ("results", "whole")]
        assert weights[0] == weights[1]
    assert not list(here.rglob("*.ckpt"))


@pytest.mark.slow
def test_two_processes_on_one_results_folder_both_finish_and_nothing_is_lost(start, records):
    processes = [start(*JOB, "--threads", 1, checkpoint_seconds=20) for _ in range(2)]
    outcomes = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    for out, err, code in outcomes:
        assert code == 0, err
        assert MADE in out
        assert "lde-bench" not in out
    assert len(records()) == 3
    assert all(record["status"] == "done" for record in records().values())
