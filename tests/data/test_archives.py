"""Files of somebody else: damaged, encrypted or lying ones are one sentence, and no memory is taken for them."""

from __future__ import annotations

import errno
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lde_bench import memory
from lde_bench.data.archives import read_hdf5, read_npz
from lde_bench.data.cache import cache_folder
from lde_bench.errors import InputError

ARRAYS = {
    "x": np.round(np.random.default_rng(0).normal(size=(300, 3)), 2),
    "big": np.arange(6, dtype=">i4").reshape(2, 3),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "empty": np.zeros((0, 3)),
}


def write(path: Path, packed: bool = False) -> bytes:
    (np.savez_compressed if packed else np.savez)(path, **ARRAYS)
    return path.read_bytes()


def attempt(path: Path, names: Iterable[str]) -> tuple[dict[str, np.ndarray], str]:
    """What is read, or the sentence that refuses it."""
    try:
        return (read_npz if path.suffix == ".npz" else read_hdf5)(path, names, remedy="save it again."), ""
    except InputError as error:
        return {}, str(error)


def assert_refused(path: Path, part: str) -> None:
    _, sentence = attempt(path, ARRAYS)
    assert re.search(part, sentence)
    assert "\n" not in sentence


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_gives_what_numpy_gives_and_it_can_be_written_to(tmp_path: Path, packed: bool) -> None:
    write(tmp_path / "a.npz", packed)
    told = read_npz(tmp_path / "a.npz", ARRAYS, ("absent",), remedy="")
    assert list(told) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(told[name], array)
        assert (told[name].dtype, told[name].flags.writeable) == (array.dtype, True)


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_of_a_file_that_may_not_be_read_the_rights_are_the_remedy(tmp_path, monkeypatch, name):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so that rights would be no test
    monkeypatch.setattr("h5py.File", refuse)
    assert attempt(tmp_path / name, ARRAYS)[1] == (
        f"{tmp_path / name}: cannot be read (Permission denied); check its rights."
    )


@pytest.mark.parametrize("packed", [True, False])
def test_no_flipped_byte_is_a_traceback_and_none_within_the_numbers_is_taken(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "a.npz"
    whole = write(path, packed)
    first = whole.index(b"x.npy")
    for place in range(first, len(whole), 37):
        damaged = bytearray(whole)
        damaged[place] ^= 0x5A
        path.write_bytes(damaged)
        told, sentence = attempt(path, ["x"])
        assert "\n" not in sentence
        assert sentence or np.array_equal(told["x"], ARRAYS["x"])


@pytest.mark.parametrize(
    ("local", "central", "value", "part"), [(6, 8, 1, "encrypted"), (8, 10, 99, "compression method")]
)
def test_an_encrypted_or_strangely_packed_archive_is_refused(
    tmp_path: Path, local: int, central: int, value: int, part: str
) -> None:
    path = tmp_path / "a.npz"
    data = bytearray(write(path))
    data[local] = value
    data[data.find(b"PK\x01\x02") + central] = value
    path.write_bytes(data)
    assert_refused(path, part)


@pytest.mark.parametrize("shape", [(10**13, 3), (2**40,), (5, 3), (-1, 3)])
def test_a_header_that_lies_about_the_numbers_is_refused_before_memory_is_taken(tmp_path: Path, shape: tuple) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ARRAYS:
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(64))
    assert_refused(tmp_path / "a.npz", "its header tells of")


def test_an_hdf5_array_larger_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ARRAYS:
            file.create_dataset(name, (1000, 1000), chunks=(10, 10), dtype="f8")
    assert read_hdf5(tmp_path / "a.h5", ["x"], remedy="")["x"].shape == (1000, 1000)
    monkeypatch.setattr(memory, "physical_memory", lambda: 10**6)
    assert_refused(tmp_path / "a.h5", "'x': its numbers take .* GB, and there are")


def test_python_objects_are_not_unpickled_and_what_is_missing_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}]))
    with pytest.raises(InputError, match="Python objects"):
        read_npz(tmp_path / "a.npz", ["x"], remedy="")
    with pytest.raises(InputError, match=r"'y' is missing \(it holds x\); add y\."):
        read_npz(tmp_path / "a.npz", ["y"], remedy="add y.")


HOLD = """
import h5py, sys
with h5py.File(sys.argv[1], "a", libver=sys.argv[2]) as file:
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("layout", ["earliest", "latest"])
def test_a_file_that_is_open_elsewhere_is_read_or_said_to_be_open(
    tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=layout) as file:
        file.update(ARRAYS)
    command = [sys.executable, "-c", HOLD, str(path), layout]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        told, sentence = attempt(path, ARRAYS)
        other.communicate("")
    assert "another program has this file open" in sentence + caplog.text
    assert sentence or np.array_equal(told["x"], ARRAYS["x"])


def test_a_user_without_a_home_is_told_where_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("LDE_BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(InputError, match=r"no home folder .* --cache-dir or LDE_BENCH_CACHE"):
        cache_folder(None)
