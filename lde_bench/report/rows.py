"""The rows of a table: what the trials of one method at one K say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from lde_bench.evaluation.sample_measures import Measure
from lde_bench.evaluation.statistics import (
    Difference,
    GroupMeans,
    paired_difference,
    two_standard_deviations,
)
from lde_bench.features.pixels import PIXELS
from lde_bench.report.published import PublishedFigure, paper_lde
from lde_bench.runs.record import Record
from lde_bench.runs.rows import (
    PLAIN_DATA,
    WINDOW,
    bits_per_dim,
    block_means,
    difference_of_rows,
    ended_by_itself,
    group_means,
    input_of,
    is_patch,
    is_reference,
    row_options,
    unverified,
)

#: The paper's own rows: K -> test log-likelihood (nats), 2 standard deviations of 5 trials.
PAPER_LDE = paper_lde()

#: Rows compare as equals whose CPU seconds of training are within this share of their median.
BUDGET_TOLERANCE = 0.1


@dataclass(frozen=True)
class RowMeasure(Measure):
    """A measure of a row: the means over its trials.

    Attributes:
        trials: the value of each trial.
        distances: of each trial from its own null.
    """

    trials: tuple[float, ...] = ()
    distances: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, measures: Sequence[Measure]) -> RowMeasure:
        """The measure of a row by those of its trials; an error or null is None where a trial has none."""

        def mean(part: Callable[[Measure], float | None]) -> float | None:
            return _mean([part(measure) for measure in measures])

        details = dict.fromkeys(measure.detail for measure in measures)
        first = next(iter(details))
        return cls(
            float(np.mean([measure.value for measure in measures])),
            # Of the same test items in every trial: more trials do not make the error smaller.
            mean(lambda measure: measure.standard_error),
            mean(lambda measure: measure.null),
            mean(lambda measure: measure.null_low),
            mean(lambda measure: measure.null_high),
            first if len(details) == 1 else f"of the first trial: {first}",
            tuple(measure.value for measure in measures),
            tuple(measure.distance_from_null for measure in measures),
        )

    @property
    def distance_from_null(self) -> float | None:
        """The mean over the trials: one too high and one too low do not make a good one."""
        known = [distance for distance in self.distances if distance is not None]
        return float(np.mean(known)) if known and len(known) == len(self.distances) else None


@dataclass(frozen=True)
class Samples:
    """What was measured of the samples, codes or reconstructions of one row: means over its trials.

    Attributes:
        sigmas: of the window, by trial, none where there is no window; `at_edge` says whether one is at an edge of its
            grid.
        count: how many samples the window stands on; None where there is no window.
        published_nats: of the published model, and its printed +- as `published_plus_minus`; None where there is none.
        measures: by name; a value, error or null is None where a trial has none.
        encoders: the trained autoencoder of each trial whose codes have a density.
        space: labels the feature space of the measures.
        beside: the measures in further spaces, by the label of the space.
        version: of the measures, `lde_bench.evaluation.sample_measures.MEASURES_VERSION` when they were made.
    """

    sigmas: tuple[float, ...]
    at_edge: bool
    count: int | None
    published_nats: float | None
    published_plus_minus: float | None
    measures: Mapping[str, RowMeasure]
    encoders: tuple[str, ...]
    space: str = PIXELS.label
    version: int = 1
    beside: Mapping[str, Mapping[str, RowMeasure]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One method at one K: means over its trials, log-likelihoods in nats; None where there is nothing to
    tell, as of the log-likelihood in an experiment without a score. `unverified` says which law could not be told to
    hold, of a trial that has such a one. The differences are those to the row of the models that `is_highest`; it
    `is_best` where all had the same budget. `input` is what its density does to its rows first
    (`lde_bench.densities.base.Input`), `bits_per_dim` are those of its log-likelihood (`lde_bench.runs.rows`).
    """

    method: str
    label: str
    components: int | None
    parameters: int | None
    trials: int
    test_nats: float | None
    trial_nats: tuple[float, ...]
    two_standard_deviations: float | None
    standard_error_clustered: float | None
    is_highest: bool
    is_best: bool
    difference: float | None
    difference_standard_error: float | None
    cpu_seconds: float | None
    training_cpu_seconds: float | None
    paper_nats: float | None
    paper_two_standard_deviations: float | None
    run_ids: tuple[str, ...] = ()
    true_gap: float | None = None
    true_gap_standard_error: float | None = None
    standard_error_naive: float | None = None
    unverified: str | None = None
    samples: Samples | None = None
    input: str | None = None
    bits_per_dim: float | None = None
    validation_nats: float | None = None

    @property
    def nats(self) -> float:
        """Its test log-likelihood, in a table of log-likelihoods, where every row has one."""
        assert self.test_nats is not None
        return self.test_nats

    @property
    def measures(self) -> Mapping[str, RowMeasure]:
        """Its measures by name."""
        return self.samples.measures if self.samples else {}


def marked(row: Row, title: str) -> str:
    """A row's title, with what could not be verified of it where it may be no density."""
    return title if row.unverified is None else f"{title} ({row.unverified.partition(':')[0]})"


def by_space(rows: Sequence[Row]) -> list[Row]:
    """The rows once for every feature space in which they were measured, with the measures of that space."""
    views = []
    for row in rows:
        views.append(row)
        if row.samples is not None:
            views += [
                replace(row, samples=replace(row.samples, measures=measures, space=space, beside={}))
                for space, measures in row.samples.beside.items()
            ]
    return views


@dataclass(frozen=True)
class _Group:
    """The labelled trials of a row, and what is read off them."""

    label: str
    trials: Sequence[Record]

    @cached_property
    def nats(self) -> list[float]:
        """The test log-likelihoods of the trials that have one."""
        return [record.test_nats for record in self.trials if record.test_nats is not None]

    @cached_property
    def doubt(self) -> str | None:
        """Why it may be no density, if it may."""
        return next(filter(None, map(unverified, self.trials)), None)

    @property
    def may_lead(self) -> bool:
        """Whether it is a model, and a density for all that could be told."""
        return not is_reference(self.trials[0].method) and self.doubt is None

    @cached_property
    def seconds(self) -> float | None:
        return training_seconds(self.trials)

    @cached_property
    def photographs(self) -> GroupMeans | None:
        return group_means(self.trials)

    @cached_property
    def paired(self) -> GroupMeans | None:
        """What differences to another row are taken of. Where no items belong together, blocks of them tell the error;
        patches do belong together, also where nobody knows which.
        """
        if self.photographs is not None:
            return self.photographs
        return None if is_patch(self.trials[0].dataset) else block_means(self.trials)

    def difference_to(self, other: _Group) -> Difference | None:
        """With the spread over seeds in its error, where both have two trials or more."""
        mean, highest = _mean(self.nats), _mean(other.nats)
        if self.paired is None or other.paired is None or self is other:
            return None if mean is None or highest is None else Difference(mean - highest, None)
        difference = paired_difference(self.paired, other.paired)
        if min(len(self.nats), len(other.nats)) < 2:
            return difference
        found = difference_of_rows(difference, len(self.paired.ids), self.trials, other.trials)
        return Difference(found.mean, found.standard_error)


def build_rows(
    groups: Sequence[tuple[str, Sequence[Record]]], shows_paper: bool, figures: Sequence[PublishedFigure]
) -> tuple[Row, ...]:
    """The rows of a table from the labelled trials of each, in order.

    A reference row, which models nothing, is the highest only where there are no others; one that may be no density,
    for all that could be told, never is. The highest is the best where there are two rows of models or more, of equal
    budgets.

    Args:
        groups: label and trials of each row.
        shows_paper: whether the paper's own LDE was run on the same data.
        figures: published figures of the same measure on the same data.
    """
    found = [_Group(label, trials) for label, trials in groups]
    if not found:
        return ()
    leaders = [group for group in found if group.may_lead]
    top = max(leaders or found, key=lambda group: float(np.mean(group.nats)) if group.nats else -math.inf)
    # A model alone is better than nobody, and no reference is the best.
    equal = len(leaders) > 1 and budgets_are_equal([group.seconds for group in leaders])
    return tuple(_row(group, top, equal, shows_paper, figures) for group in found)


def _row(group: _Group, top: _Group, equal: bool, shows_paper: bool, figures: Sequence[PublishedFigure]) -> Row:
    """The row of a group in a table that `top` leads, of `equal` budgets or not."""
    trials, record = group.trials, group.trials[0]
    mean, difference = _mean(group.nats), group.difference_to(top)
    plain = all(row_options(record)[name] == value for name, value in PLAIN_DATA.items())
    paper = PAPER_LDE.get(record.components or 0) if record.method == "lde" and plain and shows_paper else None
    seconds = [trial.cost.cpu_seconds for trial in trials if trial.cost]
    is_highest = group is top and mean is not None and group.doubt is None
    results = [trial.result for trial in trials if trial.result]
    return Row(
        method=record.method,
        label=group.label,
        components=record.components,
        parameters=record.parameters,
        trials=len(trials),
        test_nats=mean,
        trial_nats=tuple(group.nats),
        two_standard_deviations=two_standard_deviations(group.nats) if group.nats else None,
        standard_error_clustered=None if group.photographs is None else group.photographs.standard_error,
        is_highest=is_highest,
        is_best=is_highest and equal,
        difference=None if difference is None else difference.mean,
        difference_standard_error=None if difference is None else difference.standard_error,
        cpu_seconds=float(np.mean(seconds)) if seconds else None,
        training_cpu_seconds=group.seconds,
        paper_nats=paper[0] if paper else None,
        paper_two_standard_deviations=paper[1] if paper else None,
        run_ids=tuple(trial.run_id for trial in trials),
        true_gap=_mean([result.true_gap for result in results]),
        # Of the same test items in every trial: more trials do not make it smaller.
        true_gap_standard_error=_mean([result.true_gap_standard_error for result in results]),
        standard_error_naive=_mean([result.test_standard_error_naive for result in results]),
        unverified=group.doubt,
        samples=_samples(trials, figures),
        input=input_of(record),
        bits_per_dim=_mean([bits_per_dim(trial) for trial in trials]),
        validation_nats=_mean([result.validation_nats for result in results]),
    )


def budgets_are_equal(seconds: Sequence[float | None]) -> bool:
    """Whether rows that trained for so many CPU seconds had one budget: none is further from their median than
    `BUDGET_TOLERANCE` of it. None stands for a fit that ends by itself, which no longer one would change.
    """
    known = [each for each in seconds if each is not None]
    middle = float(np.median(known)) if known else 0.0
    return all(abs(each - middle) <= BUDGET_TOLERANCE * middle for each in known)


def training_seconds(trials: Sequence[Record]) -> float | None:
    """The mean CPU seconds of training of those of a row's trials that did not end by themselves, None without one; of
    a record that does not tell, of the whole trial.
    """
    costs = [trial.cost for trial in trials if trial.cost and not ended_by_itself(trial.training)]
    spent = [cost.cpu_seconds if cost.training_cpu_seconds is None else cost.training_cpu_seconds for cost in costs]
    return float(np.mean(spent)) if spent else None


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean where all values are there; None where one is missing, as with the truth unknown."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _samples(trials: Sequence[Record], figures: Sequence[PublishedFigure]) -> Samples | None:
    """What the trials of a row say of their samples; None where there is neither a window around them nor a measure."""
    results = [trial.result for trial in trials if trial.result]
    windows = [result.parzen for result in results if result.parzen]
    measures = _averages([result.measures for result in results])
    if not windows and not measures:
        return None
    record = trials[0]
    named = [f for f in figures if (f.method, f.components) == (record.method, record.components)]
    figure = named[0] if named and (not windows or windows[0].samples == WINDOW) else None
    return Samples(
        sigmas=tuple(window.sigma for window in windows),
        at_edge=any(window.at_edge for window in windows),
        count=windows[0].samples if windows else None,
        published_nats=None if figure is None else figure.test_nats,
        published_plus_minus=None if figure is None else figure.plus_minus,
        measures=measures,
        encoders=tuple(str(trial.training["encoder"]) for trial in trials if "encoder" in trial.training),
        space=str(record.training.get("space", PIXELS.label)),
        version=int(record.training.get("measures", 1)),
        beside={space: _averages([result.beside.get(space, {}) for result in results]) for space in results[0].beside},
    )


def _averages(trials: Sequence[Mapping[str, Measure]]) -> dict[str, RowMeasure]:
    """The measures that every trial has."""
    return {
        name: RowMeasure.of([trial[name] for trial in trials]) for name in trials[0] if all(name in t for t in trials)
    }
