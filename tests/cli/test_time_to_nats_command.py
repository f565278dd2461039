"""`lde-bench time-to-nats` through the command line: what it refuses, and the whole of it made small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_bad_input import assert_refused

from lde_bench.experiments.time_to_nats_search import TimeToNatsSearch
from lde_bench.runs import Record
from lde_bench.trials.timed import CandidateTrial

FAULTS = {
    "minutes-0": (("--minutes", "0"), "minutes = 0.0 is not a positive number"),
    "minutes-nan": (("--minutes", "5", "nan"), "minutes = nan is not a positive number"),
    "search-negative": (("--search-minutes=-1",), "search-minutes = -1.0 is not a positive number"),
    "minutes-inf": (("--minutes", "inf"), "minutes = inf is not a positive number"),
    "ensemble": (("--methods", "made-mog+ens:members=2"), "leave out +ens"),
    "places": (("--methods", "made-mog+jpeg"), "+jpeg asks for fresh patches, and short runs have none; leave it out"),
    "whitened-twice": (("--methods", "lde+w+w"), "+w is there twice"),
    "trials-0": (("--trials", "0"), "trials = 0 is not a whole number from 1 up"),
    "unknown-method": (("--methods", "gausian"), "did you mean 'gaussian'?"),
    "compiled": (("--compile",), "leave out --compile"),
    "on-a-gpu": (("--device", "cuda"), "the budget is CPU seconds"),
    "folder-of-embedded": (("--data-dir", "nowhere"), "--data-dir nowhere"),
}


@pytest.mark.parametrize(("arguments", "part"), FAULTS.values(), ids=FAULTS)
def test_bad_input_is_one_sentence_and_writes_nothing(cli, here, arguments, part):
    assert_refused(cli("time-to-nats", *arguments), part)
    assert not (here / "results").exists()


@pytest.mark.slow
def test_from_the_command_to_the_files_and_what_is_lost_alone_is_done_again(cli, here, records):
    methods = ("gaussian", "made-mog+w:hidden=8")
    job = ("time-to-nats", "--minutes", 0.004, 0.002, "--search-minutes", 0.001, "--json", "--methods", *methods)
    done = cli(*job)
    assert done.code == 0, done.err
    shorter, longer, search = done.payload["tables"]
    for table, seconds in ((shorter, 0.24), (longer, 0.48)):
        assert table["budget"] == f"quick-{seconds}-cpu-seconds"
        rows = {row["method"]: row for row in table["rows"]}
        assert set(rows) == set(methods)
        assert rows[methods[1]]["training_cpu_seconds"] >= seconds
        place = Path("results/time-to-nats/natural8x8-v1", table["budget"])
        for name in ("table.png", "table.svg", "table.md", "table.csv"):
            assert (place / name).is_file()
    assert {row["method"] for row in search["rows"]} == {methods[1]}
    assert all(row["test_nats"] is None and row["validation_nats"] is not None for row in search["rows"])

    before = records()
    lost = next(name for name, record in before.items() if record["budget"]["seconds"] == 0.24 and "made" in name)
    next((here / "results").rglob(f"{lost}.json")).unlink()
    again = cli(*job)
    assert again.code == 0, again.err
    assert again.err.count("(done before)") == len(before) - 1
    after = records()
    assert {name: record for name, record in after.items() if name != lost} == {
        name: record for name, record in before.items() if name != lost
    }
    assert set(after) == set(before)


@pytest.mark.slow
def test_what_lies_beyond_the_edge_is_tried_and_can_be_chosen(cli, monkeypatch):
    rounds = []

    def beyond(self: TimeToNatsSearch, candidates: list[CandidateTrial], records: list[Record]) -> list[CandidateTrial]:
        rounds.append(len(candidates))
        assert len(records) == len(candidates)
        further = replace(candidates[0], changes={"rate": 10.0 ** -len(rounds)})
        return [further] if len(rounds) < 3 else []

    monkeypatch.setattr(TimeToNatsSearch, "beyond", beyond)
    done = cli("time-to-nats", "--minutes", 0.002, "--methods", "made-mog+w:hidden=8", "--json")
    assert done.code == 0, done.err
    assert rounds == [3, 4, 5]
    assert len(done.payload["tables"][1]["rows"]) == 5
    assert done.err.count("the next one is tried too") == 2


@pytest.mark.slow
def test_where_every_candidate_fails_nothing_is_measured(cli, monkeypatch):
    monkeypatch.setattr("lde_bench.training.loop._look", _fail)
    done = cli("time-to-nats", "--minutes", 0.002, "--methods", "made-mog+w:hidden=8")
    assert done.code == 3
    assert "no trial finished" in done.err


def _fail(*arguments: object) -> None:
    raise FloatingPointError("the validation log-likelihood became nan")
