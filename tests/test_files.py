"""Files are written whole or not at all, and what fails is told of by its own name."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import pytest

from lde_bench.errors import InputError, StorageError
from lde_bench.files import atomic_path, write_text_atomic


def test_a_file_that_is_written_in_vain_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    with pytest.raises(TypeError), atomic_path(path) as temporary:
        temporary.write_bytes(None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_copy_whose_source_cannot_be_read_names_the_source(tmp_path: Path) -> None:
    source, target = tmp_path / "gone", tmp_path / "a.txt"
    told = f"{source}: cannot be read (No such file or directory); check the path and its rights."
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"), atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_fills_the_disk_names_where_it_goes(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(StorageError, match=f"^{re.escape(str(target))}: the disk is full"), atomic_path(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "its source")  # as shutil's copies do


def test_a_name_that_is_too_long_for_a_file_beside_it_is_told_of_as_one(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    with pytest.raises(StorageError, match=f"^{path}: the name is too long .* choose a shorter one"):
        write_text_atomic(path, "new")
