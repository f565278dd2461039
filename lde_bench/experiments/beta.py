"""The paper's Figure 2, measured: VAEs at several weights beta of the KL, and an autoencoder without a prior with a
density of its codes.

The figure of Yoo, Lee, Kwak 2020 (arXiv 1902.04294) shows that a larger beta blurs what is reconstructed, and says that
codes and prior part where it is small. Here each of that has its number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lde_bench.data import Dataset
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError
from lde_bench.evaluation.sample_measures import Figure as MeasureFigure
from lde_bench.generators import parse_generator, place_of
from lde_bench.report.figures import drawn
from lde_bench.report.measures import figure_notes, measure_columns, null_column
from lde_bench.report.paper_figures import PaperFigure
from lde_bench.report.planes import Panel, draw_planes
from lde_bench.report.rows import Row
from lde_bench.report.strips import first_picture
from lde_bench.report.table import Column, Table, cost_column, model_columns
from lde_bench.runs.store import RunPaths
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.beta import FIGURES, BetaTrial, LatentPicture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Weights of the KL where none is named, size of the code, and components of the density of the codes.
BETAS = (0.1, 1.0, 5.0, 20.0)
LATENT = 2
COMPONENTS = 30

#: What the images show that are drawn with their reconstructions, as in the paper.
DIGIT = 5

#: Training steps by profile, of every model and of the density alike: about 1, 4 and 48 CPU minutes a model of MNIST on
#: a core without bf16. The models' own schedules differ, and are sized for tables of samples.
STEPS = {"quick": 600, "standard": 3_000, "long": 36_000}

#: By profile: held-out images whose bounds on log p(x) are taken, and codes of each.
IMAGES = {"quick": 1_000, "standard": 1_000, "long": 10_000, "paper": 10_000}
CODES = {"quick": 50, "standard": 500, "long": 500, "paper": 500}


def beta_budget(profile: str, steps: int | None = None, seconds: float | None = None) -> Budget:
    """The budget of the figure: a profile, and where neither steps nor seconds are given the `STEPS` of it.

    Raises:
        InputError: see `Budget.of`.
    """
    if steps is None and seconds is None:
        steps = STEPS.get(profile)
    return Budget.of(profile, steps, seconds)


class Beta(PaperFigure):
    """VAEs at several beta, and an autoencoder with a density of its codes."""

    name = "beta"
    title = "What a prior costs an autoencoder, at several weights of it: the paper's Figure 2"
    held = "a model of images, and the density of the codes of the last to those of a density,"
    alt = "Codes of held-out images under each model, and reconstructions of some"
    caption = (
        "Codes of the same held-out images under every model, one draw from each posterior of a VAE, coloured by what "
        "the images show; numbers stand at the median code of their class. Contours: the regions of highest density "
        "that hold 50 % and 90 % of what codes are drawn from when images are sampled, the prior N(0, I) of a VAE or "
        "the density fitted to the codes of an autoencoder without one. Below: the first held-out images of one class, "
        "never picked, each above its reconstruction, where they lie beside the records (.originals.npz). MSE: of "
        "reconstructions, per pixel; MMD^2: of codes against what they are drawn from, 0 where they agree."
    )

    def plan(
        self,
        budget: Budget,
        options: TrainingOptions,
        dataset: Dataset,
        *,
        betas: Sequence[float] | None = None,
        latent: int = LATENT,
        backbone: str = "mlp",
        components: int = COMPONENTS,
        label: int | None = None,
        codes: int | None = None,
        trials: int = 1,
        seed: int = 0,
    ) -> list[BetaTrial]:
        """The trials of the figure; everything a trial needs is checked here, before any training.

        Args:
            budget: see `beta_budget`.
            betas: weights of the KL, `BETAS` if None.
            latent: size of the code; the codes are drawn where it is 2.
            backbone: networks of every model, `mlp` or `conv`.
            components: K of the density of the codes of the autoencoder.
            label: what the images show that are drawn with their reconstructions; None is `DIGIT` where there is one.
            codes: of each image, for the bounds; by profile if None.
            trials: training runs of each model.
            seed: base of the trials' seeds.

        Raises:
            InputError: a beta that is not above 0 or is named twice, a size, a number of codes or of trials below 1, or
                a label that the dataset has not.
        """
        codes = CODES[budget.profile] if codes is None else codes
        for what, value in (("latent", latent), ("samples", codes), ("trials", trials)):
            if isinstance(value, bool) or value < 1:
                raise InputError(f"{what} = {value} is not a whole number from 1 up; leave it out for the default.")
        options.check(dataset)
        label = _label(dataset, label)
        images = min(IMAGES[budget.profile], len(dataset.test))
        planned = [
            BetaTrial(
                self.name, spec, k, trial, dataset, budget, options, seed, label=label, images=images, codes=codes
            )
            for trial in range(trials)
            for spec, k in _methods(betas or BETAS, latent, backbone, components)
        ]
        for trial in planned:
            trial.check_needs()
        return planned

    def order(self, methods: Sequence[str]) -> list[str]:
        return sorted(methods, key=_place)

    def figures(self) -> Mapping[str, MeasureFigure]:
        return FIGURES

    def columns(self, table: Table) -> list[Column]:
        measures = measure_columns(table)
        return [*model_columns(), *measures, null_column("code_mmd2", FIGURES["code_mmd2"]), cost_column()]

    def first_notes(self, table: Table) -> list[str]:
        return [*figure_notes(table.rows, table.figures), *_comparison_notes(table.budget)]

    def picture(self, table: Table, places: Mapping[str, RunPaths]) -> Figure | None:
        panels = _panels(table.rows, places)
        return draw_planes(panels) if panels else None


def _methods(
    betas: Sequence[float], latent: int, backbone: str, components: int
) -> list[tuple[MethodSpec, int | None]]:
    """A VAE at each beta, then the autoencoder and the density of its codes, each with its K."""
    named = [f"vae:backbone={backbone},beta={beta:.12g},latent={latent}" for beta in betas]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise InputError(f"{twice} is named twice; give every beta once.")
    density = parse_generator(f"ae+lde:backbone={backbone},components={components},latent={latent}")
    return [*((parse_generator(name), None) for name in named), (density, components)]


def _label(dataset: Dataset, label: int | None) -> int | None:
    """What the images show that are drawn with their reconstructions; None where nothing is known of them.

    Raises:
        InputError: one was named that no held-out image of the dataset has.
    """
    there = [] if dataset.test_labels is None else np.unique(dataset.test_labels).tolist()
    if label is None:
        return DIGIT if DIGIT in there else None
    if label not in there:
        known = f"its labels are {', '.join(map(str, there))}" if there else "its images have no labels"
        raise InputError(f"digit = {label}: {dataset.name} has no such image, {known}; choose another or leave it out.")
    return label


def _place(method: str) -> tuple[int, float, int]:
    """VAEs by their beta, then the autoencoder."""
    arguments = parse_generator(method).arguments
    return place_of(method), arguments.get("beta", 1.0), arguments.get("latent", 0)


def _panels(rows: Sequence[Row], places: Mapping[str, RunPaths]) -> list[Panel]:
    """A panel for each row; none where nothing was kept to draw it from."""
    specs = [parse_generator(row.method) for row in rows]
    named = {key for spec in specs for key in spec.arguments}
    telling = {key for key in named if len({spec.arguments[key] for spec in specs if key in spec.arguments}) > 1}
    kept = [first_picture(row, places) for row in rows]
    return [
        Panel(_panel_title(row, spec, telling | {"beta"}), _panel_figures(row), LatentPicture.from_arrays(arrays))
        for row, spec, arrays in zip(rows, specs, kept, strict=True)
        if arrays is not None
    ]


def _panel_title(row: Row, spec: MethodSpec, telling: Collection[str]) -> str:
    """`VAE, beta = 0.1`, `AE + LDE, K = 30`, with the arguments that tell a row from others."""
    words = [drawn(" + ".join(name.upper() for name in (spec.name, *spec.wrappers)))]
    words += [f"K = {row.components}"] if row.components is not None else []
    arguments = {key: value for key, value in spec.arguments.items() if key in telling}
    words += [f"$\\beta$ = {value:g}" if key == "beta" else f"{key} = {value}" for key, value in arguments.items()]
    return ", ".join(words) + drawn(row.label.removeprefix(row.method))


def _panel_figures(row: Row) -> str:
    told = {"reconstruction_mse": "MSE {:.4f}", "code_mmd2": "MMD$^2$ {:.4f}"}
    words = ", ".join(text.format(row.measures[name].value) for name, text in told.items() if name in row.measures)
    return words.replace("-", "\N{MINUS SIGN}")


def _comparison_notes(budget: str) -> list[str]:
    """Which nats and which errors compare, of models with this budget, by its label."""
    word = budget.rpartition("-")[2]
    given = f"the same number of {word}" if word in ("steps", "seconds") else "the steps of their own plans"
    return [
        "ELBO and IWAE are nats of images whose pixels were made black or white at random by their brightness "
        "(Bernoulli pixels): they compare with each other, not with densities of pixels, and not with nats of codes. "
        "At any beta they are those of the prior N(0, I) and weight 1.",
        f"All models have networks of one kind and {given}; the VAEs learn by cross-entropy, the autoencoder by the "
        "squared error itself.",
    ]
