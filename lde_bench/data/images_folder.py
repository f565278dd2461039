"""A folder of images of a user's own: all files in it and in its folders but hidden ones, split by a hash of their
names.

The dataset is called as the folder is, has a version that begins with `user`, and is known by the hash of its pixels:
another folder of the same name never shares a table with it.
"""

from __future__ import annotations

import re
from pathlib import Path

from lde_bench.data.base import Dataset, DatasetEntry, Request
from lde_bench.data.image_files import Origin, in_folder, load_image_files, settings_of, split_by_hash
from lde_bench.errors import InputError
from lde_bench.files import expanded

VERSION = "user-images"


def load_folder(folder: Path, request: Request) -> Dataset:
    """The pictures of a folder as a dataset in colour, 80 / 10 / 10; by default the square in the middle of each.

    A file stays in its split when others come or go. Sizes of `request` take prefixes of the splits.

    Raises:
        InputError: there is no such folder, it holds no files or too few, or some cannot be used and `skip_bad` is not
            asked for.
    """
    folder = expanded(folder).resolve()
    files = in_folder(folder)
    name = re.sub(r"[^\w.-]+", "-", folder.name).lstrip(".") or "images"  # a full stop would hide the folder of results
    return load_image_files(Origin(name, VERSION, files, split_by_hash(files.stamps)), request, fit="crop")


def describe(name: str, version: str) -> DatasetEntry | None:
    """The entry of a folder that a record names by its version; None of another dataset."""
    if not version.startswith(f"{VERSION}-"):
        return None
    return DatasetEntry(
        name,
        version,
        "images of a user's own",
        "a folder",
        _nothing_to_load,
        items="images",
        images=settings_of(version),
        from_pictures=True,
    )


def _nothing_to_load(request: Request) -> Dataset:
    raise InputError("this dataset is a folder of a user's own; give it again by --images.")
