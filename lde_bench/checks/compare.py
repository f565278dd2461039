"""`lde-bench compare`: is A better than B, by how much, and can the difference be trusted?

The comparison is paired, on identical test items, and judged by Student's t over photographs: patches of one
photograph are alike, and a test that takes them as independent finds differences where there are none. With two trials
or more a side the verdict is about the methods, and the spread over seeds counts; with one it is about these trained
models, since another seed may turn it (`lde_bench.evaluation.statistics`). Log-likelihoods are in nats.
"""

from __future__ import annotations

import json as json_module
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lde_bench.errors import InputError, NothingMeasured
from lde_bench.evaluation.statistics import (
    MINIMUM_GROUPS,
    Difference,
    GroupMeans,
    Inference,
    bootstrap_interval,
    difference_by_group,
    difference_of_models,
    paired_difference_of_items,
)
from lde_bench.report.document import Grid, Lead, Notes
from lde_bench.report.numbers import DASH, error_text
from lde_bench.report.render.text import print_blocks
from lde_bench.report.rows import budgets_are_equal, training_seconds
from lde_bench.runs.find import Side, find_side
from lde_bench.runs.rows import difference_of_rows, group_word, is_patch, row_options, share_weights
from lde_bench.seeds import derive_seed

#: A difference is called one below this probability; the interval has the level that goes with it.
SIGNIFICANCE = 0.05

#: Options of training of which a note tells where they differ, in words.
TREATMENT = {"patches": "training patches", "augment": "augmentations", "precision": "precisions"}

RESAMPLES = 10_000

#: The bootstrap's own error in the last digits is the same for everyone.
SEED = derive_seed("compare", "bootstrap")


@dataclass(frozen=True)
class Comparison:
    """A minus B in nats; None where it cannot be told. `interval` is the bootstrap's, over photographs.

    `group` says what the photographs are where the data are none: groups of items. `about` says what the verdict is
    about: the `methods`, where each has two trials or more and `standard_error` counts their spread, else the `models`.
    """

    a: dict[str, Any]
    b: dict[str, Any]
    dataset: dict[str, Any]
    benchmark_version: str
    items: int
    photographs: int | None
    group: str
    difference: float
    standard_error_naive: float | None
    standard_error_clustered: float | None
    standard_error: float | None
    degrees_of_freedom: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    about: str
    verdict: str
    notes: tuple[str, ...]


def compare(a: Side, b: Side) -> Comparison:
    """A minus B on identical test items.

    Raises:
        InputError: the two were not measured on the same test items under the same benchmark version, or one has no
            test log-likelihood.
        NothingMeasured: there are neither photographs nor log-likelihoods of the items, so no error can be told.
    """
    for side in (a, b):
        if len(side.trial_nats) < len(side.trials):
            raise InputError(f"{side.record.run_id} measured no test log-likelihood; name a run that did.")
    if a.label == b.label:  # two trials, budgets or data of one method: the runs tell them apart
        a, b = (replace(side, label=f"{side.label} ({side.record.run_id})") for side in (a, b))
    if a.identity != b.identity:
        raise InputError(
            f"not comparable: {a.label} was measured on {_describe_identity(a)}, {b.label} on {_describe_identity(b)}; "
            "compare records of one dataset and benchmark version."
        )
    first, second = a.photographs(), b.photographs()
    try:
        each = None if first is None or second is None else difference_by_group(first, second)
    except ValueError as error:
        raise InputError(f"not comparable: {a.label} and {b.label}: {error}.") from error
    first_items, second_items = a.items(), b.items()
    naive = None
    if first_items is not None and second_items is not None:
        naive = paired_difference_of_items(first_items, second_items)
    units = a.record.dataset.sizes.test if each is None else len(each.ids)
    blocks = _by_blocks(a, b) if each is None and naive is None else None
    if blocks is not None:
        naive, units = Difference(blocks.mean, blocks.standard_error), len(blocks.ids)
    if each is None and naive is None:
        raise NothingMeasured(
            f"{a.label} minus {b.label} is {a.test_nats - b.test_nats:+.3f} nats, but no error can be told: the "
            "dataset has no photographs, and the log-likelihoods of its items are not beside the records; run both."
        )
    clustered = None if each is None else Difference(each.mean, each.standard_error)
    difference = clustered or naive
    assert difference is not None
    group = group_word(a.record.dataset)
    of_methods = len(a.trials) > 1 and len(b.trials) > 1
    if clustered is None and is_patch(a.record.dataset):
        # Patches of one photograph are alike, and nobody knows which these are.
        found = Inference(difference.mean, None, None)
    elif of_methods:
        found = difference_of_rows(difference, units, a.records, b.records)
    else:
        found = difference_of_models(difference, units)
    return Comparison(
        a=a.describe(),
        b=b.describe(),
        dataset=asdict(a.record.dataset),
        benchmark_version=a.record.benchmark_version,
        items=a.record.dataset.sizes.test,
        photographs=None if each is None else len(each.ids),
        group=group,
        difference=difference.mean,
        standard_error_naive=None if naive is None else naive.standard_error,
        standard_error_clustered=None if clustered is None else clustered.standard_error,
        standard_error=found.standard_error,
        degrees_of_freedom=found.degrees_of_freedom,
        interval=None if each is None else bootstrap_interval(each, seed=SEED, resamples=RESAMPLES),
        p_value=found.p_value,
        about="methods" if of_methods else "models",
        verdict=_verdict(a.label, b.label, found, _few(a, units, group, each is None, blocks), of_methods),
        notes=tuple(_notes(a, b, naive, blocks, found)),
    )


def run_compare(
    a: str,
    b: str,
    results_dir: Path,
    *,
    components: int | None = None,
    dataset: str | None = None,
    profile: str | None = None,
    json: bool = False,
) -> int:
    """Find the two, compare them and print what came out; see `find_side` and `compare` for what is raised."""
    sides = [find_side(name, results_dir, components=components, dataset=dataset, profile=profile) for name in (a, b)]
    told = compare(*sides)
    if json:
        print(json_module.dumps(asdict(told), indent=2, allow_nan=False))
    else:
        _print(told)
    return 0


def _by_blocks(a: Side, b: Side) -> GroupMeans | None:
    """A minus B by blocks of items, of which records that stand alone tell; None where they do not."""
    first, second = a.blocks(), b.blocks()
    return None if first is None or second is None else difference_by_group(first, second)


# ---- telling


def _describe_identity(side: Side) -> str:
    name, version, content, items, benchmark = side.identity
    return f"{name} version {version} (content {content[:12]}, {items:,} test items, benchmark version {benchmark})"


def _few(a: Side, units: int, group: str, unknown: bool, blocks: GroupMeans | None) -> str:
    """Why there is no verdict, where there is none; `unknown`: the records do not tell which items belong together."""
    if is_patch(a.record.dataset) and unknown:
        return f"the data do not tell which patches are of one {group}, and such ones are alike"
    of = _count(units, group) if blocks is None else f"{_count(units, 'block')} of items"
    return f"{of} are too few to judge by, at least {MINIMUM_GROUPS} are needed"


def _verdict(a: str, b: str, found: Inference, few: str, of_methods: bool) -> str:
    p_value = found.p_value
    if p_value is None:
        return f"No verdict: {few}"
    odds = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    whose = "" if of_methods else " between these trained models"
    if p_value >= SIGNIFICANCE:
        return f"No difference could be shown{whose} ({odds})"
    better = a if found.mean > 0 else b
    by = f"is better by {abs(found.mean):.3f} nats ({odds})"
    return f"{better} {by}" if of_methods else f"Of these trained models that of {better} {by}"


def _notes(a: Side, b: Side, naive: Difference | None, blocks: GroupMeans | None, found: Inference) -> list[str]:
    notes = []
    budgets = [side.record.budget.label for side in (a, b)]
    if budgets[0] != budgets[1]:
        notes.append(f"The budgets differ: {a.label} was trained under {budgets[0]}, {b.label} under {budgets[1]}.")
    else:
        spent = [training_seconds(side.records) for side in (a, b)]
        if not budgets_are_equal(spent):
            notes.append(
                f"The budgets came out unequal: {a.label} trained for {spent[0]:,.0f} CPU seconds a trial, {b.label} "
                f"for {spent[1]:,.0f}; the better one need not be so at equal ones."
            )
    mine, other = (row_options(side.record) for side in (a, b))
    notes += [
        f"The {words} differ: {a.label} has {mine.get(name) or 'none'}, {b.label} {other.get(name) or 'none'}."
        for name, words in TREATMENT.items()
        if mine.get(name) != other.get(name)
    ]
    if found.standard_error is not None:
        notes.append(_scope(a, b))
    if blocks is not None:
        notes.append(f"The naive error is over {len(blocks.ids)} blocks of items, as the records have them.")
    if naive is None:
        absent = " and ".join(side.label for side in (a, b) if side.items() is None)
        notes.append(
            f"The naive error needs the log-likelihood of every item (the .npy beside a record), which is not kept for "
            f"{absent}; run the command of the record again to have it."
        )
    return notes


def _scope(a: Side, b: Side) -> str:
    """What the verdict is about, and what its error counts."""
    trials = " and ".join(_count(len(side.trials), "trial") for side in (a, b))
    if min(len(a.trials), len(b.trials)) < 2:
        return (
            f"The verdict is about these trained models ({trials}), not about the methods: what another seed changes "
            "is not in the errors. Two trials or more of each would tell."
        )
    shared = share_weights(a.records, b.records)
    spread = (
        "the differences of their trials, which share trained weights"
        if shared
        else "each mean over seeds, by Welch's t"
    )
    return (
        f"The verdict counts what another seed changes ({trials}): the variance over test items plus that of {spread}. "
        "The interval is over test items alone."
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _print(told: Comparison) -> None:
    def number(value: float | None, sign: str = "") -> str:
        return DASH if value is None else f"{value:{sign}.3f}"

    interval = DASH if told.interval is None else f"{told.interval[0]:+.3f} to {told.interval[1]:+.3f}"
    photographs = "" if told.photographs is None else f" of {_count(told.photographs, told.group)}"
    rows = [
        *([f"{side['label']}, {side['budget']}", number(side["test_nats"])] for side in (told.a, told.b)),
        ["difference, paired", number(told.difference, "+")],
        ["standard error, naive", error_text(told.standard_error_naive, 3)],
        [f"standard error, by {told.group}", error_text(told.standard_error_clustered, 3)],
        *([["standard error, with seeds", error_text(told.standard_error, 3)]] if told.about == "methods" else []),
        [f"{1 - SIGNIFICANCE:.0%} bootstrap interval over {told.group}s", interval],
    ]
    data = f"{told.dataset['name']} version {told.dataset['version']}, benchmark version {told.benchmark_version}"
    print_blocks(
        [
            Lead([f"{data}: {told.items:,} test items{photographs}"]),
            Grid(["", "nats"], rows, title=f"{told.a['label']} minus {told.b['label']}"),
            Notes([f"{told.verdict}.", *told.notes]),
        ]
    )
