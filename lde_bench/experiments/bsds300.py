"""Table 1 of the paper: log-likelihood of 8x8 patches of natural images (Yoo et al. 2020, arXiv 1902.04294).

Protocol: Uria et al. 2016, JMLR 17(205), section 7.3.2; see `lde_bench.data.patches`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lde_bench.data import Dataset, load_dataset
from lde_bench.densities import density_class, density_classes, is_wrapper, takes_argument
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError
from lde_bench.registry import in_order
from lde_bench.report.document import Block, Grid, Heading, Line, Link, Paragraph, Strong
from lde_bench.report.experiment import Experiment
from lde_bench.report.numbers import DASH, decimal
from lde_bench.report.published import PublishedFigure, is_official, load_published
from lde_bench.report.published_comparison import VARIANT, figure_of, published_comparison
from lde_bench.report.rows import Row
from lde_bench.report.section import Section, row_title
from lde_bench.report.table import Column, Table, standard_columns
from lde_bench.runs.record import DatasetInfo, Record
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, expand_methods, plan_trials

#: Numbers of a prepared patch.
FEATURES = 63


@dataclass(frozen=True)
class ProfileDefaults:
    """What a profile fixes beside the models' plans; sizes of None are all there is."""

    validation: int | None
    test: int | None
    trials: int
    methods: tuple[str, ...]


# Whitened, the paper's own network learns several times as fast, so `lde` itself waits for the longer profiles. `long`
# has the evaluation sizes of `standard`: the same test patches, so that `compare` can hold one against the other.
PROFILES = {
    "quick": ProfileDefaults(2_000, 20_000, 1, ("gaussian", "lde+w")),
    "standard": ProfileDefaults(10_000, 100_000, 2, ("gaussian", "lde+w")),
    "long": ProfileDefaults(10_000, 100_000, 2, ("gaussian", "lde", "lde+w")),
    "paper": ProfileDefaults(None, None, 5, ("gaussian", "lde", "lde+w")),
}

#: What the paper's authors trained their LDE on: 250 epochs of 15,000 patches of each of 180 photographs.
PAPER_PATCHES = 250 * 180 * 15_000

#: What stands for every row of the table among `--methods`.
ALL = "all"

SOURCES = {"auto": "bsds300", "embedded": "natural8x8", "hdf5": "bsds300-hdf5"}


def load_patches(
    budget: Budget,
    *,
    source: str = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    test: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Dataset:
    """The patches of a source with the evaluation sizes of a profile, or `test` test patches: the first of the prepared
    ones, which spread evenly over all test photographs.

    Raises:
        InputError: the data are absent or damaged, fewer than `test`, or not in a folder although one is given.
    """
    defaults = PROFILES[budget.profile]
    if source == "embedded" and data_dir is not None:
        raise InputError(
            f"the embedded photographs are read from no folder, so --data-dir {data_dir} has no use; leave it or "
            "--source embedded out."
        )
    return load_dataset(
        SOURCES[source],
        data_dir=data_dir,
        cache_dir=cache_dir,
        validation=defaults.validation,
        test=defaults.test if test is None else test,
        seed=seed,
        progress=progress,
    )


def table_rows() -> list[str]:
    """Every row of the table: all densities of this package as they state themselves in `Density.rows`.

    By default that is the plain name, and a mixture at its default number of components alone.
    """
    kinds = {name: kind for name, kind in density_classes().items() if not is_wrapper(kind)}
    return [row for name in in_order(kinds) for row in kinds[name].rows or (at_its_components(name),)]


def at_its_components(method: str) -> str:
    """The method with the default number of components spelled out, of a mixture that spells none.

    Raises:
        InputError: see `parse_method` and `density_class`.
    """
    spec = parse_method(method)
    components = inspect.signature(density_class(spec.name)).parameters.get("components")
    return method if components is None else str(spec.with_arguments(components=components.default))


def with_orderings(methods: Sequence[str], orderings: int) -> list[str]:
    """The methods, and after each that can be averaged over orderings of the pixels that average.

    Raises:
        InputError: none can.
    """
    rows = []
    for method in methods:
        spec = parse_method(method)
        rows.append(method)
        if takes_argument(spec, "orderings"):
            rows.append(str(MethodSpec(spec.name, spec.wrappers, {**spec.arguments, "orderings": orderings})))
    if len(rows) == len(methods):
        raise InputError("--orderings averages over orderings of the pixels, as deep-rnade can; add it to --methods.")
    return rows


class Bsds300(Experiment):
    """The paper's Table 1, with the published figures of others on the same patches."""

    name = "bsds300"
    title = "log-likelihood of 8x8 patches of natural images: the paper's Table 1"
    published_words = (
        "± after ours: 2 standard deviations over trials (from 3 trials; at 2 both values, at 1 a dash). SE by "
        "photograph: standard error over the test patches, clustered by photograph; the published ± over patches "
        "takes patches as independent and is not it. Published figures are on another draw of patches, so a "
        f"difference holds only as far as these errors let it. {VARIANT}"
    )

    def plan(
        self,
        budget: Budget,
        options: TrainingOptions,
        load: Callable[[], Dataset],
        *,
        components: Sequence[int],
        methods: Sequence[str] | None = None,
        orderings: int | None = None,
        trials: int | None = None,
        seed: int = 0,
    ) -> list[DensityTrial]:
        """The trials of the table; methods and number of trials default to those of the profile, and the method `all`
        is every row. `orderings` adds averages over that many: see `with_orderings`.

        `load` gives the patches; it is called once all else is known to be right, since it may download them.

        Raises:
            InputError: see `plan_trials` and `with_orderings`.
        """
        defaults = PROFILES[budget.profile]
        methods = [
            row for method in methods or defaults.methods for row in (table_rows() if method == ALL else [method])
        ]
        if orderings is not None:
            methods = with_orderings(methods, orderings)
        expand_methods(methods, components, FEATURES)
        trials = defaults.trials if trials is None else trials
        return plan_trials(self.name, load(), methods, components, trials, budget, options, seed)

    def is_the_papers(self, data: DatasetInfo) -> bool:
        return data.name == "bsds300" and is_official(data)

    def published(self, data: DatasetInfo) -> tuple[PublishedFigure, ...]:
        return load_published() if self.is_the_papers(data) else ()

    def columns(self, table: Table) -> list[Column]:
        return [*standard_columns(table), *([Column("paper", _paper_cell)] if table.shows_paper else [])]

    def last_notes(self, table: Table) -> list[str]:
        if not table.shows_paper:
            return []
        return [
            "Paper: Yoo, Lee, Kwak 2020 (arXiv 1902.04294), Table 1, ± 2 standard deviations over 5 trials, "
            "on the authors' own schedule of 250 epochs."
        ]

    def comparison(self, section: Section) -> list[Block]:
        if not section.published:
            return []
        return published_comparison(section, self.published_words, _training_note(section))

    def closing(self, sections: Sequence[Section]) -> list[tuple[Line, list[Block]]]:
        beside = [section for section in sections if section.table.shows_paper]
        return [(Link("Published BSDS300 figures", "#published"), _published_list(beside))] if beside else []


def _paper_cell(row: Row) -> str:
    return DASH if row.paper_nats is None else f"{row.paper_nats:.2f} ± {decimal(row.paper_two_standard_deviations)}"


def _training_note(section: Section) -> str:
    """How much of the paper's training the rows of the paper's model had; empty when there is none."""
    ours = [
        (seen, row)
        for row in section.table.rows
        if re.split("[+:]", row.method)[0] == "lde"
        and figure_of(row, section.published)
        and (seen := _patches_seen(section.trials(row)[0]))
    ]
    if not ours:
        return ""
    most, row = max(ours, key=lambda pair: pair[0])
    share = (
        f"1/{PAPER_PATCHES / most:,.0f} of that" if most < PAPER_PATCHES / 2 else f"{most / PAPER_PATCHES:.2f} of it"
    )
    return (
        f"The paper trained its LDE for 250 epochs of 2.7 million patches, {PAPER_PATCHES / 1e6:,.0f} million in all; "
        f"of the LDE rows here the longest trained, {row_title(row)}, saw {most / 1e6:,.2f} million, {share}."
    )


def _patches_seen(record: Record) -> int:
    return int(record.training.get("steps") or 0) * int(record.training.get("batch_size") or 0)


def _source(figure: PublishedFigure) -> Line:
    """Where a figure is from, its arXiv number a link, and the note on it."""
    source = "; ".join(filter(None, (figure.source, figure.note)))
    found = re.search(r"arXiv (\d{4}\.\d{4,5})", source)
    if found is None:
        return source
    return source[: found.start()], Link(found[0], f"https://arxiv.org/abs/{found[1]}"), source[found.end() :]


def _published_list(sections: Sequence[Section]) -> list[Block]:
    """Every published figure, highest first, with the rows of `sections` among them."""
    lines: list[tuple[float, list[Line]]] = []
    for figure in load_published():
        lines.append((figure.test_nats, [figure.model, figure.plus_minus_is, _source(figure), figure.value]))
    for section in sections:
        for row in section.table.rows:
            spread = "both trials" if row.trials == 2 else "2 SD over trials" if row.trials > 2 else ""
            value = section.table.cells(row)[section.table.headers.index(f"{section.table.score} (nats)")]
            words = [row_title(row), spread, f"ours, {section.table.budget}", value]
            lines.append((row.nats, [Strong(word) if word else "" for word in words]))
    lines.sort(key=lambda line: -line[0])
    unverified = sum(not figure.checked for figure in load_published())
    return [
        Heading(2, "Published BSDS300 figures", "published"),
        Paragraph(
            "Mean test log-likelihood of the 63-number 8x8 patches, highest first, ours in bold. What the ± is over "
            "differs from paper to paper: over test patches it does not know what another seed would change, over runs "
            f"it does not know what other photographs would. The {unverified} figures marked as unverified are from "
            "memory and were not seen in a source."
        ),
        Grid(["model", "its ± is", "source", "nats"], [line for _, line in lines], left=3),
    ]
