from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lde_bench import files
from lde_bench.errors import InputError, StorageError
from lde_bench.runs import Budget, ResultStore


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


def test_a_record_goes_to_its_documented_place(store, make_record):
    record = make_record()
    assert store.write(record) == record
    place = store.folder / "bsds300" / "bsds300-v1" / "quick" / f"{record.run_id}.json"
    assert place.is_file()
    assert store.find(record.run_id) == record
    assert store.find("another-run") is None


@pytest.mark.parametrize(
    ("budget", "label"),
    [
        (Budget.of(), "quick"),
        (Budget.of("standard"), "standard"),
        (Budget.of(steps=300), "quick-300-steps"),
        (Budget.of(seconds=100.0), "quick-100-seconds"),
    ],
)
def test_the_budget_names_the_folder(store, budget, label):
    place = store.place(experiment="bsds300", dataset="natural8x8", version="2", budget=budget, run_id="r")
    assert place.record == store.folder / "bsds300" / "natural8x8-v2" / label / "r.json"


def test_a_done_record_is_never_overwritten(store, make_record):
    first = store.write(make_record())
    before = store.paths(first).record.read_bytes()
    assert store.write(make_record(parameters=1)) == first
    assert store.write(make_record(failed=True)) == first
    assert store.paths(first).record.read_bytes() == before
    assert not store.paths(first).failed.exists()


def test_of_many_writers_of_one_run_the_first_wins_and_all_are_told(store, make_record, monkeypatch):
    look = ResultStore.find

    def look_slowly(self, run_id):
        found = look(self, run_id)
        time.sleep(0.01)
        return found

    monkeypatch.setattr(ResultStore, "find", look_slowly)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: store.write(make_record(parameters=number)), range(8)))
    assert set(map(repr, told)) == {repr(look(store, told[0].run_id))}


def test_a_failure_is_kept_but_a_success_takes_precedence(store, make_record):
    store.write(make_record(failed=True))
    again = store.write(make_record(failed=True, reason="ValueError: later"))
    assert store.find(again.run_id) == again
    done = store.write(make_record())
    assert store.paths(done).failed.exists()
    assert store.find(done.run_id) == done
    assert store.load() == [done]


def test_a_corrupted_record_among_good_ones_is_skipped_with_one_sentence(store, make_record, caplog):
    good = store.write(make_record())
    folder = store.paths(good).folder
    bad = {
        "truncated.json": store.paths(good).record.read_bytes()[:200],
        "foreign.json": b'{"hello": 1}',
        "binary.json": b"\xff\xfe\x00",
        "nan.json": store.paths(good).record.read_bytes().replace(b"150.25,", b"NaN,", 1),
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert store.load() == [good]
        assert store.load() == [good]
    assert {path.name for path in store.skipped} == set(bad)
    assert len(caplog.records) == len(bad)
    for name, content in bad.items():
        assert sum(name in record.getMessage() for record in caplog.records) == 1
        assert (folder / name).read_bytes() == content


def test_a_run_whose_record_was_corrupted_can_be_written_again_and_the_remains_are_kept(store, make_record):
    record = store.write(make_record())
    path = store.paths(record).record
    path.write_text("{")
    assert store.find(record.run_id) is None
    store.write(record)
    assert ResultStore(store.folder).find(record.run_id) == record
    assert path.with_name(path.name + ".unreadable-1").read_text() == "{"


def test_a_record_that_cannot_be_read_just_now_is_not_put_aside(store, make_record, monkeypatch):
    record = store.write(make_record())
    path = store.paths(record).record
    content = path.read_bytes()

    def failing(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "read_text", failing)
        patch.setattr(type(path), "read_bytes", failing)
        with pytest.raises(StorageError, match=r"\.json: cannot be read \(Input/output error\), and may be the record"):
            ResultStore(store.folder).write(record)
    assert [each.read_bytes() for each in path.parent.glob("*.json*")] == [content]


def test_nothing_is_left_behind_when_the_disk_fills_up_during_the_write(store, make_record, monkeypatch):
    record = make_record()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        store.write(record)
    with pytest.raises(InputError, match="disk is full"):
        store.check_writable()
    assert [path for path in store.folder.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_arrays_tell_of_a_full_disk_as_records_do(store, make_record, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = store.paths(make_record())
    monkeypatch.setattr(type(paths.record), "write_bytes", full)
    with pytest.raises(StorageError, match="the disk is full"):
        paths.save_log_likelihoods(np.zeros(3))


def test_check_writable_names_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError, match="results"):
        ResultStore(tmp_path / "results").check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_check_writable_names_a_folder_without_permission(tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    with pytest.raises(InputError, match="no permission"):
        ResultStore(tmp_path / "results").check_writable()


def test_check_writable_leaves_nothing_but_the_lock_folder(store):
    store.check_writable()
    assert [path.name for path in store.folder.iterdir()] == [".locks"]


def test_log_likelihoods_round_trip_as_float32(store, make_record):
    paths = store.paths(make_record())
    assert paths.load_log_likelihoods() is None
    paths.save_log_likelihoods(np.array([1.5, -2.25], dtype=np.float64))
    values = paths.load_log_likelihoods()
    assert values.dtype == np.float32
    assert values.tolist() == [1.5, -2.25]


def test_log_likelihoods_that_are_not_finite_are_refused(store, make_record):
    with pytest.raises(ValueError, match="2 of 3"):
        store.paths(make_record()).save_log_likelihoods(np.array([np.nan, 0, np.inf]))
    assert not store.paths(make_record()).log_likelihoods.exists()


def test_samples_round_trip_in_their_precision_beside_the_log_likelihoods(store, make_record):
    paths = store.paths(make_record())
    assert paths.load_samples() is None
    for given, kept in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        paths.save_samples(np.arange(6.0).reshape(2, 3).astype(given))
        samples = paths.load_samples()
        assert samples.dtype == kept
        np.testing.assert_array_equal(samples, np.arange(6.0).reshape(2, 3))
    assert paths.samples.name == f"{paths.run_id}.samples.npy"
    assert paths.load_log_likelihoods() is None
    with pytest.raises(ValueError, match=r"expected shape \[n, D\]"):
        paths.save_samples(np.zeros(3))
    np.save(paths.samples, np.zeros(3, dtype=np.float32))
    with pytest.raises(InputError, match=r"samples.npy: expected float32 or float64 \[n, D\]"):
        paths.load_samples()


def test_damaged_or_pickled_log_likelihoods_are_an_input_error(store, make_record):
    paths = store.paths(make_record())
    paths.save_log_likelihoods(np.zeros(5))
    content = paths.log_likelihoods.read_bytes()
    for damaged in (b"", content[:-3], b"hello"):
        paths.log_likelihoods.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            paths.load_log_likelihoods()
    with paths.log_likelihoods.open("wb") as handle:
        np.save(handle, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        paths.load_log_likelihoods()


WRITER = """
import sys
from pathlib import Path
from lde_bench.runs import Record, ResultStore
record = Record.from_json(Path(sys.argv[2]).read_text())
number = 0
while True:
    number += 1
    ResultStore(sys.argv[1]).write(Record.from_dict({**record.to_dict(), "run_id": f"{sys.argv[3]}-{number}"}))
    if number == 1:
        print("the first is written", flush=True)
"""


@pytest.mark.slow
def test_killing_the_writer_never_leaves_a_half_written_record(tmp_path, make_record):
    template = tmp_path / "template.json"
    template.write_text(make_record().to_json())
    folder = tmp_path / "results"
    for delay in (0.05, 0.11, 0.17):
        command = [sys.executable, "-c", WRITER, str(folder), str(template), f"run-{delay}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        store = ResultStore(folder)
        records = store.load()
        assert records
        assert not store.skipped
        assert len(records) == len(list(folder.rglob("*.json")))


def hold_lock(folder: Path, taken, release) -> None:
    with ResultStore(folder).lock("run", wait=False) as held:
        assert held
        taken.set()
        release.wait(30)


def test_a_lock_held_elsewhere_is_seen_and_a_killed_holder_lets_go(store):
    context = multiprocessing.get_context("spawn")
    taken, release = context.Event(), context.Event()
    holder = context.Process(target=hold_lock, args=(store.folder, taken, release))
    holder.start()
    assert taken.wait(30)
    with store.lock("run", wait=False) as held:
        assert not held
    with store.lock("other", wait=False) as held:
        assert held
    holder.kill()
    holder.join()
    with store.lock("run", wait=True) as held:
        assert held


def test_records_hold_no_path_of_this_machine(store, make_record, tmp_path):
    from lde_bench.runs import provenance

    argv = [str(tmp_path / "bin" / "lde-bench"), "bsds300", "--results-dir", str(store.folder)]
    record = store.write(make_record(provenance=provenance("a", "b", argv)))
    text = store.paths(record).record.read_text()
    assert "/" not in json.loads(text)["provenance"]["command"]
    for secret in (str(tmp_path), str(Path.home()), str(Path.cwd()), os.uname().nodename):
        assert secret not in text


def test_a_folder_of_records_that_cannot_be_read_is_not_passed_over(store, make_record, monkeypatch):
    store.write(make_record())
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("quick"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InputError, match=r"quick: cannot be read \(Permission denied\); check its rights"):
        ResultStore(store.folder).load()


def test_a_results_folder_may_be_named_by_its_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ResultStore("~/out").folder == tmp_path / "out"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_what_is_no_file_is_never_replaced_by_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="pipe: is no file that could be replaced"):
        files.write_bytes_atomic(tmp_path / "pipe", b"")
    assert (tmp_path / "pipe").is_fifo()
