"""Pixels as they are: the feature space in which no figure depends on a network trained on other photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lde_bench.arrays import Rows
from lde_bench.features.base import FeatureSpace


class Pixels(FeatureSpace):
    """The rows themselves."""

    name = "pixels"
    label = "pixels"
    words = "raw pixels"

    def features(self, rows: Rows, image_shape: Sequence[int] | None) -> np.ndarray:
        return np.asarray(rows)

    def real_features(self, rows: Rows, image_shape: Sequence[int] | None) -> Rows:
        return rows


#: Where nothing else is asked for.
PIXELS = Pixels()
