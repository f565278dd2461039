from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from lde_bench.data import bsds300_hdf5, load_dataset
from lde_bench.errors import InputError

ROWS = {"train": 300, "validation": 40, "test": 50}


def write(path: Path, **changed: np.ndarray | None) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for split, rows in ROWS.items():
            array = changed.get(split, rng.normal(size=(rows, 63)).astype(np.float32))
            if array is not None:
                file[split] = array
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "bsds300").mkdir()
    return write(tmp_path / "bsds300" / "BSDS300.hdf5")


def test_it_is_a_dataset_of_its_own_without_groups(file):
    data = load_dataset("bsds300-hdf5", data_dir=file)
    assert (data.name, data.version, data.is_patch) == ("bsds300-hdf5", "unofficial", True)
    assert data.sizes == ROWS
    assert data.train.dtype == np.float32
    assert data.train_groups is None
    assert data.test_groups is None
    assert data.fresh is None
    with h5py.File(file) as raw:
        np.testing.assert_array_equal(data.test, raw["test"][:])


def test_a_file_of_the_published_size_is_not_called_the_published_file(file, monkeypatch, caplog):
    assert load_dataset("bsds300-hdf5", data_dir=file).version == "unofficial"
    assert "this is not the published file" in caplog.text
    caplog.clear()
    monkeypatch.setattr(bsds300_hdf5, "PUBLISHED_ROWS", ROWS)
    assert load_dataset("bsds300-hdf5", data_dir=file, test=5).version == "zenodo-1161203-unverified"
    assert caplog.text == ""


def test_it_is_found_from_the_root_its_folder_itself_and_the_environment(file, monkeypatch):
    hashes = {load_dataset("bsds300-hdf5", data_dir=place).content_hash for place in (file, *file.parents[:2])}
    monkeypatch.setenv("LDE_BENCH_DATA", str(file.parent))
    assert {load_dataset("bsds300-hdf5").content_hash} == hashes


def test_slices_are_prefixes_and_hash_otherwise(file):
    full = load_dataset("bsds300-hdf5", data_dir=file)
    part = load_dataset("bsds300-hdf5", data_dir=file, train=7, validation=8, test=9)
    np.testing.assert_array_equal(part.train, full.train[:7])
    assert part.sizes == {"train": 7, "validation": 8, "test": 9}
    assert part.content_hash != full.content_hash
    with pytest.raises(InputError, match="bsds300-hdf5 holds 300 train rows and 301 were asked for"):
        load_dataset("bsds300-hdf5", data_dir=file, train=301)


def test_a_missing_key_is_named(tmp_path):
    path = write(tmp_path / "BSDS300.hdf5", validation=None)
    with pytest.raises(InputError, match=r"BSDS300\.hdf5: the key 'validation' is missing; take .*zenodo"):
        load_dataset("bsds300-hdf5", data_dir=path)


@pytest.mark.parametrize(
    "array", [np.zeros((9, 64), np.float32), np.zeros(63, np.float32), np.zeros((9, 63), int), np.zeros((0, 63))]
)
def test_a_wrong_width_or_kind_is_named(tmp_path, array):
    path = write(tmp_path / "BSDS300.hdf5", test=array)
    with pytest.raises(InputError, match=r"BSDS300\.hdf5: 'test' is .* where rows of 63 floats belong"):
        load_dataset("bsds300-hdf5", data_dir=path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_number_that_is_not_finite_is_placed_if_it_is_read(tmp_path, bad, monkeypatch):
    monkeypatch.setattr(bsds300_hdf5, "_SLICE", 16)
    train = np.zeros((300, 63))
    train[205, 3] = bad
    path = write(tmp_path / "BSDS300.hdf5", train=train)
    with pytest.raises(InputError, match="row 205 of 'train' holds a NaN or an infinity"):
        load_dataset("bsds300-hdf5", data_dir=path)
    assert load_dataset("bsds300-hdf5", data_dir=path, train=205).sizes["train"] == 205


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_a_file_that_cannot_be_read_is_one_sentence(file, content):
    file.write_bytes(file.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InputError, match=r"^[^\n]*BSDS300\.hdf5: cannot be read [^\n]*$"):
        load_dataset("bsds300-hdf5", data_dir=file)


def test_an_absent_file_says_where_it_can_be_had(tmp_path):
    with pytest.raises(InputError, match=r"no BSDS300\.hdf5 there; take BSDS300\.hdf5 from https://zenodo"):
        load_dataset("bsds300-hdf5", data_dir=tmp_path)
    with pytest.raises(InputError, match="bsds300-hdf5 needs a data folder; take"):
        load_dataset("bsds300-hdf5")
