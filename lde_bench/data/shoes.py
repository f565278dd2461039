"""shoes: photographs of shoes on white; UT-Zap50K where that is at hand, else a stand-in for it.

A. Yu, K. Grauman, "Fine-Grained Visual Comparisons with Local Learning", CVPR 2014: 50,025 catalogue photographs,
136 x 102, in `Boots`, `Sandals`, `Shoes` and `Slippers`, for academic use only. Their tree `ut-zap50k-images` is read
as it is unpacked, and so is the stand-in, 7,500 photographs of the kind in a folder `shoes` with `Boot`, `Sandal` and
`Shoe`. Split 80 / 10 / 10 by a hash: of the product, of which there are several colours, where the name tells it as
UT-Zap50K's does, else of the name. The kind of shoe is the label.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from lde_bench.data.base import Dataset, DatasetEntry, Request
from lde_bench.data.image_files import SIDE, Origin, colour_settings, in_folder, load_image_files, split_by_hash
from lde_bench.data.images import search_folder
from lde_bench.errors import InputError

NAME = "shoes"
VERSION = "1"
#: The stand-in is another dataset: no table mixes it with UT-Zap50K.
STAND_IN = f"{VERSION}-stand-in"
UT_ZAP50K = ("ut-zap50k-images", "ut-zap50k-images-square")

#: In each of the two trees, the second of which frames them otherwise: a part of one is another dataset.
PHOTOGRAPHS = 50_025

#: A label is the place here of how the uppermost folder begins.
KINDS = ("boot", "sandal", "shoe", "slipper")

REMEDY = (
    "unpack ut-zap50k-images.zip from https://vision.cs.utexas.edu/projects/finegrained/utzap50k and point --data-dir "
    "or LDE_BENCH_DATA at the folder that holds ut-zap50k-images/ (or the stand-in, shoes/)."
)

_PRODUCT = re.compile(r"^(\d+)\.\d+$")  # product and colour, as in 7965644.4018.jpg


def load(request: Request) -> Dataset:
    """Load the shoes; see `lde_bench.data.load_dataset`."""
    folder = search_folder(request, (*UT_ZAP50K, NAME))
    if folder is None:
        raise InputError(f"neither {UT_ZAP50K[0]} nor its stand-in, {NAME}, is at hand; {REMEDY}")
    files = in_folder(folder)
    for name in files.stamps:
        if _kind(name) is None:
            raise InputError(
                f"{folder / name}: lies in no folder of boots, sandals, shoes or slippers; remove the stray file."
            )
    version = STAND_IN
    if folder.name in UT_ZAP50K:
        version = VERSION + ("-square" if folder.name.endswith("-square") else "")
        version += "" if len(files.stamps) == PHOTOGRAPHS else "-unofficial"
    return load_image_files(Origin(NAME, version, files, split_by_hash(files.stamps, _product), _label), request)


def _kind(name: str) -> int | None:
    top, _, inside = name.lower().partition("/")
    return next((place for place, kind in enumerate(KINDS) if inside and top.startswith(kind)), None)


def _label(name: str) -> int:
    kind = _kind(name)
    assert kind is not None
    return kind


def _product(name: str) -> str:
    match = _PRODUCT.match(PurePosixPath(name).stem)
    return match[1] if match else name


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "photographs of shoes in colour, 64x64 or --side, UT-Zap50K or a stand-in for it that says so, by kind of shoe",
        "Yu and Grauman 2014, https://vision.cs.utexas.edu/projects/finegrained/utzap50k",
        load,
        items="images",
        images=colour_settings(SIDE),
        from_pictures=True,
        bibtex=("yu2014fine",),
    ),
)
