"""Tables inside a text written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from lde_bench.errors import InputError
from lde_bench.experiments import experiment_of
from lde_bench.report.embed import refresh_tables

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.slow
def test_the_tables_in_the_published_results_are_those_of_their_records(tmp_path):
    text = tmp_path / "README.md"
    told = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert told.count("<!-- table: ") == told.count("<!-- end of table -->") == 11
    text.write_text(told.replace("| gaussian |", "| gauss |"), encoding="utf-8")
    assert refresh_tables(text, RESULTS, experiment_of)
    assert text.read_text(encoding="utf-8") == told
    assert not refresh_tables(text, RESULTS, experiment_of)


def test_a_text_without_marks_or_no_text_is_left_as_it_is(tmp_path):
    text = tmp_path / "README.md"
    assert not refresh_tables(text, tmp_path, experiment_of)
    text.write_text("# Mine\n")
    assert not refresh_tables(text, tmp_path, experiment_of)
    assert text.read_text() == "# Mine\n"


def test_a_text_in_another_encoding_is_refused_and_left(tmp_path):
    text = tmp_path / "README.md"
    text.write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"README\.md: is not in UTF-8"):
        refresh_tables(text, tmp_path, experiment_of)
    assert text.read_bytes() == b"caf\xe9"


@pytest.mark.parametrize("made", [True, False])
def test_a_mark_that_names_no_records_is_told_and_nothing_is_written(tmp_path, made):
    text = tmp_path / "README.md"
    marked = "<!-- table: nowhere -->\nold\n<!-- end of table -->\n"
    text.write_text(marked)
    if made:
        (tmp_path / "nowhere").mkdir()
    with pytest.raises(InputError, match="table: nowhere"):
        refresh_tables(text, tmp_path, experiment_of)
    assert text.read_text() == marked
