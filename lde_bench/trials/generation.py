"""Trials of figures 1 and 6: samples of a trained model of images, beside the training images that they are nearest to,
measured in a space of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lde_bench.evaluation.neighbours import nearest
from lde_bench.evaluation.sample_measures import MEASURES_VERSION, measure_samples
from lde_bench.generators import is_reference
from lde_bench.generators.base import Generator
from lde_bench.runs import Result, RunPaths
from lde_bench.seeds import derive_seed
from lde_bench.trials.images import KEPT_SAMPLES, ImageTrial, Measured, as_bytes, draw_samples

#: Samples that are measured, by profile.
SAMPLES = {"quick": 500, "standard": 2_000, "long": 10_000, "paper": 10_000}

#: Successive samples that are shown, each over its nearest training image.
SHOWN = 8


@dataclass(frozen=True)
class GenerationTrial(ImageTrial):
    """One training run of one model of images with one seed, and what its samples look like."""

    samples: int = SAMPLES["standard"]
    space: str = "vgg"

    def evaluation(self) -> dict[str, Any]:
        told = {"samples": self.samples, "space": self.space, "measures": MEASURES_VERSION}
        return {**told, **self.null_rule()}

    @property
    def compared_images(self) -> int:
        return self.samples

    def measure(self, model: Generator, paths: RunPaths) -> Measured:
        samples = draw_samples(model, self.samples, derive_seed(self.seed, "samples"))
        sets = self.sample_sets(model, samples)
        measures = measure_samples(sets)
        _, index = nearest(sets.points("samples")[:SHOWN], sets.points("train"))
        shown = {"samples": as_bytes(samples[:SHOWN])}
        real = {"nearest": as_bytes(self.dataset.train[index]), "test": as_bytes(np.asarray(self.dataset.test[:SHOWN]))}
        # The samples of a reference row are real images themselves.
        paths.save_picture(*(({}, shown | real) if is_reference(self.spec.name) else (shown, real)))
        paths.save_samples(samples[:KEPT_SAMPLES])
        return Measured(
            Result(measures=measures),
            {
                "samples": len(samples),
                "space": sets.space.label,
                "measures": MEASURES_VERSION,
                **self.unusual_loss(),
            },
        )
