"""mnist: handwritten digits, 28x28, real-valued in [0, 1].

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proceedings of
the IEEE, 1998. The 60,000 training images are shuffled once and split 55,000 / 5,000, as the authors of the paper did
(their shuffle is not recorded); the 10,000 test images stay as they are.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from pathlib import Path

import numpy as np

from lde_bench.data.base import Dataset, DatasetEntry, ImageSettings, Request
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
LABELS_GZ_SHA256 = {
    "train": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "test": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
SITES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
HEADER = 16  # bytes: magic number, count, height, width
log = logging.getLogger(__name__)

LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
LABELS_SHA256 = {
    "train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LABELS_HEADER = 8  # bytes: magic number, count

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
    found = _at_hand(request, stem)
    if found is not None:
        return found
    if request.data_dir is not None:
        raise InputError(f"{request.data_dir}: no {stem} or {stem}.gz there; {REMEDY}")
    return _download(request, stem, GZ_SHA256[split])


def _download(request: Request, stem: str, sha256: str) -> Path:
    target = cache_folder(request.cache_dir) / f"{stem}.gz"
    addresses = [f"{site}{stem}.gz" for site in SITES]
    return download(addresses, sha256, target, remedy=REMEDY, progress=request.progress)


def _at_hand(request: Request, stem: str) -> Path | None:
    return search(request, ("mnist", "MNIST", "MNIST/raw"), (stem, f"{stem}.gz", stem.replace("-idx", ".idx")))


def read(path: Path, split: str) -> np.ndarray:
    """The images of an idx file: uint8 [n, 28, 28].

    Raises:
        InputError: it cannot be read, or does not hold the official bytes.
    """
    return np.frombuffer(_official(path, RAW_SHA256[split]), np.uint8, offset=HEADER).reshape(-1, SIDE, SIDE)


def read_labels(request: Request) -> dict[str, np.ndarray] | None:
    """The digits that the images of each official split show, uint8 [n]; None where the user has images alone, or they
    cannot be downloaded.

    Raises:
        InputError: a file cannot be read, or does not hold the official bytes.
    """
    labels = {}
    for split, stem in LABELS.items():
        path = _at_hand(request, stem)
        if path is None and _at_hand(request, FILES[split]) is None:
            try:
                path = _download(request, stem, LABELS_GZ_SHA256[split])
            except InputError as error:  # the images are there: whoever wants labels will say so
                log.warning("MNIST is loaded without its labels: %s", error)
        if path is None:
            return None
        labels[split] = np.frombuffer(_official(path, LABELS_SHA256[split]), np.uint8, offset=LABELS_HEADER)
    return labels


def _official(path: Path, sha256: str) -> bytes:
    """The unpacked bytes of an idx file, which are those of that hash."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise InputError(f"{path}: does not hold the official MNIST bytes (another SHA-256); {REMEDY}")
    return raw


def load(request: Request) -> Dataset:
    """Load MNIST; see `lde_bench.data.load_dataset`."""
    training, test = (read(find(request, split), split) for split in FILES)
    order = shuffled(len(training), NAME, VERSION, "split")

    def split(train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
        return {"train": train[order[:TRAIN]], "validation": train[order[TRAIN:]], "test": test}

    labels = read_labels(request)
    return image_dataset(
        NAME, VERSION, request, split(training, test), labels=labels and split(labels["train"], labels["test"])
    )


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "handwritten digits, 28x28, real-valued in [0, 1]: 55,000 / 5,000 / 10,000",
        f"LeCun, Bottou, Bengio, Haffner 1998, {SITES[0]}",
        load,
        items="images",
        images=ImageSettings(latent=8, warmup=96 / 390, grid=np.arange(0.1, 0.3, 0.01), space="mnist"),
        bibtex=("lecun1998gradient",),
    ),
)
