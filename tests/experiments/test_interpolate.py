"""Trials of figure 5: the pairs, what a record says, the picture."""

from __future__ import annotations

import numpy as np
import pytest

import lde_bench as lb
from lde_bench.data import Dataset, mixed
from lde_bench.errors import InputError
from lde_bench.evaluation.interpolation import KINDS, STEPS, draw_pairs, walk_figures
from lde_bench.experiments import experiment_of
from lde_bench.experiments.interpolate import Interpolate
from lde_bench.report.experiment import build_tables
from lde_bench.runs import ResultStore, run_sweep
from lde_bench.training.plan import Budget
from lde_bench.trials import interpolation
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.interpolation import SHOWN

OPTIONS = TrainingOptions(precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def domains() -> Dataset:
    sizes = {"train": 60, "validation": 20, "test": 30}
    return mixed(lb.load_dataset("natural32", **sizes), lb.load_dataset("digits32", **sizes))


def test_the_rows_are_those_of_the_paper_at_one_seed_of_pairs(domains):
    trials = Interpolate().plan(Budget.of("quick"), OPTIONS, domains)
    priors = ["aae:backbone=conv", "aae:backbone=conv,modes=2,prior=mixture"]
    assert [trial.spec.label for trial in trials] == [*priors, "ae", "iae"]
    assert {trial.base_seed for trial in trials} == {0}


@pytest.mark.slow
def test_every_model_walks_between_the_same_images_and_its_walks_are_drawn(domains, tmp_path, monkeypatch):
    store = ResultStore(tmp_path)
    trials = Interpolate().plan(Budget.of(steps=2), OPTIONS, domains, methods=["ae", "iae"], pairs=7)
    drawn = []

    def draw(*arguments):
        drawn.append(draw_pairs(*arguments))
        return drawn[-1]

    monkeypatch.setattr(interpolation, "draw_pairs", draw)
    records = run_sweep(store, trials)
    assert all(record.done for record in records), records[0].reason
    assert [[kind.tolist() for kind in pairs.values()] for pairs in drawn] == [
        [kind.tolist() for kind in drawn[0].values()]
    ] * 2
    for record in records:
        arrays = store.paths(record).load_picture()
        assert arrays is not None
        assert arrays["walks"].shape == (len(KINDS), SHOWN, STEPS, 3072)
        assert not store.paths(record).originals.exists()  # the ends are reconstructions
    first, last = np.stack([drawn[0][kind] for kind in KINDS]).swapaxes(0, 1) % 2  # rows are of the domains in turn
    assert (first == [[0], [1], [0]]).all()
    assert (last == [[0], [1], [1]]).all()
    (table,) = build_tables(records, experiment_of)
    assert set(walk_figures()) < set(table.figures)
    figure = Interpolate().picture(table, {record.run_id: store.paths(record) for record in records})
    assert figure is not None
    assert len(figure.axes) == SHOWN * len(records)
    heads = [text.get_text() for text in figure.texts]
    assert {"within natural32", "within digits32", "natural32 to digits32"} < set(heads)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": ["gan"]}, "gan: is no autoencoder"),
        ({"methods": ["ae+gmm"]}, r"ae\+gmm.*: is no autoencoder"),
        ({"pairs": 1}, "pairs = 1 is not a whole number from 2 up"),
        ({"trials": 0}, "trials = 0"),
        ({"space": "inception"}, "'inception' is unknown"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(domains, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        Interpolate().plan(Budget.of("quick"), OPTIONS, domains, **changes)
