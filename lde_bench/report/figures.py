"""The pictures of a table: every row on one axis beside its published figure, and the score against the number of
components (matplotlib, no global state).
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import cycle, islice, pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

from lde_bench.files import write_bytes_atomic
from lde_bench.report.numbers import DASH
from lde_bench.report.published import PublishedFigure
from lde_bench.report.published_comparison import figure_of
from lde_bench.report.rows import PAPER_LDE, Row, marked
from lde_bench.report.table import Table
from lde_bench.runs.rows import is_reference, with_components

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's palette, told apart by readers of any colour vision; markers and dashes repeat the
#: distinction.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Points of a letter of the heading, inches of a line of it, and above it.
HEADING_SIZE, HEADING_LINE, MARGIN = 9, 0.16, 0.06

#: The axis of rows shows so many nats at least, so that rows a few thousandths apart do not fill it.
LEAST_SPAN = 0.2

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one more than colours: a pair comes again after 42
DASHES = ("--", "-.", (0, (5, 1, 1, 1, 1, 1)), ":")

#: Dots to an inch of a PNG, as journals ask of pictures with letters and lines, and as a page shows them.
PRINT_DPI, PAGE_DPI = 300, 150


def drawn(name: str) -> str:
    """A name as matplotlib draws it letter by letter: its dollars begin no formula, and an underscore at its head does
    not keep it out of the legend.
    """
    text = name.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


#: Inches that the line of a legend takes, and each letter of 8 points in a name of wide ones.
LEGEND_LINE, LEGEND_LETTER = 0.5, 0.075


def in_legend(names: Sequence[str], width: float, most: int) -> tuple[list[str], int]:
    """The names as a legend below a figure of `width` inches shows them, and in how many columns of at most `most`: all
    stand within the figure, those that are longer than it on several lines.
    """
    longest = max(map(len, names), default=0)
    columns = max(1, min(most, int(width / (LEGEND_LINE + LEGEND_LETTER * longest))))
    letters = int((width / columns - LEGEND_LINE) / LEGEND_LETTER)
    return [drawn("\n".join(wrap(name, letters, break_on_hyphens=False))) for name in names], columns


def legend_lines(names: Sequence[str], columns: int) -> int:
    """How many lines of text such a legend has."""
    return -(-sum(name.count("\n") + 1 for name in names) // columns)


def draw_components(table: Table) -> Figure:
    """The methods of `table` that were run at several K as curves on a logarithmic axis, those without K as level
    lines. Methods at a single K are left to `draw_rows`.

    Error bars and bands are 2 standard deviations over trials, so they say what another seed would change;
    a point of fewer than 3 trials has none. (The error over test photographs is not drawn: it is shared by
    all methods and does not set them apart; the table has the paired differences.) Rows far below the
    others get a panel of their own.
    """
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    levels = [row for row in table.rows if row.components is None]
    shown = [row for rows in table.swept.values() for row in rows] + levels
    ranges = _ranges([row.nats for row in shown])
    heights = [3, 1] if len(ranges) == 2 else [1]
    panels: list[Axes] = list(figure.subplots(len(ranges), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for axes in panels:
        _draw_curves(axes, table)
        _draw_levels(axes, levels, len(table.swept))
        axes.set_ylabel(f"{table.score} (nats)" if axes is panels[0] else "(nats)")
        axes.grid(visible=True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if len(panels) == 2:
        _break_axis(panels, ranges, max(row.two_standard_deviations or 0.0 for row in shown))
    _label_components(panels[-1], table)
    # Outside the axes a legend of any length hides no point.
    handles, labels = panels[0].get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) < 50 else 1
    lines = -(-len(labels) // columns)
    figure.set_figheight(5.4 + 0.19 * max(0, lines - 5))  # a long legend takes nothing from the axes
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)
    return figure


def draw_rows(table: Table) -> Figure:
    """Every row on one axis, the best one on top: ours, its single trials, and the published figure of the same model,
    or of the model that it is a variant of; the numbers stand at the right.

    Ours have two standard errors to either side: where it is known which test items belong together, of the paired
    difference to the best row, since what all rows share sets none apart; else over test items. The printed +- of a
    published figure is drawn as it is, a single standard error twice. What lies too far below stands at the edge, by
    an arrow.
    """
    from matplotlib.figure import Figure

    rows = sorted(table.rows, key=lambda row: -row.nats)
    published = [figure_of(row, table.published) for row in rows]
    low, high = value_range([*(row.nats for row in rows), *(held[0].test_nats for held in published if held)])
    lowest = low - 0.04 * (high - low)  # what is lower has an arrow
    reached = [end for row in rows if row.nats >= lowest for end in _reach(row, table)]
    low, high = min([low, *reached]), max([high, *reached])
    too_close = max(0.0, LEAST_SPAN - (high - low)) / 2
    low, high = low - too_close, high + too_close
    margin = 0.08 * (high - low)
    # Two lines at most: a longer name makes the picture wider, and takes nothing from the axis.
    titles = [marked(row, with_components(row.label, row.components)) for row in rows]
    names = [_folded(title, max(28, len(title) // 2 + 8)) for title in titles]
    longest = max((len(line) for name in names for line in name.splitlines()), default=0)
    figure = Figure(figsize=(4.9 + 0.068 * longest, 1.9 + 0.29 * len(rows)), layout="constrained")
    axes = figure.subplots()
    printed = [held[0].test_nats + _printed_bar(held[0]) for held in published if held]
    axes.set_xlim(low - margin, max([high + margin, *(end + margin / 4 for end in printed)]))
    axes.set_ylim(len(rows) - 0.3, -1.3)  # the heads of the numbers stand above the first row
    edge = low - margin / 2
    for place, (row, held) in enumerate(zip(rows, published, strict=True)):
        _draw_ours(axes, place, row, table, lowest, edge)
        if held is not None:
            _draw_published(axes, place, *held, lowest, edge)
    _write_numbers(axes, rows, published)
    axes.set_yticks(range(len(rows)), [drawn(name) for name in names])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.is_best else "normal")
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set_xlabel(f"{table.score} (nats)")
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    kinds = list(dict.fromkeys(labels))
    shown = [handles[labels.index(kind)] for kind in kinds]
    figure.legend(shown, kinds, loc="outside lower center", fontsize=8.5, frameon=False)
    return figure


def _error_of(row: Row, table: Table) -> float | None:
    """The standard error that is drawn of a row."""
    paired = table.is_patch or table.is_grouped
    return row.difference_standard_error if paired else row.standard_error_naive


def _reach(row: Row, table: Table) -> list[float]:
    """The ends of what is drawn of a row: its bar and its trials."""
    bar = 2 * (_error_of(row, table) or 0.0)
    return [row.nats - bar, row.nats + bar, *row.trial_nats]


def _draw_ours(axes: Axes, place: int, row: Row, table: Table, lowest: float, edge: float) -> None:
    """Our figure of a row on its line, or an arrow at the `edge` where it is below the `lowest` that is shown."""
    paired = table.is_patch or table.is_grouped
    error = _error_of(row, table)
    of = f"of the paired difference to the {table.top} row" if paired else f"over test {table.items}"
    has_bars = any(_error_of(each, table) is not None for each in table.rows)
    bars = f" (bars: two standard errors {of})" if has_bars else ""
    told = "ours, a row that models nothing" if is_reference(row.method) else f"ours{bars}"
    inside = row.nats >= lowest
    axes.errorbar(
        [row.nats if inside else edge],
        [place],
        xerr=[2 * error] if error is not None and inside else None,
        color="0.45" if is_reference(row.method) else COLOURS[0],
        marker="o" if inside else "<",
        markersize=5,
        capsize=2.5,
        linestyle="none",
        label=told if inside else None,
    )
    if row.trials > 1 and inside:
        axes.errorbar(
            row.trial_nats,
            [place - 0.27] * row.trials,
            color="0.2",
            marker="|",
            markersize=5,
            linestyle="none",
            label="single trials of a row",
        )


def _printed_bar(published: PublishedFigure) -> float:
    """How far the bar of a published figure reaches: the ± as printed, a single standard error twice."""
    return (2 if published.plus_minus_is.startswith("SE") else 1) * (published.plus_minus or 0.0)


def _draw_published(
    axes: Axes, place: int, published: PublishedFigure, is_same: bool, lowest: float, edge: float
) -> None:
    """The published figure of the row on a line, paler where the row is a variant of the published model."""
    inside = published.test_nats >= lowest
    told = "published (bars: ± as printed, a single standard error twice)"
    axes.errorbar(
        [published.test_nats if inside else edge],
        [place + 0.24],
        xerr=[_printed_bar(published)] if published.plus_minus and inside else None,
        color=COLOURS[1],
        alpha=1.0 if is_same else 0.45,
        marker="D" if inside else "<",
        markersize=4.5,
        markerfacecolor="white",
        capsize=2.5,
        linestyle="none",
        label=(told if is_same else "published, of the model that ours is a variant of") if inside else None,
    )
    if not published.checked:
        axes.errorbar(
            [], [], color=COLOURS[1], marker="$?$", linestyle="none", label="unverified, not seen in a source"
        )


def _write_numbers(axes: Axes, rows: Sequence[Row], published: Sequence[tuple[PublishedFigure, bool] | None]) -> None:
    """Our figure and the published one at the right of each line, under their heads."""
    columns = [["ours", *(f"{row.nats:.2f}" for row in rows)]]
    if any(published):
        columns.append(["published", *(_published_number(held[0]) if held else DASH for held in published)])
    for number, texts in enumerate(columns):
        for place, text in enumerate(texts, -1):
            axes.annotate(
                text,
                (1, place),
                (40 + 46 * number, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8.5,
                color=COLOURS[number],
                annotation_clip=False,
            )


def _published_number(figure: PublishedFigure) -> str:
    return figure.text if figure.checked else f"{figure.text} ?"


def value_range(values: Sequence[float]) -> tuple[float, float]:
    """The range to draw: all of the values, or those that are not so far below the median that they would squeeze the
    others.
    """
    high, median = max(values), sorted(values)[(len(values) - 1) // 2]
    floor = median - 4 * max(high - median, 0.02 * abs(high), 1.0)
    low = min(value for value in values if value >= floor)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _ranges(values: Sequence[float]) -> list[tuple[float, float]]:
    """The value ranges to draw, top one first: two when a gap would squeeze what lies above it, else one."""
    ordered = sorted(values)
    gaps = [high - low for low, high in pairwise(ordered)]
    if not gaps:
        return [(min(ordered, default=0.0), max(ordered, default=1.0))]
    place = max(range(len(gaps)), key=gaps.__getitem__)
    low, high = ordered[: place + 1], ordered[place + 1 :]
    if len(high) > 1 and gaps[place] > max(1.5 * (high[-1] - high[0]), 5.0):
        return [(high[0], high[-1]), (low[0], low[-1])]
    return [(ordered[0], ordered[-1])]


def _draw_curves(axes: Axes, table: Table) -> None:
    for (label, rows), colour, marker in zip(table.swept.items(), cycle(COLOURS), cycle(_MARKERS), strict=False):
        # NaN draws a point without a bar.
        bars = [float("nan") if row.two_standard_deviations is None else row.two_standard_deviations for row in rows]
        axes.errorbar(
            [row.components or 0 for row in rows],
            [row.nats for row in rows],
            yerr=bars,
            color=colour,
            marker=marker,
            markersize=6,
            capsize=4,
            label=drawn(label),
        )
    if table.shows_paper and table.swept:
        axes.errorbar(
            list(PAPER_LDE),
            [mean for mean, _ in PAPER_LDE.values()],
            yerr=[spread for _, spread in PAPER_LDE.values()],
            color="0.35",
            marker="x",
            linestyle=(0, (1, 1.5)),
            capsize=4,
            label="the paper's lde, on its own schedule (250 epochs)",
        )


def _draw_levels(axes: Axes, levels: Sequence[Row], curves: int) -> None:
    """Level lines, in the colours that so many curves left over."""
    left_over = islice(cycle(COLOURS), curves, None)
    for row, colour, dashes in zip(levels, left_over, cycle(DASHES), strict=False):
        axes.axhline(row.nats, color=colour, linestyle=dashes, linewidth=1.4, label=drawn(row.label))
        if row.two_standard_deviations is not None:
            low, high = (row.nats + sign * row.two_standard_deviations for sign in (-1, 1))
            axes.axhspan(low, high, color=colour, alpha=0.15, linewidth=0)


def _break_axis(panels: Sequence[Axes], ranges: Sequence[tuple[float, float]], bar: float) -> None:
    """Give each panel its own range of values, with room for an error `bar` and marks where the axis is
    cut.
    """
    upper, lower = panels
    top = max(upper.dataLim.y1, ranges[0][1])  # the paper's curve may lie above every row
    for axes, (low, high) in ((upper, (ranges[0][0], top)), (lower, ranges[1])):
        margin = max(0.08 * (high - low), 0.5) + bar
        axes.set_ylim(low - margin, high + margin)
    upper.spines["bottom"].set_visible(False)
    upper.tick_params(axis="x", length=0)
    for axes, height in ((upper, 0), (lower, 1)):
        axes.plot(
            [0],
            [height],
            transform=axes.transAxes,
            marker=[(-1, -0.5), (1, 0.5)],
            markersize=10,
            color="0.2",
            linestyle="none",
            clip_on=False,
        )


def _label_components(axes: Axes, table: Table) -> None:
    """A logarithmic K axis with a tick at each K that was run, none when no method has K; and what the bars
    are.
    """
    from matplotlib.ticker import NullLocator

    if any(row.two_standard_deviations is not None for row in table.rows):
        caption = "error bars and bands: 2 standard deviations over trials, where there are at least 3"
    else:
        caption = "ours without error bars: a spread over trials is shown from 3 trials"
    components = {row.components for rows in table.swept.values() for row in rows if row.components is not None}
    if not components:
        axes.set_xticks([])
        axes.set_xlabel(caption)
        return
    ticks = sorted(components | (set(PAPER_LDE) if table.shows_paper else set()))
    axes.set_xscale("log")
    axes.set_xlim(ticks[0] / 1.35, ticks[-1] * 1.35)
    # A number that would touch its neighbour goes one line down.
    near = [False, *(high < 1.3 * low for low, high in pairwise(ticks))]
    axes.set_xticks(ticks, labels=[f"\n{tick}" if low else str(tick) for tick, low in zip(ticks, near, strict=True)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"components K (logarithmic axis)\n{caption}")


def _folded(name: str, width: int) -> str:
    """A row's name in lines of at most `width` letters, broken where a wrapper or an argument of it ends."""
    lines = [""]
    for piece in re.split(r"(?=[+:])|(?<=[, ])", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def entitle(figure: Figure, table: Table) -> Figure:
    """The figure under the heading of its table, for a file that stands alone."""
    heading = [part for line in table.heading for part in _lines_within(line, 0.98 * figure.get_figwidth())]
    place: dict[str, Any] = {}
    if figure.get_layout_engine() is None:
        _make_room(figure, HEADING_LINE * len(heading))
        # Its usual place is a share of the height below the edge: in a high figure, on what stands there.
        place = {"y": 1 - MARGIN / figure.get_figheight(), "va": "top"}
    figure.suptitle(drawn("\n".join(heading)), x=0.01, ha="left", fontsize=HEADING_SIZE, **place)
    return figure


def _lines_within(text: str, inches: float) -> list[str]:
    """The text in lines of the heading that are no wider than so many inches, but for a single letter that is."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=HEADING_SIZE)

    def is_within(line: str) -> bool:
        width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
        return width <= 72 * inches

    for letters in range(len(text), 1, -1):
        lines = wrap(text, letters)
        if all(map(is_within, lines)):
            return lines
    return wrap(text, 1)


def _make_room(figure: Figure, inches: float) -> None:
    """Make a figure higher whose parts stand where they were put, and leave them there."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)
    share = height / (height + inches)
    for axes in figure.axes:
        left, bottom, wide, high = axes.get_position().bounds
        axes.set_position((left, bottom * share, wide, high * share))
    for text in figure.texts:
        text.set_y(text.get_position()[1] * share)


def figure_bytes(figure: Figure, kind: str, dpi: int = PRINT_DPI) -> bytes:
    """The figure for print as `kind` png, svg or pdf, the same bytes for the same figure: PNG at `dpi` dots to the
    inch, SVG with its letters as shapes, which look the same on every machine.
    """
    import matplotlib
    from matplotlib.ticker import ScalarFormatter

    # Nothing about this machine or moment goes into the file.
    nothing: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None},
    }
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, ScalarFormatter):
                formatter.set_useOffset(False)  # ticks show their values, with nothing to be added from a corner
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "lde-bench", "svg.fonttype": "path"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=nothing[kind])
    content = buffer.getvalue()
    return re.sub(rb"[ \t]+$", b"", content, flags=re.MULTILINE) if kind == "svg" else content


def page_bytes(figure: Figure) -> tuple[Literal["svg", "png"], bytes]:
    """The figure for a page, and its kind: SVG, or PNG of 150 dots to the inch and 256 colours where it holds
    photographs, of which an SVG would be megabytes.
    """
    if not any(axes.images for axes in figure.axes):
        return "svg", figure_bytes(figure, "svg")
    from PIL import Image

    with Image.open(io.BytesIO(figure_bytes(figure, "png", PAGE_DPI))) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    buffer = io.BytesIO()
    few.save(buffer, format="png", optimize=True)
    return "png", buffer.getvalue()


def write_figure(figure: Figure, path: Path) -> None:
    """Write `figure` atomically in the format of the suffix of `path` (`.png`, `.svg`, `.pdf`); see `figure_bytes`."""
    write_bytes_atomic(path, figure_bytes(figure, path.suffix.removeprefix(".")))
