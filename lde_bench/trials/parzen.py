"""Trials of the Parzen table: samples of a trained model of images, the window around them, and the other measures of
the same samples.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from lde_bench.arrays import Rows
from lde_bench.evaluation.likelihood import summarise
from lde_bench.evaluation.likelihood_bounds import ANNEALING
from lde_bench.evaluation.parzen import parzen_curve, parzen_log_prob, select_sigma
from lde_bench.evaluation.sample_measures import (
    MEASURES_VERSION,
    BoundedModel,
    Measure,
    SampleSets,
    measure_samples,
    sample_metrics,
)
from lde_bench.features.pixels import PIXELS
from lde_bench.generators.base import REFERENCE_PIXELS, Generator
from lde_bench.runs import ParzenWindow, Record, Result, RunPaths
from lde_bench.runs.rows import ASKED, WINDOW
from lde_bench.seeds import derive_seed
from lde_bench.trials.images import KEPT_SAMPLES, ImageTrial, Measured, draw_samples, setting

#: Samples of the window.
SAMPLES = WINDOW

#: Of so many of them the features are computed and the measures taken: 45 s of VGG19 at 48 x 48 on one core.
MEASURED_SAMPLES = 4_000

#: Test images of the bounds on the log-likelihood, by profile.
BOUND_IMAGES = {"quick": 0, "standard": 500, "long": 500, "paper": 500}

#: About how long one of MNIST's takes: annealed, with a perceptron or with convolutions, and importance-weighted.
ANNEALED_SECONDS, ANNEALED_CONV_SECONDS, WEIGHTED_SECONDS = 0.12, 0.6, 0.1

#: Of these many of the samples the curve over their number is drawn, and of all.
COUNTS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)


@dataclass(frozen=True)
class ParzenTrial(ImageTrial):
    """One training run of one model of images with one seed, and the window around its samples.

    Attributes:
        samples: of the window.
        bound_images: test images of the bounds on the log-likelihood; 0: without.
        beside: further feature spaces, by their names, in which the samples are measured too.
    """

    samples: int = SAMPLES
    bound_images: int = 0
    beside: tuple[str, ...] = ()

    def evaluation(self) -> dict[str, Any]:
        # Without it the names of runs stay as they were.
        space = {} if self.space == PIXELS.name else {"space": self.space}
        annealing = {**asdict(ANNEALING), "start": "likeliest code"}
        bounds = {"bound_images": self.bound_images, "annealing": annealing} if self.bound_images else {}
        fixed = {"samples": self.samples, "grid": setting(self.dataset).grid, "measures": MEASURES_VERSION}
        beside = {"beside": list(self.beside)} if self.beside else {}
        return {**fixed, **space, **bounds, **beside, **self.null_rule()}

    def reference_seconds(self) -> float:
        return super().reference_seconds() + (self._bound_seconds(self.model()) if self.bound_images else 0.0)

    def _bound_seconds(self, model: Generator) -> float:
        seconds = WEIGHTED_SECONDS if model.importance_weighted is not None else 0.0
        if model.decoder_models:
            convolutional = any(isinstance(layer, nn.ConvTranspose2d) for layer in model.modules())
            seconds += ANNEALED_CONV_SECONDS if convolutional else ANNEALED_SECONDS
        return self.bound_images * seconds * model.features / REFERENCE_PIXELS

    def sample_sets(self, model: Generator, samples: np.ndarray) -> SampleSets:
        sets = super().sample_sets(model, samples)
        if not self.bound_images:
            return sets
        bounded = BoundedModel(
            model.decoder_models,
            model.importance_weighted,
            model.pixel_kind,
            self.dataset.validation,
            min(self.bound_images, len(self.dataset.test)),
        )
        return replace(sets, bounded=bounded)

    @property
    def compared_images(self) -> int:
        return min(self.samples, MEASURED_SAMPLES)

    @property
    def spaces(self) -> tuple[str, ...]:
        return (self.space, *self.beside)

    def measure(self, model: Generator, paths: RunPaths) -> Measured:
        """Draw samples and choose sigma on validation images; then come the test images."""
        dataset, device = self.dataset, self.options.device
        samples = draw_samples(model, self.samples, derive_seed(self.seed, "samples"))
        window = choose_window(self.unused_validation(model), samples, setting(dataset).grid, device)
        items = parzen_log_prob(dataset.test, samples, window.sigma, device=device)
        test = summarise(items, dataset.test_groups)
        sets = self.sample_sets(model, samples[:MEASURED_SAMPLES])
        paths.save_samples(samples[:KEPT_SAMPLES])
        paths.save_log_likelihoods(test.items)
        result = Result(
            test_nats=test.mean,
            validation_nats=max(window.grid_nats),
            test_standard_error_naive=test.standard_error,
            test_standard_error_clustered=test.groups.standard_error if test.groups else None,
            groups=test.groups,
            blocks=test.blocks,
            parzen=window,
            measures=measure_samples(sets),
            beside=self._beside(sets),
        )
        label = self.features.label
        asked = {
            **({} if label == PIXELS.label else {"space": label}),
            **({"bound_images": self.bound_images} if self.bound_images else {}),
            **({"beside": list(self.beside)} if self.beside else {}),
        }
        fewer = {} if len(samples) == self.samples else {ASKED: self.samples}  # of a reference row
        return Measured(result, {"samples": len(samples), "measures": MEASURES_VERSION, **asked, **fewer})

    def failed_record(self, reason: str) -> Record:
        record = super().failed_record(reason)
        return replace(record, training={**record.training, ASKED: self.samples})

    def _beside(self, sets: SampleSets) -> dict[str, dict[str, Measure]]:
        """The measures that take distances, in the further spaces, by their labels."""
        names = [name for name, metric in sample_metrics().items() if metric.in_space]
        spaces = map(self.space_called, self.beside)
        return {space.label: measure_samples(replace(sets, space=space), names) for space in spaces}


def choose_window(validation: Rows, samples: np.ndarray, grid: np.ndarray, device: str = "cpu") -> ParzenWindow:
    """Sigma by the mean log-likelihood of validation images, and the curves over sigma and the number of samples."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the best sigma .* is at the edge of the grid")  # the record says so
        sigma, curve = select_sigma(validation, samples, grid, device=device)
    counts = [*(count for count in COUNTS if count < len(samples)), len(samples)]
    here = np.array([sigma])
    fewer = [float(parzen_curve(validation, samples[:count], here, device=device).mean()) for count in counts[:-1]]
    return ParzenWindow(
        samples=len(samples),
        sigma=sigma,
        at_edge=len(grid) > 1 and sigma in (grid.min(), grid.max()),
        grid=[round(float(each), 6) for each in grid],
        grid_nats=curve.tolist(),
        counts=counts,
        count_nats=[*fewer, float(curve.max())],
    )
