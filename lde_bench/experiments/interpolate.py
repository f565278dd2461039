"""The paper's figure 5: walks between test images in the space of codes, within two domains and from one to the other.

Yoo, Lee, Kwak 2020 (arXiv 1902.04294, section 4.2) train on CelebA and shoes, images taken in turn, and see faces and
shoes overlap half-way under an AAE, and shapes change under an IAE. Pairs are drawn by a seed and never picked, and
what is seen has its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lde_bench.data import Dataset
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError
from lde_bench.evaluation.interpolation import KINDS, STEPS, walk_figures
from lde_bench.evaluation.sample_measures import Figure as MeasureFigure
from lde_bench.evaluation.sample_measures import sample_figures
from lde_bench.generators import create_generator, parse_generator
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.report.document import Block
from lde_bench.report.paper_figures import FigureInColour
from lde_bench.report.plots import square_shape
from lde_bench.report.section import Section, row_title
from lde_bench.report.strips import Strip, draw_strips, first_picture, unrolled
from lde_bench.report.table import Table
from lde_bench.runs.store import RunPaths
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.images import perceptual_weight, usual_space
from lde_bench.trials.interpolation import PAIRS, InterpolationTrial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The rows of the paper's figure: an AAE with N(0, I), one with N(-3, I) and N(3, I), and the two without a prior.
METHODS = ("aae:backbone=conv", "aae:backbone=conv,prior=mixture,modes=2", "ae", "iae")


class Interpolate(FigureInColour):
    """Figure 5, with numbers that say what the eye sees."""

    name = "interpolate"
    title = "Walks through the codes of two domains: the paper's Figure 5"
    held = "a model of images"
    alt = "Decoded walks between the codes of test images"
    caption = (
        "Walks between the codes of two test images, r = 0, 0.2, ..., 1, decoded: the ends are reconstructions. The "
        "pairs are the first that a seed drew, the same for every model, and not selected."
    )

    def plan(
        self,
        budget: Budget,
        options: TrainingOptions,
        dataset: Dataset,
        *,
        methods: Sequence[str] | None = None,
        trials: int = 1,
        pairs: int | None = None,
        perceptual: float | None = None,
        space: str | None = None,
        seed: int = 0,
    ) -> list[InterpolationTrial]:
        """The trials of the figure; everything a trial needs is checked here, before any training.

        Args:
            budget: of each trial.
            options: how trials are trained.
            dataset: of two domains, see `lde_bench.data.mixing.mixed`.
            methods: autoencoders, `METHODS` if None.
            trials: training runs of each.
            pairs: walks of each kind; by profile if None.
            perceptual: weight of the distance in features of VGG19 in the loss, see `perceptual_weight`.
            space: in which steps and distances are measured; that of `usual_space` if None.
            seed: base of the trials' seeds and of the pairs.

        Raises:
            InputError: a model is unknown or no autoencoder; see `perceptual_weight`; fewer than two pairs; an unknown
                space; or the weights of VGG19 are needed and not at hand.
        """
        assert dataset.image_shape is not None
        count = PAIRS[budget.profile] if pairs is None else pairs
        for what, value, least in (("pairs", count, 2), ("trials", trials, 1)):
            if isinstance(value, bool) or value < least:
                raise InputError(
                    f"{what} = {value} is not a whole number from {least} up; leave it out for the default."
                )
        specs = [parse_generator(method) for method in methods or METHODS]
        for spec in specs:
            _check_autoencoder(spec, dataset.image_shape)
        options.check(dataset)
        weight = perceptual_weight(perceptual, budget.profile, specs)
        features = usual_space(dataset, budget.profile) if space is None else space
        planned = [
            InterpolationTrial(
                self.name, spec, None, trial, dataset, budget, options, seed, weight, pairs=count, space=features
            )
            for trial in range(trials)
            for spec in specs
        ]
        for trial in planned:
            trial.check_needs()
        return planned

    def figures(self) -> Mapping[str, MeasureFigure]:
        return {**walk_figures(), "reconstruction_mse": sample_figures()["reconstruction_mse"]}

    def first_notes(self, table: Table) -> list[str]:
        first, second = _domains(table)
        return [f"A: {first}; B: {second}; across: from A to B.", *super().first_notes(table)]

    def picture(self, table: Table, places: Mapping[str, RunPaths]) -> Figure | None:
        strips: list[Strip] = []
        for row in table.rows:
            arrays = first_picture(row, places)
            shape = None if arrays is None else square_shape(arrays["walks"].shape[-1])
            if arrays is None or shape is None:
                continue
            # [3, shown, STEPS, D] -> one strip for each of the shown, the three kinds side by side
            for number, walks in enumerate(arrays["walks"].swapaxes(0, 1)):
                pictures = unrolled(walks.reshape(len(KINDS) * STEPS, -1), shape)
                strips.append(Strip("" if number else row_title(row), pictures, below=number > 0))
        first, second = _domains(table)
        heads = (f"within {first}", f"within {second}", f"{first} to {second}")
        return draw_strips(strips, [(head, STEPS) for head in heads]) if strips else None

    def samples(self, section: Section, cache_dir: Path | None) -> list[Block]:
        return []  # the walks are what there is to see


def _check_autoencoder(spec: MethodSpec, image_shape: tuple[int, int, int]) -> None:
    if not isinstance(create_generator(spec, image_shape), Autoencoder):
        raise InputError(
            f"{spec}: is no autoencoder, whose codes could be walked between; name some such as ae, iae or aae."
        )


def _domains(table: Table) -> tuple[str, str]:
    first, _, second = table.dataset.partition("+")
    return first, second or "the other"
