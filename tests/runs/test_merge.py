from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lde_bench.errors import InputError
from lde_bench.runs import Merged, Record, ResultStore, merge_results
from lde_bench.runs.merge import _copy_run

Fill = Callable[..., ResultStore]


@pytest.fixture
def fill(tmp_path: Path, make_record: Callable[..., Record]) -> Fill:
    """A folder with one record a name, each with weights, log-likelihoods and samples of its own beside it."""

    def make(folder: str, *names: str, content: bytes = b"weights", **changes: Any) -> ResultStore:
        store = ResultStore(tmp_path / folder)
        for name in names:
            paths = store.paths(store.write(make_record(run_id=name, **changes)))
            if not changes.get("failed"):
                paths.weights.write_bytes(content)
                paths.save_log_likelihoods(np.arange(3.0))
                paths.save_samples(np.zeros((2, 2)))
        return store

    return make


def files(store: ResultStore) -> dict[str, bytes]:
    return {
        path.relative_to(store.folder).as_posix(): path.read_bytes()
        for path in store.folder.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


def test_runs_come_with_their_files_byte_for_byte_and_the_sources_stay(fill, tmp_path):
    # The name of one run is how that of another begins, and both hold full stops.
    a, b = fill("a", "run-K1.5", "run-K1"), fill("b", "run-K1.5.2")
    (a.folder / "table.md").write_text("made again")
    a.paths(a.load()[0]).checkpoint.write_bytes(b"unfinished")
    before = files(a), files(b)
    assert merge_results([a.folder, b.folder], tmp_path / "c") == Merged(runs=3, files=12, there=0)
    kept = {name: content for name, content in before[0].items() if not name.endswith((".md", ".ckpt"))}
    assert files(ResultStore(tmp_path / "c")) == kept | before[1]
    assert (files(a), files(b)) == before
    assert merge_results([a.folder, b.folder], tmp_path / "c") == Merged(runs=0, files=0, there=3)


def test_the_same_run_measured_elsewhere_is_one_run_and_its_files_are_completed(fill, tmp_path):
    later = {"provenance": {"machine": "another"}, "cost": {"wall_seconds": 1, "cpu_seconds": 2, "sample_cost": "one"}}
    point = {"step": 100, "cpu_seconds": 8.0, "wall_seconds": 9.0, "validation_nats": 140.0}
    a, b = fill("a", "run"), fill("b", "run", **later, curve=[point])
    paths = a.paths(a.load()[0])
    paths.weights.unlink()
    merge_results([a.folder, b.folder], tmp_path / "c")
    c = ResultStore(tmp_path / "c")
    assert c.load() == a.load()
    assert c.paths(c.load()[0]).weights.read_bytes() == b"weights"


@pytest.mark.parametrize("into", ["a", "c"])
def test_a_run_that_differs_stops_the_merge_before_anything_is_written(fill, example, tmp_path, into):
    a = fill("a", "same", "run")
    b = fill("b", "new", "run", result={**example["result"], "test_nats": 150.26})
    before = files(a)
    with pytest.raises(InputError, match=r"run\.json and .*run\.json: .* differ in result; keep the one"):
        merge_results([a.folder, b.folder], tmp_path / into)
    assert files(a) == before
    assert not (tmp_path / "c").exists()


def test_a_success_wins_over_a_failure_whichever_comes_first(fill, tmp_path):
    fill("failed", "run", failed=True)
    done = fill("done", "run")
    for number, order in enumerate((("failed", "done"), ("done", "failed"))):
        merge_results([tmp_path / name for name in order], tmp_path / f"into-{number}")
        assert ResultStore(tmp_path / f"into-{number}").load() == done.load()
    merge_results([tmp_path / "done"], tmp_path / "failed")
    assert ResultStore(tmp_path / "failed").load() == done.load()


def test_files_of_a_trial_that_failed_after_it_kept_them_are_not_taken_for_those_of_the_success(fill, tmp_path):
    done, failed = fill("done", "run"), fill("failed", "run", failed=True)
    stale = failed.folder / done.paths(done.load()[0]).weights.relative_to(done.folder)
    stale.write_bytes(b"of the failure")
    with pytest.raises(InputError, match=r"run.*is in the way"):
        merge_results([done.folder], failed.folder)


def test_a_merge_that_was_killed_is_ended_and_what_else_stands_in_the_way_is_named(fill, tmp_path, monkeypatch):
    a = fill("a", "run-1", "run-2")
    left: list[Path] = []

    def killed_in_the_second(run_id, copies, store):
        if left:
            copies = dict(list(copies.items())[:1])
        left.append(_copy_run(run_id, copies, store))
        if len(left) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("lde_bench.runs.merge._copy_run", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        merge_results([a.folder], tmp_path / "c")
    monkeypatch.undo()
    c = ResultStore(tmp_path / "c")
    assert [record.run_id for record in c.load()] == ["run-1"], "a record comes after its files"
    (rest,) = (path for path in c.folder.rglob("run-2*") if path.suffix != ".lock")
    content = rest.read_bytes()
    rest.write_bytes(content + b"other")
    with pytest.raises(InputError, match=r"run-2.*is in the way"):
        merge_results([a.folder], c.folder)
    rest.write_bytes(content)
    merge_results([a.folder], c.folder)
    assert files(c) == files(a)


def test_the_commit_behind_weights_is_no_difference_and_the_weights_are(fill, tmp_path):
    taken = {"weights_of": ["run-0"], "weights_sha256": "ab"}
    one, two = (fill(commit, "run", training={**taken, "weights_commit": commit}) for commit in ("abc", "def"))
    merge_results([one.folder, two.folder], tmp_path / "c")
    assert files(ResultStore(tmp_path / "c")) == files(one)
    other = fill("other", "run", training={**taken, "weights_sha256": "cd"})
    with pytest.raises(InputError, match="differ in training"):
        merge_results([one.folder, other.folder], tmp_path / "d")


def test_a_run_that_another_process_has_in_hand_is_not_written_into(fill, tmp_path):
    source, target = fill("a", "run-1"), ResultStore(tmp_path / "c")
    with target.lock("run-1"), pytest.raises(InputError, match="another process is running run-1; merge again"):
        merge_results([source.folder], target.folder)
    assert files(target) == {}
    merge_results([source.folder], target.folder)
    assert files(target) == files(source)


def test_a_source_without_records_is_a_slip(fill, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, told in (("empty", "holds no run record"), ("nowhere", "no such folder")):
        with pytest.raises(InputError, match=told):
            merge_results([fill("a", "run").folder, tmp_path / name], tmp_path / "c")
    assert not (tmp_path / "c").exists()
