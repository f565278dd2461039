"""mnist: handwritten digits, 28x28, real-valued in [0, 1].

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proceedings of
the IEEE, 1998. The 60,000 training images are shuffled once and split 55,000 / 5,000, as the authors of the paper did
(their shuffle is not recorded); the 10,000 test images stay as they are.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from lde_bench.data.base import Dataset, DatasetEntry, Request
from lde_bench.data.cache import cache_folder
from lde_bench.data.fetch import download
from lde_bench.data.images import image_dataset, search, shuffled
from lde_bench.errors import InputError

NAME = "mnist"
VERSION = "1"
TRAIN = 55_000
SIDE = 28
FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
#: Of the unpacked bytes: gzip files of the same images differ.
RAW_SHA256 = {
    "train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
#: Of the packed files at these addresses.
GZ_SHA256 = {
    "train": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "test": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
}
SITES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
HEADER = 16  # bytes: magic number, count, height, width

REMEDY = (
    "point --data-dir or LDE_BENCH_DATA at the folder that holds mnist/, connect to the network so that it can be "
    "downloaded, or take the digits that need no file, digits8x8."
)


def find(request: Request, split: str) -> Path:
    """The idx file of a split, gzipped or not; downloaded where the user has none.

    Raises:
        InputError: it is not in the folder that was given, or could not be downloaded.
    """
    stem = FILES[split]
    found = search(request, ("mnist", "MNIST", "MNIST/raw"), (stem, f"{stem}.gz", stem.replace("-idx", ".idx")))
    if found is not None:
        return found
    if request.data_dir is not None:
        raise InputError(f"{request.data_dir}: no {stem} or {stem}.gz there; {REMEDY}")
    target = cache_folder(request.cache_dir) / f"{stem}.gz"
    addresses = [f"{site}{stem}.gz" for site in SITES]
    return download(addresses, GZ_SHA256[split], target, remedy=REMEDY, progress=request.progress)


def read(path: Path, split: str) -> np.ndarray:
    """The images of an idx file: uint8 [n, 28, 28].

    Raises:
        InputError: it cannot be read, or does not hold the official bytes.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    if hashlib.sha256(raw).hexdigest() != RAW_SHA256[split]:
        raise InputError(f"{path}: does not hold the official MNIST bytes (another SHA-256); {REMEDY}")
    return np.frombuffer(raw, dtype=np.uint8, offset=HEADER).reshape(-1, SIDE, SIDE)


def load(request: Request) -> Dataset:
    """Load MNIST; see `lde_bench.data.load_dataset`."""
    training, test = (read(find(request, split), split) for split in FILES)
    order = shuffled(len(training), NAME, VERSION, "split")
    images = {"train": training[order[:TRAIN]], "validation": training[order[TRAIN:]], "test": test}
    return image_dataset(NAME, VERSION, request, images)


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "handwritten digits, 28x28, real-valued in [0, 1]: 55,000 / 5,000 / 10,000",
        f"LeCun, Bottou, Bengio, Haffner 1998, {SITES[0]}",
        load,
    ),
)
