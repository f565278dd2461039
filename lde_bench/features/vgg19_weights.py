"""The weights of VGG19 up to conv3_1 as torchvision publishes them: looked for, checked, and kept small.

K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, arXiv
1409.1556. torchvision's file holds 548 MB, of which these five layers are 2; they are kept by themselves once it was
read. Wherever they come from, they are the same numbers: their hash is a constant of this module.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lde_bench.data.archives import read_npz, reading
from lde_bench.data.base import content_hash
from lde_bench.data.cache import named_data_folder
from lde_bench.data.fetch import download
from lde_bench.errors import InputError
from lde_bench.features.kept import keep, kept_path
from lde_bench.files import ensure_folder, file_sha256

#: Every layer kept, and its place among the `features` of torchvision's VGG19.
LAYERS = {"conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10}

#: The arrays: weights [out, in, 3, 3] and biases [out], float32.
NAMES = tuple(f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias"))

#: `lde_bench.data.base.content_hash` of these arrays, names and shapes included.
CONTENT_SHA256 = "89b3616354f1b7874a205739d427a65322acf9fa8e54dd07772d2a5499b948ce"

#: torchvision's own file, and all that is published of its SHA-256.
TORCHVISION_FILE = "vgg19-dcbb9e9d.pth"
TORCHVISION_SHA256 = "dcbb9e9d"
URLS = (f"https://download.pytorch.org/models/{TORCHVISION_FILE}",)

#: The five layers by themselves, in the cache folder.
KEPT_FILE = "vgg19-conv1_1-to-conv3_1.npz"

REMEDY = (
    f"give torchvision's {TORCHVISION_FILE} or an .npz of its layers up to conv3_1 by --vgg FILE, or do without the "
    "network: train with --perceptual 0, and compare in --features pixels."
)


log = logging.getLogger(__name__)


def load_weights(named: Path | None) -> dict[str, np.ndarray]:
    """The arrays `NAMES` of the file that is `named`, else of the first that is at hand, else of a download.

    Looked for in `vgg19/` of the folder in LDE_BENCH_DATA, in the cache folder, and in that of torch's hub.

    Raises:
        InputError: the file does not hold these numbers, or there is none and it could not be downloaded.
    """
    if named is not None:
        return _read(named)
    for path in _places():
        if not path.is_file():
            continue
        if path != kept_path(KEPT_FILE):
            return _read(path)
        if weights := _kept():
            return weights
        log.warning("%s is damaged, or may not be read, and is fetched again.", path)
    return _downloaded()


def _kept() -> dict[str, np.ndarray] | None:
    """The arrays that were kept; None where they cannot be read, or are not those that were written."""
    try:
        return _read(kept_path(KEPT_FILE))
    except InputError:
        return None


def _downloaded() -> dict[str, np.ndarray]:
    from filelock import FileLock

    kept = kept_path(KEPT_FILE)
    with FileLock(ensure_folder(kept.parent) / f"{KEPT_FILE}.lock"):
        if kept.is_file() and (weights := _kept()):  # another run has just fetched it
            return weights
        path = kept.with_name(TORCHVISION_FILE)
        if path.is_file() and not file_sha256(path).startswith(TORCHVISION_SHA256):
            path.unlink()
        path = download(URLS, TORCHVISION_SHA256, path, remedy=REMEDY, progress=True)
        weights = _read(path)
        if kept.is_file():  # all that is needed of it
            path.unlink(missing_ok=True)
        return weights


def _places() -> Iterator[Path]:
    import torch

    if root := named_data_folder():
        folder = root / "vgg19"
        yield from sorted(folder.glob("vgg19*.npz"))
        yield folder / TORCHVISION_FILE
    yield kept_path(KEPT_FILE)
    yield Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION_FILE


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, which are kept by themselves where it is the large one."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {REMEDY}")
    if path.suffix == ".npz":
        return _checked(path, read_npz(path, NAMES, remedy=REMEDY))
    weights = _read_torchvision(path)
    keep(KEPT_FILE, weights)
    return weights


def _checked(path: Path, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if content_hash(weights) != CONTENT_SHA256:
        raise InputError(f"{path}: does not hold the numbers of torchvision's VGG19 up to conv3_1; {REMEDY}")
    return weights


def _read_torchvision(path: Path) -> dict[str, np.ndarray]:
    import torch

    if not file_sha256(path).startswith(TORCHVISION_SHA256):
        raise InputError(f"{path}: is not torchvision's file, whose SHA-256 begins with {TORCHVISION_SHA256}; {REMEDY}")
    with reading(path, REMEDY):
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = {
            f"{layer}.{part}": state[f"features.{place}.{part}"].numpy().copy()  # not a view into all 548 MB
            for layer, place in LAYERS.items()
            for part in ("weight", "bias")
        }
    return _checked(path, weights)
