"""What every feature space is: where the distances between images are taken by which samples are measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from lde_bench.arrays import Rows


class FeatureSpace(ABC):
    """Maps images to numbers between which distances say more, or less, than between pixels.

    A subclass sets what follows, and gives `features`.

    Args:
        device: on which they are computed, `cpu` or `cuda`.
    """

    #: As `--features` spells it.
    name: ClassVar[str]
    #: As a record names it: the network and its layer, so that no figure is taken for one of another network.
    label: ClassVar[str]
    #: What it is, for the reader of a figure: a noun phrase.
    words: ClassVar[str]
    #: Keys into `lde_bench/report/data/references.bib` of what to cite.
    bibtex: ClassVar[tuple[str, ...]] = ()
    #: Whether all that computes the features comes with this package.
    shipped: ClassVar[bool] = True

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    @abstractmethod
    def features(self, rows: Rows, image_shape: Sequence[int] | None) -> np.ndarray:
        """The features of items: float32 [n, F].

        Args:
            rows: [n, D], or anything that is sliced like an array; it is read in blocks.
            image_shape: (C, H, W) of rows that are images with pixels in [0, 1].

        Raises:
            InputError: the rows are no images of that shape, or what computes the features is not at hand.
        """

    def real_features(self, rows: Rows, image_shape: Sequence[int] | None) -> Rows:
        """`features` of items that model after model is measured against: kept, where they are slow to compute."""
        return self.features(rows, image_shape)

    def classes(self, features: Rows) -> np.ndarray | None:
        """What the classifier behind the features takes items for, by their features [n, F]: int64 [n], from 0 up; None
        where there is no classifier.
        """
        return None

    def check(self, image_shape: Sequence[int]) -> None:  # noqa: B027 (pixels are always at hand)
        """Find out before any training whether the features of images of this shape can be computed.

        Raises:
            InputError: they cannot.
        """

    def reference_seconds(self, images: int, image_shape: Sequence[int]) -> float:
        """About how long the features of so many images take on the reference machine."""
        return 0.0
