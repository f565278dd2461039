"""The picture of codes of two numbers: one panel a model, its codes over what codes are drawn from, and below it images
with their reconstructions (matplotlib, no global state).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from lde_bench.report.plots import square_shape
from lde_bench.report.strips import unrolled
from lde_bench.trials.beta import REGIONS, LatentPicture, Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ten colours that readers of any colour vision tell apart (Paul Tol, "Colour schemes", 2021, muted, and a grey).
CLASS_COLOURS = (
    "#CC6677",
    "#332288",
    "#DDCC77",
    "#117733",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#777777",
)

#: Panels side by side, and inches of each.
COLUMNS, PANEL = 5, 2.0

#: The regions of highest density and the widths of their outlines.
REGION_LINES = tuple(zip(REGIONS, (0.9, 0.5), strict=True))

#: A class is named where its codes spread less than so much of what all codes do.
OWN_PLACE = 0.75

#: Images side by side below a panel.
ACROSS = 3


@dataclass(frozen=True)
class Panel:
    """One model: its words, the figures below them, and what its picture is drawn from."""

    title: str
    figures: str
    picture: LatentPicture


def draw_planes(panels: Sequence[Panel]) -> Figure:
    """Every panel, at most `COLUMNS` side by side, and one legend of what the images show."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    sheets = [_Sheet.of(panel.picture) for panel in panels]
    below = max(PANEL * sheet.pixels.shape[0] / sheet.pixels.shape[1] for sheet in sheets)
    figure = Figure(figsize=((PANEL + 0.15) * columns + 0.5, (PANEL + below + 0.6) * lines + 0.3), layout="constrained")
    cells = figure.subplots(2 * lines, columns, squeeze=False, height_ratios=[PANEL, below] * lines)
    for axes in cells.flat:
        axes.set_axis_off()
    for number, (panel, sheet) in enumerate(zip(panels, sheets, strict=True)):
        line, column = divmod(number, columns)
        _draw_plane(cells[2 * line, column], panel)
        sheet.draw(cells[2 * line + 1, column], named=column == 0)
    _legend(figure, panels)
    return figure


def _draw_plane(axes: Axes, panel: Panel) -> None:
    axes.set_axis_on()
    axes.set_title(f"{panel.title}\n", fontsize=9)
    axes.text(0.5, 1.03, panel.figures, transform=axes.transAxes, ha="center", fontsize=6.5, color="0.35")
    axes.set_box_aspect(1)
    plane = panel.picture.plane
    if plane is None:
        axes.set_xticks([])
        axes.set_yticks([])
        words = "a code is not\nof two numbers"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=8)
        return
    x, y = plane.codes.T
    colours = [class_colour(label) for label in plane.labels] or class_colour(1)
    size = min(5.0, 4000 / len(x))
    axes.scatter(x, y, c=colours, s=size, linewidths=0, alpha=0.8, rasterized=True)
    for level, (_, width) in zip(plane.levels, REGION_LINES, strict=True):
        axes.contour(*plane.axes, plane.log_density, [level], colors="black", linestyles="solid", linewidths=width)
    _name_classes(axes, plane)
    axes.set_xlim(plane.axes[0, 0], plane.axes[0, -1])
    axes.set_ylim(plane.axes[1, 0], plane.axes[1, -1])
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=6, length=2, pad=1.5)


def _name_classes(axes: Axes, plane: Plane) -> None:
    """Each class at the median of its codes, where it has a place of its own: colours alone do not tell ten apart."""
    from matplotlib.patheffects import withStroke

    for label in np.unique(plane.labels):
        codes = plane.codes[plane.labels == label]
        if _spread(codes) > OWN_PLACE * _spread(plane.codes):
            continue
        x, y = np.median(codes, axis=0)
        halo = [withStroke(linewidth=1.8, foreground="white")]
        axes.text(x, y, str(label), fontsize=7.5, fontweight="bold", ha="center", va="center", path_effects=halo)


def _spread(codes: np.ndarray) -> float:
    """The median distance of codes [n, 2] from their median."""
    return float(np.median(np.linalg.norm(codes - np.median(codes, axis=0), axis=1)))


@dataclass(frozen=True)
class _Sheet:
    """Rows of pairs, a target above its reconstruction, on white: uint8 [h, w] or [h, w, 3], and the height in it at
    which the middle of each row of images is, with its word.
    """

    pixels: np.ndarray
    words: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, picture: LatentPicture) -> Self:
        """`ACROSS` pairs side by side."""
        features = picture.reconstructions.shape[1]
        shape = square_shape(features) or (1, 1, features)
        decoded = unrolled(picture.reconstructions, shape)
        p, height, width = decoded.shape[:3]
        space = max(1, width // 28)
        gap = max(2, width // 7)
        lower = 0 if picture.targets is None else height + space  # where a reconstruction begins
        cells = np.full((p + -p % ACROSS, lower + height + gap, width + space, *decoded.shape[3:]), 255, np.uint8)
        if picture.targets is not None:
            cells[:p, :height, :width] = unrolled(picture.targets, shape)
        cells[:p, lower : lower + height, :width] = decoded
        lines = cells.reshape(-1, ACROSS, *cells.shape[1:])  # [p / A, A, h, w, ...]
        pixels = np.concatenate([np.concatenate(list(line), 1) for line in lines])[:-gap, :-space]
        middles = [(number * cells.shape[1] + height / 2) for number in range(len(lines))]
        words = [(middle + lower, "decoded") for middle in middles]
        words += [] if picture.targets is None else [(middle, "target") for middle in middles]
        return cls(pixels, tuple(words))

    def draw(self, axes: Axes, *, named: bool) -> None:
        """On axes of its own, with the words beside it where it is `named`."""
        axes.imshow(self.pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for middle, word in self.words if named else ():
            axes.text(-0.04 * self.pixels.shape[1], middle, word, ha="right", va="center", fontsize=6, color="0.35")


def _legend(figure: Figure, panels: Sequence[Panel]) -> None:
    """What the colours and the two contours say, once for all panels."""
    from matplotlib.lines import Line2D

    planes = [panel.picture.plane for panel in panels if panel.picture.plane is not None]
    if not planes:
        return
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=4, label=str(label), color=class_colour(label))
        for label in np.unique(np.concatenate([plane.labels for plane in planes]))
    ]
    handles += [
        Line2D([], [], color="black", linewidth=width, label=f"{share:.0%} of what codes are drawn from")
        for share, width in REGION_LINES
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7, frameon=False)


def class_colour(label: int) -> str:
    """The colour of what an image shows; after ten they come again."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]
