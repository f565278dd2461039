# ruff: noqa: RUF001  (the dash of a missing value is an en dash)
from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from shown import blocks_of, build_tables, to_latex, to_markdown, to_text

from lde_bench.cli.running import finish
from lde_bench.errors import NothingMeasured
from lde_bench.experiments import experiment_of
from lde_bench.report.folds import fold_summaries
from lde_bench.report.measures import POWER, RANK, REAL, TITLE, agreement, measures_panel, rank_correlation
from lde_bench.report.numbers import DASH
from lde_bench.report.page import PICTURES, write_page
from lde_bench.report.plots import draw_images
from lde_bench.report.published import load_published_parzen
from lde_bench.report.published_comparison import figure_of
from lde_bench.report.table import to_csv, to_payload
from lde_bench.runs.rows import ASKED
from lde_bench.runs.store import ResultStore, RunPaths

BAND = {"null": 0.9, "null_low": 0.85, "null_high": 0.95}


def measure(value: float, **more: float) -> dict[str, float]:
    return {"value": value, "standard_error": 0.01, **more}


def column(table, header: str) -> list[str]:
    place = table.headers.index(header)
    return [table.cells(row)[place] for row in table.rows]


@pytest.fixture
def records(make_samples):
    def measures(recall: float, mse: float | None = None):
        told = {
            "recall": measure(recall, **BAND),
            "c2st_power": measure(0.64, null=0.5, null_low=0.45, null_high=0.55),
            "memorisation_gap": measure(0.5 - recall, null=0.0, null_low=-0.03, null_high=0.03),
        }
        return told | ({} if mse is None else {"reconstruction_mse": measure(mse)})

    return [
        make_samples("iae+lde", 30, 331.5, encoder="b", measures=measures(0.8, 0.01)),
        make_samples("ae+lde", 30, 320.0, encoder="a", measures=measures(0.7, 0.02), sigma=0.18),
        make_samples("ae+lde", 30, 324.0, 1, encoder="c", measures=measures(0.6, 0.02)),
        make_samples("gan", None, 200.0, at_edge=True, measures=measures(0.5)),
        make_samples("aae", None, 335.0, measures=measures(0.9, 0.03)),
        make_samples("kmeans", None, 350.0, samples=5000, measures=measures(0.95)),
    ]


@pytest.fixture
def table(records):
    (table,) = build_tables(records)
    return table


def test_a_parzen_figure_is_called_so_and_never_a_test_log_likelihood(table):
    assert column(table, "Parzen log-likelihood (nats)")[-1] == "331.50 ± –"
    for rendering in (to_text, to_markdown, to_latex, to_csv):
        assert not re.search("test log-likelihood", rendering(table), re.IGNORECASE)
    assert "a figure of the samples and their window, not of the model" in to_text(table)
    assert "kmeans, which models nothing, shows it" in to_text(table)


def test_trials_with_an_autoencoder_each_are_one_row_in_the_order_of_the_papers_table(table):
    assert column(table, "method") == ["kmeans", "gan", "aae", "ae+lde", "iae+lde"]
    assert column(table, "trials") == ["1", "1", "1", "2", "1"]


def test_sigma_is_shown_with_a_mark_at_the_edge_of_its_grid(table):
    assert column(table, "sigma") == ["0.17", "0.17 (edge)", "0.17", "0.17, 0.18", "0.17"]
    assert "(edge): sigma is at the edge" in to_text(table)
    assert "Samples in the window: 10,000; of kmeans 5,000." in to_text(table)


def test_a_reference_row_is_never_the_best(table):
    assert column(table, "difference to best") == ["+15.00 ± –", "-135.00 ± –", "best", "-13.00 ± –", "-3.50 ± –"]


def test_the_published_figures_stand_beside_their_own_images_only(make_samples):
    def published(dataset, version="1"):
        (table,) = build_tables([make_samples(dataset=dataset, version=version)])
        return column(table, "published")[0] if "published" in table.headers else None

    assert published("mnist") == "326 ± 2"
    assert published("tfd-fold3") == "2476 ± 33"
    assert [published(name) for name in ("faces48", "digits8x8")] == [None, None]
    assert published("tfd-fold3", "1-unofficial") is None
    (table,) = build_tables([make_samples("ae+lde", 10), make_samples("ae+lde+w", 30), make_samples("ae", None)])
    assert set(column(table, "published")) == {"–"}


def test_the_published_figures_are_those_of_the_papers_table():
    cited = {
        name: [
            f"{figure.method} {figure.text} {figure.plus_minus:g}"
            for figure in load_published_parzen(name)
            if "Yoo et al. 2020" in figure.source
        ]
        for name in ("mnist", "tfd")
    }
    assert cited["mnist"] == [
        "deep-gsn 214 1", "gan 225 2", "vae-iaf 272 2", "gmmn+ae 282 2", "ae+lde 326 2", "iae+lde 326 2", "evae 337 2",
        "aae 340 2",
    ]  # fmt: skip
    assert cited["tfd"] == [
        "deep-gsn 1890 29", "gan 2057 26", "gmmn+ae 2204 20", "aae 2252 16", "evae:latent=25 2371 20",
        "ae+lde 2476 33", "iae+lde 2507 32",
    ]  # fmt: skip
    assert load_published_parzen("faces48") == ()


def test_the_figures_of_the_vaes_are_those_of_the_networks_they_were_published_for(make_samples):
    """Yeung et al. 2017, Tables 1 and 2: the smaller VAE has our two layers of 1,000."""
    methods = ["vae", "vae:hidden=500,layers=3", "evae", "evae:hidden=1000,layers=2", "evae:latent=25"]
    shown = {}
    for dataset in ("mnist", "tfd-fold1"):
        tables = [build_tables([make_samples(method, None, dataset=dataset)])[0] for method in methods]
        shown[dataset] = [column(table, "published")[0] for table in tables]
    assert shown["mnist"] == ["290 ± 2", "325 ± 2", "337 ± 2", "331 ± 2", "–"]
    assert shown["tfd-fold1"] == ["2149 ± 23", "2180 ± 20", "2353", "2278 ± 26", "2371 ± 20"]


def test_every_published_model_has_a_method_here():
    from lde_bench.generators import generator_classes, parse_generator

    for dataset in ("mnist", "tfd"):
        for figure in load_published_parzen(dataset):
            assert parse_generator(figure.method).name in generator_classes()


def test_the_first_panel_marks_what_two_real_sets_would_not_give(table):
    text, score = (
        to_text(table).split("The same samples by better-founded measures")[1].split("Parzen log-likelihood\n")
    )
    assert "published" in score
    lines = {line.split("  ")[0]: line for line in text.splitlines() if line}
    assert "0.950 ± 0.010 " in lines["kmeans"]
    assert "0.950 ± 0.010 *" not in lines["kmeans"]
    assert "0.500 ± 0.010 *" in lines["gan"]
    assert "0.650 (0.700, 0.600) SE 0.010 *" in lines["ae+lde K=30"]
    assert "0.850 to 0.950" in lines["real images"]
    assert "with accuracy 0.640 (real images: 0.450 to 0.550)." in text
    assert POWER not in text


@pytest.mark.slow
def test_nats_of_codes_carry_the_letter_of_their_encoder_and_are_never_ranked_across(make_samples, tmp_path):
    records = [
        make_samples(f"{kind}+{density}", k, 300.0 + k, encoder=kind, measures={"code_nats": measure(k)})
        for kind in ("ae", "iae")
        for density, k in (("lde", 30), ("lde", 10), ("gmm", 20), ("gmm", 5))
    ]
    (table,) = build_tables(records)
    panel = next(block for block in blocks_of(table) if getattr(block, "title", ""))
    assert [(row[0], row[1][-3:]) for row in panel.rows[:-1]] == [
        (row.label + f" K={row.components}", "[a]" if row.label.startswith("ae") else "[b]") for row in table.rows
    ]
    twin = report(tmp_path, records)[1]
    assert twin.count(r"| code log-likelihood (nats) \[a\] | higher | 4 | 1.00 |") == 1
    assert "| 8 | " not in twin


def test_nats_of_codes_have_their_letters_in_the_tables_of_figures_too(make_samples):
    records = [
        replace(make_samples("ae+lde", k, encoder=kind, measures={"code_nats": measure(k)}), experiment="generate")
        for kind, k in (("one", 10), ("one", 20), ("other", 30))
    ]
    (table,) = build_tables(records)
    column = table.headers.index("code log-likelihood (nats)")
    assert [table.cells(row)[column].split()[-1] for row in table.rows] == ["[a]", "[a]", "[b]"]
    assert sum("one and the same trained autoencoder; these have one letter." in note for note in table.notes) == 1


def test_the_file_of_numbers_has_the_samples_beside_the_usual_columns(table):
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert rows[3]["sigmas"] == "0.18;0.17"
    assert float(rows[3]["recall"]) == pytest.approx(0.65)
    assert rows[0]["recall_null_low"] == "0.85"
    assert rows[0]["reconstruction_mse"] == rows[0]["published_nats"] == ""
    assert rows[2]["published_nats"] == "340.0"
    assert to_payload(table)["rows"][1]["samples"]["at_edge"] is True


def test_images_and_persons_are_called_so(make_samples):
    (table,) = build_tables(
        [make_samples(dataset="faces48", persons=True), make_samples("gan", None, dataset="faces48", persons=True)]
    )
    assert "test images (from 12 persons)" in table.heading[1]
    assert "SE by person" in table.headers
    assert not re.search("photograph|patch", to_text(table))


def test_folds_have_a_mean_over_them_beside_one_fold_alone(make_samples, caplog):
    nats = [2400.0, 2500.0, 2450.0, 2550.0, 2600.0]
    records = [
        make_samples("ae+lde", 30, value, dataset=f"tfd-fold{fold}", content_hash=f"{fold}" * 64)
        for fold, value in enumerate(nats, 1)
    ]
    (summary,) = fold_summaries(build_tables(records))
    (row,) = summary.rows
    assert row.mean_nats == pytest.approx(2500)
    assert row.standard_error_over_folds == pytest.approx(np.std(nats, ddof=1) / 5**0.5)
    assert (row.single_nats, row.single_standard_error) == (2400.0, 0.5)
    text = to_text(summary)
    assert "fold 1 alone   SE over images   published" in text
    assert "2500.00           35.36        2400.00             0.50   2476 ± 33" in text
    assert row.fold_nats == tuple(nats)
    assert fold_summaries(build_tables(records[:1])) == []
    without = [replace(table, score="") for table in build_tables(records)]
    assert fold_summaries(without) == []
    # Windows of other numbers of samples have a summary of their own.
    more = [make_samples("ae+lde", 30, 3100.0, dataset=f"tfd-fold{fold}", samples=20_000) for fold in (1, 2)]
    assert [each.budget for each in fold_summaries(build_tables([*records, *more]))] == [
        "quick",
        "quick, 20,000 samples",
    ]
    # A fold of two contents: nobody knows which belongs to the others.
    twice = make_samples("ae+lde", 30, 9999.0, dataset="tfd-fold1", content_hash="f" * 64)
    assert fold_summaries(build_tables([*records, twice])) == []
    assert "a fold has records of two contents" in caplog.text


# ---- the page


def report(folder, records, samples=()) -> tuple[str, str]:
    runs = [(folder / "results" / f"{record.run_id}.json", record) for record in records]
    for path, record in runs:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(record.to_json())
    for record, images in samples:
        RunPaths(folder / "results", record.run_id).save_samples(images)
    page, twin = write_page(runs, folder / "here", experiment_of, cache_dir=folder / "no-cache")
    return page.read_text(encoding="utf-8"), twin.read_text(encoding="utf-8")


def test_the_page_has_windows_sheets_published_figures_and_nothing_of_patches(records, tmp_path, monkeypatch):
    monkeypatch.setenv("LDE_BENCH_DATA", str(tmp_path / "unmounted"))  # a report is written all the same
    images = np.random.default_rng(0).random((100, 784))
    text, twin = report(tmp_path, records, [(records[0], images)])
    for words in (text, twin):
        assert not re.search(
            "photograph|8x8 patches of|test log-likelihood|[Ll]earning curves", words.split("References")[1]
        )
        for title in ("The published figures and ours", "The window", "Samples"):
            assert title in words
    assert "No samples were kept of kmeans, gan, aae, ae+lde K=30." in twin
    assert "Real images are left out" in twin
    assert "| Deep GSN | SE over test images | no record of deep-gsn | 214 ± 1 |" in twin
    assert (
        "kmeans, which models nothing, has a higher Parzen figure of its 5,000 images than 4 of the 4 models." in twin
    )
    names = {re.sub(r"-[0-9a-f]{8}", "", p.name.rsplit("b1-")[1]) for p in (tmp_path / "here" / PICTURES).iterdir()}
    assert names == {"headline.svg", "windows.svg", "samples.png"}
    assert "theis2016note" in text
    assert re.findall(r"<tfoot>\s*<tr>\s*<td class=\"words\">(.*?)</td>", text) == ["real images"]


@pytest.mark.slow
def test_real_images_stand_first_where_the_dataset_is_at_hand(make_samples, tmp_path):
    from lde_bench.data import load_dataset

    digits = load_dataset("digits8x8")
    record = make_samples("gan", None, dataset="digits8x8", content_hash=digits.content_hash)
    _, twin = report(tmp_path, [record], [(record, digits.train[:100])])
    assert "| test images | gan |" in twin
    other = make_samples("gan", None, dataset="digits8x8")
    _, twin = report(tmp_path / "other", [other], [(other, digits.train[:100])])
    assert "Real images are left out" in twin


@pytest.mark.slow
def test_the_order_of_the_models_is_compared_without_the_references(records, tmp_path):
    twin = report(tmp_path, records)[1]
    assert "| recall | at its null | 4 | 1.00 | 0.083 |" in twin  # one of 24 orders, and its mirror image
    assert "| memorisation gap | at its null | 4 | -1.00 | 0.083 |" in twin
    assert "reconstruction MSE | lower" not in twin  # three models have one
    assert "Fewer than 4 models" in report(tmp_path / "other", records[3:])[1]


def test_a_rank_correlation_is_that_of_scipy_and_its_p_is_exact(table):
    models = [row for row in table.rows if row.method != "kmeans"]
    assert rank_correlation(models, "recall", "higher") == pytest.approx((1.0, 2 / 24))
    assert rank_correlation(models, "recall", "lower") == pytest.approx((-1.0, 2 / 24))
    assert rank_correlation(models, POWER, "higher") == (None, None)


def test_a_sheet_is_ten_by_ten_images_the_right_way_up():
    images = np.zeros((100, 28 * 28), dtype=np.float32)
    images[13, 2 * 28 + 5] = 1.0  # second row, fourth image; its third row, sixth pixel
    images[0] = -3.0
    with Image.open(io.BytesIO(draw_images(images, (1, 28, 28)))) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (291, 291)
    assert np.argwhere(pixels == 255).tolist() == [[1 + 29 + 2, 1 + 3 * 29 + 5]]
    assert pixels[1, 1] == 0


def test_measures_of_two_feature_spaces_stand_in_tables_of_their_own_and_are_compared_apart(make_samples):
    def record(number: int, space: str):
        training = {} if space == "pixels" else {"space": space}
        measures = {"recall": measure(0.1 * number if space == "pixels" else 0.9 - 0.1 * number, **BAND)}
        made = make_samples(f"ae+lde:latent={number + 2}", None, 300.0 + number, measures=measures)
        return replace(made, training=made.training | training)

    (table,) = build_tables([record(number, space) for space in ("pixels", "vgg19-relu3_1") for number in range(4)])
    text = to_text(table)
    assert text.count(TITLE) == 2
    assert f"{TITLE}, in vgg19-relu3_1" in text
    assert f"{TITLE}, in pixels" in text
    assert [
        text.count(f"Distances between images: those of {words}")
        for words in ("raw pixels.", "VGG19 features (vgg19-relu3_1: ")
    ] == [1, 1]
    words, grid = agreement(table.rows, "Parzen")[:2]
    assert [line[:3] for line in grid.rows] == [
        ["recall [pixels]", "at its null", "4"],
        ["recall [vgg19-relu3_1]", "at its null", "4"],
    ]
    assert "agrees with recall [pixels] and runs against recall [vgg19-relu3_1]" in str(words)


def test_what_is_best_at_its_null_says_what_is_wrong_on_either_side(make_samples):
    measures = {name: measure(0.5, **BAND) for name in ("memorisation_gap", "sharpness")}
    (table,) = build_tables([make_samples(measures=measures)])
    text = " ".join(to_text(table).split())
    assert "Best at its null, and at fault on either side: memorisation gap, sharpness." in text
    assert "memorisation gap: below, the samples are copies; above, off the data." in text
    assert "sharpness: below, the samples are blurred; above, noisy." in text


def test_published_figures_stand_beside_windows_of_as_many_samples_only(make_samples):
    for samples, there in ((10_000, True), (100_000, False)):
        (table,) = build_tables([make_samples("ae+lde", 30, 320.0, samples=samples)])
        (row,) = table.rows
        assert (row.samples.published_nats is not None) is there
        assert (figure_of(row, table.published) is not None) is there
        assert column(table, "published") == ["326 ± 2" if there else DASH]


def test_windows_of_as_many_samples_make_a_table(make_samples):
    few = [make_samples("gan", None, 200.0), make_samples("vae", None, failed="no", training={ASKED: 10_000})]
    many = [make_samples("gan", None, 290.0, 1, samples=100_000), make_samples("aae", None, 310.0, samples=100_000)]
    kmeans = [make_samples("kmeans", None, 250.0), make_samples("kmeans", None, 350.0, samples=100_000)]
    images = make_samples("validation-images", None, 150.0, samples=1_666)  # of before: of the usual number
    training = make_samples("train-samples", None, 320.0, samples=55_000, training={ASKED: 100_000})
    usual, larger = build_tables([*few, *kmeans, *many, images, training])
    assert [row.method for row in usual.rows] == ["validation-images", "kmeans", "gan"]
    assert [row.method for row in larger.rows] == ["train-samples", "kmeans", "gan", "aae"]
    # The highest is that of its own table, and each says on how many samples it stands.
    assert [row.label for table in (usual, larger) for row in table.rows if row.is_highest] == ["gan", "aae"]
    assert (usual.window, larger.window) == (None, 100_000)
    assert [any("100,000 samples" in line for line in table.heading) for table in (usual, larger)] == [False, True]
    assert [len(table.failures) for table in (usual, larger)] == [1, 0]


def test_a_reference_of_a_number_of_its_own_has_a_table_of_its_own(make_samples):
    gan, kmeans = make_samples("gan", None, 200.0), make_samples("kmeans", None, 350.0, samples=100_000)
    assert [[row.method for row in table.rows] for table in build_tables([gan, kmeans])] == [["gan"], ["kmeans"]]


def test_a_report_has_a_section_for_each_number_of_samples(make_samples, tmp_path):
    _, twin = report(tmp_path, [make_samples("gan", None, 200.0), make_samples("gan", None, 290.0, 1, samples=20_000)])
    titles = re.findall(r"^## (parzen.*)$", twin, flags=re.MULTILINE)
    assert titles == ["parzen: mnist (version 1), quick", "parzen: mnist (version 1), quick, 20,000 samples"]


def test_a_sweep_writes_the_table_of_its_own_number_of_samples(make_samples, tmp_path, capsys):
    store = ResultStore(tmp_path)
    few, many = make_samples("gan", None, 200.0), make_samples("aae", None, 310.0, samples=20_000)
    for record in (few, many):
        store.write(record)
    folder = store.paths(few).folder
    assert finish([many], store, json=False, suffix="-samples20000") == 0
    assert finish([few], store, json=False) == 0

    def tables() -> dict[str, list[str]]:
        return {path.stem: [row["method"] for row in csv.DictReader(path.open())] for path in folder.glob("*.csv")}

    expected = {"table": ["gan"], "table-samples20000": ["aae"]}
    assert tables() == expected
    # One of which nothing came leaves the table of the others as it is.
    failed = make_samples("vae", None, failed="no", training={ASKED: 20_000})
    store.write(failed)
    with pytest.raises(NothingMeasured):
        finish([failed], store, json=False, suffix="-samples20000")
    assert tables() == expected


def test_one_trial_at_the_edge_of_its_grid_marks_the_row(make_samples):
    records = [make_samples("gan", None, 200.0 + trial, trial, at_edge=trial == 1) for trial in range(3)]
    (table,) = build_tables(records)
    assert table.rows[0].samples.at_edge


def test_the_mean_rank_is_by_the_distance_from_the_null_and_shared_within_its_band(make_samples):
    def record(method: str, recall: float):
        told = {"value": recall, "standard_error": 0.01, "null": 0.9, "null_low": 0.8, "null_high": 1.0}
        return make_samples(method, None, 300.0, measures={"recall": told})

    (table,) = build_tables([record("gan", 0.2), record("aae", 0.85), record("vae", 0.95), record("evae", 0.6)])
    grid, _ = measures_panel(table.rows)
    place = grid.headers.index(RANK)
    ranks = {line[0]: line[place] for line in grid.rows}
    assert ranks == {"aae": "1.5", "vae": "1.5", "evae": "3.0", "gan": "4.0", REAL: DASH}
