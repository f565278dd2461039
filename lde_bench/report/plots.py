"""The pictures of a report: learning curves, two methods photograph by photograph, windows, sheets of samples."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from lde_bench.data.patches import SIDE, complete
from lde_bench.evaluation.statistics import GroupMeans
from lde_bench.report.figures import COLOURS, DASHES, drawn, in_legend, legend_lines, value_range
from lde_bench.runs.record import ParzenWindow
from lde_bench.training.curve import CurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Curves that end more than this below the best one are told, not drawn: they would flatten the others.
CURVE_NATS = 25.0

#: Screen pixels to a pixel of a patch.
ENLARGEMENT = 3

#: Images of a sheet, and about how many screen pixels it is wide; large images make it wider.
SHEET_SIDE, SHEET_WIDTH = 10, 300


def _plain(axes: Axes) -> None:
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_learning_curves(curves: Sequence[tuple[str, Sequence[Sequence[CurvePoint]]]]) -> tuple[Figure, list[str]]:
    """Validation log-likelihood (nats) against CPU seconds, one line a trial, one colour a row; and, in words, the
    rows that end too far below the best to be drawn.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    ends = {label: max(trial[-1].validation_nats for trial in trials) for label, trials in curves}
    best = max(ends.values())
    shown = [(label, trials) for label, trials in curves if ends[label] >= best - CURVE_NATS]
    below = [f"{label} ({end:.1f} nats)" for label, end in ends.items() if end < best - CURVE_NATS]
    most = 3 if max(len(label) for label, _ in shown) < 26 else 2
    names, columns = in_legend([label for label, _ in shown], 7.6, most)
    figure = Figure(figsize=(7.6, 4.0 + 0.19 * legend_lines(names, columns)), layout="constrained")
    axes = figure.subplots()
    styles = [(colour, dashes) for dashes in ("-", *DASHES) for colour in COLOURS]
    for name, (_, trials), (colour, dashes) in zip(names, shown, cycle(styles), strict=False):
        # One line that is broken between trials: thousands of lines would take matplotlib minutes.
        broken = [point for trial in trials for point in (*trial, None)]
        axes.plot(
            [math.nan if point is None else max(point.cpu_seconds, 0.01) for point in broken],
            [math.nan if point is None else point.validation_nats for point in broken],
            color=colour,
            linestyle=dashes,
            linewidth=1.5,
            marker="o",
            markersize=3 if len(trials[0]) > 1 else 6,
            label=name,
        )
    # A trial's first points may lie far below where it ends: the window shows how the good ones part.
    low = max(min(ends[label] for label, _ in shown) - 6, best - CURVE_NATS)
    axes.set_ylim(low, best + 0.06 * (best - low))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("CPU seconds of training (logarithmic axis)")
    axes.set_ylabel("validation log-likelihood (nats)")
    _plain(axes)
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return figure, below


def draw_photographs(first: tuple[str, GroupMeans], second: tuple[str, GroupMeans]) -> Figure:
    """Mean log-likelihood (nats) of each photograph under two methods, and how far `first` is above `second`."""
    from matplotlib.figure import Figure

    (name, one), (other, two) = first, second
    figure = Figure(figsize=(8.2, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    y, x = np.array(one.mean_nats), np.array(two.mean_nats)
    ends = [min(y.min(), x.min()), max(y.max(), x.max())]
    left.plot(ends, ends, color="0.55", linewidth=1)
    left.plot(x, y, "o", color=COLOURS[0], markersize=3.5, alpha=0.7)
    left.set_aspect("equal")
    left.set_xlabel(drawn(f"{other} (nats)"))
    left.set_ylabel(drawn(f"{name} (nats)"))
    difference = y - x
    right.axhline(0, color="0.55", linewidth=1)
    mean = float(np.average(difference, weights=one.counts))
    right.axhline(mean, color=COLOURS[1], linewidth=1.4, linestyle="--", label="mean")
    right.plot((y + x) / 2, difference, "o", color=COLOURS[0], markersize=3.5, alpha=0.7)
    right.set_xlabel("mean of the two (nats)")
    right.set_ylabel("first minus second (nats)")
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        _plain(axes)
    return figure


def draw_windows(windows: Sequence[tuple[str, ParzenWindow]]) -> tuple[Figure, list[str]]:
    """Validation log-likelihood (nats) against sigma with the chosen one marked, and against the number of samples at
    that sigma, one colour a row; and, in words, the rows too far below the others to be drawn.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    ends = {label: max(window.grid_nats) for label, window in windows}
    low, high = value_range(list(ends.values()))
    shown = [(label, window) for label, window in windows if ends[label] >= low]
    below = [f"{label} ({end:.1f} nats)" for label, end in ends.items() if end < low]
    most = 4 if max(len(label) for label, _ in shown) < 20 else 2
    names, columns = in_legend([label for label, _ in shown], 8.6, most)
    figure = Figure(figsize=(8.6, 4.0 + 0.19 * legend_lines(names, columns)), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = [(colour, dashes) for dashes in ("-", *DASHES) for colour in COLOURS]
    for name, (label, window), (colour, dashes) in zip(names, shown, cycle(styles), strict=False):
        style = {"color": colour, "linestyle": dashes, "linewidth": 1.5}
        left.plot(window.grid, window.grid_nats, **style)
        left.plot([window.sigma], [ends[label]], "o", color=colour, markersize=5)
        right.plot(window.counts, window.count_nats, marker="o", markersize=3, label=name, **style)
    left.set_ylim(low - 0.6 * (high - low), high + 0.1 * (high - low))
    left.set_xlabel("sigma")
    left.set_ylabel("validation Parzen log-likelihood (nats)")
    right.set_xscale("log")
    ticks = sorted({count for _, window in shown for count in window.counts if count in _ROUND_COUNTS})
    right.set_xticks(ticks, labels=[f"{tick:,}" for tick in ticks])
    right.xaxis.set_minor_locator(NullLocator())
    right.set_xlabel("samples (logarithmic axis)")
    for axes in (left, right):
        _plain(axes)
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return figure, below


_ROUND_COUNTS = frozenset(10**power * first for power in range(8) for first in (1, 3))


def sheet_width(side: int) -> int:
    """Width on the screen of a sheet of images that are so wide."""
    width = SHEET_SIDE * (side + 1) + 1
    return width * max(1, SHEET_WIDTH // width)


def draw_sheet(images: np.ndarray, columns: int | None = None, line: int = 255, larger: int = ENLARGEMENT) -> bytes:
    """PNG of pictures uint8 [n, H, W], or [n, H, W, 3] in colour, in rows of `columns`, in a square if that is left
    out, with lines of one pixel between them and every pixel `larger` times as wide and high.
    """
    from PIL import Image

    n, height, width, *channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    cells = np.full((rows * columns, height + 1, width + 1, *channels), line, dtype=np.uint8)
    cells[:n, 1:, 1:] = images
    grid = cells.reshape(rows, columns, height + 1, width + 1, *channels).swapaxes(1, 2)
    sheet = grid.reshape(rows * (height + 1), columns * (width + 1), *channels)
    sheet = np.pad(sheet, ((0, 1), (0, 1), *((0, 0) for _ in channels)), constant_values=line)
    buffer = io.BytesIO()
    Image.fromarray(sheet.repeat(larger, 0).repeat(larger, 1)).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def draw_images(images: np.ndarray, image_shape: tuple[int, int, int]) -> bytes:
    """PNG of up to 100 images [n, D] in rows of ten, black for 0 and white for 1."""
    *_, width = image_shape
    larger = sheet_width(width) // (SHEET_SIDE * (width + 1) + 1)
    return draw_sheet(as_pictures(images[: SHEET_SIDE**2], image_shape), SHEET_SIDE, line=128, larger=larger)


def as_pictures(images: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Rows [n, C * H * W] in [0, 1] as uint8 [n, H, W] where they are grey, [n, H, W, 3] in colour."""
    channels, height, width = image_shape
    whole = np.clip(np.rint(255 * images), 0, 255).astype(np.uint8).reshape(-1, channels, height, width)
    return whole[:, 0] if channels == 1 else whole.transpose(0, 2, 3, 1)


def square_shape(features: int) -> tuple[int, int, int] | None:
    """(C, H, W) of square images with so many numbers each, grey or in colour; None where there are none such."""
    for channels in (1, 3):
        side = math.isqrt(features // channels)
        if channels * side**2 == features:
            return channels, side, side
    return None


def grey_range(patches: np.ndarray) -> float:
    """The deviation from the patch mean, in units of the full brightness range, that is drawn as black or white: 99 %
    of the pixels of `patches` [n, 63] lie within it.
    """
    return float(np.quantile(np.abs(complete(patches)), 0.99))


def draw_patches(patches: np.ndarray, scale: float) -> bytes:
    """PNG of up to 64 patches [n, 63] in rows of eight, grey for 0, black and white for -`scale` and +`scale`."""
    shown = complete(np.asarray(patches[:64], dtype=np.float32)).reshape(-1, SIDE, SIDE)
    return draw_sheet(np.clip(127.5 * (1 + shown / scale), 0, 255).astype(np.uint8), 8)
