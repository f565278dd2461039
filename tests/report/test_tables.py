# ruff: noqa: RUF001  (the dash of a missing value is an en dash)
from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from shown import build_tables, print_tables, to_latex, to_markdown, to_text, write_tables

from lde_bench.cards import describe_method
from lde_bench.evaluation.statistics import GroupMeans
from lde_bench.report.experiment import INPUT_NOTE
from lde_bench.report.rows import budgets_are_equal, build_rows
from lde_bench.report.section import budget_text
from lde_bench.report.table import to_csv, to_payload

GOLDEN = """\
bsds300: bsds300, version 1 (seed 0, content abababababab)
100,000 training, 2,000 validation, 20,000 test patches (from 12 photographs)
profile quick, benchmark version 1

method      K   parameters   trials   input         test log-likelihood (nats)   SE by photograph   difference to highest   CPU seconds           paper
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
gaussian    –      367,662        1   any                            96.40 ± –               5.68           -54.10 ± 0.00           2.5               –
lde+w       1      367,662        2   Cholesky         149.00 (148.50, 149.50)               5.68            -1.50 ± 0.58         1,234               –
lde+w      10      367,662        3   Cholesky                   150.50 ± 1.00               5.68                 highest            20               –
lde        10      367,662        1   scalar unit                   122.00 ± –               5.68           -28.50 ± 0.00            20   157.75 ± 0.06

Without a row:
  lde+w K=30, trial 2: TrainingDiverged: the loss is NaN at step 12

gaussian: """  # noqa: E501


@pytest.fixture
def records(make):
    return [
        make("gaussian", None, 96.4, cpu_seconds=2.5),
        make("lde+w", 10, 150.0, 0),
        make("lde+w", 10, 150.5, 1),
        make("lde+w", 10, 151.0, 2),
        make("lde+w", 1, 148.5, 0, cpu_seconds=1234.4),
        make("lde+w", 1, 149.5, 1, cpu_seconds=1234.4),
        make("lde", 10, 122.0),
        make("lde+w", 30, trial=1, failed="TrainingDiverged: the loss\nis NaN at step 12"),
    ]


@pytest.fixture
def table(records):
    (table,) = build_tables(records)
    return table


def column(table, header: str) -> list[str]:
    place = table.headers.index(header)
    return [table.cells(row)[place] for row in table.rows]


def squeezed(text: str) -> str:
    """The text without the widths of its columns, in which releases of rich differ by a space."""
    return re.sub("─+", "─", re.sub(" +", " ", text))


def test_the_whole_table_reads_as_it_should(table):
    assert squeezed(to_text(table)).startswith(squeezed(GOLDEN))
    assert table.notes[:3] == tuple(f"{name}: {describe_method(name)}." for name in ("gaussian", "lde+w", "lde"))
    assert table.notes[3] == INPUT_NOTE
    assert table.notes[4].startswith("± after the log-likelihood: 2 standard deviations over trials")


def test_width_and_colour_of_the_surroundings_change_nothing_off_a_terminal(table, monkeypatch):
    expected = to_text(table)
    for name, value in {"COLUMNS": "40", "FORCE_COLOR": "1", "TERM": "xterm", "LINES": "10"}.items():
        monkeypatch.setenv(name, value)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    print_tables([table], stream)
    stream.flush()
    assert stream.buffer.getvalue().decode() == expected == to_text(table)
    assert "\x1b" not in expected


def test_a_long_method_name_is_never_cut_or_folded(make):
    name = "my_package.some_module:SomeClass:" + ",".join(f"argument_{i}={i}" for i in range(60))
    (table,) = build_tables([make(name, 10), make("[bold]odd[/bold] :smile:", 10)])
    assert name in to_text(table)
    assert name in to_csv(table)
    assert "[bold]odd[/bold] :smile:" in to_text(table)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_folds_and_cuts_nothing(table, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    print_tables([table, table], stream)
    text = stream.getvalue()
    assert "\x1b[1m" in text
    assert "…" not in text
    assert "gaussian" in text
    assert text.count("TrainingDiverged: the loss is NaN at step 12") == 2


def test_a_stream_that_cannot_say_plus_minus_gets_ascii(table):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    print_tables([table], stream)
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "150.50 +- 1.00" in text
    assert "?" not in text


def test_paired_difference_uses_the_photographs_and_not_the_two_errors(make):
    rng = np.random.default_rng(3)
    hardness = rng.normal(0, 20, 12)
    gain = rng.normal(0, 1, 12)
    better = make("a", 1, 100.0, groups=hardness + gain)
    worse = make("b", 1, 98.0, groups=hardness)
    (table,) = build_tables([better, worse])
    best, other = table.rows
    centred = gain - gain.mean()
    assert best.is_best
    assert other.difference == pytest.approx(-2.0, abs=1e-9)
    assert other.difference_standard_error == pytest.approx(math.sqrt(12 / 11 * (centred @ centred)) / 12)
    assert other.standard_error_clustered > 5 * other.difference_standard_error


def test_the_difference_of_rows_of_several_trials_counts_what_another_seed_changes(make):
    records = [make(name, 1, nats + 0.3 * t, t) for name, nats in (("a", 100.0), ("b", 98.0)) for t in (0, 1)]
    (table,) = build_tables(records)
    _, other = table.rows
    assert other.difference == pytest.approx(-2.0)
    # The photographs differ by the same in every one, the seeds by 0.3 on either side.
    assert other.difference_standard_error == pytest.approx(math.sqrt(2 * 0.045 / 2), rel=1e-6)


def test_a_row_without_a_figure_is_not_above_one_of_negative_nats(make):
    record = make("a", 1, 0.0)
    without = replace(record, result=replace(record.result, test_nats=None))
    rows = build_rows([("a", [without]), ("b", [make("b", 1, -50.0)])], shows_paper=False, figures=())
    assert [row.is_highest for row in rows] == [False, True]


def test_only_of_equal_budgets_is_one_called_the_best(make):
    def spent(seconds):
        record = make(f"m{seconds:g}", 1, 100.0 + seconds / 100)
        return replace(record, cost=replace(record.cost, training_cpu_seconds=seconds))

    equal = [spent(95.0), spent(100.0), spent(109.0)]
    (table,) = build_tables(equal)
    assert column(table, "difference to best")[-1] == "best"
    assert "95 to 109 CPU seconds of training" in to_text(table)

    (table,) = build_tables([*equal, spent(120.0)])
    assert column(table, "difference to highest")[-1] == "highest"
    assert not any(row.is_best for row in table.rows)
    assert "not called the best" in " ".join(to_text(table).split())

    # What a record of before does not tell apart is the whole trial; a fit that ends by itself has no budget.
    whole = [make("a", 1, 100.0, cpu_seconds=100.0), make("b", 1, 101.0, cpu_seconds=300.0)]
    assert not any(row.is_best for row in build_tables(whole)[0].rows)
    closed = make("b", 1, 101.0, cpu_seconds=1.0, training={"density": {"closed_form": True}})
    assert build_tables([whole[0], closed])[0].rows[1].is_best

    # A model alone is the best of nothing, whatever references stand beside it.
    (table,) = build_tables([whole[0], make("train-samples", 1, 90.0, cpu_seconds=100.0)])
    assert [(row.is_best, row.is_highest) for row in table.rows] == [(False, True), (False, False)]


def test_under_ten_photographs_the_clustered_errors_are_dashes(make):
    few = list(range(9))
    (table,) = build_tables([make("a", 1, 100.0, groups=few), make("b", 1, 98.0, groups=few)])
    assert column(table, "SE by photograph") == ["–", "–"]
    assert column(table, "difference to best") == ["best", "-2.00 ± –"]


def test_data_without_photographs_has_a_table_too(make):
    mine = {"dataset": "mine", "version": "user", "groups": None}
    (table,) = build_tables([make("a", 1, 100.0, **mine), make("b", 1, 98.0, **mine)])
    assert column(table, "SE over items") == ["0.50", "0.50"]
    assert column(table, "difference to best") == ["best", "-2.00 ± –"]
    assert "20,000 test items" in table.heading[1]
    assert not re.search("patch|photograph", to_text(table))


def test_groups_of_other_data_are_called_groups_and_not_photographs(make):
    mine = {"dataset": "mine", "version": "user"}
    (table,) = build_tables([make("a", 1, 100.0, **mine), make("b", 1, 98.0, **mine)])
    assert "SE by group" in table.headers
    assert "20,000 test items (from 12 groups)" in table.heading[1]
    assert not re.search("patch|photograph", to_text(table))


def test_rows_that_take_over_weights_say_whose_seconds_they_count(make):
    trained = {"steps": 100, "batch_size": 128}
    mixture = make("lde+w+ens", training={**trained, "weights_of": ["one", "two"]})
    (table,) = build_tables([make("lde+w", training=trained), mixture])
    (note,) = [note for note in table.notes if note.startswith("CPU seconds")]
    assert note.startswith("CPU seconds of lde+w+ens: with those of the runs whose weights")
    assert budget_text(mixture) == "2 times 100 steps of 128"


def test_patches_of_unknown_photographs_get_no_error_that_takes_them_as_independent(make):
    made = [make(method, None, nats, dataset="bsds300-hdf5", groups=None) for method, nats in (("a", 9.0), ("b", 8.0))]
    blocks = GroupMeans.of_blocks(np.random.default_rng(0).normal(size=2000))
    (table,) = build_tables([replace(one, result=replace(one.result, blocks=blocks)) for one in made])
    assert column(table, "SE by photograph") == ["–", "–"]
    assert column(table, "difference to best") == ["best", "-1.00 ± –"]


def test_a_file_of_a_users_own_called_bsds300_is_not_held_against_the_paper(make):
    (table,) = build_tables([make("lde", 10, dataset="bsds300", version="user")])
    assert not table.shows_paper
    assert "paper" not in table.headers


def test_spread_is_shown_from_three_trials_values_at_two_a_dash_at_one(make):
    for trials, shown in [(1, "100.00 ± –"), (2, "100.50 (100.00, 101.00)"), (3, "101.00 ± 2.00")]:
        (table,) = build_tables([make("a", 1, 100.0 + trial, trial) for trial in range(trials)])
        assert column(table, "test log-likelihood (nats)") == [shown]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"dataset": "natural8x8"}, "dataset"),
        ({"version": "2"}, "version"),
        ({"content_hash": "cd" * 32}, "content"),
        ({"benchmark_version": "2"}, "benchmark"),
        ({"budget": {"profile": "standard"}}, "profile"),
        ({"budget": {"profile": "quick", "steps": 300}}, "steps"),
        ({"experiment": "parzen"}, "experiment"),
    ],
)
def test_what_cannot_be_compared_never_shares_a_table(make, change, name):
    tables = build_tables([make("a", 1, 100.0), make("b", 1, 120.0, **change)])
    assert [len(table.rows) for table in tables] == [1, 1]
    assert all(table.rows[0].is_highest for table in tables)


def test_the_papers_figures_are_for_plain_lde_on_bsds300_only(make):
    methods = ["lde", "lde+w", "lde:width=2", "gaussian"]
    (table,) = build_tables([make(method, 30) for method in methods])
    assert column(table, "paper") == ["158.02 ± 0.06", "–", "–", "–"]
    (table,) = build_tables([make("lde", components) for components in (1, 2, 10, 30, 100)])
    assert column(table, "paper") == [
        "152.68 ± 0.52",
        "–",
        "157.75 ± 0.06",
        "158.02 ± 0.06",
        "157.03 ± 0.30",
    ]
    (table,) = build_tables([make("lde", 30, training={"augment": "symmetries"})])
    assert column(table, "paper") == ["–"]
    for dataset in ("natural8x8", "bsds300-hdf5"):
        (table,) = build_tables([make("lde", 30, dataset=dataset)])
        assert "paper" not in table.headers
        for rendering in (to_text, to_markdown, to_latex, to_csv):
            assert "158.02" not in rendering(table)
            assert "Yoo" not in rendering(table)


def test_options_that_all_share_stand_in_the_heading_and_those_that_differ_in_the_label(make):
    fresh = {"patches": "fresh", "augment": "symmetries"}
    (table,) = build_tables([make("a", 1, training=fresh), make("b", 1, training=fresh)])
    assert table.heading[2] == "profile quick, fresh patches, augmented by symmetries, benchmark version 1"
    assert column(table, "method") == ["a", "b"]
    (table,) = build_tables([make("a", 1, training=fresh), make("a", 1, 151.0), make("b", 1)])
    assert table.heading[2] == "profile quick, benchmark version 1"
    assert column(table, "method") == ["a (fresh patches, augmented by symmetries)", "a", "b"]


def test_precision_is_in_the_label_when_one_method_has_several_and_else_in_a_note(make):
    bf16, fp32 = {"precision": "bf16"}, {"precision": "fp32"}
    (table,) = build_tables([make("a", 1, training=bf16), make("a", 1, 151.0, training=fp32)])
    assert column(table, "method") == ["a (bf16)", "a (fp32)"]
    failed = make("b", 1, trial=1, training={"precision": "auto"}, failed="ValueError: no")
    (table,) = build_tables([make("a", 1, training=bf16), make("b", 1, training=fp32), failed])
    assert column(table, "method") == ["a", "b"]
    assert "Training steps: a in bf16; b in fp32; all log-likelihoods" in to_text(table)
    assert "  b K=1, trial 2: ValueError: no\n" in to_text(table)
    (table,) = build_tables([make("a", 1, training=fp32)])
    assert "Training steps" not in to_text(table)


def test_trials_with_other_training_options_are_another_row(make):
    records = [make("a", 1, trial=trial, training={"batch_size": 64 << trial}) for trial in range(2)]
    (table,) = build_tables([*records, make("b", 1, training={"batch_size": 7})])
    assert column(table, "method") == ["a (batch_size=64)", "a (batch_size=128)", "b"]
    assert column(table, "trials") == ["1", "1", "1"]
    (table,) = build_tables([make("a", 1, trial=trial, training={"threads": trial}) for trial in range(2)])
    assert column(table, "trials") == ["2"]


def test_parts_that_differ_in_an_outcome_are_one_row_and_in_a_choice_are_named(make):
    def trial(number, **density):
        return make("ae+lde", 1, trial=number, training={"autoencoder": {"rate": 1}, "density": density})

    (table,) = build_tables([trial(0, rate=1), trial(1, rate=1, stopped_early=True)])
    assert (column(table, "method"), column(table, "trials")) == (["ae+lde"], ["2"])
    (table,) = build_tables([trial(0, rate=1), trial(1, rate=2)])
    assert column(table, "method") == ["ae+lde (density.rate=1)", "ae+lde (density.rate=2)"]


def test_a_budget_in_seconds_is_called_machine_dependent(make):
    budget = {"profile": "quick", "steps": None, "seconds": 100, "machine_dependent": True}
    (table,) = build_tables([make("a", 1, trial=t, budget=budget, training={"steps": 900 + t}) for t in (0, 1)])
    assert "profile quick, 100 seconds (machine-dependent)" in table.heading[2]
    assert column(table, "trials") == ["2"]


@pytest.mark.parametrize(
    ("steps", "told"), [(None, "profile quick, steps of 1,024 rows"), (700, "profile quick, 700 steps of 1,024 rows")]
)
def test_a_batch_of_its_own_is_told(make, steps, told):
    budget = {"profile": "quick", "steps": steps, "seconds": None, "machine_dependent": False, "batch": 1024}
    (table,) = build_tables([make("a", 1, budget=budget)])
    assert table.heading[2].startswith(f"{told}, ")


def test_a_model_that_broke_a_law_gets_no_row_and_the_law_is_named(make):
    laws = {"normalised": {"passed": False, "value": sys.float_info.max, "bound": 0.001, "detail": "it raised X"}}
    (table,) = build_tables([make("cheat", 1, 999.0, laws=laws), make("honest", 1, 100.0)])
    assert [row.method for row in table.rows] == ["honest"]
    assert table.rows[0].is_highest
    told = "cheat K=1, trial 1: refused: breaks the law 'normalised' (measured no number, bound 0.001): it raised X"
    assert told in " ".join(to_text(table).split())


def test_a_row_that_may_be_no_density_says_so_and_never_leads(make):
    doubt = {"normalised": {"passed": True, "value": 0.0, "bound": 0.1, "detail": "heavy weights", "verified": False}}
    (table,) = build_tables([make("mine", 1, 999.0, laws=doubt), make("honest", 1, 100.0)])
    assert [row.is_highest for row in table.rows] == [False, True]
    assert column(table, "method") == ["mine (normalisation not verified)", "honest"]
    assert "mine K=1: normalisation not verified: heavy weights. It may be no density" in to_text(table)
    (alone,) = build_tables([make("mine", 1, 999.0, laws=doubt)])
    assert not alone.rows[0].is_highest


def test_a_table_of_failures_only_still_says_why(make):
    (table,) = build_tables([make("a", 1, failed="ValueError: no")])
    for rendering in (to_text, to_markdown, to_latex):
        assert "ValueError: no" in rendering(table)
    assert "(no trial finished)" in to_text(table)
    assert build_tables([]) == []


def test_markdown_keeps_a_pipe_in_a_name_inside_its_cell(make):
    (table,) = build_tables([make("a|b_c", 1)])
    lines = to_markdown(table).splitlines()
    row = next(line for line in lines if line.startswith("| a"))
    assert row.startswith(r"| a\|b\_c | 1 | 367,662 |")
    rule = next(line for line in lines if line.startswith("|:--"))
    assert rule.count("|") == len(table.headers) + 1


def test_latex_escapes_everything_special(make):
    (table,) = build_tables([make(r"a_b&c%d$e#f{g}~^\h<i>|±", 1)])
    escaped = (
        r"a\_b\&c\%d\$e\#f\{g\}\textasciitilde{}\textasciicircum{}"
        r"\textbackslash{}h\textless{}i\textgreater{}\textbar{}$\pm$"
    )
    latex = to_latex(table)
    assert escaped + " & 1 & " in latex
    assert r"150.00 $\pm$ --" in latex
    assert latex.isascii()
    body = latex[latex.index(r"\midrule") : latex.index(r"\bottomrule")]
    assert body.count(r" \\") == 1


def test_csv_has_full_precision_and_empty_fields_for_what_is_missing(table):
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["label"] for row in rows] == ["gaussian", "lde+w", "lde+w", "lde"]
    assert rows[0]["components"] == rows[0]["two_standard_deviations"] == rows[0]["paper_nats"] == ""
    assert rows[1]["trial_nats"] == "148.5;149.5"
    assert float(rows[2]["standard_error_clustered"]) == table.rows[2].standard_error_clustered
    assert rows[3]["paper_nats"] == "157.75"


def test_bits_of_grey_levels_and_the_input_stand_beside_the_nats_as_numbers(table, make):
    payload = to_payload(table)
    assert payload["bits_per_dim_are"].startswith("of 256 grey levels")
    for line, row in zip(csv.DictReader(io.StringIO(to_csv(table))), payload["rows"], strict=True):
        assert row["bits_per_dim"] == pytest.approx(8 - row["test_nats"] / (63 * math.log(2)))
        assert float(line["bits_per_dim"]) == row["bits_per_dim"]
        assert line["input"] == row["input"]
    (unknown,) = build_tables([make("lde", 10, 1.0, dataset="mine")])  # a record of before: how many columns?
    assert "bits_per_dim_are" not in to_payload(unknown)


def test_the_payload_is_plain_json(table):
    payload = to_payload(table)
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    assert payload["rows"][2]["is_highest"] is True
    assert payload["failures"][0]["reason"].startswith("TrainingDiverged")


def test_a_table_is_three_texts_and_its_pictures_and_nothing_else(records, tmp_path):
    written = write_tables(records, tmp_path / "new", "table")
    pictures = ["table.png", "table.svg", "table-components.png", "table-components.svg"]
    assert [path.name for path in written] == ["table.md", "table.csv", "table.tex", *pictures]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(p.name for p in written)


@pytest.mark.slow
def test_a_report_on_two_datasets_keeps_them_in_files_of_their_own(make, tmp_path):
    records = [make(), make(dataset="natural8x8"), make(failed="no", version="2")]
    assert {path.stem for path in write_tables(records, tmp_path, "all")} == {
        "all-bsds300-v1-quick-ababab",
        "all-natural8x8-v1-quick-ababab",
        "all-bsds300-v2-quick-ababab",
    }
    assert not (tmp_path / "all-bsds300-v2-quick-ababab.png").exists()
    assert write_tables([], tmp_path, "none") == []


def test_of_the_same_seed_twice_the_later_record_counts(make):
    old, new = (
        make("lde", 10, nats, provenance={"finished": day}) for nats, day in ((150.0, "2026-01"), (151.0, "2026-02"))
    )
    for records in ([old, new], [new, old]):
        (table,) = build_tables(records)
        assert [row.test_nats for row in table.rows] == [151.0]


def test_the_same_seed_twice_is_one_trial_and_no_spread_of_zero(make):
    (table,) = build_tables([make("lde", 10, 150.0, trial=0) for _ in range(3)])
    (row,) = table.rows
    assert row.trials == 1
    assert row.two_standard_deviations is None


def test_the_highest_row_is_that_of_the_highest_mean_and_not_of_the_luckiest_seed(make):
    lucky = [make("a", 1, nats, trial) for trial, nats in enumerate((100.0, 101.0, 130.0))]
    steady = [make("b", 1, nats, trial) for trial, nats in enumerate((119.0, 120.0, 121.0))]
    (table,) = build_tables([*lucky, *steady])
    assert [row.is_highest for row in table.rows] == [False, True]


def test_equal_budgets_lie_within_a_tenth_of_their_median():
    assert budgets_are_equal([100.0] * 5 + [110.0])
    assert not budgets_are_equal([100.0] * 5 + [112.0])  # of the mean it is a tenth


def test_more_trials_on_the_same_items_make_no_error_over_items_smaller(make):
    trials = [make("a", 1, 100.0 + trial, trial) for trial in range(4)]
    known = {"true_test_nats": 101.0, "true_gap_standard_error": 0.25}
    (table,) = build_tables([replace(each, result=replace(each.result, **known)) for each in trials])
    (row,) = table.rows
    assert (row.trials, row.standard_error_naive, row.true_gap_standard_error) == (4, 0.5, 0.25)
