"""Datasets of picture files: found, split, decoded once, read from disk row by row; and every fault of them."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import lde_bench as lb
from lde_bench.arrays import PixelRows
from lde_bench.data import celeba, describe, image_cache, load_image_folder, mixed, natural32
from lde_bench.data.base import SPLITS, Dataset
from lde_bench.data.image_files import split_by_hash
from lde_bench.errors import InputError


def save_pictures(folder: Path, names: list[str], size: tuple[int, int] = (12, 10)) -> Path:
    """Pictures of one colour each, which their place in the list decides."""
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour(place)).save(path, "PNG")  # whatever it is called: JPEG would blur the colour
    return folder


def colour(place: int) -> tuple[int, int, int]:
    return place % 256, place // 256, 100


def places(rows: np.ndarray | PixelRows) -> list[int]:
    """The places in the list of the pictures that rows [n, 3 * side * side] were made of."""
    first = np.asarray(rows).reshape(len(rows), 3, -1)[:, :2, 0] * 255
    return [round(256 * green + red) for red, green in first]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_pictures(tmp_path / "holidays", [f"{number % 3}/{number}.png" for number in range(60)])


def load(folder: Path, **options: object) -> Dataset:
    return load_image_folder(folder, **{"side": 4, **options})


def test_a_folder_of_ones_own(folder: Path) -> None:
    data = load(folder)
    assert (data.name, data.version, data.image_shape) == ("holidays", "user-images-4-crop", (3, 4, 4))
    assert isinstance(data.train, PixelRows)
    found = {split: places(getattr(data, split)) for split in SPLITS}
    assert sorted(itertools.chain(*found.values())) == list(range(60))
    expected = split_by_hash([f"{number % 3}/{number}.png" for number in range(60)])
    assert found == {split: [int(Path(name).stem) for name in names] for split, names in expected.items()}
    one = data.test[0].reshape(3, 16)
    np.testing.assert_array_equal(one * 255, np.repeat([[found["test"][0]], [0], [100]], 16, 1))
    entry = describe(data.name, data.version)
    assert (entry.items, entry.images.latent) == ("images", 32)
    few = load(folder, train=5, validation=1, test=2)
    assert few.sizes == {"train": 5, "validation": 1, "test": 2}
    np.testing.assert_array_equal(few.train, data.train[:5])
    with pytest.raises(InputError, match=r"holidays holds \d+ test rows and 999 were asked for"):
        load(folder, test=999)


def test_the_split_goes_by_the_name_alone() -> None:
    names = [f"{number}.jpg" for number in range(4000)]
    splits = split_by_hash(names)
    shares = [len(splits[split]) / 4000 for split in SPLITS]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    part = split_by_hash(names[1000:])  # those that stay stay in their split
    assert all(set(part[split]) <= set(splits[split]) for split in SPLITS)
    assert splits["train"] != sorted(splits["train"], key=names.index)  # a prefix is no run of the names
    grouped = split_by_hash(names, key=lambda name: name[:-5])
    where = {name: split for split in SPLITS for name in grouped[split]}
    assert all(where[f"{ten}1.jpg"] == where[f"{ten}7.jpg"] for ten in range(1, 400))


def test_side_and_fit_make_another_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    for number in range(40):
        save_pictures(folder, [f"{number}.png"], (30, 10))
    kinds = [load(folder), load(folder, fit="stretch"), load(folder, side=5), load(folder)]
    assert [data.version for data in kinds] == [
        f"user-images-{kind}" for kind in ("4-crop", "4-stretch", "5-crop", "4-crop")
    ]
    assert kinds[0].content_hash == kinds[3].content_hash
    assert kinds[0].content_hash != kinds[2].content_hash


def test_pictures_are_decoded_once_and_again_when_one_has_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(folder)
    cached = [path.name for path in Path(os.environ["LDE_BENCH_CACHE"]).glob("*.h5")]
    assert len(cached) == 1
    assert cached[0].startswith("holidays-user-images-4-crop-")
    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "square", None)
        assert load(folder).content_hash == before.content_hash
        assert load(folder, skip_bad=True).content_hash == before.content_hash
    Image.new("RGB", (12, 10), (1, 1, 1)).save(folder / "0" / "0.png")
    os.utime(folder / "0" / "0.png", ns=(0, 0))
    assert load(folder).content_hash != before.content_hash


@pytest.mark.parametrize("damage", ["a byte", "cut short", "emptied", "no HDF5", "another key", "compressed"])
def test_a_damaged_cache_is_rebuilt_with_a_warning(folder: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    before = load(folder)
    rows = np.asarray(before.train)
    (path,) = Path(os.environ["LDE_BENCH_CACHE"]).glob("*.h5")
    whole = path.read_bytes()
    if damage == "a byte":
        with h5py.File(path) as file:
            place = file["train"].id.get_offset() + 7
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    elif damage in ("cut short", "emptied", "no HDF5"):
        path.write_bytes({"cut short": whole[:-3000], "emptied": b"", "no HDF5": b"404 not found"}[damage])
    else:
        with h5py.File(path, "r+") as file:
            if damage == "another key":
                file.attrs["key"] = "another"
            else:
                pixels = file["test"][:]
                del file["test"]
                file.create_dataset("test", data=pixels, compression="gzip")
    again = load(folder)
    assert again.content_hash == before.content_hash
    assert "is damaged (" in caplog.text
    assert "is rebuilt" in caplog.text
    np.testing.assert_array_equal(again.train, rows)
    assert path.stat().st_size == len(whole)


def test_a_preparation_that_is_killed_leaves_nothing_that_is_read(folder: Path) -> None:
    program = f"""
import os, signal
from lde_bench.data import image_cache, load_image_folder
real = image_cache.square
def square(data, side, fit):
    square.calls += 1
    if square.calls == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(data, side, fit)
square.calls = 0
image_cache.square = square
load_image_folder({str(folder)!r}, side=4)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL
    cache = Path(os.environ["LDE_BENCH_CACHE"])
    assert not list(cache.glob("*.h5"))
    assert len(list(cache.glob(".*.h5.*.tmp"))) == 1
    assert sum(load(folder).sizes.values()) == 60
    assert not list(cache.glob(".*.h5.*.tmp"))


def test_folders_of_one_name_are_not_taken_for_each_other(tmp_path: Path) -> None:
    for place, parent in enumerate("ab"):
        (tmp_path / parent / "frames").mkdir(parents=True)
        for number in range(60):
            path = tmp_path / parent / "frames" / f"{number}.bmp"
            Image.new("RGB", (8, 8), (number, 99 * place, 100)).save(path)
            os.utime(path, ns=(0, 0))
    one, other = (load(tmp_path / parent / "frames") for parent in "ab")
    assert {round(float(row[16]) * 255) for row in np.asarray(one.train)} == {0}
    assert {round(float(row[16]) * 255) for row in np.asarray(other.train)} == {99}


def test_a_folder_that_is_moved_away_and_back_is_not_decoded_again(folder: Path, tmp_path: Path) -> None:
    load(folder)
    subprocess.run(["cp", "-a", folder, tmp_path / "away"], check=True)
    shutil.rmtree(folder)
    subprocess.run(["cp", "-a", tmp_path / "away", folder], check=True)
    load(folder)
    assert len(list(Path(os.environ["LDE_BENCH_CACHE"]).glob("*.h5"))) == 1


def test_a_link_to_nowhere_is_a_bad_file_like_any(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "gone.png").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"1 of 61 files cannot be used as images \(gone\.png cannot be read"):
        load(folder)
    assert sum(load(folder, skip_bad=True).sizes.values()) == 60
    assert "gone.png" in caplog.text


def test_a_picture_whose_rights_are_mended_is_looked_at_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = folder / "0" / "3.png"
    victim.chmod(0)

    def refuse(self: Path) -> bytes:
        if self == victim and not self.stat().st_mode & 0o400:  # root may read whatever the rights say
            raise PermissionError(13, "Permission denied")
        return read_bytes(self)

    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert sum(load(folder, skip_bad=True).sizes.values()) == 59
    victim.chmod(0o644)
    assert sum(load(folder).sizes.values()) == 60


def test_bad_files_are_named_counted_and_stop_the_run_unless_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture, own_cache: Path
) -> None:
    whole = load(folder)
    shutil.rmtree(own_cache)
    victims = sorted(folder.rglob("*.png"))[::9]
    victims[0].write_bytes(b"")
    victims[1].write_bytes(victims[1].read_bytes()[:50])
    victims[2].write_text("no picture")
    with pytest.raises(InputError) as told:
        load(folder)
    message = str(told.value)
    assert message.startswith(f"{folder}: 3 of 60 files cannot be used as images (0/0.png is empty; ")
    assert "no image that Pillow can read" in message
    assert message.endswith("; mend or remove them, or leave them out with --skip-bad.")
    assert message.count(". ") == 0
    assert not list(own_cache.glob("*.h5"))  # nothing half-written
    data = load(folder, skip_bad=True)
    assert "3 of 60 files cannot be used" in caplog.text
    assert "are left out." in caplog.text
    left = {int(path.stem) for path in victims[:3]}
    assert places(data.train) == [place for place in places(whole.train) if place not in left]
    assert sum(data.sizes.values()) == 57
    with pytest.raises(InputError, match="3 of 60 files"):  # decoded before, and still not wanted
        load(folder)
    caplog.clear()
    assert load(folder, skip_bad=True).content_hash == data.content_hash
    assert "are left out" in caplog.text


def test_many_bad_files_are_counted_and_a_few_named(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "bad", [f"{number}.png" for number in range(40)])
    for number in range(40):
        (folder / f"{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"40 of 40 files .*\(0\.png is empty;.*and 35 others\)"):
        load(folder)
    with pytest.raises(InputError, match="which leaves no train images"):
        load(folder, skip_bad=True)


def test_what_is_no_folder_of_images_is_told_of(tmp_path: Path, folder: Path) -> None:
    (folder / ".hidden").write_text("not looked at")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("nor this")
    assert sum(load(folder).sizes.values()) == 60
    with pytest.raises(InputError, match="no such folder; give one of images"):
        load(tmp_path / "none")
    with pytest.raises(InputError, match="no such folder"):
        load(next(folder.rglob("*.png")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        load(tmp_path / "empty")
    with pytest.raises(InputError, match="of its 2 images none falls to the"):
        load(save_pictures(tmp_path / "few", ["a.png", "b.png"]))
    for options, told in (
        ({"side": 0}, "side=0 is not a number of pixels"),
        ({"side": 4000}, "whole number from 1 to 1,024"),
        ({"fit": "squash"}, "fit='squash' is unknown; choose stretch or crop"),
        ({"train": 0}, "train=0 is not a number of rows"),
    ):
        with pytest.raises(InputError, match=told):
            load(folder, **options)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    (folder / "0" / "0.png").chmod(0)
    with pytest.raises(InputError, match=r"0/0\.png cannot be read \(Permission denied\)"):
        load(folder)


def test_a_fault_of_the_disk_is_not_remembered_as_one_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "7.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        with pytest.raises(InputError, match=r"1/7\.png: cannot be read \(Input/output error\); run again"):
            load(folder, skip_bad=True)
    assert sum(load(folder, skip_bad=True).sizes.values()) == 60


def test_a_fault_of_the_disk_is_not_remembered_as_one_of_a_member_of_an_archive(
    small_celeba: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(archive: zipfile.ZipFile, name: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = small_celeba / celeba.ARCHIVE
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "read", failing)
        with pytest.raises(
            InputError, match=r"img_align_celeba\.zip: cannot be read \(Input/output error\); run again"
        ):
            lb.load_dataset("celeba", data_dir=path, side=8, skip_bad=True)
    assert sum(lb.load_dataset("celeba", data_dir=path, side=8, skip_bad=True).sizes.values()) == 12


def test_a_picture_for_which_there_was_no_memory_is_no_bad_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageOps.exif_transpose", failing)
        with pytest.raises(MemoryError):
            load(folder, skip_bad=True)
    assert sum(load(folder, skip_bad=True).sizes.values()) == 60


def test_a_hidden_folder_is_called_by_a_name_that_its_results_are_found_by(folder: Path) -> None:
    assert load(folder.rename(folder.with_name(".pics"))).name == "pics"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_in_the_folder_is_a_bad_file_and_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(InputError, match=r"1 of 61 files cannot be used as images \(pipe\.png is no file\)"):
        load(folder)


def test_options_of_pictures_are_refused_where_there_are_none() -> None:
    with pytest.raises(InputError, match="digits8x8 is not made of picture files and takes no side or fit"):
        lb.load_dataset("digits8x8", side=32, fit="crop")
    with pytest.raises(InputError, match="natural32 is not made of picture files and takes no skip_bad"):
        lb.load_dataset("natural32", skip_bad=True)


def test_the_stand_ins_are_read_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path / "faces-color", [f"{number:05}.jpg" for number in range(50)])
    save_pictures(
        tmp_path / "shoes",
        [f"{kind}/{kind} ({number}).jpg" for number in range(20) for kind in ("Boot", "Sandal", "Shoe")],
    )
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "faces-color").symlink_to(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "faces-color", tmp_path / "elsewhere")
    linked = lb.load_dataset("faces-color", data_dir=tmp_path / "linked" / "faces-color", side=8)
    assert linked.version == "1-8-stretch"
    monkeypatch.chdir(tmp_path / "shoes")
    assert lb.load_dataset("shoes", data_dir=".", side=8).version == "1-stand-in-8-stretch"
    faces = lb.load_dataset("faces-color", data_dir=tmp_path, side=8)
    assert (faces.version, faces.image_shape, faces.train_labels) == ("1-8-stretch", (3, 8, 8), None)
    assert lb.load_dataset("faces-color", data_dir=tmp_path / "faces-color").version == "1-64-stretch"
    shoes = lb.load_dataset("shoes", data_dir=tmp_path, side=8, test=3)
    assert shoes.version == "1-stand-in-8-stretch"
    assert [label.dtype for label in (shoes.train_labels, shoes.test_labels)] == [np.int64] * 2
    near = np.round(np.asarray(shoes.train)[:, 0] * 255).astype(int) % 3  # the kinds take turns
    np.testing.assert_array_equal(near, shoes.train_labels)
    assert len(shoes.test_labels) == 3
    assert "stand-in" in describe("faces-color", faces.version).description


def test_shoes_reads_ut_zap50k_with_its_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        f"{kind}/{brand}/{product}.{tint}.jpg"
        for product in range(7_000_000, 7_000_030)
        for kind, brand in (("Boots/Ankle", "Dr."), ("Slippers/Slipper Flats", "A. N. Other"))
        for tint in (3, 4018)
    ]
    save_pictures(tmp_path / "ut-zap50k-images", names)
    (tmp_path / "shoes").mkdir()  # the stand-in is not looked at where the original is there
    data = lb.load_dataset("shoes", data_dir=tmp_path, side=4)
    assert data.version == "1-unofficial-4-stretch"
    monkeypatch.setattr("lde_bench.data.shoes.PHOTOGRAPHS", len(names))
    assert lb.load_dataset("shoes", data_dir=tmp_path, side=4).version == "1-4-stretch"
    (tmp_path / "square").mkdir()
    shutil.copytree(tmp_path / "ut-zap50k-images", tmp_path / "square" / "ut-zap50k-images-square")
    assert lb.load_dataset("shoes", data_dir=tmp_path / "square", side=4).version == "1-square-4-stretch"
    (tmp_path / "more" / "shoes").mkdir(parents=True)
    (tmp_path / "more" / "shoes" / "ut-zap50k-images").symlink_to(tmp_path / "ut-zap50k-images")
    inside = lb.load_dataset("shoes", data_dir=tmp_path / "more" / "shoes", side=4)  # a root that is called so
    assert inside.version == "1-4-stretch"
    split_of: dict[str, set[str]] = {}
    for split in SPLITS:
        for place, label in zip(places(getattr(data, split)), getattr(data, f"{split}_labels"), strict=True):
            assert label == {"B": 0, "S": 3}[names[place][0]]
            split_of.setdefault(Path(names[place]).name.split(".")[0], set()).add(split)
    assert len(split_of) == 30
    assert all(len(splits) == 1 for splits in split_of.values())  # a product in its colours
    save_pictures(tmp_path / "ut-zap50k-images", ["Hats/1.2.jpg"])
    with pytest.raises(InputError, match=r"Hats/1\.2\.jpg: lies in no folder of boots, sandals, shoes or slippers"):
        lb.load_dataset("shoes", data_dir=tmp_path, side=4)


@pytest.mark.parametrize("name", ["bsds300", "bsds300-hdf5", "mnist", "faces48", "celeba"])
def test_a_folder_that_the_environment_names_in_vain_is_told_of(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDE_BENCH_DATA", str(tmp_path / "unmounted"))
    with pytest.raises(InputError, match="unmounted: no such folder, though LDE_BENCH_DATA names it"):
        lb.load_dataset(name)


@pytest.mark.parametrize("name", ["faces-color", "shoes", "celeba"])
def test_absent_files_name_the_remedies(name: str, tmp_path: Path) -> None:
    for options in ({}, {"data_dir": tmp_path}):
        with pytest.raises(InputError, match=r"at hand.*--data-dir or LDE_BENCH_DATA") as told:
            lb.load_dataset(name, **options)
        assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="no such folder"):
        lb.load_dataset(name, data_dir=tmp_path / "none")
    if name == "celeba":
        for part in ("img_align_celeba.zip", "1,443,490,838 bytes", "list_eval_partition.txt", "not downloaded"):
            assert part in str(told.value)


@pytest.fixture
def small_celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve photographs, of which the official ranges give 8, 2 and 2; as a folder and as an archive."""
    monkeypatch.setattr(celeba, "LAST", {"train": 8, "validation": 10, "test": 12})
    monkeypatch.setattr(celeba, "IMAGES", 12)
    folder = save_pictures(tmp_path / "made" / "img_align_celeba", [f"{number:06}.jpg" for number in range(1, 13)])
    with zipfile.ZipFile(tmp_path / "made" / celeba.ARCHIVE, "w") as archive:
        archive.writestr("img_align_celeba/", "")
        archive.writestr("__MACOSX/img_align_celeba/._000001.jpg", b"hidden")
        for path in sorted(folder.iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
    monkeypatch.setattr(celeba, "ARCHIVE_BYTES", (tmp_path / "made" / celeba.ARCHIVE).stat().st_size)
    return tmp_path / "made"


def shown(data: Dataset) -> dict[str, set[int]]:
    """Which of the twelve photographs are in each split."""
    return {split: {place + 1 for place in places(getattr(data, split))} for split in SPLITS}


def test_celeba_is_read_from_its_archive_or_its_folder(small_celeba: Path, tmp_path: Path) -> None:
    expected = {"train": set(range(1, 9)), "validation": {9, 10}, "test": {11, 12}}
    found: list[Dataset] = []
    for place, kind in (("celeba", celeba.ARCHIVE), ("CelebA/Img", celeba.FOLDER), (".", celeba.ARCHIVE)):
        root = tmp_path / f"root{len(found)}"
        (root / place).mkdir(parents=True)
        (root / place / kind).symlink_to(small_celeba / kind)
        found.append(lb.load_dataset("celeba", data_dir=root, side=8))
    found.append(lb.load_dataset("celeba", data_dir=small_celeba / celeba.ARCHIVE, side=8))
    found.append(lb.load_dataset("celeba", data_dir=small_celeba / celeba.FOLDER, side=8))
    assert {data.version for data in found} == {"1-8-stretch"}
    assert [shown(data) for data in found] == [expected] * 5
    assert len({data.content_hash for data in found}) == 1


def test_celeba_without_the_files_that_cannot_be_used_is_not_the_official_one(small_celeba: Path) -> None:
    (small_celeba / celeba.FOLDER / "000003.jpg").write_bytes(b"")
    data = lb.load_dataset("celeba", data_dir=small_celeba / celeba.FOLDER, side=8, skip_bad=True)
    assert (data.version, data.sizes["train"]) == ("1-unofficial-8-stretch", 7)


def test_celeba_keeps_to_the_official_partition_where_it_is_there(small_celeba: Path, tmp_path: Path) -> None:
    lines = [f"{number:06}.jpg {0 if number > 4 else 1 if number > 2 else 2}" for number in range(1, 13)]
    expected = {"train": set(range(5, 13)), "validation": {3, 4}, "test": {1, 2}}
    (small_celeba / celeba.PARTITION).write_text("\n".join(lines) + "\n")
    for place in (small_celeba, small_celeba / celeba.ARCHIVE):
        data = lb.load_dataset("celeba", data_dir=place, side=8)
        assert shown(data) == expected
        assert data.version == "1-unofficial-8-stretch"  # these are not the official parts
    (small_celeba / "Eval").mkdir()
    (small_celeba / celeba.PARTITION).rename(small_celeba / "Eval" / celeba.PARTITION)
    assert shown(lb.load_dataset("celeba", data_dir=small_celeba, side=8)) == expected
    partition = small_celeba / "Eval" / celeba.PARTITION
    save_pictures(small_celeba / celeba.FOLDER, ["300000.jpg"])
    beside = small_celeba / celeba.PARTITION
    beside.write_text("\n".join([*lines, "300000.jpg 0"]))  # of no official part, and in one's own
    data = lb.load_dataset("celeba", data_dir=small_celeba / celeba.FOLDER, side=8)
    assert data.version == "1-unofficial-8-stretch"
    (small_celeba / celeba.FOLDER / "300000.jpg").unlink()
    beside.unlink()
    partition.write_text("\n".join([*lines[:3], "000004.jpg x"]))
    with pytest.raises(InputError, match=r"list_eval_partition\.txt: line 4 is not a file name and 0, 1 or 2"):
        lb.load_dataset("celeba", data_dir=small_celeba, side=8)
    partition.write_text(f"{'1' * 5000}.jpg 0")
    with pytest.raises(InputError, match=r"list_eval_partition\.txt: line 1 is not a file name and 0, 1 or 2"):
        lb.load_dataset("celeba", data_dir=small_celeba, side=8)
    partition.write_text("\n".join(lines[:5]))
    with pytest.raises(InputError, match=r"000006\.jpg is in no part of CelebA"):
        lb.load_dataset("celeba", data_dir=small_celeba, side=8)
    partition.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"list_eval_partition\.txt: cannot be read"):
        lb.load_dataset("celeba", data_dir=small_celeba, side=8)


def test_a_celeba_that_is_not_whole_is_another_dataset(small_celeba: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = small_celeba / celeba.FOLDER
    (folder / "000003.jpg").unlink()
    data = lb.load_dataset("celeba", data_dir=folder, side=8)
    assert data.version == "1-unofficial-8-stretch"
    assert "11 images, which are not the 12 of CelebA" in caplog.text
    save_pictures(folder, ["holiday.jpg"])
    with pytest.raises(InputError, match=r"holiday\.jpg is no photograph of CelebA, named by number"):
        lb.load_dataset("celeba", data_dir=folder, side=8)
    (folder / "holiday.jpg").rename(folder / "000013.jpg")
    with pytest.raises(InputError, match=r"000013\.jpg is in no part of CelebA"):
        lb.load_dataset("celeba", data_dir=folder, side=8)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"<!DOCTYPE html><html><head><title>Google Drive -\n Quota exceeded</title></head></html>",
            r"is a web page, 'Google Drive - Quota exceeded', and not the archive",
        ),
        (b"\n<html><body>Sign in</body></html>", "is a web page and not the archive"),
        (b"", r"is no whole \.zip archive \(0 bytes\)"),
        (b"PK\x03\x04" + bytes(500), r"is no whole \.zip archive \(504 bytes\)"),
    ],
)
def test_an_archive_that_is_none_says_what_it_is(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / celeba.ARCHIVE).write_bytes(content)
    with pytest.raises(InputError, match=rf"img_align_celeba\.zip: {told}.*1,443,490,838 bytes"):
        lb.load_dataset("celeba", data_dir=tmp_path)


def test_a_damaged_member_of_the_archive_is_named(small_celeba: Path) -> None:
    path = small_celeba / celeba.ARCHIVE
    data = bytearray(path.read_bytes())
    data[data.index(b"000002.jpg") + 60] ^= 255
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"1 of 12 files .*000002\.jpg cannot be unpacked \(Bad CRC-32"):
        lb.load_dataset("celeba", data_dir=path, side=8)


def test_natural32_needs_no_file() -> None:
    data = lb.load_dataset("natural32")
    assert data.sizes == natural32.COUNTS
    assert data.image_shape == (3, 32, 32)
    groups = {split: set(getattr(data, f"{split}_groups").tolist()) for split in SPLITS}
    assert [len(each) for each in groups.values()] == [5, 1, 2]
    assert len(set().union(*groups.values())) == 8
    assert np.ptp(np.bincount(data.train_groups)) == 0
    # Row i is a crop of the photograph that its group says.
    photographs = list(natural32.photographs("train").values())
    for row in (0, 7, 3999):
        photograph = photographs[data.train_groups[row]]
        crop = np.round(data.train[row].reshape(3, 32, 32) * 255).astype(np.uint8).transpose(1, 2, 0)
        corners = np.lib.stride_tricks.sliding_window_view(photograph[..., 0], (1, 32))[:, :, 0]
        tops, lefts = np.nonzero((corners == crop[0, :, 0]).all(-1))
        assert any(
            np.array_equal(photograph[top : top + 32, left : left + 32], crop)
            for top, left in zip(tops, lefts, strict=True)
        )
    few = lb.load_dataset("natural32", train=9)
    np.testing.assert_array_equal(few.train, data.train[:9])
    assert lb.load_dataset("natural32").content_hash == data.content_hash


def small(name: str, sizes: tuple[int, int, int], lazy: bool, side: int = 2) -> Dataset:
    draw = np.random.default_rng(len(name) + sum(sizes))
    pixels = {split: draw.integers(0, 256, (n, 3 * side**2), np.uint8) for split, n in zip(SPLITS, sizes, strict=True)}
    rows = {split: PixelRows(each) if lazy else PixelRows(each)[:] for split, each in pixels.items()}
    return Dataset.of(name, "1", 0, rows, image_shape=(3, side, side))


@pytest.mark.parametrize("lazy", [(True, True), (False, False), (True, False)])
def test_two_domains_are_taken_in_turn(lazy: tuple[bool, bool]) -> None:
    a, b = small("a", (7, 4, 3), lazy[0]), small("b", (3, 2, 5), lazy[1])
    both = mixed(a, b)
    assert (both.name, both.version, both.image_shape) == ("a+b", "1+1", (3, 2, 2))
    assert both.sizes == {"train": 14, "validation": 4, "test": 6}
    assert isinstance(both.train, PixelRows) == all(lazy)
    train = np.asarray(both.train)
    np.testing.assert_array_equal(train[::2], np.asarray(a.train))
    np.testing.assert_array_equal(train[1::2], np.asarray(b.train)[[0, 1, 2, 0, 1, 2, 0]])
    np.testing.assert_array_equal(both.train_labels, [0, 1] * 7)
    np.testing.assert_array_equal(np.asarray(both.test)[::2], np.asarray(a.test))
    np.testing.assert_array_equal(np.asarray(both.test)[1::2], np.asarray(b.test)[:3])  # none twice
    np.testing.assert_array_equal(both.train[np.array([13, 0, 3])], train[[13, 0, 3]])
    assert len(np.unique(np.asarray(both.validation), axis=0)) == 4


def test_domains_of_two_sizes_are_not_mixed() -> None:
    a = small("a", (3, 3, 3), True)
    with pytest.raises(InputError, match="a and bb cannot be mixed: their images are 3x2x2 and 3x3x3"):
        mixed(a, small("bb", (3, 3, 3), True, side=3))
    with pytest.raises(InputError, match="3x2x2 and none"):
        mixed(a, dataclasses.replace(a, image_shape=None))


def test_rows_on_disk_are_those_that_were_written(folder: Path) -> None:
    data = load(folder, side=16)
    with h5py.File(next(Path(os.environ["LDE_BENCH_CACHE"]).glob("*-16-*.h5"))) as file:
        pixels = file["train"][:]
    assert isinstance(data.train, PixelRows)
    draw = np.random.default_rng(3)
    for index in (
        slice(None),
        slice(3, 9),
        slice(20, 2, -3),
        draw.integers(0, len(pixels), 300),
        [5, -1],
        np.array([], int),
    ):
        np.testing.assert_array_equal(data.train.pixels(index), pixels[index])
    copied = pickle.loads(pickle.dumps(data.train))
    np.testing.assert_array_equal(copied[4:6], data.train[4:6])
    (path,) = Path(os.environ["LDE_BENCH_CACHE"]).glob("*-16-*.h5")
    os.truncate(path, 5000)
    with pytest.raises(InputError, match="ends before its pixels do; delete it and run again"):
        data.train[:]


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_stand_ins(data_dir: Path) -> None:
    faces = lb.load_dataset("faces-color", data_dir=data_dir, side=16)
    assert faces.sizes == {"train": 6401, "validation": 782, "test": 817}
    shoes = lb.load_dataset("shoes", data_dir=data_dir, side=16)
    assert shoes.sizes == {"train": 6005, "validation": 724, "test": 771}
    np.testing.assert_array_equal(
        np.bincount(shoes.train_labels) + np.bincount(shoes.validation_labels) + np.bincount(shoes.test_labels), 2500
    )
    corners = np.asarray(shoes.test).reshape(-1, 3, 16, 16)[:, :, 0, 0]
    assert np.median(corners) > 0.95  # on white
    both = mixed(faces, shoes)
    assert both.sizes["train"] == 2 * 6401
