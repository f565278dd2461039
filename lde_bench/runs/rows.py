"""Which run records can be compared, which make one row, and what the row is called.

Said once, for tables, figures, reports and comparisons.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from lde_bench.data import describe
from lde_bench.data.patches import FEATURES as PATCH_FEATURES
from lde_bench.data.patches import GREY_LEVELS
from lde_bench.evaluation import bits
from lde_bench.evaluation.statistics import (
    Difference,
    GroupMeans,
    Inference,
    average_over_trials,
    difference_of_methods,
    difference_of_shared_trials,
)
from lde_bench.runs.record import DatasetInfo, Record

#: The training data at these values are what the benchmark means by a plain run; others are told.
PLAIN_DATA: dict[str, Any] = {"patches": "fixed", "augment": None}

#: What a record says only where it is not the usual: told of every row that has it.
UNUSUAL = frozenset({"perceptual"})

#: Every published Parzen figure is of a window of so many samples, as Goodfellow et al. 2014 (arXiv 1406.2661, section
#: 5) began it; of more, figures are far higher.
WINDOW = 10_000

#: Of a record, the number of samples that were asked for, where that is not the number that there are.
ASKED = "samples_asked"

#: What a record says of its training that changes neither the model nor its quality: rows are not split by it.
#: `encoder`, its SHA-256 and `weights_sha256` name trained weights: every trial has its own. Data that are
#: `standardised` have another hash.
EXECUTION_OPTIONS = frozenset(
    {
        "threads",
        "compile",
        "reference_seconds",
        "training_id",
        "weights_of",
        "weights_commit",
        "encoder",
        "encoder_sha256",
        "standardised",
        "weights_sha256",
        "stopped_early",
        ASKED,
    }
)


def is_patch(data: DatasetInfo) -> bool:
    """Whether the items are 8x8 patches of photographs."""
    return item_word(data) == "patches"


def is_image(data: DatasetInfo) -> bool:
    """Whether the items are whole images."""
    return item_word(data) == "images"


def bits_per_dim(record: Record) -> float | None:
    """Bits per dimension of the test items of a density, of the grey levels where they are patches, else of the numbers
    as they are; None where the record does not tell how many there are, and of the window around samples.
    """
    patch = is_patch(record.dataset)
    features = record.features or (PATCH_FEATURES if patch else None)
    if features is None or record.result is None or record.test_nats is None or record.result.parzen is not None:
        return None
    return bits.bits_per_dim(record.test_nats, features, GREY_LEVELS if patch else 1)


def group_word(data: DatasetInfo) -> str:
    """What test items that are alike come from."""
    return describe(data.name, data.version).group


def item_word(data: DatasetInfo) -> str:
    """What the rows of a dataset are called."""
    return describe(data.name, data.version).items


def is_reference(method: str) -> bool:
    """Whether a row is there to show what a figure of samples is worth, and is no model."""
    from lde_bench import generators  # torch, which whoever reads records need not wait for

    return generators.is_reference(method)


def input_of(record: Record) -> str | None:
    """What its density does to the rows first; by the method's name where the record is of before and does not tell."""
    if record.features is not None:
        return record.input
    from lde_bench.densities import method_input  # torch, as above

    return method_input(record.method)


def ended_by_itself(training: Mapping[str, Any]) -> bool:
    """Whether by what a record says of it a fit ended by itself, all parts of it, so that a longer one would be the
    same: without iteration, or as validation no longer rose. Of a fit that a user's class brings nobody knows.
    """
    parts = [part for part in training.values() if isinstance(part, dict) and "closed_form" in part]
    if parts:
        return all(map(ended_by_itself, parts))
    closed = training.get("closed_form") and not training.get("own_fit")
    return bool(closed or training.get("stopped_early"))


def refusal(record: Record) -> str | None:
    """Why a record gets no row; None when it gets one."""
    if not record.done:
        return record.reason
    for name, law in record.laws.items():
        if not law.passed:
            told = f": {law.detail}" if law.detail else ""
            return f"refused: breaks the law '{name}' (measured {law_number(law.value)}, bound {law.bound}){told}"
    return None


def law_number(value: float | None, digits: int = 4) -> str:
    """What a law measured; of what was no number a record has the largest there is."""
    if value is None:
        return "nothing"
    return "no number" if value == sys.float_info.max else f"{value:.{digits}g}"


def unverified(record: Record) -> str | None:
    """The note beside a row whose model could be no density for all that was found; None where every law held.

    Such a row is shown with its note, and is not the best of its table.
    """
    for name, law in record.laws.items():
        if not law.verified:
            what = "normalisation" if name == "normalised" else f"the law '{name}'"
            return f"{what} not verified: {law.detail}"
    return None


def row_options(record: Record) -> dict[str, Any]:
    """What, beside method and K, makes two records different rows."""
    options = _choices(record.training)
    if record.budget.seconds is not None:
        options.pop("steps", None)  # how far the seconds reached is an outcome, not a choice
    if record.budget.clock == "cpu":
        options["threads"] = record.training.get("threads")  # a second one costs more than it brings
    return {**PLAIN_DATA, **options}


def _choices(training: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen of a training, and of the parts of one that has some."""
    return {
        name: _choices(value) if isinstance(value, dict) else value
        for name, value in training.items()
        if name not in EXECUTION_OPTIONS
    }


def table_key(record: Record) -> tuple[Any, ...]:
    """What the records of one table share."""
    return (
        record.experiment,
        record.benchmark_version,
        astuple(record.dataset),
        record.budget.label,
        record.budget.machine_dependent,
        window_of(record),  # windows around samples compare where they stand on as many
    )


def window_of(record: Record) -> int | None:
    """How many samples its window was to stand on; None where it has none, or nobody knows, as of a failure of before.

    A reference row may hold fewer than were asked for, and says so; one of before that does not is taken to have been
    asked for those of the published windows.
    """
    if ASKED in record.training:
        return int(record.training[ASKED])
    if record.result is None or record.result.parzen is None:
        return None
    drawn = record.result.parzen.samples
    return WINDOW if drawn < WINDOW and is_reference(record.method) else drawn


def by_table(records: Iterable[Record]) -> list[list[Record]]:
    """The records of each table, in order of first appearance."""
    tables: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        tables.setdefault(table_key(record), []).append(record)
    return list(tables.values())


def group_rows(records: Iterable[Record]) -> dict[tuple[Any, ...], list[Record]]:
    """The trials of each row of one table; a key begins with method and K."""
    rows: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        key = record.method, record.components, json.dumps(row_options(record), sort_keys=True, default=str)
        trials = rows.setdefault(key, [])
        # The same seed twice (with and without compile, say) is one trial, not a spread of zero: the later counts.
        same = next((place for place, other in enumerate(trials) if other.seeds == record.seeds), None)
        if same is None:
            trials.append(record)
        elif _finished(record) > _finished(trials[same]):
            trials[same] = record
    return rows


def _finished(record: Record) -> str:
    """When a trial ended; empty where its record does not tell."""
    return str(record.provenance.get("finished") or "")


def row_label(record: Record, records: Sequence[Record]) -> str:
    """The method, and the options that set `record` apart from its neighbours.

    What is done to the data sets a row apart from every other, a rate only from the same method at the same
    K. A failed trial knows what was asked of it, not what it would have resolved to: it counts for the data
    options only.
    """
    options = row_options(record)
    twins = [
        row_options(other)
        for other in records
        if other.done and (other.method, other.components) == (record.method, record.components)
    ]
    words = [
        _data_words(name, options[name])
        for name, plain in PLAIN_DATA.items()
        if options[name] != plain and any(row_options(other)[name] != options[name] for other in records)
    ]
    if record.done:
        told = {name: value for name, value in _flat(options).items() if name not in PLAIN_DATA}
        others = [_flat(twin) for twin in twins]
        words += [
            str(value) if name == "precision" else f"{name}={value}"
            for name, value in told.items()
            if name in UNUSUAL or any(other.get(name) != value for other in others)
        ]
    return f"{record.method} ({', '.join(words)})" if words else record.method


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Options with those of parts by `part.name`."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def common_data_options(records: Sequence[Record]) -> list[str]:
    """What was done to the training data of every record alike, in words for the heading; nothing when
    plain.
    """
    options = [row_options(record) for record in records]
    return [
        _data_words(name, options[0][name])
        for name, plain in PLAIN_DATA.items()
        if options[0][name] != plain and all(other[name] == options[0][name] for other in options)
    ]


def _data_words(name: str, value: Any) -> str:
    return f"{value} patches" if name == "patches" else f"augmented by {value}"


def with_components(label: str, components: int | None) -> str:
    """A method at its K in short: `lde+w K=10`."""
    return label if components is None else f"{label} K={components}"


def group_means(trials: Sequence[Record]) -> GroupMeans | None:
    """Each photograph's mean over the trials; None when the dataset has no photographs."""
    return _average([trial.result.groups if trial.result else None for trial in trials])


def block_means(trials: Sequence[Record]) -> GroupMeans | None:
    """The mean of each block of items over the trials; None where they belong together, or records do not tell."""
    return _average([trial.result.blocks if trial.result else None for trial in trials])


def _average(means: Sequence[GroupMeans | None]) -> GroupMeans | None:
    known = [each for each in means if each is not None]
    if not known or len(known) < len(means):
        return None
    return average_over_trials([GroupMeans.of(each.ids, each.counts, each.mean_nats) for each in known])


def difference_of_rows(
    difference: Difference, independent: int, first: Sequence[Record], second: Sequence[Record]
) -> Inference:
    """What the difference of two rows of several trials each says of their methods.

    Args:
        difference: `first` minus `second` (nats), averaged over the trials of each, with its error over test items.
        independent: see `lde_bench.evaluation.statistics.difference_of_models`.
        first: trials of one row, with log-likelihoods.
        second: of the other.
    """
    if share_weights(first, second):
        pairs = _by_seeds(first, second)
        each = [_nats(mine) - _nats(other) for mine, other in pairs]
        return difference_of_shared_trials(difference, independent, each)
    return difference_of_methods(difference, independent, *([*map(_nats, trials)] for trials in (first, second)))


def _nats(record: Record) -> float:
    assert record.test_nats is not None
    return record.test_nats


def share_weights(first: Sequence[Record], second: Sequence[Record]) -> bool:
    """Whether two rows have trained weights in common in every trial: of the whole model, as `+sym` has those of the
    model that it averages, or of the autoencoder whose codes they are densities of.
    """
    pairs = _by_seeds(first, second)
    return len(pairs) == len(first) == len(second) and all(
        any(
            mine.training.get(part)
            and all(mine.training.get(name) == other.training.get(name) for name in (part, *hashes))
            for part, hashes in _SHARED.items()
        )
        for mine, other in pairs
    )


#: What names trained weights in a record, and what else must then be the same: an autoencoder that was trained again,
#: on another machine, is named as before. (Of `training_id` the files differ, as of what only evaluates otherwise.)
_SHARED: Mapping[str, Sequence[str]] = {"training_id": (), "encoder": ("encoder_sha256",)}


def _by_seeds(first: Sequence[Record], second: Sequence[Record]) -> list[tuple[Record, Record]]:
    """The trials of both rows that have the same seeds."""
    return [(mine, other) for mine in first for other in second if mine.seeds == other.seeds]
