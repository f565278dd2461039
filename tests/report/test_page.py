# ruff: noqa: RUF001  (the dash of a missing value is an en dash)
from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from shown import build_tables

from lde_bench.errors import InputError
from lde_bench.experiments import experiment_of
from lde_bench.report.page import PICTURES, write_page
from lde_bench.report.published import load_published
from lde_bench.report.published_comparison import figure_of
from lde_bench.runs.store import RunPaths

HOSTILE = 'bad|<script>alert("x")</script>*[a](javascript:b)'
CURVE = [{"step": n, "cpu_seconds": n / 10, "wall_seconds": n / 5, "validation_nats": 140.0 + n} for n in (1, 2, 3)]
LAWS = {"causal": {"passed": True, "value": 1.5e-9, "bound": 1e-5}}


class Page(HTMLParser):
    """What a browser would fetch, the words it would show, and whether every element is closed."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.resources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name == "src" or (name.endswith("href") and tag != "a"):
                self.resources.append(value)
            elif name == "href":
                self.links.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def plain(markdown: str) -> str:
    """Markdown without its escapes and marks."""
    return re.sub(r"\\([\\|*_`<>\[\]~&$])", r"\1", markdown.replace("**", ""))


GPU = {"machine": {"gpu": "NVIDIA H200", "cpu": "Intel Xeon", "cores": 16, "memory_gib": 125.9, "platform": "Linux"}}


@pytest.fixture(scope="module")
def records(make):
    common = {"curve": CURVE, "laws": LAWS}
    command = {"command": "lde-bench bsds300 --K 10", "commit": "c0ffee" * 6, "dirty": True, "finished": "2026-01-02T"}
    training = {"steps": 4000, "batch_size": 128, "threads": 2}
    spread = np.linspace(-30, 30, 12) + np.sin(np.arange(12))
    return [
        make("gaussian", None, 96.4, training={"closed_form": True}, provenance=GPU, **common),
        make("lde", 10, 150.25, provenance=command, training=training, **common),
        *(
            make("lde+w", 10, 151.0 + t, t, provenance=command, training=training, groups=spread, **common)
            for t in (0, 1)
        ),
        make("gmm", 200, 149.0, **common),
        make(HOSTILE, 10, 120.0, **common),
        make("tan", 40, 158.0, failed="TrainingDiverged: the loss\nis NaN"),
        make("made-mog", 10, 999.0, laws={"normalised": {"passed": False, "value": 0.25, "bound": 0.001}}),
        make("gaussian", None, 100.0, dataset="natural8x8"),
    ]


def write_report(folder: Path, records, **options) -> tuple[str, str]:
    """Page and twin of `records`, which are stored in `folder` too; the report stands in `folder/here`."""
    runs = [(folder / "results" / f"{record.run_id}.json", record) for record in records]
    for path, record in runs:
        path.parent.mkdir(exist_ok=True)
        path.write_text(record.to_json())
    options = {"cache_dir": folder / "no-cache", **options}
    page, twin = write_page(runs, folder / "here", experiment_of, **options)
    return page.read_text(encoding="utf-8"), twin.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def report(folder, records):
    """The report of all `records`, page and twin."""
    return write_report(folder, records)


def test_the_page_needs_no_other_file_and_no_network(report):
    text, _ = report
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"link", "iframe", "object"}
    assert [place for place in page.resources if not place.startswith(("data:image/png;base64,", "#"))] == []
    assert not re.search(r"@import|url\((?!#)", text)


def test_an_id_stands_once_and_what_is_pointed_at_is_there(report):
    page = Page(report[0])
    assert len(page.ids) == len(set(page.ids))
    targets = [place[1:] for place in [*page.links, *page.resources] if place.startswith("#")]
    targets += re.findall(r"url\(#([^)]+)\)", report[0])
    assert targets
    assert set(targets) <= set(page.ids)


def test_sections_of_two_seeds_have_ids_and_pictures_of_their_own(make, tmp_path):
    def of_seed(seed):
        one = make("lde", 10, 150.0 + seed, curve=CURVE)
        return replace(one, run_id=f"run-{seed}", dataset=replace(one.dataset, seed=seed))

    text, twin = write_report(tmp_path, [of_seed(0), of_seed(1)])
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    pictures = re.findall(rf"\]\({PICTURES}/([^)]+)\)", twin)
    assert len(pictures) == len(set(pictures)) > 0


def test_what_could_not_be_verified_is_marked_wherever_the_row_stands(make, tmp_path):
    doubt = {"normalised": {"passed": True, "value": 0.05, "bound": 0.1, "verified": False, "detail": "not found"}}
    records = [make("lde", 10, 150.0, laws=LAWS), make("mine", None, 999.0, laws=doubt)]
    _, twin = write_report(tmp_path, records)
    assert "not verified: 0.05 of 0.1" in plain(twin)
    assert "| mine | not verified |" in plain(twin).replace("mine (normalisation not verified)", "mine")
    rows = [line for line in plain(twin).splitlines() if line.startswith("|") and "999.00" in line]
    assert rows
    assert all("mine (normalisation not verified)" in line for line in rows)
    (pair := tmp_path / "pair").mkdir()
    words = plain(write_report(pair, records, pair=("lde K=10", "mine"))[1])
    assert "minus lde K=10, paired on the same patches" in words


def test_every_method_is_named_and_every_trial_without_a_row_has_its_reason(report, records):
    text, twin = report
    for words in (Page(text).text, plain(twin)):
        for record in records:
            assert record.method in words
        assert "tan K=40, trial 1: TrainingDiverged: the loss is NaN" in words
        assert "made-mog K=10, trial 1: refused: breaks the law 'normalised'" in words
        assert "FAILED: 0.25 of 0.001" in words


def test_page_and_twin_print_the_values_of_the_table(report, records):
    text, twin = report
    words = Page(text).text
    for table in build_tables(records):
        for row in table.rows:
            shown = table.cells(row)
            assert " ".join(shown[1:]) in words
            assert " | ".join(shown[1:]) in plain(twin)


def test_page_and_twin_have_the_same_numbers_in_the_same_order(report):
    text, twin = report
    text = re.sub(r"<(style|svg|title|script)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<li>(?=lde-bench)", "<li>0. ", text)  # a browser numbers the commands by itself
    twin = re.sub(r"^\d+\. (?=lde-bench)", "0. ", twin, flags=re.MULTILINE)
    twin = re.sub(r"!\[.*?\]\(.*?\)|(?<=\])\([^)]*\)|<a .*?</a>", "", twin, flags=re.MULTILINE)
    numbers = re.compile(r"[-+]?\d[\d,.]*(?:e[-+]\d+)?")
    assert numbers.findall(html.unescape(re.sub(r"<[^>]*>", " ", text))) == numbers.findall(plain(twin))


def test_a_section_opens_with_a_picture_then_samples_then_the_table(report):
    text, twin = report
    section = twin.split("\n## ")[1]
    assert re.findall(r"^### (.*)|!\[.*b1-(.*)\.svg", section, flags=re.MULTILINE) == [
        ("", "headline"),
        ("Samples", ""),
        ("All results", ""),
        ("The published figures and ours", ""),
        ("Two methods, photograph by photograph", ""),
        ("", "photographs"),
        ("Learning curves", ""),
        ("", "learning"),
        ("Laws", ""),
        ("Cost", ""),
        ("Environment and provenance", ""),
    ]
    assert "Not in the picture: 2 trials without a row" in section
    assert "NVIDIA H200, Intel Xeon, 16 cores, 125.9 GiB, Linux" in section
    assert [len(part.split("<h3")[0].split("<svg")) for part in text.split("<h2")[1:3]] == [2, 2]


def test_a_hostile_name_is_text_and_nothing_else(report):
    text, twin = report
    page = Page(text)
    assert text.count("<script") == 1
    assert HOSTILE in page.text
    assert not any(link.startswith("javascript") for link in page.links)
    row = next(line for line in twin.splitlines() if line.startswith(r"| bad\|") and "120.00" in line)
    assert r"\<script\>" in row
    outside_code = twin.split("```")[0]
    assert "](javascript" not in outside_code.replace(r"\](javascript", "")


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_and_no_leftovers(report, records, folder):
    files = {path.name: path.read_bytes() for path in (folder / "here" / PICTURES).iterdir()}
    (folder / "here" / PICTURES / "old.svg").write_text("of an earlier report")
    with (folder / "here" / "report.md").open("a") as earlier:
        earlier.write(f"![that showed it]({PICTURES}/old.svg)")
    (folder / "here" / PICTURES / "mine.svg").write_text("which no report showed")
    assert write_report(folder, records) == report
    (folder / "here" / PICTURES / "mine.svg").unlink()
    assert {path.name: path.read_bytes() for path in (folder / "here" / PICTURES).iterdir()} == files
    assert set(re.findall(rf"\]\({PICTURES}/([^)]+)\)", report[1])) == set(files)


def test_links_lead_to_the_record_files(report, folder):
    text, twin = report
    links = [link for link in Page(text).links if link.endswith(".json")]
    assert links
    for link in links:
        assert (folder / "here" / link).is_file()
        assert f"]({link})" in twin


def test_a_published_figure_without_a_record_is_said_to_be_missing(report):
    words = plain(report[1])
    assert "| MAF MoG (5, K=10) | 2 SE over test patches | no record of maf-mog K=10 | 156.36 ± 0.28 | – |" in words
    assert "| LDE (K=10) | 2 SD over 5 trials | lde K=10 | 157.75 ± 0.06 | 150.25 ± – | 5.68 | -7.50 |" in words
    assert (
        "| LDE (K=10) | 2 SD over 5 trials | lde+w K=10 (a variant) | 157.75 ± 0.06 | 151.50 (151.00, 152.00)" in words
    )
    assert "4,000 steps of 128 | 1 | [trial 1](" in words
    assert "\n1. lde-bench bsds300 --K 10\n" in words
    assert "saw 0.51 million, 1/1,318 of that" in words


def test_unverified_figures_are_marked_wherever_they_are_printed(report):
    for words in (Page(report[0]).text, plain(report[1])):
        for figure in load_published():
            printed = re.findall(rf"(?<![\d.]){re.escape(figure.text)}(?![\d])([^|\d]{{0,14}})", words)
            assert printed
            if not figure.checked:
                assert all("(unverified)" in after for after in printed), figure.model


@pytest.mark.parametrize(
    ("method", "components", "model", "exact"),
    [
        ("lde", 30, "LDE (K=30)", True),
        ("lde+w", 30, "LDE (K=30)", False),
        ("lde", 5, None, False),
        ("lde:width=2", 30, "LDE (K=30)", False),
        ("mcgsm+sym", 128, "MCGSM (128 components) averaged over symmetries", True),
        ("mcgsm+sym", 16, "MCGSM (128 components) averaged over symmetries", False),
        ("deep-rnade:orderings=4", 10, "Deep RNADE (6 hidden layers, K=10)", False),
        ("deep-rnade:orderings=32", 10, "Ensemble of RNADE over 32 orderings", True),
        ("resmade-mog", 10, None, False),
        ("ldeish", 30, None, False),
    ],
)
def test_a_row_is_held_against_its_own_published_figure(make, method, components, model, exact):
    ((row,),) = [table.rows for table in build_tables([make(method, components)])]
    found = figure_of(row, load_published())
    assert (found and found[0].model) == model
    assert (found is not None and found[1]) == exact


@pytest.mark.slow
def test_what_is_not_comparable_stands_in_sections_of_its_own(tmp_path, make, records):
    old = make("lde", 10, 111.11, benchmark_version="0")
    words = plain(write_report(tmp_path, [*records, old])[1])
    assert "Figures of different sections are not comparable" in words
    assert "Benchmark version 0: not comparable with version 1." in words
    parts = words.split("\n## ")
    # But for the list of every figure there is.
    found = [("111.11" in part, "96.40" in part) for part in parts[1:] if not part.startswith("Published")]
    assert (True, True) not in found
    assert {(True, False), (False, True)} <= set(found)


@pytest.mark.slow
def test_the_photographs_of_two_named_methods_are_compared(report, tmp_path, records, make):
    words = plain(write_report(tmp_path, records[:5], pair=("gmm", "lde K=10"))[1])
    assert "lde K=10 minus gmm K=200, paired on the same patches: +1.25 ± 0.00 nats" in words
    assert "it is higher on 12 of the 12 photographs" in words
    assert "lde+w K=10 minus lde K=10" in plain(report[1])
    (own := tmp_path / "alone").mkdir()
    alone = [make(method, None, nats, groups=None, curve=CURVE) for method, nats in (("a", 1.0), ("b", 2.0))]
    words = plain(write_report(own, alone, pair=("a", "b"))[1])
    assert "The records do not tell which patches are of one photograph; see lde-bench compare." in words
    with pytest.raises(InputError, match="nosuch"):
        write_report(tmp_path, records, pair=("nosuch", "lde"))


@pytest.mark.slow
def test_samples_kept_beside_a_record_are_shown_on_one_scale(records, tmp_path):
    kept = np.random.default_rng(0).normal(0, 0.1, (64, 63))
    RunPaths(tmp_path / "results", records[1].run_id).save_samples(kept)
    text, twin = write_report(tmp_path, records[:5])
    assert text.count("data:image/png") == 1
    assert "True patches are left out" in twin
    assert "Neither samples nor weights were kept of gaussian, lde+w K=10, gmm K=200" in plain(twin)
    assert re.search(r"black is 0\.\d\d below the patch mean", twin)
    assert (tmp_path / "here" / PICTURES).joinpath(re.findall(r"/(\S+-samples-\w+\.png)", twin)[0]).is_file()


@pytest.mark.slow
def test_weights_that_are_not_those_of_the_record_are_left_out_and_told(records, tmp_path, caplog):
    caplog.set_level("INFO")
    done = replace(records[0], training={**records[0].training, "weights_sha256": "0" * 64})
    weights = RunPaths(tmp_path / "results", done.run_id).weights
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"of another run")
    write_report(tmp_path, [done, *records[1:5]])
    assert str(weights) in caplog.text


@pytest.mark.slow
def test_damaged_samples_are_left_out_and_told(records, tmp_path, caplog):
    damaged = RunPaths(tmp_path / "results", records[1].run_id).samples
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(b"\x93NUMPY")
    RunPaths(tmp_path / "results", records[2].run_id).save_samples(np.full((64, 63), 0.1))
    _, twin = write_report(tmp_path, records[:5])
    assert len(re.findall(r"samples-[0-9a-f]{8}\.png", twin)) == 1
    assert str(damaged) in caplog.text


def test_records_without_samples_curves_or_photographs_have_a_report_too(tmp_path, make):
    _, twin = write_report(tmp_path, [make("a", 1, groups=None), make("b", 2, failed="no")])
    assert "The records hold no validation curves." in twin
    assert "No samples and no weights were kept" in twin
    assert "b1-headline.svg" in twin


def test_a_report_of_failures_only_says_why(tmp_path, make):
    text, twin = write_report(tmp_path, [make("a", 1, failed="ValueError: no")])
    assert "ValueError: no" in text
    assert "(no trial finished)" in twin
    assert "bsds300: bsds300, version 1" in twin
    assert "svg" not in twin


def test_package_data_are_where_the_wheel_takes_them():
    import lde_bench.report

    folder = Path(lde_bench.report.__file__).parent
    for name in ("data/published_bsds300.csv", "data/references.bib", "templates/report.html", "templates/sort.js"):
        assert (folder / name).is_file()


@pytest.mark.parametrize("name", ["generate", "interpolate"])
def test_a_section_whose_picture_was_not_kept_says_so_and_what_it_is_of(tmp_path, make, name):
    _, twin = write_report(tmp_path, [make("ae", None, experiment=name, dataset="mnist", groups=None)])
    before, after = twin.split("### All results")
    assert "No picture was kept beside these records." in before
    assert f"- {name}: mnist, version 1" in before
    assert "| ae |" in after


STARTED = {"steps": 4_000, "first_loss": 812.5, "clip": 0.5, "clipped_share": 0.75}


def test_the_report_tells_where_trainings_began_and_what_the_clip_cut(tmp_path, make):
    other = STARTED | {"first_loss": 811.5, "clipped_share": 0.25}
    trials = [make(trial=trial, starts={"model": start}) for trial, start in enumerate((STARTED, other))]
    parts = {"autoencoder": {"steps": 10, "first_loss": 3.25}, "density": STARTED}
    records = [*trials, make("staged", None, starts=parts), make("untold", None)]
    part = write_report(tmp_path, records)[1].partition("Start and clip")[2].partition("###")[0]
    assert "| lde+w K=10 | model | 4,000 | 812 | 0.5 | 50% |" in part
    assert "| staged | autoencoder | 10 | 3.25 | – | – |" in part
    assert "| staged | density | 4,000 | 812.5 | 0.5 | 75% |" in part
    assert "untold" not in part


def test_a_report_of_records_that_tell_no_start_has_no_such_part(tmp_path, make):
    assert "Start and clip" not in write_report(tmp_path, [make()])[1]
