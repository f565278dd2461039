"""What a model's samples are worth: the base of every measure of samples, and the one call that makes them all.

One file of this package = one metric: a plain function on arrays, and a `SampleMetric` that is found by itself. The
functions work on flat rows as they are; the metrics take their distances in the feature space of the `SampleSets`: raw
pixels, so that no figure depends on a network trained on other photographs, or the features of such a network, since
on pixels a blurred image passes for a good one. Figures of two spaces do not compare.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from lde_bench.arrays import Rows, as_rows, readable_rows
from lde_bench.errors import InputError
from lde_bench.features.base import FeatureSpace
from lde_bench.features.pixels import PIXELS
from lde_bench.registry import LAST_PLACE, did_you_mean, discover, in_order
from lde_bench.seeds import as_seed, derive_seed

if TYPE_CHECKING:
    from lde_bench.generators.decoder_model import DecoderModel  # whoever reads records need not wait for torch

#: What the measures are: 1 had their nulls from splits of test and training items, 2 has them from validation items.
#: Figures of two versions do not stand in one row.
MEASURES_VERSION = 2

#: Fewer rows than this in a set say nothing.
MINIMUM_ROWS = 20

#: Numbers of a set that a metric takes, where rows are long: with twice as many validation items 96 MB of float32.
SET_NUMBERS = 6_000_000

_OWNER = "sample measures"


@dataclass(frozen=True, eq=False)
class BoundedModel:
    """What bounds on the log-likelihood of a model of images are made of.

    Attributes:
        models: the decoder models that it is an equal mixture of; none where it is no such mixture.
        importance_weighted: x [n, D], number of codes, seed -> a lower bound of log p(x) in nats, [n]; None for a model
            without a random encoder.
        pixels: what the pixels are in that bound, in a word.
        validation: images that the observation noise is chosen on, [n, D].
        images: number of test images.
    """

    models: Sequence[DecoderModel]
    importance_weighted: Callable[[np.ndarray, int, int], np.ndarray] | None
    pixels: str
    validation: Rows
    images: int


@dataclass(frozen=True, eq=False)
class SampleSets:
    """What a metric is given.

    Attributes:
        train: what the model was trained on, [n, D].
        test: real items that it has not seen, [n, D].
        samples: what it generated, [n, D].
        seed: decides every subset and every permutation that a metric draws; nothing else does.
        validation: real items that are in none of the other sets, [n, D], which nulls are made of. Without them, or
            with fewer than 2 `MINIMUM_ROWS`, figures have no null.
        reconstruct: decoder(encoder(x)) of an autoencoder, [n, D] -> [n, D]; None for a model without an encoder.
        code_log_prob: log-density of the codes of items in nats, [n, D] -> [n]; None for a model without a density of
            codes.
        encoder: names the trained encoder of these codes.
        space: in which distances between items are taken.
        image_shape: (C, H, W) of items that are images with pixels in [0, 1] and are to be looked at as such; None:
            plain rows, of which nothing is measured that needs an image.
        bounded: what bounds on the log-likelihood are made of; None where none are asked for.

    Raises:
        InputError: a set is not [n, D] with `MINIMUM_ROWS` rows or more, holds NaN, or the widths differ from each
            other or from that of the images.
    """

    train: Rows
    test: Rows
    samples: np.ndarray
    seed: int
    validation: Rows | None = None
    reconstruct: Callable[[np.ndarray], np.ndarray] | None = None
    code_log_prob: Callable[[Rows], np.ndarray] | None = None
    encoder: str = ""
    space: FeatureSpace = PIXELS
    image_shape: tuple[int, int, int] | None = None
    bounded: BoundedModel | None = None
    _points: dict[str, Rows] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        sets = check_readable_sets(least=MINIMUM_ROWS, train=self.train, test=self.test, samples=self.samples)
        if self.validation is not None:
            sets |= check_readable_sets(least=0, validation=self.validation)
            _check_widths(sets)
        for name, value in {**sets, "seed": as_seed("sample measures", self.seed)}.items():
            object.__setattr__(self, name, value)
        if self.image_shape is not None and self.train.shape[1] != math.prod(self.image_shape):
            raise InputError(
                f"sample measures: rows of {self.train.shape[1]} numbers are no images {self.image_shape}; give the "
                "image_shape (channels, height, width) of the rows."
            )

    @property
    def in_pixels(self) -> bool:
        """Whether distances are those between the rows themselves."""
        return self.space.name == PIXELS.name

    @property
    def null_items(self) -> Rows | None:
        """The validation items, where they are enough to make nulls of; else None."""
        return self.validation if self.validation is not None and len(self.validation) >= 2 * MINIMUM_ROWS else None

    def equal_points(self, most: int, generator: np.random.Generator) -> EqualPoints:
        """Random items of equal number, at most `most` and of at most `SET_NUMBERS` numbers a set."""
        n = min(rows_within(most, self.points("test")), len(self.test), len(self.samples))
        n = n if self.null_items is None else min(n, len(self.null_items) // 2)
        test = subset(self.points("test"), n, generator)
        validation = None if self.null_items is None else subset(self.points("validation"), 2 * n, generator)
        # The samples last: which real items are drawn does not depend on how many there are of them.
        return EqualPoints(test, subset(self.points("samples"), n, generator), validation)

    def points(self, name: Literal["train", "validation", "test", "samples"]) -> Rows:
        """Where the items of a set lie in the feature space, [n, F]; computed once.

        Raises:
            InputError: the features cannot be computed; see `FeatureSpace.features`.
        """
        if name not in self._points:
            find = self.space.features if name == "samples" else self.space.real_features
            self._points[name] = find(getattr(self, name), self.image_shape)
        return self._points[name]

    def generator(self, metric: str) -> np.random.Generator:
        """The random numbers of one metric, whichever other metrics run."""
        return np.random.default_rng(derive_seed("sample-metric", metric, self.seed))


@dataclass(frozen=True, eq=False)
class EqualPoints:
    """Where items of equal number lie in the feature space.

    Attributes:
        test: held-out items, [n, F].
        samples: [n, F].
        validation: real items behind the null, twice as many, [2 n, F]; None where there are too few.
    """

    test: np.ndarray
    samples: np.ndarray
    validation: np.ndarray | None = None


@dataclass(frozen=True)
class Measure:
    """A number, how far to trust it, and what real items give in the place of the samples.

    Attributes:
        value: the figure.
        standard_error: of the value.
        null: what real items give on average; `null_low` and `null_high` bound the central 95 %.
        detail: how it was computed, in words.
    """

    value: float
    standard_error: float | None = None
    null: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    detail: str = ""

    @property
    def distance_from_null(self) -> float | None:
        """How far the value is from the null, in units of the distance of the band's end on that side: at most 1 within
        the band, above 1 outside; None without a band.
        """
        if self.null is None or self.null_low is None or self.null_high is None:
            return None
        end = self.null_high if self.value > self.null else self.null_low
        return abs(self.value - self.null) / max(abs(end - self.null), np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Figure:
    """How a figure of a metric is shown.

    Attributes:
        header: of its column.
        better: which way it improves: "higher", "lower", or "null", the nearer to what real items give the better,
            so that a figure beyond that on either side is a fault; empty of what says nothing about the samples.
        digits: behind the point.
        meaning: what a reader of the column must know, in words; of what is best at its null, what it means to be
            below and above.
        in_table: whether it has a column; others stand in a record, and in notes.
    """

    header: str
    better: Literal["higher", "lower", "null", ""]
    digits: int = 3
    meaning: str = ""
    in_table: bool = True


class SampleMetric(ABC):
    """One metric of samples, under one name; it may give several figures.

    A subclass sets what follows, and gives `measure`.
    """

    name: ClassVar[str]
    #: What it is, and where it comes from, in words.
    summary: ClassVar[str]
    source: ClassVar[str]
    #: Keys into `lde_bench/report/data/references.bib` of what to cite.
    bibtex: ClassVar[tuple[str, ...]] = ()
    #: Everything that `measure` may give, by name and in the order of the table.
    figures: ClassVar[dict[str, Figure]]
    #: Whether its figures are of distances in the feature space, and others in another.
    in_space: ClassVar[bool] = True
    #: Where its figures stand in a table: the lower, the further left.
    place: ClassVar[int] = LAST_PLACE

    @abstractmethod
    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        """The figures by name; none where the metric does not apply."""


@functools.cache
def sample_metrics() -> dict[str, type[SampleMetric]]:
    """Every metric of this package by name, in the order of the table."""
    found: dict[str, type[SampleMetric]] = discover("lde_bench.evaluation", SampleMetric)  # type: ignore[type-abstract]
    return {name: found[name] for name in in_order(found)}


def sample_figures() -> dict[str, Figure]:
    """Every figure of every metric of this package by name, in the order of the table."""
    return {name: figure for metric in sample_metrics().values() for name, figure in metric.figures.items()}


def measured_everywhere(
    measures: Mapping[str, Measure], beside: Mapping[str, Mapping[str, Measure]]
) -> dict[str, Measure]:
    """Measures in one dictionary, those of the further feature spaces as `name@space`."""
    further = {f"{name}@{space}": one for space, found in beside.items() for name, one in found.items()}
    return {**measures, **further}


def measure_samples(sets: SampleSets, names: Sequence[str] | None = None) -> dict[str, Measure]:
    """The figures of these metrics, or of all, by the figure's name.

    Raises:
        InputError: a metric is unknown (with the nearest name), or the sets are of no use to it.
    """
    from lde_bench.training.device import whole_float32  # reports read measures without torch

    metrics = sample_metrics()
    figures: dict[str, Measure] = {}
    for name in metrics if names is None else names:
        if name not in metrics:
            hint = did_you_mean(name, metrics, cutoff=0.4)
            raise InputError(f"metric '{name}' is unknown; {hint}choose one of {', '.join(metrics)}.")
        with whole_float32():
            figures |= metrics[name]().measure(sets)
    return figures


def check_sets(*, least: int, **sets: np.ndarray) -> dict[str, np.ndarray]:
    """The sets as native floating-point arrays, where figures can be made of them.

    Raises:
        InputError: one is not a numeric [n, D] of at least `least` rows, holds NaN or infinity, or the widths differ.
    """
    checked = {
        name: as_rows(_OWNER, f"the array '{name}'", rows, finite=True, least=least) for name, rows in sets.items()
    }
    _check_widths(checked)
    return checked


def check_readable_sets(*, least: int, **sets: Rows) -> dict[str, Rows]:
    """As `check_sets`, but pixels stay where they are."""
    checked = {
        name: readable_rows(_OWNER, f"the array '{name}'", rows, finite=True, least=least)
        for name, rows in sets.items()
    }
    _check_widths(checked)
    return checked


def _check_widths(sets: Mapping[str, Rows]) -> None:
    widths = {name: rows.shape[1] for name, rows in sets.items()}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise InputError(f"the widths of the sets differ ({listed}); give items of one size.")


def rows_within(most: int, rows: Rows) -> int:
    """`most`, or as many of these rows as hold `SET_NUMBERS` numbers, though never fewer than `MINIMUM_ROWS`."""
    return min(most, max(MINIMUM_ROWS, SET_NUMBERS // rows.shape[1]))


def subset(rows: Rows, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` of the rows, without replacement; all of them, in random order, where there are no more."""
    return rows[generator.permutation(len(rows))[:count]]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of independent values [n] and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def share_error(share: float, items: int) -> float:
    """Standard error of a share of so many independent items: that of two more hits and two more misses.

    sqrt(p (1 - p) / n) is 0 where all items hit or none does, as if their number did not matter; the share moved
    towards a half, (h + 2) / (n + 4), gives intervals that hold what they promise (Agresti and Coull 1998,
    "Approximate is better than 'exact' for interval estimation of binomial proportions", section 3).
    """
    moved = (share * items + 2) / (items + 4)
    return math.sqrt(moved * (1 - moved) / (items + 4))
