from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from shown import build_tables

from lde_bench.report.figures import (
    LEAST_SPAN,
    PAGE_DPI,
    PRINT_DPI,
    _folded,
    draw_components,
    draw_rows,
    entitle,
    figure_bytes,
    page_bytes,
    write_figure,
)
from lde_bench.report.plots import draw_learning_curves, draw_windows
from lde_bench.runs.record import ParzenWindow
from lde_bench.training.curve import CurvePoint


def labels(figure) -> list[str]:
    return figure.axes[0].get_legend_handles_labels()[1]


def curve(figure, label: str):
    """x, y and the half-lengths of the error bars of the curve called `label`."""
    container = next(each for each in figure.axes[0].containers if each.get_label() == label)
    line, _, (bars,) = container.lines
    lengths = [(segment[1, 1] - segment[0, 1]) / 2 for segment in bars.get_segments() if len(segment)]
    return line.get_xdata().tolist(), line.get_ydata().tolist(), lengths


@pytest.fixture
def sweep(make):
    def of(trials: int, dataset: str = "bsds300"):
        records = [
            make("lde+w", components, 150 + np.log10(components) + 0.5 * trial, trial, dataset=dataset)
            for components in (100, 1, 10)
            for trial in range(trials)
        ]
        (table,) = build_tables([*records, make("gaussian", None, 96.4, dataset=dataset)])
        return table

    return of


def test_a_curve_has_its_points_in_order_of_k_with_two_standard_deviations(sweep):
    x, y, bars = curve(draw_components(sweep(3)), "lde+w")
    assert x == [1, 10, 100]
    assert y == pytest.approx([150.5, 151.5, 152.5])
    assert bars == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.slow
def test_under_three_trials_there_is_no_bar_and_the_caption_says_so(sweep):
    figure = draw_components(sweep(2))
    _, _, bars = curve(figure, "lde+w")
    assert not np.isfinite(bars).any()
    assert "without error bars" in figure.axes[-1].get_xlabel()
    assert "2 standard deviations" in draw_components(sweep(3)).axes[-1].get_xlabel()


def test_the_papers_curve_is_on_bsds300_only_and_named_as_the_papers(sweep):
    paper = "the paper's lde, on its own schedule (250 epochs)"
    x, y, bars = curve(draw_components(sweep(1)), paper)
    assert (x, y) == ([1, 10, 30, 100], [152.68, 157.75, 158.02, 157.03])
    assert bars == pytest.approx([0.52, 0.06, 0.06, 0.30])
    assert paper not in labels(draw_components(sweep(1, "natural8x8")))


def test_a_method_without_k_is_a_level_line_in_every_panel(sweep):
    figure = draw_components(sweep(1))
    assert labels(figure).count("gaussian") == 1
    for axes in figure.axes:
        line = next(line for line in axes.get_lines() if line.get_label() == "gaussian")
        assert line.get_ydata()[0] == 96.4


def test_rows_far_below_get_a_panel_of_their_own_and_every_point_lies_in_one(sweep):
    figure = draw_components(sweep(3))
    upper, lower = figure.axes
    assert upper.get_ylim()[0] < 149.6
    assert upper.get_ylim()[1] > 158.1
    assert lower.get_ylim()[0] < 96.4 < lower.get_ylim()[1] < 110


def test_close_rows_share_one_panel(make):
    (table,) = build_tables([make("a", 1, 100.0), make("a", 10, 102.0), make("b", None, 97.0)])
    assert len(draw_components(table).axes) == 1


def test_a_method_at_one_number_of_components_is_no_curve(make):
    (table,) = build_tables([make("a", 1, 100.0), make("a", 10, 102.0), make("b", 5, 97.0)])
    assert labels(draw_components(table)) == ["a", "the paper's lde, on its own schedule (250 epochs)"]
    assert list(table.swept) == ["a"]


# ---- the rows on one axis


def marks(figure) -> dict[str, list[tuple[float, float, float | None]]]:
    """Position, line and half-length of the bar of each mark, by what the legend calls it."""
    found: dict[str, list[tuple[float, float, float | None]]] = {}
    for container in figure.axes[0].containers:
        points, _, bars = container.lines
        lengths = [(segment[1, 0] - segment[0, 0]) / 2 for bar in bars for segment in bar.get_segments()] or [None]
        name = str(container.get_label()).partition(" (bars")[0]
        found.setdefault(name, []).extend(zip(*points.get_data(), lengths * len(points.get_xdata()), strict=True))
    return found


def test_bars_and_single_trials_are_within_the_picture(make):
    wide = [make("made-mog", 10, nats, trial) for trial, nats in enumerate((100.0, 140.0))]
    for records in (wide, [make("a", None, 300.0, dataset="ring", groups=None)]):
        (table,) = build_tables(records)
        axes = draw_rows(table).axes[0]
        low, high = axes.get_xlim()
        for row in table.rows:
            error = 2 * (row.standard_error_naive if not table.is_patch else row.difference_standard_error or 0)
            assert all(low < end < high for end in (*row.trial_nats, row.nats - error, row.nats + error))


def test_a_row_far_below_stays_an_arrow_where_the_bars_of_others_reach_down_to_it(make):
    records = [make("a", 1, nats, trial) for trial, nats in enumerate((90.0, 150.0))]  # below the others, and spread
    records += [make("b", 1, nats, trial) for trial, nats in enumerate((104.0, 196.0))]
    records += [make(f"m{k}", 1, 149.0 + k / 10) for k in range(8)]
    (table,) = build_tables(records)
    figure = draw_rows(table)
    low, high = figure.axes[0].get_xlim()
    assert all(low < x < high for found in marks(figure).values() for x, _, _ in found)


def test_rows_a_few_thousandths_apart_do_not_fill_the_axis_and_ticks_show_their_values(make):
    (table,) = build_tables([make("resmade-mog", 10, 12345.3462), make("resmade-mog+w", 10, 12345.3497)])
    figure = draw_rows(table)
    low, high = figure.axes[0].get_xlim()
    assert high - low >= LEAST_SPAN
    figure_bytes(figure, "png")
    assert figure.axes[0].xaxis.get_offset_text().get_text() == ""
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert all(12345 <= float(label) <= 12346 for label in labels)


def test_the_rows_stand_below_one_another_the_best_on_top_beside_their_published_figures(make):
    records = [
        make("gaussian", None, 95.0),
        make("lde", 10, 150.0, groups=np.linspace(-3, 3, 12)),
        make("lde+w", 10, 152.0),
        *(make("made-mog", 10, nats, trial, groups=np.linspace(-3, 3, 12)) for trial, nats in enumerate((149, 151))),
        make("gmm", 200, 149.0),
    ]
    (table,) = build_tables(records)
    figure = draw_rows(table)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["lde+w K=10", "lde K=10", "made-mog K=10", "gmm K=200", "gaussian"]
    found = marks(figure)
    errors = {row.label: row.difference_standard_error for row in table.rows}
    assert errors["lde"]
    assert errors["lde"] > 1
    assert found["ours"] == [
        (152.0, 0, None),
        (150.0, 1, pytest.approx(2 * errors["lde"])),
        (150.0, 2, pytest.approx(2 * errors["made-mog"])),
        (149.0, 3, pytest.approx(2 * errors["gmm"], abs=1e-9)),
    ]
    assert [(x, round(y)) for x, y, _ in found["single trials of a row"]] == [(149, 2), (151, 2)]
    published = [(157.75, 1, 0.06), (153.71, 2, 0.28), (152.8, 3, None)]
    assert [(x, round(y), bar and pytest.approx(bar)) for x, y, bar in found["published"]] == published
    variant = found["published, of the model that ours is a variant of"]
    assert [(x, round(y)) for x, y, _ in variant] == [(157.75, 0)]
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words[:6] == ["ours", "152.00", "150.00", "150.00", "149.00", "95.00"]
    assert words[6:] == ["published", "157.75", "157.75", "153.71", "152.8 ?", "96.67"]
    assert "unverified, not seen in a source" in found
    # Far below: no mark at its value, but an arrow at the edge.
    low, high = figure.axes[0].get_xlim()
    assert 130 < low < 149
    assert high > 157.75
    arrows = [line.get_xydata() for line in figure.axes[0].get_lines() if line.get_marker() == "<"]
    assert [(low < x < 149, round(y)) for x, y in np.concatenate(arrows)] == [(True, 4)] * 2


def test_a_published_standard_error_is_drawn_twice_like_ours(make_samples):
    (table,) = build_tables([make_samples("gan", None, 200.0), make_samples("kmeans", None, 350.0)])
    found = marks(draw_rows(table))
    assert found["published"] == [(225.0, pytest.approx(1.24), pytest.approx(4.0))]
    assert found["ours"] == [(200.0, 1, pytest.approx(1.0))]
    assert found["ours, a row that models nothing"] == [(350.0, 0, pytest.approx(1.0))]


def test_the_bar_of_a_published_figure_beyond_all_of_ours_ends_on_the_axis(make_samples):
    (table,) = build_tables([make_samples("gan", None, 220.0), make_samples("gan:hidden=9", None, 221.0)])
    figure = draw_rows(table)
    (end,) = {x + bar for x, _, bar in marks(figure)["published"]}
    assert end == pytest.approx(229.0)
    assert end < figure.axes[0].get_xlim()[1]


def test_on_a_page_what_holds_photographs_is_a_small_png_and_all_else_svg():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([0, 1])
    kind, content = page_bytes(figure)
    assert (kind, content[:5]) == ("svg", b"<?xml")
    axes.imshow(np.random.default_rng(0).random((64, 64, 3)))
    kind, content = page_bytes(figure)
    assert kind == "png"
    assert content == page_bytes(figure)[1]
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (4 * PAGE_DPI, 3 * PAGE_DPI)
        assert image.mode == "P"
    assert len(content) < len(figure_bytes(figure, "svg"))


@pytest.mark.parametrize("components", [None, 7])
def test_a_single_row_can_be_drawn_for_print(make, tmp_path, components):
    (table,) = build_tables([make("a", components, dataset="natural8x8")])
    figure = entitle(draw_rows(table), table)
    write_figure(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx(figure.get_size_inches() * PRINT_DPI, abs=1)
    low, high = figure.axes[0].get_xlim()
    assert low < table.rows[0].test_nats < high


@pytest.mark.parametrize(("inches", "lines"), [(5.5, 1), (2.0, 4)])
def test_a_heading_is_as_wide_as_its_figure_at_most_and_breaks_no_sooner(make, inches, lines):
    (table,) = build_tables([make("a", None)])
    figure = draw_rows(table)
    figure.set_figwidth(inches)
    figure.set_dpi(PRINT_DPI)
    line = "1,000,000 training, 10,000 validation, 100,000 test patches (from 100 photographs)"
    figure = entitle(figure, replace(table, heading=[line]))
    (title,) = (text for text in figure.texts if line[:9] in text.get_text())
    assert title.get_text().count("\n") + 1 == lines
    assert title.get_window_extent(FigureCanvasAgg(figure).get_renderer()).x1 < figure.bbox.x1


@pytest.mark.slow
def test_nothing_is_clipped_at_the_edge_of_the_picture(sweep, make, tmp_path):
    long = "method_with_a_very_long_name:argument=1,other=2"
    rows = [make(long, 10, 140.0), make(long, 100, 141.0), make("lde", 10, 122.0)]
    (table,) = build_tables([*rows, make("gaussian", None, 96.4)])
    for number, (draw, each) in enumerate(product((draw_components, draw_rows), (sweep(3), table))):
        write_figure(entitle(draw(each), each), tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as image:
            pixels = np.asarray(image.convert("L"))
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert edge.min() == 255


@pytest.mark.slow
@pytest.mark.parametrize("letters", [3, 30, 60, 110, 300])
def test_legends_of_names_of_any_length_stand_within_the_figure(letters, tmp_path):
    names = [f"{number}:{'name,' * (letters // 5)}" for number in range(7)]
    curve = [CurvePoint(1, 2.0, 2.0, 100.0), CurvePoint(9, 20.0, 20.0, 101.0)]
    window = ParzenWindow(1000, 0.2, False, [0.1, 0.2], [99.0, 100.0], [100, 1000], [90.0, 100.0])
    for number, (figure, below) in enumerate(
        (draw_learning_curves([(name, [curve]) for name in names]), draw_windows([(name, window) for name in names]))
    ):
        assert below == []
        write_figure(figure, tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as image:
            pixels = np.asarray(image.convert("L"))
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert edge.min() == 255
        shown = "".join(text.get_text() for text in figure.legends[0].get_texts())
        assert shown.replace("\n", "") == "".join(names)


@pytest.mark.slow
def test_names_are_drawn_letter_by_letter_and_none_is_missing_in_a_legend(make):
    names = ("_mine:Flow", "my$x_$", "lde")
    records = [make(name, k, 150.0 + k, dataset="own$x_$") for name in names for k in (1, 10)]
    (table,) = build_tables(records)
    figure = entitle(draw_components(table), table)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == [" _mine:Flow", r"my\$x_\$", "lde"]
    assert figure.get_suptitle().startswith(r"bsds300: own\$x_\$, version 1")
    figure_bytes(figure, "svg")  # which parses what would be formulas
    figure_bytes(draw_rows(table), "svg")


def test_a_legend_tells_of_bars_only_where_there_are_some(make):
    one, two = (build_tables([make("lde", k, 150.0 + k) for k in range(1, count + 1)])[0] for count in (1, 2))
    assert labels(draw_rows(one))[0] == "ours"
    assert labels(draw_rows(two))[0].startswith("ours (bars: two standard errors of the paired difference")


def test_the_same_rows_give_the_same_file_and_svg_works_too(sweep, tmp_path):
    for name in ("one.png", "two.png", "three.svg"):
        write_figure(draw_components(sweep(3)), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert "<svg" in (tmp_path / "three.svg").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "three.svg", "two.png"]


@pytest.mark.slow
def test_drawing_needs_no_pyplot_and_reporting_no_torch():
    code = (
        "import sys; import lde_bench.report, lde_bench.report.figures as f, lde_bench.runs\n"
        "from matplotlib.figure import Figure\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("ae+lde+w:backbone=mlp K=30", ["ae+lde+w:backbone=mlp K=30"]),
        ("resmade-mog+w+haar+jpeg+sym:hidden=1536 K=10", ["resmade-mog+w+haar+jpeg+sym", ":hidden=1536 K=10"]),
        ("mine:first=1000000,second=2000000,third=3", ["mine:first=1000000,", "second=2000000,third=3"]),
        ("a_word_longer_than_a_line_has_letters K=3", ["a_word_longer_than_a_line_has_letters", "K=3"]),
    ],
)
def test_long_names_of_rows_break_where_a_part_of_them_ends(name, lines):
    assert _folded(name, 28).splitlines() == lines
