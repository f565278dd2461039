"""What every dataset is made of: the arrays, their identity, and the entry `lde-bench list` shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lde_bench.arrays import PixelRows, Rows
from lde_bench.data.unit import Unit
from lde_bench.errors import InputError

if TYPE_CHECKING:
    from lde_bench.data.patches import FreshPatches
    from lde_bench.data.pictures import Fit

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Dataset:
    """Three splits, with what is needed to name, group and redraw them.

    `train`, `validation`, `test` are float32 [n, d], arrays in memory or `PixelRows` that are read as they are needed;
    the `*_groups` are int64 [n], the photograph each row came from, or None; `content_hash` is the SHA-256 of exactly
    these arrays (`content_hash()` below); `seed` is that of the preparation; `fresh` draws new training patches from
    the same photographs; `is_patch` says that the 63 numbers are those of an 8x8 patch, so that its symmetries apply;
    `image_shape` is the (C, H, W) of rows that are images with pixels in [0, 1], channel by channel, C = 1 where they
    are grey; `true_log_prob` (synthetic data only) maps [n, d] to the exact log-density, float64 [n] in nats; the
    `*_labels` are int64 [n], what each row shows, or None, and no part of what is hashed, since nothing is trained on
    them. Where there is a `unit`, the rows are standardised ones, and log-likelihoods are reported in nats of the rows
    as they were, `log_det` less.
    """

    name: str
    version: str
    train: Rows
    validation: Rows
    test: Rows
    train_groups: np.ndarray | None
    validation_groups: np.ndarray | None
    test_groups: np.ndarray | None
    content_hash: str
    seed: int
    fresh: FreshPatches | None = None
    is_patch: bool = False
    image_shape: tuple[int, int, int] | None = None
    true_log_prob: Callable[[np.ndarray], np.ndarray] | None = None
    unit: Unit | None = None
    train_labels: np.ndarray | None = None
    validation_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        name: str,
        version: str,
        seed: int,
        arrays: Mapping[str, Rows],
        *,
        fresh: FreshPatches | None = None,
        is_patch: bool = False,
        image_shape: tuple[int, int, int] | None = None,
        true_log_prob: Callable[[np.ndarray], np.ndarray] | None = None,
        unit: Unit | None = None,
        labels: Mapping[str, np.ndarray] | None = None,
    ) -> Dataset:
        """Make a dataset of arrays keyed `train`, ..., and where there are photographs `train_groups`, ...; hashes them
        and the unit, and not the `labels` by split.
        """
        labels = labels or {}
        return cls(
            name=name,
            version=version,
            train=arrays["train"],
            validation=arrays["validation"],
            test=arrays["test"],
            train_groups=_whole(arrays.get("train_groups")),
            validation_groups=_whole(arrays.get("validation_groups")),
            test_groups=_whole(arrays.get("test_groups")),
            content_hash=content_hash(_with_unit(arrays, unit)),
            seed=seed,
            fresh=fresh,
            is_patch=is_patch,
            image_shape=image_shape,
            true_log_prob=true_log_prob,
            unit=unit,
            train_labels=labels.get("train"),
            validation_labels=labels.get("validation"),
            test_labels=labels.get("test"),
        )

    @property
    def features(self) -> int:
        """D, the length of a row."""
        return int(self.train.shape[1])

    @cached_property
    def training_hash(self) -> str:
        """SHA-256 of training and validation arrays and the unit, which is all that a trained model can depend on."""
        return content_hash(_with_unit({"train": self.train, "validation": self.validation}, self.unit))

    @property
    def log_det(self) -> float:
        """How many nats the log-likelihood of a row here exceeds that of the row in the units of the data."""
        return 0.0 if self.unit is None else self.unit.log_det

    @property
    def sizes(self) -> dict[str, int]:
        """Rows in each split."""
        return {split: len(getattr(self, split)) for split in SPLITS}


def _whole(rows: Rows | None) -> np.ndarray | None:
    return None if rows is None else np.asarray(rows)


def _with_unit(arrays: Mapping[str, Rows], unit: Unit | None) -> dict[str, Rows]:
    """Data that differ in nothing but their units have the same standardised rows and other log-likelihoods."""
    return {**arrays, **({} if unit is None else {"mean": unit.mean, "scale": unit.scale})}


@dataclass(frozen=True)
class Request:
    """The arguments of `load_dataset`, checked; None where the dataset's default is wanted.

    `side`, `fit` and `skip_bad` say how picture files become images (`lde_bench.data.image_files`); those datasets
    alone are asked for them that take them.
    """

    data_dir: Path | None = None
    cache_dir: Path | None = None
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    seed: int = 0
    progress: bool = False
    side: int | None = None
    fit: Fit | None = None
    skip_bad: bool | None = None

    @property
    def picture_options(self) -> list[str]:
        """The names of what was asked for that only datasets of picture files take."""
        return [name for name in ("side", "fit", "skip_bad") if getattr(self, name) is not None]

    def sizes(self, dataset: str, available: Mapping[str, int]) -> dict[str, int]:
        """The rows to load of each split: what was asked, else all of `available`.

        Raises `InputError` when more is asked than there is.
        """
        taken = {}
        for split in SPLITS:
            asked, most = getattr(self, split), available[split]
            if asked is not None and asked > most:
                raise InputError(
                    f"{dataset} holds {most:,} {split} rows and {asked:,} were asked for; "
                    f"ask for {split}={most} or fewer."
                )
            taken[split] = most if asked is None else asked
        return taken


@dataclass(frozen=True, eq=False)
class ImageSettings:
    """What is fixed for a dataset of images, by the paper where it ran it, so that every model has the same.

    `latent` is the size of the code; `warmup` the share of the training over which that of the IAE grows; `grid` the
    sigmas of the Parzen window to choose from, float64 [g]; `space` names the feature space in which such images are
    best compared (`lde_bench.features`).
    """

    latent: int
    warmup: float
    grid: np.ndarray
    space: str = "pixels"


@dataclass(frozen=True)
class DatasetEntry:
    """One loadable dataset: all that is to be said of it, and the function that loads it.

    Attributes:
        name: by which it is loaded.
        version: of the official data.
        description: what `lde-bench list` prints.
        source: authors, year, address.
        load: gives the dataset of a request.
        items: what rows are called: `patches` (of photographs, 8x8), `images` (with `images` settings) or `items`.
        group: what items that are alike come from: `photograph`, `person`, `group`.
        images: settings of the models of images.
        folds: names of the datasets that are its folds; an experiment takes them all.
        from_pictures: whether its images are made of picture files, so that it takes `side`, `fit` and `skip_bad`.
        reads_files: whether it is made of files of the user's or of a download, so that it takes `data_dir`.
        is_drawn: whether its preparation draws random numbers, so that a seed makes it another.
        bibtex: keys of what to cite, into `lde_bench/report/data/references.bib`.
    """

    name: str
    version: str
    description: str
    source: str
    load: Callable[[Request], Dataset]
    items: Literal["patches", "images", "items"] = "items"
    group: str = "group"
    images: ImageSettings | None = None
    folds: tuple[str, ...] = ()
    from_pictures: bool = False
    reads_files: bool = True
    is_drawn: bool = False
    bibtex: tuple[str, ...] = ()


class ContentHash:
    """SHA-256 of named arrays, fed piece by piece so that no array need be in memory at once.

    The digest covers, in the order given, one line per array: name, dtype, shape and the SHA-256 of its
    little-endian bytes. Equal digests therefore mean equal names, shapes and bytes.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> Callable[[np.ndarray], None]:
        """Start the next array; the returned function takes its rows in order."""
        digest = hashlib.sha256()
        rows = 0
        index = len(self._lines)
        self._lines.append("")

        def update(block: np.ndarray) -> None:
            nonlocal rows
            digest.update(np.ascontiguousarray(block, dtype=np.dtype(dtype).newbyteorder("<")).data)
            rows += len(block)
            if rows == shape[0]:
                self._lines[index] = f"{name} {dtype} {shape} {digest.hexdigest()}\n"

        return update

    def pixels(self, name: str, rows: PixelRows) -> None:
        """The next array, of the bytes of pixels."""
        self._lines.append(f"{name} uint8 {rows.shape} {rows.sha256}\n")

    def hexdigest(self) -> str:
        """The digest; every array must be complete."""
        if not all(self._lines):
            raise ValueError("an array was begun and not completed, so it has no content hash")
        return hashlib.sha256("".join(self._lines).encode()).hexdigest()


def content_hash(arrays: Mapping[str, Rows]) -> str:
    """SHA-256 (hex) of the named arrays in their order, of pixels by their bytes; see `ContentHash`."""
    total = ContentHash()
    for name, array in arrays.items():
        if isinstance(array, PixelRows):
            total.pixels(name, array)
        else:
            total.array(name, array.dtype.name, array.shape)(array)
    return total.hexdigest()
