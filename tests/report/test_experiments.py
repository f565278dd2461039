"""An experiment is one object, found by itself; what is not known here is a plain table."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import pytest

from lde_bench import experiments as package
from lde_bench.cli import main
from lde_bench.experiments import experiment_of, experiments
from lde_bench.report.experiment import Experiment


def test_every_file_of_the_package_is_one_experiment():
    modules = {f"{package.__name__}.{each.name}" for each in pkgutil.iter_modules(package.__path__)}
    assert {kind.__module__ for kind in experiments().values()} == modules
    assert len(experiments()) == len(modules)


@pytest.mark.parametrize("name", experiments())
def test_an_experiment_says_what_it_is_and_what_it_trains(name):
    experiment = experiment_of(name)
    assert experiment.name == name
    assert experiment.title
    assert callable(getattr(experiment, "plan", None))


def test_records_of_an_unknown_experiment_are_a_plain_table(make):
    experiment = experiment_of("of-somebody-else")
    assert type(experiment) is Experiment
    table = experiment.table([make("a", 1, experiment="of-somebody-else")])
    assert table.headers[:2] == ["method", "K"]
    assert not table.shows_paper


def test_a_new_file_is_a_new_experiment_with_its_own_columns_and_order(make, tmp_path, monkeypatch):
    (tmp_path / "brand_new.py").write_text(
        "from lde_bench.report.experiment import Experiment\n"
        "from lde_bench.report.table import Column\n"
        "class BrandNew(Experiment):\n"
        "    name, title = 'brand-new', 'a table of the tests'\n"
        "    def plan(self): return []\n"
        "    def order(self, methods): return sorted(methods)\n"
        "    def columns(self, table): return [Column('what', lambda row: row.method.upper())]\n"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    experiments.cache_clear()
    try:
        records = [make(method, 1, experiment="brand-new") for method in ("b", "a")]
        table = experiment_of("brand-new").table(records)
        assert [table.cells(row) for row in table.rows] == [["A"], ["B"]]
    finally:
        sys.modules.pop("lde_bench.experiments.brand_new", None)
        vars(package).pop("brand_new", None)
        monkeypatch.undo()
        importlib.invalidate_caches()
        experiments.cache_clear()


def test_the_list_shows_every_experiment(capsys):
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert all(kind.title in told for kind in experiments().values())
