"""Trials of figure 5: an autoencoder trained on two kinds of images in turn, and walks between codes of test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lde_bench.evaluation.interpolation import KINDS, STEPS, decoded, draw_pairs, measure_walks, walk
from lde_bench.evaluation.reconstruction import Reconstruction
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.generators.base import Generator
from lde_bench.memory import check_memory
from lde_bench.runs import Result, RunPaths
from lde_bench.seeds import derive_seed
from lde_bench.trials.images import ImageTrial, Measured, as_bytes

#: Walks of each kind that are measured, by profile.
PAIRS = {"quick": 100, "standard": 500, "long": 500, "paper": 500}

#: Walks of each kind that are shown: the first that are drawn.
SHOWN = 2

#: Training images that the nearest one of a midpoint is looked for among, and that the domain classifier learns from.
TRAIN_ROWS = 10_000


@dataclass(frozen=True)
class InterpolationTrial(ImageTrial):
    """One training run of one autoencoder with one seed, and walks through its codes; labels tell the domains apart."""

    pairs: int = PAIRS["standard"]
    space: str = "vgg"

    def evaluation(self) -> dict[str, Any]:
        return {"pairs": self.pairs, "space": self.space}

    @property
    def compared_images(self) -> int:
        return len(KINDS) * self.pairs * (STEPS + 1)

    def check_needs(self) -> None:
        super().check_needs()
        numbers = self.compared_images * self.dataset.features
        what = f"The images of {self.pairs:,} walks of each kind"
        check_memory(what, numbers * np.dtype(np.float32).itemsize, "ask for fewer pairs.")

    def measure(self, model: Generator, paths: RunPaths) -> Measured:
        """The pairs are the same for every model of a table."""
        assert isinstance(model, Autoencoder)
        data = self.dataset
        assert data.image_shape is not None
        assert data.train_labels is not None
        assert data.test_labels is not None
        shape, space = data.image_shape, self.features
        seed = derive_seed(self.base_seed, "pairs")
        pairs = draw_pairs(data.test_labels, self.pairs, np.random.default_rng(seed))
        codes = model.codes(data.test)
        walks = {
            kind: walk(codes[first], codes[last], lambda z: decoded(model, z)) for kind, (first, last) in pairs.items()
        }
        train = data.train[:TRAIN_ROWS]
        measures = measure_walks(
            walks,
            lambda rows: space.features(rows, shape),
            np.asarray(space.real_features(train, shape)),
            data.train_labels[:TRAIN_ROWS],
            space.words,
        )
        measures |= Reconstruction().measure(self.sample_sets(model, train))
        shown = np.stack([walks[kind].images[:SHOWN] for kind in KINDS])  # [3, SHOWN, STEPS, D]
        paths.save_picture({"walks": as_bytes(shown)}, {})
        return Measured(Result(measures=measures), {"pairs": self.pairs, "space": space.label, **self.unusual_loss()})
