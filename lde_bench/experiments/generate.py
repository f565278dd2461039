"""The paper's figures 1 and 6: samples of autoencoders, and how far they are from real images.

Yoo, Lee, Kwak 2020 (arXiv 1902.04294) show CelebA; the samples here are the first ones of a trial, never picked, each
over the training image that it is nearest to, and the distances are those of features of VGG19.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lde_bench.data import Dataset
from lde_bench.errors import InputError
from lde_bench.evaluation.sample_measures import Figure as MeasureFigure
from lde_bench.evaluation.sample_measures import sample_figures
from lde_bench.experiments.parzen import expand_methods
from lde_bench.report.paper_figures import FigureInColour
from lde_bench.report.plots import square_shape
from lde_bench.report.section import row_title
from lde_bench.report.strips import Strip, draw_strips, first_picture, unrolled
from lde_bench.report.table import Table
from lde_bench.runs.store import RunPaths
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.generation import SAMPLES, SHOWN, GenerationTrial
from lde_bench.trials.images import check_samples, perceptual_weight, usual_space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The rows of the paper's figures.
METHODS = ("aae:backbone=conv", "ae", "iae")

#: The measures that are shown, in the order of the table; the others stand in the records.
FIGURES = (
    "frechet",
    "frechet_limit",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "memorisation_gap",
    "sharpness",
    "reconstruction_mse",
    "code_nats",
)


class Generate(FigureInColour):
    """Figures 1 and 6, with numbers that say what the eye sees."""

    name = "generate"
    title = "Samples of autoencoders: the paper's Figures 1 and 6"
    held = "a model of images, and that of its codes to those of a density,"
    alt = "Successive samples of every row"
    caption = (
        "The first samples of a trial, not selected, and under each the training image that is nearest to it in the "
        "space of the measures: a sample that is its own neighbour was copied. Uppermost, real test images. Real "
        "images are shown where they lie beside the records (.originals.npz)."
    )

    def plan(
        self,
        budget: Budget,
        options: TrainingOptions,
        dataset: Dataset,
        *,
        methods: Sequence[str] | None = None,
        densities: Sequence[str] | None = None,
        components: Sequence[int] | None = None,
        trials: int = 1,
        samples: int | None = None,
        perceptual: float | None = None,
        space: str | None = None,
        seed: int = 0,
    ) -> list[GenerationTrial]:
        """The trials of the figure; everything a trial needs is checked here, before any training.

        Args:
            budget: of each trial.
            options: how trials are trained.
            dataset: of images.
            methods: models of images, `METHODS` if None; an autoencoder without a prior gets every density.
            densities: of its codes.
            components: K of those that have some.
            trials: training runs of each.
            samples: to measure; by profile if None.
            perceptual: weight of the distance in features of VGG19 in the loss, see `perceptual_weight`.
            space: in which samples and real images are compared; that of `usual_space` if None.
            seed: base of the trials' seeds.

        Raises:
            InputError: see `lde_bench.experiments.parzen.expand_methods` and `perceptual_weight`; too few samples or
                trials; an unknown space; or the weights of VGG19 are needed and not at hand.
        """
        assert dataset.image_shape is not None
        if isinstance(trials, bool) or trials < 1:
            raise InputError(f"trials = {trials} is not a whole number from 1 up; leave it out for the default.")
        specs = expand_methods(methods or METHODS, densities, components)
        count = SAMPLES[budget.profile] if samples is None else samples
        check_samples([spec for spec, _ in specs], count, dataset.image_shape)
        options.check(dataset)
        weight = perceptual_weight(perceptual, budget.profile, [spec for spec, _ in specs])
        features = usual_space(dataset, budget.profile) if space is None else space
        planned = [
            GenerationTrial(
                self.name, spec, k, trial, dataset, budget, options, seed, weight, samples=count, space=features
            )
            for trial in range(trials)
            for spec, k in specs
        ]
        for trial in planned:
            trial.check_needs()
        return planned

    def figures(self) -> Mapping[str, MeasureFigure]:
        return {name: sample_figures()[name] for name in FIGURES}

    def picture(self, table: Table, places: Mapping[str, RunPaths]) -> Figure | None:
        strips: list[Strip] = []
        for row in table.rows:
            arrays = first_picture(row, places)
            shape = square_shape(arrays["samples"].shape[1]) if arrays and "samples" in arrays else None
            if arrays is None or shape is None:
                continue
            if not strips and "test" in arrays:
                strips.append(Strip("test images", unrolled(arrays["test"], shape)))
            strips.append(Strip(row_title(row), unrolled(arrays["samples"], shape)))
            if "nearest" in arrays:
                strips.append(Strip("nearest training", unrolled(arrays["nearest"], shape), below=True))
        heading = "successive samples"
        if any(strip.below for strip in strips):
            heading += ", each over its nearest training image"
        return draw_strips(strips, [(heading, SHOWN)]) if strips else None
