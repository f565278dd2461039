"""Table 2 of the paper: Parzen-window log-likelihood of images under the samples of models (Yoo et al. 2020).

Protocol: Goodfellow et al. 2014, arXiv 1406.2661, section 5: 10,000 samples, sigma by grid search on validation images,
standard error over test images. The figure is one of the samples and their window, not of the model (Theis, van den
Oord, Bethge 2016, arXiv 1511.01844): the better-founded measures of the same samples stand beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lde_bench.data import Dataset, datasets, load_dataset, load_image_folder
from lde_bench.data.pictures import Fit
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError
from lde_bench.evaluation.sample_measures import MINIMUM_ROWS
from lde_bench.generators import (
    generator_class,
    parse_generator,
    place_of,
    row_methods,
    takes_components,
)
from lde_bench.report import parts
from lde_bench.report.document import Block, Paragraph, Strong
from lde_bench.report.experiment import Experiment
from lde_bench.report.measures import agreement, enumerated, measures_panel
from lde_bench.report.numbers import DASH
from lde_bench.report.published import PublishedFigure, is_official, load_published_parzen, published_text
from lde_bench.report.published_comparison import VARIANT
from lde_bench.report.rows import Row
from lde_bench.report.section import Section, part, row_title
from lde_bench.report.table import Column, Table, standard_columns
from lde_bench.runs.record import DatasetInfo
from lde_bench.runs.rows import is_reference, with_components
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.images import check_samples, usual_spaces
from lde_bench.trials.parzen import BOUND_IMAGES, SAMPLES, ParzenTrial

#: What stands for every row of the table among `--methods`.
ALL = "all"

#: Density of the codes where none is named, and its components.
DENSITIES = ("lde",)
COMPONENTS = (30,)

#: Trials by profile.
TRIALS = {"quick": 1, "standard": 3, "long": 1, "paper": 5}


def expand_methods(
    methods: Sequence[str], densities: Sequence[str] | None = None, components: Sequence[int] | None = None
) -> list[tuple[MethodSpec, int | None]]:
    """Every method; autoencoders without a prior with every density of their codes, and mixtures at every K.

    Where they are not given, these are `DENSITIES` and `COMPONENTS`.

    Raises:
        InputError: an unknown method, density or argument, a value it does not take, nothing to run, or densities where
            no autoencoder takes them.
    """
    named = [row for method in methods for row in (row_methods() if method == ALL else (method,))]
    specs: dict[str, tuple[MethodSpec, int | None]] = {}
    bare = {text for text in named if _is_bare(text)}
    if named and densities and not bare:
        raise InputError(
            f"--density {' '.join(densities)}: none of the methods is an autoencoder without a prior, whose codes it "
            "would be of; name ae or iae, or leave it out."
        )
    for text in named:
        name, arguments = parse_generator(text).name, text.partition(":")[2]
        of_codes = [f"{name}+{_merged(density, arguments)}" for density in densities or DENSITIES]
        for spelled in of_codes if text in bare else [text]:
            spec = parse_generator(spelled)
            own = spec.arguments.get("components")
            mixture = takes_components(spec)
            for k in (components or COMPONENTS if own is None else [own]) if mixture else [None]:
                at_k = spec if k is None else spec.with_arguments(components=k)
                specs[str(at_k)] = (at_k, k)
    if not specs:
        raise InputError("there is nothing to run; name at least one method.")
    return list(specs.values())


def _is_bare(text: str) -> bool:
    """Whether a method is an autoencoder without a prior and without a density of its codes."""
    plain = parse_generator(text)
    return not plain.wrappers and generator_class(plain.name).has_no_prior


def _merged(density: str, arguments: str) -> str:
    """A density with the arguments of the autoencoder behind its own."""
    if not arguments:
        return density
    inner = parse_generator(f"ae+{density}")
    return f"{density}{',' if inner.arguments else ':'}{arguments}"


def load_images(
    dataset: str | None,
    images: Path | None = None,
    *,
    folds: Sequence[int] | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    side: int | None = None,
    fit: Fit | None = None,
    skip_bad: bool | None = None,
) -> list[Dataset]:
    """The datasets of a table: a registered one, or folds of one that has them, by default all; or a folder `images`.

    Raises:
        InputError: neither or both are named; it is none of the image datasets, or is absent or damaged; or folds of
            what has none.
    """
    if (dataset is None) == (images is None):
        raise InputError("name the images once: --dataset NAME, or --images FOLDER for your own; see lde-bench list.")
    if images is not None:
        for what, value in (("--data-dir", data_dir), ("--folds", folds)):
            if value:
                raise InputError(f"{images} is read from where it is and has no folds, so leave out {what}.")
        return [load_image_folder(images, cache_dir=cache_dir, side=side, fit=fit, skip_bad=skip_bad, progress=True)]
    assert dataset is not None
    known = {name: entry for name, entry in datasets().items() if entry.images is not None}
    if dataset not in known:
        raise InputError(f"dataset '{dataset}' is no set of images; choose one of {', '.join(known)}.")
    there = known[dataset].folds
    if folds is not None and not set(folds) <= set(range(1, len(there) + 1)):
        what = f"{dataset} has those from 1 to {len(there)}" if there else f"{dataset} has none"
        raise InputError(f"--folds {' '.join(map(str, folds))}: {what}; leave it out for all there is.")
    names = there if folds is None else [there[fold - 1] for fold in folds]
    return [
        load_dataset(name, data_dir=data_dir, cache_dir=cache_dir, side=side, fit=fit, skip_bad=skip_bad, progress=True)
        for name in names or [dataset]
    ]


class Parzen(Experiment):
    """The paper's Table 2, with better-founded measures of the same samples."""

    name = "parzen"
    title = "Parzen-window log-likelihood of images under the samples of models: the paper's Table 2"
    score = "Parzen log-likelihood"
    held = "a model of images, and that of its codes to those of a density,"
    published_words = (
        "Parzen-window log-likelihoods of the same test images. ± after ours: 2 standard deviations over trials (from "
        "3 trials; at 2 both values, at 1 a dash). The published models had other budgets and, where sigma was chosen "
        f"otherwise, another window. {VARIANT}"
    )

    def plan(
        self,
        budget: Budget,
        options: TrainingOptions,
        datasets: Sequence[Dataset],
        *,
        methods: Sequence[str] | None = None,
        densities: Sequence[str] | None = None,
        components: Sequence[int] | None = None,
        trials: int | None = None,
        samples: int = SAMPLES,
        spaces: Sequence[str] | None = None,
        bound_images: int | None = None,
        seed: int = 0,
    ) -> list[ParzenTrial]:
        """The trials of the table; everything a trial needs is checked here, before any training.

        The measures beside the window are taken in each of `spaces`, or where it is None in the `usual_spaces` of the
        dataset; the first is that of the bounds and of whatever is no distance.

        Raises:
            InputError: see `expand_methods`; a number of trials or samples below 1, or of images of the bounds on the
                log-likelihood (by profile if None) that says nothing; or a feature space for the measures beside the
                window that is unknown or cannot be computed.
        """
        trials = TRIALS[budget.profile] if trials is None else trials
        for what, value in (("trials", trials), ("samples", samples)):
            if isinstance(value, bool) or value < 1:
                raise InputError(f"{what} = {value} is not a whole number from 1 up; leave it out for the default.")
        bound_images = BOUND_IMAGES[budget.profile] if bound_images is None else bound_images
        if isinstance(bound_images, bool) or (bound_images != 0 and bound_images < MINIMUM_ROWS):
            raise InputError(
                f"bound_images = {bound_images} are too few for a standard error; give {MINIMUM_ROWS} or more, or 0 "
                "for no bounds on the log-likelihood."
            )
        shape = datasets[0].image_shape
        assert shape is not None
        specs = expand_methods(methods or [ALL], densities, components)
        check_samples([spec for spec, _ in specs], samples, shape)
        for dataset in datasets:
            options.check(dataset)
        planned = [
            ParzenTrial(
                self.name,
                spec,
                k,
                trial,
                dataset,
                budget,
                options,
                seed,
                samples=samples,
                space=main,
                bound_images=min(bound_images, len(dataset.test)),
                beside=tuple(others),
            )
            for trial in range(trials)
            for dataset in datasets
            for main, *others in [dict.fromkeys(spaces or usual_spaces(dataset, budget.profile))]
            for spec, k in specs
        ]
        for trial in planned:
            trial.check_needs()
        return planned

    def order(self, methods: Sequence[str]) -> list[str]:
        return sorted(methods, key=place_of)

    def published(self, data: DatasetInfo) -> tuple[PublishedFigure, ...]:
        named = re.fullmatch(r"(\w+?)(-union)?(-fold\d+)?", data.name)
        return load_published_parzen(named[1]) if named and is_official(data) else ()

    def columns(self, table: Table) -> list[Column]:
        columns = standard_columns(table)
        score = next(place for place, column in enumerate(columns) if column.header.startswith(self.score))
        columns.insert(score + 1, Column("sigma", _sigma_cell))
        return [*columns, *([Column("published", _published_cell)] if table.shows_published else [])]

    def first_notes(self, table: Table) -> list[str]:
        return _window_notes(table)

    def last_notes(self, table: Table) -> list[str]:
        if not table.is_grouped:
            return []
        return [
            f"Errors and nulls of the measures of samples take {table.items} of one {table.group} as independent, and "
            "are rather too narrow."
        ]

    def leading(self, rows: Sequence[Row]) -> list[Block]:
        return measures_panel(rows)

    def panels(self, rows: Sequence[Row]) -> list[Block]:
        return []

    def headline(self, section: Section) -> list[Block]:
        warning = Paragraph(
            (
                Strong("These are figures of samples, not of models"),
                f": {self.score}s of windows around samples; better-founded measures of the same samples stand before "
                "them in the table.",
            )
        )
        return [*super().headline(section), warning]

    def details(self, section: Section, pair: tuple[str, str] | None) -> list[Block]:
        title = "Does the order of the Parzen figures agree with the other measures?"
        return [
            *self.comparison(section),
            *part(section, title, *agreement(section.table.rows, "Parzen")),
            *parts.components(section),
            *([] if pair is None else parts.photographs(section, pair)),
            *_windows(section),
        ]


def _sigma_cell(row: Row) -> str:
    """Every sigma that was chosen, with a mark where one is at the edge of its grid."""
    samples = row.samples
    if samples is None:
        return DASH
    told = ", ".join(f"{sigma:g}" for sigma in sorted({round(sigma, 6) for sigma in samples.sigmas}))
    return f"{told} (edge)" if samples.at_edge else told


def _published_cell(row: Row) -> str:
    """The published figure with its printed +-."""
    if row.samples is None:
        return DASH
    return published_text(row.samples.published_nats, row.samples.published_plus_minus)


def _window_notes(table: Table) -> list[str]:
    """What the figures of the window are, and are not."""
    rows, items = table.rows, table.items
    references = [row.label for row in rows if is_reference(row.method)]
    alone = len(references) == 1
    shown = (
        f"{enumerated(references)}, which {'models' if alone else 'model'} nothing, {'shows' if alone else 'show'} it"
        if references
        else "reference rows such as train-samples and kmeans, which model nothing, would show it"
    )
    counts: dict[int, list[str]] = {}
    for row in rows:
        if row.samples and row.samples.count is not None:
            counts.setdefault(row.samples.count, []).append(with_components(row.label, row.components))
    notes = [
        f"Parzen log-likelihood: of test {items} under Gaussians of standard deviation sigma around a model's samples, "
        f"sigma chosen on validation {items}. It is a figure of the samples and their window, not of the model (Theis, "
        f"van den Oord, Bethge 2016, arXiv 1511.01844): {shown}.",
    ]
    if counts:
        usual = max(counts, key=lambda count: len(counts[count]))
        rest = "".join(f"; of {', '.join(names)} {count:,}" for count, names in counts.items() if count != usual)
        notes.append(f"Samples in the window: {usual:,}{rest}.")
    if any(row.samples and row.samples.at_edge for row in rows):
        notes.append("(edge): sigma is at the edge of its grid, and one beyond it may be better.")
    if references and len(references) < len(rows):
        notes.append(f"{parts.capitalised(table.top)}: of the models; {enumerated(references)} cannot be it.")
    if table.shows_published:
        notes.append(
            "Published: Table 2 of Yoo, Lee, Kwak 2020 (arXiv 1902.04294), its own rows and those it cites, and of the "
            "VAEs Yeung et al. 2017 (arXiv 1706.03643), ± as printed: a standard error where a source says what."
        )
    return notes


def _windows(section: Section) -> list[Block]:
    """The curves over sigma and over the number of samples, of the first trial of every row."""
    from lde_bench.report.plots import draw_windows

    curves = [
        (row_title(row), result.parzen)
        for row in section.table.rows
        if (result := section.trials(row)[0].result) and result.parzen
    ]
    if not curves:
        return []
    figure, below = draw_windows(curves)
    alt = "Parzen log-likelihood of validation images against sigma and against the number of samples"
    caption = (
        f"Parzen log-likelihood of validation {section.table.items}, first trial of each row. Left: over the grid of "
        "sigma, with the one chosen as a point; at a point on the edge of its curve the grid is too short. Right: at "
        "that sigma, of the first so many samples; a curve that still rises has not seen enough of them."
    )
    if below:
        caption += f" Too far below to be drawn: {', '.join(below)}."
    return part(
        section, "The window: sigma and the number of samples", parts.plot(section, "windows", figure, alt, caption)
    )
