"""faces-color: aligned faces in colour; a stand-in for CelebA, and not it.

8,000 of the UTKFace photographs (Z. Zhang, Y. Song, H. Qi, "Age Progression/Regression by Conditional Adversarial
Autoencoder", CVPR 2017, arXiv 1702.08423), resized to 128 x 128, as JPEG files in one folder `faces-color`. For
research that is not commercial only. Split 80 / 10 / 10 by a hash of the file names, as there are no official parts.
Some photographs are there twice, cropped or encoded otherwise: by correlation above 0.98 at 32 x 32 with one of the
training images, 25 of 817 test and 19 of 782 validation images, which bring both 2 % nearer to the training images in
the mean.
"""

from __future__ import annotations

from lde_bench.data.base import Dataset, DatasetEntry, Request
from lde_bench.data.image_files import SIDE, Origin, colour_settings, in_folder, load_image_files, split_by_hash
from lde_bench.data.images import search_folder
from lde_bench.errors import InputError

NAME = "faces-color"
VERSION = "1"

REMEDY = (
    "point --data-dir or LDE_BENCH_DATA at the folder that holds faces-color/, give a folder of your own by --images, "
    "or take --dataset natural32, which needs no file."
)


def load(request: Request) -> Dataset:
    """Load the faces; see `lde_bench.data.load_dataset`."""
    folder = search_folder(request, (NAME,))
    if folder is None:
        raise InputError(f"the folder {NAME} is not at hand; {REMEDY}")
    files = in_folder(folder)
    return load_image_files(Origin(NAME, VERSION, files, split_by_hash(files.stamps)), request)


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "aligned faces in colour, 64x64 or --side; a stand-in for CelebA, not it: about 6,400 / 800 / 800",
        "Zhang, Song, Qi 2017 (UTKFace), a part of it, resized",
        load,
        items="images",
        images=colour_settings(SIDE),
        from_pictures=True,
        bibtex=("zhang2017age",),
    ),
)
