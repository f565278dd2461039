from __future__ import annotations

from typing import get_args

import pytest

from lde_bench.experiments.parzen import Parzen
from lde_bench.report.published import PlusMinus, load_published, paper_lde
from lde_bench.runs.record import DatasetInfo, Sizes


def test_the_papers_own_figures_are_those_of_its_table():
    assert paper_lde() == {1: (152.68, 0.52), 10: (157.75, 0.06), 30: (158.02, 0.06), 100: (157.03, 0.30)}


def test_every_figure_has_a_name_a_source_and_a_likely_value_and_stands_once():
    figures = load_published()
    assert len(figures) == len({figure.model for figure in figures}) > 30
    for figure in figures:
        assert 90 < figure.test_nats < 165
        assert figure.source
        assert float(figure.text) == figure.test_nats
    assert [figure.test_nats for figure in figures] == sorted(figure.test_nats for figure in figures)


def test_what_a_plus_minus_is_over_is_told_where_there_is_one_and_only_there():
    for figure in load_published():
        assert figure.plus_minus_is in get_args(PlusMinus)
        assert (figure.plus_minus is None) == (figure.plus_minus_is == ""), figure.model


def test_a_figure_from_memory_is_not_called_checked():
    for figure in load_published():
        assert figure.checked == ("from memory" not in figure.source), figure.model


def test_a_method_of_ours_has_one_published_figure_at_each_k():
    named = [(figure.method, figure.components) for figure in load_published() if figure.method]
    assert len(named) == len(set(named))


def test_what_is_to_be_known_of_a_figure_stands_beside_its_source():
    notes = {figure.model: figure.note for figure in load_published() if figure.note}
    assert notes.keys() == {"AEM-KDE", "TAN (K=40)"}
    assert "biased upward" in notes["AEM-KDE"]
    assert "157.03" in notes["TAN (K=40)"]


def test_the_deeper_sigmoidal_flow_is_held_against_its_own_figure():
    flows = {figure.method: figure.value for figure in load_published() if figure.method.startswith("maf-ddsf")}
    assert flows == {"maf-ddsf": "157.73 ± 0.04", "maf-ddsf:transforms=10": "157.43 ± 0.30"}


@pytest.mark.parametrize(
    ("name", "version", "there"),
    [
        ("mnist", "1", True),
        ("tfd-fold3", "2", True),
        ("tfd-union-fold1", "1", True),
        ("mnist", "user", False),
        ("mnist", "user-images-64-crop", False),
        ("mnist-mine", "1", False),
        ("tfd-fold1", "2-unofficial", False),
        ("faces48", "1", False),
    ],
)
def test_published_figures_of_images_stand_beside_the_data_they_are_of_only(name, version, there):
    data = DatasetInfo(name, version, "ab" * 32, 0, Sizes(1, 1, 1))
    assert bool(Parzen().published(data)) is there
