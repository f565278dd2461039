"""Walks between two images in the space of codes, and what they show: do shapes change, or do two images fade?

The walks are those of figure 5 of Yoo, Lee, Kwak 2020 (arXiv 1902.04294): z = (1 - r) z_1 + r z_2. The paper looks at
them; the figures here put numbers on what it sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from lde_bench.errors import InputError
from lde_bench.evaluation.neighbours import nearest_distances
from lde_bench.evaluation.sample_measures import Figure, Measure, mean_and_error
from lde_bench.generators.base import Coder
from lde_bench.training.device import whole_float32

#: Images of a walk, its two ends among them.
STEPS = 6

#: The three kinds of walks: within the first domain, within the second, and from the first to the second.
ACROSS = "across"
KINDS = ("within A", "within B", ACROSS)

#: Images that are decoded at once.
BLOCK_ROWS = 256

#: What is told of each kind of walk.
FIGURES: dict[str, Figure] = {
    "ghosting": Figure(
        "ghosting",
        "lower",
        meaning="0: the decoded midpoint is as far from the average of the ends, in pixels, as they are; 1: it is that",
    ),
    "realism": Figure(
        "realism",
        "lower",
        meaning="distance of decoded midpoints to the nearest training image over that of reconstructions; 1: as near",
    ),
    "largest_step": Figure(
        "largest step",
        "lower",
        meaning=f"largest of the {STEPS - 1} steps of a walk over their mean; 1: even, {STEPS - 1}: one jump",
    ),
    "sharpest_turn": Figure(
        "sharpest turn",
        "",
        meaning="share of the change of a domain classifier's answer that falls on one step; "
        f"{1 / (STEPS - 1):g}: even, 1: at once",
    ),
}


@dataclass(frozen=True, eq=False)
class Walks:
    """Decoded walks, all of one kind.

    Attributes:
        images: the steps at r = 0 ... 1, pixels in [0, 1], [n, STEPS, D]; the ends are reconstructions.
        midpoints: at r = 1/2, [n, D].
    """

    images: np.ndarray
    midpoints: np.ndarray


def draw_pairs(domains: np.ndarray, pairs: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Pairs of different images for each kind of walk, drawn at random: the first and the last of each, [2, pairs].

    Args:
        domains: 0 or 1 for each image, [n].
        pairs: of each kind.
        generator: decides the pairs.

    Raises:
        InputError: a domain has fewer than two images.
    """
    members = [np.flatnonzero(domains == domain) for domain in (0, 1)]
    if min(map(len, members)) < 2:
        raise InputError("interpolation: a domain has fewer than two test images; give datasets with more.")

    def within(own: np.ndarray) -> np.ndarray:
        first = generator.integers(len(own), size=pairs)
        other = (first + generator.integers(1, len(own), size=pairs)) % len(own)  # never the same image twice
        return np.stack([own[first], own[other]])

    across = np.stack([own[generator.integers(len(own), size=pairs)] for own in members])
    return dict(zip(KINDS, (within(members[0]), within(members[1]), across), strict=True))


def walk(starts: np.ndarray, ends: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]) -> Walks:
    """Decode straight lines between codes.

    Args:
        starts: codes [n, Z].
        ends: codes [n, Z].
        decode: codes [m, Z] -> images [m, D], pixels in [0, 1].
    """
    shares = np.append(np.linspace(0, 1, STEPS), 0.5).astype(starts.dtype)
    lines = (1 - shares[:, None]) * starts[:, None] + shares[:, None] * ends[:, None]  # [n, STEPS + 1, Z]
    flat = lines.reshape(-1, lines.shape[-1])
    blocks = [decode(flat[first : first + BLOCK_ROWS]) for first in range(0, len(flat), BLOCK_ROWS)]
    images = np.concatenate(blocks).reshape(len(starts), STEPS + 1, -1)
    return Walks(images[:, :STEPS], images[:, STEPS])


def decoded(coder: Coder, codes: np.ndarray) -> np.ndarray:
    """The images of codes: float [n, Z] -> float32 [n, D], pixels in [0, 1]."""
    with whole_float32(), torch.no_grad():
        return coder.decode(torch.from_numpy(codes).to(coder.device)).float().cpu().numpy()


def ghosting(walks: Walks) -> np.ndarray:
    """How near each decoded midpoint m is to the pixel average of the two ends x_1 and x_2: [n].

    1 - |m - (x_1 + x_2) / 2| / (|x_1 - x_2| / 2). Each end itself gives 0, their double exposure 1; below 0 the
    midpoint is another picture altogether.
    """
    first, last = walks.images[:, 0].astype(np.float64), walks.images[:, -1]
    radius = np.linalg.norm(first - last, axis=1) / 2
    off = np.linalg.norm(walks.midpoints - (first + last) / 2, axis=1)
    # Two ends that decode to the same image have no average to tell from themselves.
    return np.where(radius > 0, 1 - off / np.where(radius > 0, radius, 1), 0.0)


def largest_step(features: np.ndarray) -> np.ndarray:
    """The longest step of each walk over the mean of its steps: features [n, STEPS, F] -> [n]; 1 where none moves."""
    lengths = np.linalg.norm(np.diff(features.astype(np.float64), axis=1), axis=2)  # [n, STEPS - 1]
    mean = lengths.mean(1)
    return np.where(mean > 0, lengths.max(1) / np.where(mean > 0, mean, 1), 1.0)


def sharpest_turn(answers: np.ndarray) -> np.ndarray:
    """The largest change of a classifier's answer between two steps, as a share of all its changes: [n, STEPS] -> [n].

    An answer that never changes gives the share of an even walk.
    """
    changes = np.abs(np.diff(answers.astype(np.float64), axis=1))
    whole = changes.sum(1)
    return np.where(whole > 0, changes.max(1) / np.where(whole > 0, whole, 1), 1 / changes.shape[1])


def realism(midpoints: np.ndarray, ends: np.ndarray, train: np.ndarray) -> tuple[float, float]:
    """Mean distance of midpoints to their nearest training image over that of reconstructions, and its standard error.

    Both in one feature space. Reconstructions are no training images and have a distance of their own, which is the
    unit.

    Args:
        midpoints: features of decoded midpoints, [n, F].
        ends: features of reconstructions, [m, F].
        train: features of the training images of either domain, [N, F].
    """
    (near, near_error), (unit, unit_error) = (mean_and_error(nearest_distances(x, train)) for x in (midpoints, ends))
    ratio = near / unit
    return ratio, float(np.hypot(near_error, ratio * unit_error) / unit)


def measure_walks(
    walks: dict[str, Walks],
    features: Callable[[np.ndarray], np.ndarray],
    train: np.ndarray,
    domains: np.ndarray,
    space: str,
) -> dict[str, Measure]:
    """The figures of every kind of walk by name, `ghosting_across` and so on, each with its standard error over pairs.

    The domain classifier is a logistic regression on standardised features of the training images.

    Args:
        walks: by kind.
        features: images [n, D] -> [n, F].
        train: features of training images, [N, F].
        domains: of these, 0 or 1, [N].
        space: names the feature space, in words.
    """
    classify, accuracy = _domain_classifier(train, domains)
    figures: dict[str, Measure] = {}
    for kind, of_kind in walks.items():
        n, steps, width = of_kind.images.shape
        points = features(of_kind.images.reshape(-1, width)).reshape(n, steps, -1)
        pairs = f"{n} pairs"
        ratio, error = realism(features(of_kind.midpoints), points[:, [0, -1]].reshape(2 * n, -1), train)
        found = {
            "ghosting": Measure(*mean_and_error(ghosting(of_kind)), detail=f"{pairs}, pixels"),
            "realism": Measure(ratio, error, detail=f"{pairs}, {space}, {len(train)} training images"),
            "largest_step": Measure(*mean_and_error(largest_step(points)), detail=f"{pairs}, {space}"),
        }
        if kind == ACROSS:
            answers = classify(points.reshape(n * steps, -1)).reshape(n, steps)
            detail = f"{pairs}, {space}; the classifier tells {accuracy:.1%} of held-out training images"
            found["sharpest_turn"] = Measure(*mean_and_error(sharpest_turn(answers)), detail=detail)
        figures |= {_name(figure, kind): measure for figure, measure in found.items()}
    return figures


def walk_figures() -> dict[str, Figure]:
    """How the figures of every kind of walk are shown, by name; those across the domains first."""
    return {
        _name(name, kind): replace(figure, header=f"{figure.header} {kind}")
        for kind in reversed(KINDS)
        for name, figure in FIGURES.items()
        if kind == ACROSS or name != "sharpest_turn"
    }


def _name(figure: str, kind: str) -> str:
    return f"{figure}_{kind.replace(' ', '_').lower()}"


def _domain_classifier(points: np.ndarray, domains: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """The probability of domain 1 by features [n, F] -> [n], and its accuracy on a fifth that was held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    held_out = np.arange(len(points)) % 10 >= 8  # rows of the two domains come in turn: two of ten hold both
    model.fit(points[~held_out], domains[~held_out])
    accuracy = float(model.score(points[held_out], domains[held_out]))
    return lambda features: model.predict_proba(features)[:, 1], accuracy
