"""The classifier two-sample test: how often a classifier tells a held-out sample from a held-out real item.

Lopez-Paz and Oquab 2017, "Revisiting Classifier Two-Sample Tests", arXiv 1610.06545. A half proves little: the
classifier may be blind. So the same classifier is also set on a small fault that is known to be there.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from lde_bench.arrays import Rows
from lde_bench.evaluation.nulls import Null, with_null
from lde_bench.evaluation.sample_measures import (
    Figure,
    Measure,
    SampleMetric,
    SampleSets,
    check_sets,
    share_error,
    subset,
)

#: Rows of each set, half of which train the classifier; and numbers in them, which bound its memory on large images.
ROWS = 4000
NUMBERS = 5_000_000

#: Principal components among the features.
COMPONENTS = 256

#: The known fault: every real item is mixed with this share of another.
GHOST = 0.1

#: Inverse strength of the classifier's L2 penalty; the features have unit variance.
PENALTY = 1e-3

#: What hardly ever changes is not blown up: the least divisor, as a share of the pixels' standard deviation.
FLOOR = 0.02

#: Standardised features are cut to this many standard deviations, or a pixel that is seldom lit outweighs all others.
CEILING = 5.0


def classifier_accuracy(*, real: np.ndarray, generated: np.ndarray, seed: int = 0) -> tuple[float, int]:
    """The share of held-out items that the classifier names rightly, and how many these are.

    Logistic regression on each pixel, each leading principal component, and the squares of both, all standardised: it
    sees means, variances and the strength of correlations, and on small sets of raw pixels finds more than a multilayer
    perceptron or nearest neighbours. Trained on half of each set, the larger first cut to the smaller. Which set is
    called `real` makes no difference beyond the rows drawn.

    Args:
        real: [n, D].
        generated: [m, D].
        seed: draws the halves.

    Returns:
        Accuracy in [0, 1], 1/2 for two sets of one distribution, and the number of held-out items.

    Raises:
        InputError: a set has fewer than 4 rows, is not [n, D], holds NaN, or the widths differ.
    """
    real, generated = check_sets(least=4, real=real, generated=generated).values()
    generator = np.random.default_rng(seed)
    n = min(len(real), len(generated))
    pair = [subset(rows, n, generator).astype(np.float64) for rows in (real, generated)]
    half = n // 2
    train, held_out = (np.concatenate([rows[part] for rows in pair]) for part in (slice(half), slice(half, n)))
    features = _Features(train, seed=int(generator.integers(2**31)))
    classifier = LogisticRegression(C=PENALTY, max_iter=200)
    classifier.fit(features(train), np.repeat([0, 1], half))
    right = classifier.predict(features(held_out)) == np.repeat([0, 1], n - half)
    return float(right.mean()), len(right)


class _Features:
    """Pixels, principal components and their squares: [n, D] -> [n, 2 (D + C)], standardised as the training rows."""

    def __init__(self, train: np.ndarray, seed: int) -> None:
        components = min(COMPONENTS, *train.shape)
        # Of the pixels as they are: standardised, noise at the border would come first.
        with np.errstate(invalid="ignore"):  # items that are all equal have no variance to share out
            self.pca = PCA(components, svd_solver="randomized", random_state=seed).fit(train)
        both = self._linear(train)
        self.mean, spread = both.mean(0), both.std(0)
        whole = float(np.sqrt(np.square(spread[: train.shape[1]]).mean()))
        self.scale = np.maximum(spread, FLOOR * whole) if whole > 0 else np.ones_like(spread)

    def _linear(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows, self.pca.transform(rows)], 1)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        z = self._linear(rows)
        z -= self.mean
        z /= self.scale
        features = np.empty((len(z), 2 * z.shape[1]))
        linear, squares = np.split(features, 2, axis=1)
        np.clip(z, -CEILING, CEILING, out=linear)
        np.square(linear, out=squares)
        squares -= 1
        return features


class ClassifierTwoSample(SampleMetric):
    """`c2st_accuracy` on the samples, and `c2st_power`, the accuracy on real items with a known small fault.

    The null of both is the accuracy on the same real items without it.
    """

    name = "classifier-two-sample"
    summary = "held-out accuracy of telling samples from real items, and its power on a known small fault"
    source = "Lopez-Paz and Oquab 2017, arXiv 1610.06545"
    bibtex = ("lopezpaz2017revisiting",)
    place = 40
    figures: ClassVar[dict[str, Figure]] = {
        "c2st_accuracy": Figure(
            "C2ST accuracy",
            "null",
            meaning="share that a classifier tells rightly from held-out items, 1/2 where it cannot; below, by chance "
            "only; above, told apart",
        ),
        "c2st_power": Figure(
            "C2ST power",
            "",
            meaning=f"accuracy of the same classifier on validation items, each mixed with {GHOST:.0%} of another",
            in_table=False,
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        generator = sets.generator(self.name)
        seed = int(generator.integers(2**31))
        pool = sets.null_items
        n = min(ROWS, NUMBERS // sets.points("test").shape[1], len(sets.test), len(sets.samples))
        n = n if pool is None else min(n, len(pool))
        real = subset(sets.points("test"), n, generator)

        def accuracy(others: Rows) -> tuple[float, int]:
            return classifier_accuracy(real=real, generated=np.asarray(others), seed=seed)

        how = (
            f"logistic regression on {sets.space.words}, components and squares; {n} real items and {n} others, half "
            "held out"
        )
        null, faulty = None, {}
        if pool is not None:
            chosen = subset(np.arange(len(pool)), n, generator)
            null = accuracy_null(*accuracy(sets.points("validation")[chosen]))
            # Items are mixed, and not their features; the same ones for every model, so that their features are kept.
            items = (1 - GHOST) * pool[chosen] + GHOST * pool[np.roll(chosen, 1)]
            mixed = f"{how}; the others are validation items, each mixed with {GHOST:.0%} of another"
            faulty = {"c2st_power": _measure(*accuracy(sets.space.real_features(items, sets.image_shape)), null, mixed)}
        return {
            "c2st_accuracy": _measure(*accuracy(subset(sets.points("samples"), n, generator)), null, how),
            **faulty,
        }


def accuracy_null(accuracy: float, items: int) -> Null:
    """The null of the accuracy on so many held-out items, of that found on as many: both are left to chance."""
    off = float(norm.ppf(0.975)) * 2**0.5 * share_error(accuracy, items)
    return Null(accuracy, accuracy - off, accuracy + off)


def _measure(accuracy: float, items: int, null: Null | None, detail: str) -> Measure:
    error = share_error(accuracy, items)
    return with_null(accuracy, error, null, detail, "accuracy on as many validation items, with the chance in both")
