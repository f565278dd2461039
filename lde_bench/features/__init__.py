"""Features of images by networks trained on others: for a perceptual loss, and as spaces to measure in.

One file of this package with a `FeatureSpace` that has a `name` = one space; a new file is found by itself.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from lde_bench.errors import InputError
from lde_bench.registry import did_you_mean, discover

if TYPE_CHECKING:
    from lde_bench.features.base import FeatureSpace


@functools.cache
def feature_spaces() -> dict[str, type[FeatureSpace]]:
    """Every feature space by name."""
    from lde_bench.features.base import FeatureSpace

    return discover(__name__, FeatureSpace)  # type: ignore[type-abstract]


def feature_space(name: str, device: str = "cpu") -> FeatureSpace:
    """The space of that name, such as `pixels` or `vgg`, computed on that device.

    Raises:
        InputError: there is none of that name; the message names the nearest.
    """
    known = feature_spaces()
    if name not in known:
        raise InputError(
            f"feature space '{name}' is unknown; {did_you_mean(name, known, 0.4)}choose one of {', '.join(known)}."
        )
    return known[name](device)


def space_words(label: str) -> str:
    """What the space is that a record names so, for a reader; the label itself of one that this version has not."""
    return next((kind.words for kind in feature_spaces().values() if kind.label == label), label)
