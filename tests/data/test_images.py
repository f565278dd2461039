"""MNIST, TFD, faces48 and the digits: shapes, splits, damaged and absent files."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

import lde_bench as lb
from lde_bench.data import faces48, mnist, tfd
from lde_bench.errors import InputError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_the_digits_need_no_file() -> None:
    data = lb.load_dataset("digits8x8")
    assert data.sizes == {"train": 1197, "validation": 200, "test": 400}
    assert data.image_shape == (1, 8, 8)
    assert data.train.dtype == np.float32
    assert (data.train.min(), data.train.max()) == (0, 1)
    rows = np.concatenate([data.train, data.validation, data.test])
    assert len(np.unique(rows, axis=0)) == 1797
    few = lb.load_dataset("digits8x8", test=7)
    assert few.test.shape == (7, 64)
    np.testing.assert_array_equal(few.test_labels, data.test_labels[:7])
    # Nearest training images of the same digit: the labels go with their images.
    nearest = ((data.test[:, None] - data.train[None]) ** 2).sum(-1).argmin(1)
    assert (data.train_labels[nearest] == data.test_labels).mean() > 0.95
    assert dataclasses.replace(data, train_labels=None).training_hash == data.training_hash


def idx(images: np.ndarray) -> bytes:
    return struct.pack(">4i", 2051, len(images), 28, 28) + images.tobytes()


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    images = {
        "train": noise(60, 28, 28),
        "test": noise(9, 28, 28),
    }
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / f"{mnist.FILES['train']}.gz").write_bytes(gzip.compress(idx(images["train"])))
    (folder / mnist.FILES["test"].replace("-idx", ".idx")).write_bytes(idx(images["test"]))
    hashes = {split: hashlib.sha256(idx(images[split])).hexdigest() for split in images}
    monkeypatch.setattr(mnist, "RAW_SHA256", hashes)
    monkeypatch.setattr(mnist, "TRAIN", 50)
    return tmp_path


def test_mnist_is_read_gzipped_or_not_and_split_once(small_mnist: Path) -> None:
    data = lb.load_dataset("mnist", data_dir=small_mnist)
    assert data.sizes == {"train": 50, "validation": 10, "test": 9}
    raw = np.frombuffer((small_mnist / "mnist" / "t10k-images.idx3-ubyte").read_bytes(), np.uint8, offset=16)
    np.testing.assert_array_equal(data.test, raw.reshape(9, 784).astype(np.float32) / 255)
    again = lb.load_dataset("mnist", data_dir=small_mnist / "mnist", train=20)
    np.testing.assert_array_equal(again.train, data.train[:20])


def test_labels_of_mnist_are_read_where_they_lie_with_the_images_and_are_not_hashed(
    small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = lb.load_dataset("mnist", data_dir=small_mnist)
    assert (plain.train_labels, plain.test_labels) == (None, None)
    labels = {"train": np.arange(60, dtype=np.uint8) % 10, "test": np.arange(9, dtype=np.uint8)}
    files = {split: struct.pack(">2i", 2049, len(each)) + each.tobytes() for split, each in labels.items()}
    for split, stem in mnist.LABELS.items():
        (small_mnist / "mnist" / f"{stem}.gz").write_bytes(gzip.compress(files[split]))
    with pytest.raises(InputError, match="another SHA-256"):
        lb.load_dataset("mnist", data_dir=small_mnist)
    monkeypatch.setattr(
        mnist, "LABELS_SHA256", {split: hashlib.sha256(each).hexdigest() for split, each in files.items()}
    )
    data = lb.load_dataset("mnist", data_dir=small_mnist, test=4)
    assert data.content_hash == lb.load_dataset("mnist", data_dir=small_mnist, test=4).content_hash
    np.testing.assert_array_equal(data.test_labels, labels["test"][:4])
    assert data.train_labels.dtype == np.int64
    np.testing.assert_array_equal(
        np.bincount(np.concatenate([data.train_labels, data.validation_labels])), np.bincount(labels["train"])
    )


def test_mnist_of_other_bytes_is_refused(small_mnist: Path) -> None:
    path = small_mnist / "mnist" / f"{mnist.FILES['train']}.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((60, 28, 28), np.uint8))))
    with pytest.raises(InputError, match="another SHA-256"):
        lb.load_dataset("mnist", data_dir=small_mnist)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="cannot be read"):
        lb.load_dataset("mnist", data_dir=small_mnist)


def test_absent_mnist_names_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no train-images-idx3-ubyte .*digits8x8"):
        lb.load_dataset("mnist", data_dir=tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        lb.load_dataset("mnist", data_dir=tmp_path / "none")
    monkeypatch.setattr(mnist, "SITES", ("http://127.0.0.1:9/",))
    with pytest.raises(InputError, match=r"could not be downloaded.*digits8x8"):
        lb.load_dataset("mnist")


def tfd_arrays() -> dict[str, np.ndarray]:
    folds = np.zeros((40, 5), np.uint8)
    for fold in range(5):
        folds[20:, fold] = np.roll(np.repeat([1, 2, 3], [12, 4, 4]), 4 * fold)
    return {"images": noise(40, 48, 48), "folds": folds}


@pytest.mark.parametrize(("name", "labels"), [("tfd", [0]), ("tfd-union", [0, 1])])
def test_tfd_trains_on_the_unlabeled_images_and_in_its_union_on_the_training_images_of_a_fold(
    tmp_path: Path, name: str, labels: list[int]
) -> None:
    arrays = tfd_arrays()
    savemat(tmp_path / tfd.FILE, arrays)
    for fold in tfd.FOLDS:
        data = lb.load_dataset(f"{name}-fold{fold}", data_dir=tmp_path)
        assert data.image_shape == (1, 48, 48)
        parts = {"train": labels, "validation": [2], "test": [3]}
        for split, values in parts.items():
            expected = arrays["images"][np.isin(arrays["folds"][:, fold - 1], values)].reshape(-1, 48 * 48)
            rows = getattr(data, split)
            # Training rows are shuffled; noise differs in every row's first pixels.
            np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(expected / np.float32(255), axis=0))
    assert data.sizes == {"train": 20 if name == "tfd" else 32, "validation": 4, "test": 4}
    assert lb.load_dataset(name, data_dir=tmp_path).name == f"{name}-fold1"


def test_figures_on_tfd_and_on_its_union_never_share_a_name_and_version(tmp_path: Path) -> None:
    """Version 1 of `tfd` was the union."""
    savemat(tmp_path / tfd.FILE, tfd_arrays())
    two = [lb.load_dataset(name, data_dir=tmp_path) for name in ("tfd", "tfd-union")]
    assert [(data.name, data.version) for data in two] == [
        ("tfd-fold1", "2-unofficial"),
        ("tfd-union-fold1", "1-unofficial"),
    ]
    assert two[0].content_hash != two[1].content_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": None}, "the array 'folds' is missing"),
        ({"images": None}, "the array 'images' is missing"),
        ({"images": np.zeros((40, 32, 32), np.uint8)}, r"'images' is uint8 \[40, 32, 32\]"),
        ({"images": np.zeros((40, 48, 48))}, r"'images' is float64"),
        ({"folds": np.full((40, 5), 7, np.uint8)}, "of the values 0 to 3"),
        ({"folds": np.zeros((39, 5), np.uint8)}, "'folds' is uint8"),
        ({"folds": np.zeros((40, 5), np.uint8)}, "fold 1 has no validation images"),
    ],
)
def test_a_file_of_another_layout_is_refused_in_a_sentence(tmp_path: Path, change: dict, message: str) -> None:
    arrays = {key: value for key, value in (tfd_arrays() | change).items() if value is not None}
    savemat(tmp_path / tfd.FILE, arrays)
    with pytest.raises(InputError, match=message):
        lb.load_dataset("tfd", data_dir=tmp_path)


def test_absent_or_damaged_tfd_says_how_to_ask_for_it_and_names_the_stand_in(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not at hand.*ask the University of Toronto.*faces48"):
        lb.load_dataset("tfd", data_dir=tmp_path)
    (tmp_path / tfd.FILE).write_bytes(b"no mat file" * 30)
    with pytest.raises(InputError, match="cannot be read"):
        lb.load_dataset("tfd", data_dir=tmp_path)


def test_a_file_of_matlab_7_3_is_the_same_dataset(tmp_path: Path) -> None:
    arrays = tfd_arrays()
    savemat(tmp_path / tfd.FILE, arrays)
    expected = lb.load_dataset("tfd-fold2", data_dir=tmp_path)
    with h5py.File(tmp_path / tfd.FILE, "w", userblock_size=512) as file:  # as MATLAB writes it with -v7.3
        for key, array in arrays.items():
            file[key] = array.T
    data = lb.load_dataset("tfd-fold2", data_dir=tmp_path)
    assert data.content_hash == expected.content_hash


@pytest.mark.parametrize("version", ["7", "7.3"])
def test_sparse_folds_of_tfd_are_refused(tmp_path: Path, version: str) -> None:
    arrays = tfd_arrays()
    if version == "7":
        savemat(tmp_path / tfd.FILE, arrays | {"folds": csc_matrix(arrays["folds"].astype(float))})
    else:
        with h5py.File(tmp_path / tfd.FILE, "w") as file:
            file["images"] = arrays["images"].T
            file["folds/data"] = np.ones(3)
    with pytest.raises(InputError, match=r"'folds' is no full array; save full\(folds\)"):
        lb.load_dataset("tfd", data_dir=tmp_path)


def test_a_flipped_byte_of_tfd_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / tfd.FILE, tfd_arrays(), do_compression=True)
    data = bytearray((tmp_path / tfd.FILE).read_bytes())
    data[len(data) // 3] ^= 255
    (tmp_path / tfd.FILE).write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        lb.load_dataset("tfd", data_dir=tmp_path)


def test_nobody_is_in_two_splits_of_the_faces_and_crowds_train(tmp_path: Path) -> None:
    person = np.concatenate([np.zeros(30, np.int32), np.repeat(np.arange(1, 101, dtype=np.int32), 2)])
    np.savez(tmp_path / faces48.FILE, images=noise(230, 48, 48), person=person)
    data = lb.load_dataset("faces48", data_dir=tmp_path)
    groups = [set(data.train_groups), set(data.validation_groups), set(data.test_groups)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert 0 in groups[0]
    assert data.sizes == {"train": 170, "validation": 20, "test": 40}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": np.zeros((3, 48, 48), np.uint8)}, "the array 'person' is missing"),
        ({"images": np.zeros((3, 48, 47), np.uint8), "person": np.zeros(3, int)}, "'images' is uint8"),
        ({"images": np.zeros((3, 48, 48), np.uint8), "person": np.zeros(3)}, "'person' is float64"),
        ({"images": np.array([{}]), "person": np.zeros(1, int)}, "Python objects"),
        ({"images": np.zeros((3, 48, 48), np.uint8), "person": np.zeros(3, int)}, "1 persons have at most 10 images"),
    ],
)
def test_faces_of_another_layout_are_refused(tmp_path: Path, content: dict, message: str) -> None:
    np.savez(tmp_path / faces48.FILE, **content)
    with pytest.raises(InputError, match=message):
        lb.load_dataset("faces48", data_dir=tmp_path)


@pytest.mark.real_data
def test_the_real_images(data_dir: Path) -> None:
    digits = lb.load_dataset("mnist", data_dir=data_dir)
    assert digits.sizes == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert np.bincount(digits.test_labels)[5] == 892  # as published
    assert digits.test.mean() == pytest.approx(0.1325, abs=1e-4)  # the known mean of the test images
    faces = lb.load_dataset("faces48", data_dir=data_dir)
    assert faces.sizes == {"train": 10_190, "validation": 859, "test": 1_745}
