from __future__ import annotations

import errno
import hashlib
import http.server
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from lde_bench.data import bsds300, cache, load_dataset
from lde_bench.data.base import content_hash
from lde_bench.data.patches import FEATURES
from lde_bench.errors import InputError

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("few_patches")


@pytest.fixture
def copied(small_photographs: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_photographs / "bsds300", tmp_path / "bsds300")
    return tmp_path / "bsds300" / "images"


def everything(data) -> bytes:
    return b"".join(getattr(data, name).tobytes() for name in ("train", "validation", "test"))


def prepared(folder: Path) -> Path:
    (path,) = folder.glob("*.h5")
    return path


# What is loaded


def test_splits_have_their_sizes_and_share_no_photograph(small_photographs):
    data = load_dataset("bsds300", data_dir=small_photographs)
    assert (data.name, data.version, data.features, data.is_patch) == ("bsds300", "1-unofficial", 63, True)
    assert data.sizes == bsds300.COUNTS
    assert data.train.dtype == np.float32
    assert data.test_groups.dtype == np.int64
    groups = {name: set(getattr(data, f"{name}_groups")) for name in data.sizes}
    assert [len(ids) for ids in groups.values()] == [180, 20, 100]
    assert len(set.union(*groups.values())) == 300
    assert groups["test"] == {int(p.stem) for p in small_photographs.glob("bsds300/images/test/*")}
    assert set(data.fresh.photographs.ids) == groups["train"]


def test_the_photograph_split_does_not_depend_on_the_seed(small_photographs):
    a = load_dataset("bsds300", data_dir=small_photographs)
    b = load_dataset("bsds300", data_dir=small_photographs, seed=1)
    assert set(a.validation_groups) == set(b.validation_groups)
    assert a.content_hash != b.content_hash
    assert not np.array_equal(a.train, b.train)


def test_same_seed_gives_same_bytes_in_another_cache(small_photographs, tmp_path):
    a, b = (load_dataset("bsds300", data_dir=small_photographs, cache_dir=tmp_path / name, seed=4) for name in "ab")
    assert everything(a) == everything(b)
    assert a.content_hash == b.content_hash
    if h5py.version.hdf5_version_tuple >= (2, 0, 0):  # older HDF5 writes the time into the header of each group
        assert prepared(tmp_path / "a").read_bytes() == prepared(tmp_path / "b").read_bytes()


def test_a_subset_is_a_prefix_and_its_hash_names_it(small_photographs):
    full = load_dataset("bsds300", data_dir=small_photographs)
    part = load_dataset("bsds300", data_dir=small_photographs, train=700, validation=np.int64(20), test=1)
    assert part.sizes == {"train": 700, "validation": 20, "test": 1}
    np.testing.assert_array_equal(part.train, full.train[:700])
    np.testing.assert_array_equal(part.train_groups, full.train_groups[:700])
    assert part.content_hash != full.content_hash
    names = [f"{split}{kind}" for split in part.sizes for kind in ("", "_groups")]
    assert part.content_hash == content_hash({name: getattr(part, name) for name in names})


def test_a_subset_does_not_read_the_rest(small_photographs, monkeypatch):
    load_dataset("bsds300", data_dir=small_photographs)
    read = []
    original = h5py.Dataset.__getitem__

    def spy(self, key, *args, **kwargs):
        rows = original(self, key, *args, **kwargs)
        read.append((self.name, len(rows)))
        return rows

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    load_dataset("bsds300", data_dir=small_photographs, train=5, validation=6, test=7)
    sizes = dict(read)
    assert (sizes["/train"], sizes["/validation_groups"], sizes["/test"]) == (5, 6, 7)


@pytest.mark.parametrize("place", ["", "bsds300", "bsds300/images"])
def test_the_root_or_the_folder_itself_may_be_named(small_photographs, place):
    data = load_dataset("bsds300", data_dir=str(small_photographs / place), train=10)
    assert data.train.shape == (10, FEATURES)


def test_the_environment_names_the_folder_too(small_photographs, monkeypatch):
    monkeypatch.setenv("LDE_BENCH_DATA", str(small_photographs))
    assert load_dataset("bsds300", train=10).train.shape == (10, FEATURES)


def test_the_prepared_file_says_what_it_is(small_photographs, own_cache):
    data = load_dataset("bsds300", data_dir=small_photographs)
    with h5py.File(prepared(own_cache)) as file:
        splits = ["train", "validation", "test"]
        assert set(file) == {*splits, *(f"{split}_groups" for split in splits), "photographs"}
        assert file.attrs["content_hash"] == data.content_hash
        assert (file.attrs["name"], file.attrs["version"], file.attrs["seed"]) == ("bsds300", "1-unofficial", "0")
        assert "bottom-right pixel dropped" in file.attrs["protocol"]


def test_photographs_that_are_not_the_official_ones_are_noticed(small_photographs, caplog):
    load_dataset("bsds300", data_dir=small_photographs, train=1)
    assert "not the 300 official files" in caplog.text


def test_other_photographs_never_share_a_prepared_file(copied, own_cache):
    a = load_dataset("bsds300", data_dir=copied)
    first, second, *_ = sorted((copied / "train").iterdir())
    second.write_bytes(first.read_bytes())
    b = load_dataset("bsds300", data_dir=copied)
    assert len(list(own_cache.glob("*.h5"))) == 2
    assert a.content_hash != b.content_hash
    part = load_dataset("bsds300", data_dir=copied, train=7, test=5)
    for data in (a, b, part):
        rows = cache.stored_test_rows(data.name, data.version, 0, data.sizes, data.content_hash, 3)
        assert rows is not None
        np.testing.assert_array_equal(rows, data.test[:3])
    assert cache.stored_test_rows(a.name, a.version, 0, a.sizes, "0" * 64, 3) is None
    assert cache.stored_test_rows(a.name, a.version, 1, a.sizes, a.content_hash, 3) is None


# The cache


def test_a_second_load_prepares_nothing(small_photographs, monkeypatch):
    a = load_dataset("bsds300", data_dir=small_photographs)
    monkeypatch.setattr(cache, "prepare", lambda *_, **__: pytest.fail("prepared again"))
    b = load_dataset("bsds300", data_dir=small_photographs)
    assert everything(a) == everything(b)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_patch_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        where = file["train"].id.get_chunk_info(0).byte_offset
    data[where + 1000] ^= 1
    path.write_bytes(data)


def drop_a_key(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["test_groups"]


def narrow(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["test"]
        file["test"] = np.zeros((1000, 62), np.float32)


def forge_hash(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["content_hash"] = "0" * 64


def forge_key(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["key"] = "0" * 64


@pytest.mark.parametrize("damage", [cut_short, empty, flip_a_patch_byte, drop_a_key, narrow, forge_hash, forge_key])
def test_a_damaged_prepared_file_is_rebuilt_with_a_notice(small_photographs, own_cache, caplog, damage):
    whole = load_dataset("bsds300", data_dir=small_photographs)
    damage(prepared(own_cache))
    again = load_dataset("bsds300", data_dir=small_photographs)
    assert f"{prepared(own_cache)} is damaged" in caplog.text
    assert everything(again) == everything(whole)
    caplog.clear()
    load_dataset("bsds300", data_dir=small_photographs)
    assert "damaged" not in caplog.text


def test_damage_is_noticed_when_only_a_part_is_read(small_photographs, own_cache, caplog):
    few = {"train": 100, "validation": 1, "test": 1}
    whole = load_dataset("bsds300", data_dir=small_photographs, **few)
    flip_a_patch_byte(prepared(own_cache))
    again = load_dataset("bsds300", data_dir=small_photographs, **few)
    assert "is damaged" in caplog.text
    assert everything(again) == everything(whole)


@pytest.mark.slow
def test_no_random_byte_of_the_prepared_file_can_change_what_is_loaded(small_photographs, own_cache, caplog):
    caplog.set_level(logging.ERROR)
    whole = load_dataset("bsds300", data_dir=small_photographs)
    good = prepared(own_cache).read_bytes()
    for where in np.random.default_rng(0).integers(0, len(good), 60):
        prepared(own_cache).write_bytes(good[:where] + bytes([good[where] ^ 0x40]) + good[where + 1 :])
        data = load_dataset("bsds300", data_dir=small_photographs)
        assert everything(data) == everything(whole)
        np.testing.assert_array_equal(data.fresh.photographs.pixels, whole.fresh.photographs.pixels)


def test_a_failed_preparation_leaves_nothing(small_photographs, own_cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write_split", full)
    with pytest.raises(InputError, match="the disk is full; free some space"):
        load_dataset("bsds300", data_dir=small_photographs)
    assert {path.name for path in own_cache.iterdir() if path.suffix != ".lock"} <= {".locks"}


PROGRAM = """
import resource, sys
from lde_bench.data import bsds300, load_dataset
bsds300.COUNTS = {"train": 3000, "validation": 500, "test": 1000}
if len(sys.argv) > 2:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
print(load_dataset("bsds300", data_dir=sys.argv[1]).content_hash)
"""


@pytest.mark.parametrize("room", [100, 100_000, 900_000])
def test_a_file_system_that_takes_no_more_is_one_sentence_and_leaves_nothing(small_photographs, own_cache, room):
    command = [sys.executable, "-c", PROGRAM, str(small_photographs), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 1, done.stderr
    assert re.match(r"lde_bench\.errors\.StorageError: .*; choose another .*\.$", done.stderr.splitlines()[-1])
    assert {path.name for path in own_cache.iterdir() if path.suffix != ".lock"} <= {".locks"}


@pytest.mark.slow
def test_two_processes_may_prepare_at_once(small_photographs, own_cache):
    command = [sys.executable, "-c", PROGRAM, str(small_photographs)]
    pipe = subprocess.PIPE
    runs = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=REPOSITORY) for _ in range(2)]
    outputs = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert prepared(own_cache)


def test_a_cache_folder_that_cannot_be_is_named(small_photographs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        load_dataset("bsds300", data_dir=small_photographs, cache_dir=tmp_path / "file")


# Bad input


@pytest.mark.parametrize("there", [True, False])
def test_a_missing_or_empty_data_folder_names_every_remedy(tmp_path, there, small_photographs, monkeypatch):
    monkeypatch.setenv("LDE_BENCH_DATA", str(small_photographs))  # the option is the only source all the same
    folder = tmp_path / "data"
    if there:
        folder.mkdir()
    with pytest.raises(InputError) as caught:
        load_dataset("bsds300", data_dir=folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    for remedy in ("--data-dir", "LDE_BENCH_DATA", "download", "--source embedded"):
        assert remedy in message
    assert "\n" not in message


def test_a_missing_photograph_is_counted(copied):
    next((copied / "train").iterdir()).unlink()
    with pytest.raises(InputError, match="199 photographs in 'train' where BSDS300 has 200"):
        load_dataset("bsds300", data_dir=copied)


def test_a_stray_photograph_is_named(copied):
    next((copied / "test").iterdir()).rename(copied / "test" / "holiday.jpg")
    with pytest.raises(InputError, match=r"holiday\.jpg: a BSDS300 photograph is named by its number"):
        load_dataset("bsds300", data_dir=copied)


@pytest.mark.parametrize("fault", ["truncated", "small", "text"])
def test_a_bad_photograph_is_named_and_nothing_is_written(copied, own_cache, fault):
    from PIL import Image

    path = sorted((copied / "train").iterdir())[17]
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif fault == "small":
        Image.new("RGB", (30, 7)).save(path)
    else:
        path.write_text("404 not found")
    with pytest.raises(InputError, match=rf"{path}: .*put back the original file"):
        load_dataset("bsds300", data_dir=copied)
    assert {path.name for path in own_cache.iterdir() if path.suffix != ".lock"} <= {".locks"}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_more_rows_than_there_are_is_an_error_with_the_maximum(small_photographs, split):
    most = bsds300.COUNTS[split]
    with pytest.raises(InputError, match=rf"bsds300 holds {most:,} {split} rows .* {split}={most} or fewer"):
        load_dataset("bsds300", data_dir=small_photographs, **{split: most + 1})


@pytest.mark.parametrize("size", [0, -1, 1.5, "ten", True])
def test_a_size_that_is_no_number_of_rows_is_an_error(size):
    with pytest.raises(InputError, match="is not a number of rows"):
        load_dataset("bsds300", train=size)


def test_an_unknown_dataset_is_met_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'bsds300'"):
        load_dataset("bsd300")
    with pytest.raises(InputError, match=r"choose one of .*natural8x8"):
        load_dataset("zzz")


# The archive and the download


@pytest.fixture
def archive(small_photographs, tmp_path, monkeypatch) -> Path:
    """An archive laid out like the official one, and made the official one; with a member that climbs out."""
    path = tmp_path / "site" / bsds300.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(small_photographs / "bsds300", "BSDS300")
        outside = tarfile.TarInfo("../../escaped.jpg")
        outside.size = 4
        tar.addfile(outside, io.BytesIO(b"evil"))
    monkeypatch.setattr(bsds300, "ARCHIVE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    files = bsds300.find(small_photographs)
    monkeypatch.setattr(bsds300, "OFFICIAL_FILES_SHA256", files.sha256)
    return path


@pytest.fixture
def site(archive, monkeypatch, request):
    """An address that serves the archive's folder and knows ranges; yields the list of requests it saw."""
    seen: list[str | None] = []
    drops = getattr(request, "param", False)  # the first answer breaks off half-way

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            seen.append(wanted)
            data = (archive.parent / Path(self.path).name).read_bytes()
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:] if wanted or not drops else data[: len(data) // 2])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(bsds300, "URLS", (f"http://127.0.0.1:{server.server_port}/{bsds300.ARCHIVE}",))
    yield seen
    server.shutdown()
    server.server_close()


def test_the_archive_gives_the_same_bytes_as_the_folder(small_photographs, archive, tmp_path):
    a = load_dataset("bsds300", data_dir=small_photographs, cache_dir=tmp_path / "a")
    for place in (archive, archive.parent):
        b = load_dataset("bsds300", data_dir=place, cache_dir=tmp_path / "b")
        assert a.content_hash == b.content_hash
    assert not list(tmp_path.rglob("escaped*"))


def test_an_archive_with_another_hash_is_refused(archive):
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"tgz: the SHA-256 is not that of the official archive; remove"):
        load_dataset("bsds300", data_dir=archive.parent)


def test_with_nothing_at_hand_the_archive_is_downloaded_once(site, small_photographs, own_cache, tmp_path):
    data = load_dataset("bsds300")
    assert load_dataset("bsds300", seed=1).seed == 1  # another preparation, the same download
    assert len(site) == 1
    local = load_dataset("bsds300", data_dir=small_photographs, cache_dir=tmp_path / "other")
    assert data.content_hash == local.content_hash
    assert not list(own_cache.glob("*.part"))


def test_an_interrupted_download_continues_where_it_stopped(site, archive, own_cache):
    half = archive.stat().st_size // 2
    (own_cache / f"{bsds300.ARCHIVE}.part").write_bytes(archive.read_bytes()[:half])
    load_dataset("bsds300", train=1)
    assert site == [f"bytes={half}-"]


@pytest.mark.parametrize("site", [True], indirect=True)
def test_a_download_that_breaks_off_is_an_error_and_the_next_run_ends_it(site, archive, own_cache):
    with pytest.raises(InputError, match="could not be reached"):
        load_dataset("bsds300", train=1)
    load_dataset("bsds300", train=1)
    first, second = site
    assert first is None
    half = archive.stat().st_size // 2
    assert half - (1 << 14) <= int(second.removeprefix("bytes=").rstrip("-")) <= half


def test_a_download_with_the_wrong_hash_is_refused_and_leaves_nothing(site, archive, own_cache):
    archive.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"wrong SHA-256; .*--data-dir .*--source embedded"):
        load_dataset("bsds300")
    assert {path.name for path in own_cache.iterdir() if path.suffix != ".lock"} <= {".locks"}


def test_no_network_is_one_sentence_with_both_remedies(own_cache):
    with pytest.raises(InputError, match=r"could not be reached.*--data-dir or LDE_BENCH_DATA.*--source embedded"):
        load_dataset("bsds300")


def test_what_was_prepared_from_official_files_needs_them_no_more(archive, small_photographs):
    a = load_dataset("bsds300", data_dir=small_photographs)
    b = load_dataset("bsds300")  # no folder, no network
    assert a.content_hash == b.content_hash
    assert b.fresh.draw(3, np.random.default_rng(0)).shape == (3, FEATURES)


# The recipe


def test_the_recipe_script_ends_with_code_2_where_there_is_nothing(tmp_path):
    command = [sys.executable, "data_prep/bsds300.py", "--data-dir", tmp_path, "--out", tmp_path / "x.h5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x.h5").exists()
