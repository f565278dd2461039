from __future__ import annotations

import pytest

from lde_bench.data import Dataset
from lde_bench.densities import create, density_classes, is_wrapper, method_input
from lde_bench.densities.base import Density
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.experiments.bsds300 import ALL, FEATURES, Bsds300, table_rows, with_orderings
from lde_bench.registry import LAST_PLACE, in_order
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial


def planned(*methods: str, **options) -> list[DensityTrial]:
    rows = skewed_rows(60, FEATURES, 0)
    data = Dataset.of("rows", "1", 0, {"train": rows[:20], "validation": rows[20:50], "test": rows[50:]}, is_patch=True)
    options = {"components": [1, 10], "methods": methods, "trials": 1, **options}
    return Bsds300().plan(Budget.of(), TrainingOptions(device="cpu"), lambda: data, **options)


def test_every_density_of_the_package_has_a_row_that_can_be_made():
    rows = [parse_method(row) for row in table_rows()]
    assert {row.name for row in rows} == {name for name, kind in density_classes().items() if not is_wrapper(kind)}
    assert len(set(map(str, rows))) == len(rows)
    for row in {row.name: row for row in rows}.values():  # the whitened one, where there are two
        create(row, FEATURES)


def test_beside_every_row_that_is_not_whitened_stands_one_that_is():
    rows = [parse_method(row) for row in table_rows()]
    for row in rows:
        if method_input(str(row)) not in ("Cholesky", "any"):
            assert MethodSpec(row.name, (*row.wrappers, "w"), row.arguments) in rows, row


def test_what_a_density_says_of_its_input_agrees_with_its_being_free_of_units():
    for name, kind in density_classes().items():
        if not is_wrapper(kind):
            free = method_input(name) in ("standardised", "Cholesky", "any")
            assert kind.equivariant == free, name


def test_the_input_is_told_by_the_outermost_part_that_does_anything():
    told = {row: method_input(row) for row in ("lde", "lde:unit=1", "lde:unit=2", "lde+w", "lde+w+sym", "nsf+ens")}
    assert list(told.values()) == ["scalar unit", "raw", "scalar unit", "Cholesky", "Cholesky", "standardised"]


def test_rows_keep_the_order_of_the_table_and_others_follow():
    names = list(dict.fromkeys(parse_method(row).name for row in table_rows()))
    assert names[:12] == [
        "gaussian",
        "gmm",
        "mcgsm",
        "made-mog",
        "deep-rnade",
        "real-nvp",
        "maf-mog",
        "nsf",
        "maf-ddsf",
        "tan",
        "lde",
        "resmade-mog",
    ]
    rows = {name: kind for name, kind in density_classes().items() if not is_wrapper(kind)}
    placed = {name: kind for name, kind in rows.items() if kind.place != LAST_PLACE}
    assert in_order({"b-new": Density, "a-new": Density, **placed}) == [*names[: len(placed)], "a-new", "b-new"]


@pytest.mark.slow
def test_the_methods_all_sweep_k_for_the_densities_of_the_paper_alone():
    trials = planned(ALL)
    rows = [(trial.spec.label, trial.components) for trial in trials]
    assert len(set(rows)) == len(rows)
    for swept in ("lde", "lde+w", "resmade-mog+w"):
        assert [k for label, k in rows if label == swept] == [1, 10]
    assert [k for label, k in rows if label == "gmm"] == [200]
    assert [k for label, k in rows if label == "made-mog"] == [10]
    assert ("gaussian", None) in rows


@pytest.mark.slow
def test_all_stands_beside_other_methods_and_names_none_twice():
    trials = planned("gaussian", ALL, "gaussian+sym", "made-mog:components=10")
    specs = [str(trial.spec) for trial in trials]
    assert len(set(specs)) == len(specs)
    assert specs[0] == "gaussian"
    assert "gaussian+sym" in specs


def test_orderings_add_a_row_beside_each_row_that_has_them():
    assert with_orderings(["gaussian", "deep-rnade:components=10", "deep-rnade+w"], 4) == [
        "gaussian",
        "deep-rnade:components=10",
        "deep-rnade:components=10,orderings=4",
        "deep-rnade+w",
        "deep-rnade+w:orderings=4",
    ]
    with pytest.raises(InputError, match="deep-rnade"):
        with_orderings(["gaussian", "lde"], 4)


@pytest.mark.slow
def test_a_mixture_over_orderings_shares_its_training_with_the_plain_row():
    plain, mixed = planned("deep-rnade:components=2", orderings=4)
    assert (mixed.spec.label, mixed.components) == ("deep-rnade:orderings=4", 2)
    assert mixed.training_id == plain.training_id
    assert mixed.run_id != plain.run_id
    labels = [trial.spec.label for trial in planned(ALL, orderings=4)]
    assert {"deep-rnade:orderings=4", "deep-rnade+w:orderings=4"} <= set(labels)
