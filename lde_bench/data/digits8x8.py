"""digits8x8: the handwritten digits that scikit-learn carries, 8x8, in [0, 1]; no file, no network.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI machine learning repository, 1998: its test
part, 1,797 images with 17 levels of grey. Shuffled once, 1,197 / 200 / 400.
"""

from __future__ import annotations

import numpy as np

from lde_bench.data.base import Dataset, DatasetEntry, ImageSettings, Request
from lde_bench.data.images import image_dataset, shuffled

NAME = "digits8x8"
VERSION = "1"
TRAIN, VALIDATION = 1197, 200


def load(request: Request) -> Dataset:
    """Load the digits; see `lde_bench.data.load_dataset` (`data_dir` plays no part)."""
    from sklearn.datasets import load_digits

    digits = load_digits()  # images are whole numbers 0 ... 16 as float64: [1797, 8, 8]
    order = shuffled(len(digits.images), NAME, VERSION, "split")
    chosen = {
        "train": order[:TRAIN],
        "validation": order[TRAIN : TRAIN + VALIDATION],
        "test": order[TRAIN + VALIDATION :],
    }
    return image_dataset(
        NAME,
        VERSION,
        request,
        {split: digits.images[index] for split, index in chosen.items()},
        white=16,
        labels={split: digits.target[index] for split, index in chosen.items()},
    )


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "the 8x8 digits inside scikit-learn, in [0, 1], no download: 1,197 / 200 / 400",
        "Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80",
        load,
        items="images",
        images=ImageSettings(latent=8, warmup=96 / 390, grid=np.arange(0.02, 0.4, 0.02)),
        reads_files=False,
        bibtex=("alpaydin1998optical",),
    ),
)
