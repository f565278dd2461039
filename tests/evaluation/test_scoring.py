from __future__ import annotations

import errno
import functools
import multiprocessing
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import lde_bench as lb
from lde_bench.data.unit import Unit
from lde_bench.densities.standardised import Standardised
from lde_bench.errors import InputError, StorageError
from lde_bench.evaluation import scoring
from lde_bench.evaluation.parzen import WindowSums, parzen_sums
from lde_bench.evaluation.scoring import Scored, score_file, score_window_file
from lde_bench.training import learner

D = 3


@pytest.fixture(autouse=True)
def _small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "EVALUATION_ROWS", 16)
    monkeypatch.setattr(scoring, "TASK_BLOCKS", 2)


@pytest.fixture
def density() -> lb.Density:
    return lb.create("made-mog:hidden=32", D, components=2)


@pytest.fixture
def weights(density: lb.Density, tmp_path: Path) -> Path:
    density.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(150, D)).astype(np.float32)


def saved(rows: np.ndarray, folder: Path, kind: str) -> tuple[Path, str | None]:
    path = folder / f"rows.{kind.split('-')[0]}"
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file["part/rows"] = rows
            file["others"] = rows[:2]
        return path, "part/rows"
    if kind == "npz":
        np.savez(path, first=rows[:2], rows=rows)
        return path, "rows"
    np.save(path, np.asfortranarray(rows) if kind == "npy-columns" else rows)
    return path, None


@pytest.mark.parametrize("kind", ["npy", "npy-columns", "npz", "h5"])
def test_every_number_is_that_of_log_prob_to_the_bit(density, weights, rows, tmp_path, kind):
    path, key = saved(rows, tmp_path, kind)
    told = []
    scored = score_file(weights, path, tmp_path / "out.npy", key=key, on_progress=lambda *each: told.append(each))
    assert scored == Scored(rows=150, continued=0, not_finite=0)
    assert told == [(done, 150) for done in (0, 32, 64, 96, 128, 150)]
    out = np.load(tmp_path / "out.npy")
    assert out.dtype == np.float32
    assert out.tobytes() == density.log_prob(rows).tobytes()
    assert not list(tmp_path.glob(".*"))


def test_float64_and_a_density_in_units_of_its_own(density, weights, rows, tmp_path):
    wide = 1e6 + rows.astype(np.float64)
    path, _ = saved(wide, tmp_path, "npy")
    score_file(weights, path, tmp_path / "out.npy", double=True)
    assert np.load(tmp_path / "out.npy").tobytes() == density.double().log_prob(wide).tobytes()
    own = Standardised(density.float(), Unit(np.full(D, 1e6), np.ones(D)))
    own.save(weights)
    score_file(weights, path, tmp_path / "out.npy")
    out = np.load(tmp_path / "out.npy")
    assert out.tobytes() == own.log_prob(wide).tobytes()


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_processes(weights, tmp_path, monkeypatch):
    monkeypatch.undo()  # other processes know nothing of small tasks
    rows = np.random.default_rng(0).normal(size=(40_000, D))
    path, key = saved(rows, tmp_path, "h5")
    for workers in (1, 2):
        score_file(weights, path, tmp_path / f"{workers}.npy", key=key, workers=workers)
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "2.npy").read_bytes()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("damage", ["", "torn", "header"])
def test_what_was_stopped_continues_after_the_last_whole_task(density, weights, rows, tmp_path, damage):
    path, _ = saved(rows, tmp_path, "npy")

    def stop(done: int, total: int) -> None:
        if done == 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_file(weights, path, tmp_path / "out.npy", on_progress=stop)
    assert not (tmp_path / "out.npy").exists()
    (partial,) = tmp_path.glob(".out.npy.*.partial")
    content = partial.read_bytes()
    if damage:  # killed within a write
        partial.write_bytes(content + b"torn" * 3 if damage == "torn" else content[:50])
    scored = score_file(weights, path, tmp_path / "out.npy")
    assert scored.continued == (0 if damage == "header" else 64)
    assert np.load(tmp_path / "out.npy").tobytes() == density.log_prob(rows).tobytes()


def test_other_data_or_weights_are_not_continued(density, weights, rows, tmp_path):
    path, _ = saved(rows, tmp_path, "npy")

    def stop(done: int, total: int) -> None:
        if done == 64:
            raise KeyboardInterrupt

    for change in (lambda: saved(rows + 1, tmp_path, "npy"), lambda: lb.create("gaussian", D).save(weights)):
        with pytest.raises(KeyboardInterrupt):
            score_file(weights, path, tmp_path / "out.npy", on_progress=stop)
        change()
        assert score_file(weights, path, tmp_path / "out.npy").continued == 0


def test_a_row_that_is_no_numbers_is_named_and_nothing_is_left(weights, rows, tmp_path):
    rows[100, 1] = np.nan
    path, _ = saved(rows, tmp_path, "npy")
    with pytest.raises(InputError, match=r"rows.npy: the array holds NaN or infinity in row 100; remove"):
        score_file(weights, path, tmp_path / "out.npy")
    assert set(tmp_path.iterdir()) == {weights, path}  # a mended file is another, which continues nothing


def test_log_likelihoods_that_are_not_finite_are_counted(weights, rows, tmp_path):
    path, _ = saved(rows.astype(np.float64) * np.where(np.arange(150) % 50 == 0, 1e300, 1)[:, None], tmp_path, "npy")
    assert score_file(weights, path, tmp_path / "out.npy").not_finite == 3


def test_a_second_process_on_the_same_output_is_told(weights, rows, tmp_path):
    path, _ = saved(rows, tmp_path, "npy")

    def again(done: int, total: int) -> None:
        score_file(weights, path, tmp_path / "out.npy")

    with pytest.raises(InputError, match="another process scores these rows"):
        score_file(weights, path, tmp_path / "out.npy", on_progress=again)


@pytest.mark.parametrize(
    ("content", "key", "told"),
    [
        (np.zeros((4, 2)), None, "has rows of 2 numbers and is scored by what has 3"),
        (np.zeros((0, D)), None, "is empty"),
        (np.zeros(4), None, r"is of shape \[4\]; give rows"),
        (np.array([["a"] * D]), None, "holds <U1 values"),
        (np.array([[{}] * D]), None, "Python objects"),
        ({"a": np.zeros((4, D)), "b": np.zeros((4, D))}, None, "holds a, b; name one array with --key"),
        ({"a": np.zeros((4, D))}, "c", "the array 'c' is missing"),
    ],
)
def test_files_that_hold_no_such_rows_are_refused(weights, tmp_path, content, key, told):
    path = tmp_path / ("rows.npz" if isinstance(content, dict) else "rows.npy")
    np.savez(path, **content) if isinstance(content, dict) else np.save(path, content)
    with pytest.raises(InputError, match=told):
        score_file(weights, path, tmp_path / "out.npy", key=key)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.safetensors", path.name]


def test_a_key_of_a_file_that_has_none_is_refused(weights, rows, tmp_path):
    path, _ = saved(rows, tmp_path, "npy")
    with pytest.raises(InputError, match=r"rows\.npy: is one array and has no key 'other'; leave the key out"):
        score_file(weights, path, tmp_path / "out.npy", key="other")


def test_files_cut_short_and_compressed_ones_are_refused(weights, rows, tmp_path):
    path, _ = saved(rows, tmp_path, "npy")
    os.truncate(path, 500)
    np.savez_compressed(tmp_path / "packed.npz", rows=rows)
    (tmp_path / "rows.csv").touch()
    faults = {"rows.npy": "where", "packed.npz": "is compressed", "rows.csv": "is neither", "none.h5": "no such file"}
    for name, told in faults.items():
        with pytest.raises(InputError, match=f"{name}.*{told}"):
            score_file(weights, tmp_path / name, tmp_path / "out.npy")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence_and_what_was_done_is_kept(density, weights, rows, tmp_path, monkeypatch):
    path, _ = saved(rows, tmp_path, "npy")
    append, calls = scoring._Partial.append, []

    def full(self, values):
        calls.append(values)
        if len(calls) == 3:
            self._file = open("/dev/full", "wb")  # noqa: PTH123, SIM115 (closed with the object)
        append(self, values)

    monkeypatch.setattr(scoring._Partial, "append", full)
    with pytest.raises(StorageError, match="disk is full"):
        score_file(weights, path, tmp_path / "out.npy")
    monkeypatch.undo()
    monkeypatch.setattr(learner, "EVALUATION_ROWS", 16)
    monkeypatch.setattr(scoring, "TASK_BLOCKS", 2)
    assert score_file(weights, path, tmp_path / "out.npy").continued == 64
    assert np.load(tmp_path / "out.npy").tobytes() == density.log_prob(rows).tobytes()


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Path, np.ndarray]:
    made = np.random.default_rng(1).normal(size=(500, D)).astype(np.float32)
    np.save(tmp_path / "samples.npy", made)
    return tmp_path / "samples.npy", made


def test_a_window_is_that_of_its_blocks_of_samples_joined(samples, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "TEST_ROWS", 40)
    monkeypatch.setattr(scoring, "PART_NUMBERS", 70 * D)
    path, _ = saved(rows, tmp_path, "h5")
    told = []
    note = lambda *each: told.append(each)  # noqa: E731
    score_window_file(samples[0], 0.3, path, tmp_path / "out.npy", key="part/rows", on_progress=note)
    assert told == [(done, 150) for done in (0, 40, 80, 120, 150)]
    parts = [parzen_sums(rows, samples[1][first : first + 100], [0.3]) for first in range(0, 500, 100)]
    joined = functools.reduce(WindowSums.join, parts).log_prob()[0]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), joined, rtol=1e-12)
    squares = ((rows[:, None] - samples[1]).astype(np.float64) ** 2).sum(2)  # [n, m]
    direct = np.log(np.exp(-squares / (2 * 0.3**2)).mean(1)) - D / 2 * np.log(2 * np.pi * 0.3**2)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), direct, rtol=1e-6)


def test_a_window_of_other_samples_or_width_is_not_continued(samples, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "TEST_ROWS", 40)
    path, _ = saved(rows, tmp_path, "npy")

    def stop(done: int, total: int) -> None:
        if done == 80:
            raise KeyboardInterrupt

    def begin() -> None:
        with pytest.raises(KeyboardInterrupt):
            score_window_file(samples[0], 0.3, path, tmp_path / "out.npy", on_progress=stop)

    begin()
    assert score_window_file(samples[0], 0.3, path, tmp_path / "out.npy").continued == 80
    begin()
    assert score_window_file(samples[0], 0.31, path, tmp_path / "out.npy").continued == 0
    np.save(samples[0], samples[1] + 1)
    assert score_window_file(samples[0], 0.3, path, tmp_path / "out.npy").continued == 0


@pytest.mark.parametrize(
    ("made", "sigma", "told"),
    [
        (np.zeros((0, D)), 0.3, "samples.npy: the array is empty; give at least one sample"),
        (np.zeros((5, D)), -1.0, "sigma = -1 is not a positive number"),
        (np.zeros((5, D)), 1e160, r"sigma = 1e\+160 is not a positive number, or one too small or large to be squared"),
        (np.zeros((5, 2)), 0.3, "has rows of 3 numbers and is scored by what has 2; give rows of the same width"),
        (np.full((5, D), np.nan), 0.3, "NaN"),
    ],
)
def test_windows_that_are_none_are_refused(rows, tmp_path, made, sigma, told):
    path, _ = saved(rows, tmp_path, "npy")
    np.save(tmp_path / "samples.npy", made)
    with pytest.raises(InputError, match=told):
        score_window_file(tmp_path / "samples.npy", sigma, path, tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.slow
def test_a_window_does_not_depend_on_the_number_of_processes(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "PART_NUMBERS", 70 * D)
    path, _ = saved(np.random.default_rng(0).normal(size=(3_000, D)), tmp_path, "npy")
    for workers in (1, 2):
        score_window_file(samples[0], 0.3, path, tmp_path / f"{workers}.npy", workers=workers)
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "2.npy").read_bytes()


def test_workers_that_the_system_refuses_are_told_of(weights, rows, tmp_path, monkeypatch):
    class Refused:
        def __init__(self, *arguments: object) -> None:
            pass

        def submit(self, *arguments: object) -> None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        def shutdown(self, **options: object) -> None:
            pass

    path, _ = saved(rows, tmp_path, "npy")
    monkeypatch.setattr(scoring, "ProcessPoolExecutor", Refused)
    with pytest.raises(InputError, match=r"^4 worker processes cannot be started \(Resource temporarily unavailable\)"):
        score_file(weights, path, tmp_path / "out.npy", workers=4)
