"""faces48: grey faces, 48x48, in [0, 1], split by person; a stand-in for the Toronto Face Dataset, and not it.

12,794 crops of Labeled Faces in the Wild (G. Huang, M. Ramesh, T. Berg, E. Learned-Miller, University of Massachusetts
technical report 07-49, 2007), `faces_48x48.npz` with `images` uint8 [n, 48, 48] and `person` int [n]. No person is in
two splits, by the ids of the file, which gives two pairs of equal images two ids each (test row 484 and validation row
586 are training images too); images of one person are alike, so errors are clustered by person. Persons of many images
(one has 520) train: none of them is to make up a large part of the test set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lde_bench.data.archives import read_npz
from lde_bench.data.base import Dataset, DatasetEntry, Request
from lde_bench.data.images import image_dataset, search, shuffled
from lde_bench.data.tfd import IMAGE_SETTINGS
from lde_bench.errors import InputError
from lde_bench.seeds import derive_seed

NAME = "faces48"
VERSION = "1"
FILE = "faces_48x48.npz"
SIDE = 48
#: Shares of the persons, of those with at most so many images.
TEST, VALIDATION, MOST_IMAGES = 0.2, 0.1, 10

REMEDY = f"point --data-dir or LDE_BENCH_DATA at the folder that holds faces-lfw48/{FILE}."


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 48, 48] and persons int64 [n].

    Raises:
        InputError: the file cannot be read or is not of that layout.
    """
    content = read_npz(path, ("images", "person"), remedy=REMEDY)
    images, person = content["images"], content["person"]
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
        raise InputError(
            f"{path}: 'images' is {images.dtype} {list(images.shape)} where uint8 [n, {SIDE}, {SIDE}] belongs; {REMEDY}"
        )
    if person.shape != (len(images),) or person.dtype.kind not in "iu":
        raise InputError(
            f"{path}: 'person' is {person.dtype} {list(person.shape)} where whole numbers [{len(images)}] belong; "
            f"{REMEDY}"
        )
    return images, person.astype(np.int64)


def load(request: Request) -> Dataset:
    """Load the faces; see `lde_bench.data.load_dataset`."""
    path = search(request, ("faces-lfw48",), (FILE,))
    if path is None:
        raise InputError(f"{FILE} is not at hand; {REMEDY}")
    images, person = read(path)
    persons, counts = np.unique(person, return_counts=True)
    few = sorted(persons[counts <= MOST_IMAGES].tolist(), key=lambda one: derive_seed(NAME, VERSION, "person", one))
    test, validation, _ = np.split(np.array(few), np.cumsum([round(TEST * len(few)), round(VALIDATION * len(few))]))
    if min(len(test), len(validation)) == 0:
        raise InputError(
            f"{path}: {len(few)} persons have at most {MOST_IMAGES} images each, too few to test and validate on; "
            f"{REMEDY}"
        )
    order = shuffled(len(images), NAME, VERSION, "order")
    tests, validates = (np.isin(person[order], members) for members in (test, validation))
    chosen = {"train": order[~tests & ~validates], "validation": order[validates], "test": order[tests]}
    return image_dataset(
        NAME,
        VERSION,
        request,
        {split: images[index] for split, index in chosen.items()},
        groups={split: person[index] for split, index in chosen.items()},
    )


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "48x48 faces split by person, in [0, 1]; a stand-in for the Toronto Face Dataset, not it: 10,190 / 859 / 1,745",
        "Huang, Ramesh, Berg, Learned-Miller 2007 (Labeled Faces in the Wild), cropped",
        load,
        items="images",
        group="person",
        images=IMAGE_SETTINGS,
        bibtex=("huang2007labeled",),
    ),
)
