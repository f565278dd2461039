"""Trials of figures 1 and 6: what is shown, what a record says, what sets rows apart, and the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lde_bench as lb
from lde_bench.data import Dataset
from lde_bench.errors import InputError
from lde_bench.experiments import experiment_of
from lde_bench.experiments.generate import FIGURES, METHODS, Generate
from lde_bench.generators import load_generator
from lde_bench.report.experiment import build_tables
from lde_bench.report.render.text import to_text
from lde_bench.report.table import table_blocks
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.generation import SHOWN, GenerationTrial

OPTIONS = TrainingOptions(precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def images() -> Dataset:
    return lb.load_dataset("digits32", train=80, validation=30, test=60)


def run(store: ResultStore, trials: list[GenerationTrial]) -> list[Record]:
    return run_sweep(store, trials)


def test_quick_needs_no_vgg_and_the_other_profiles_take_the_papers_loss(images, monkeypatch, tmp_path):
    monkeypatch.delenv("LDE_BENCH_DATA", raising=False)
    monkeypatch.setenv("LDE_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("lde_bench.features.vgg19_weights.URLS", ())
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    assert {trial.perceptual for trial in Generate().plan(Budget.of("quick"), OPTIONS, images)} == {0.0}
    with pytest.raises(InputError, match=r"--vgg FILE.*--perceptual 0"):
        Generate().plan(Budget.of("standard"), OPTIONS, images)
    assert Generate().plan(Budget.of("standard"), OPTIONS, images, perceptual=0.0, space="pixels")


def test_a_trial_is_named_by_all_that_changes_its_figures(images):
    def names(**changes):
        return [t.run_id for t in Generate().plan(Budget.of("quick"), OPTIONS, images, methods=["ae"], **changes)]

    plain = names()
    assert plain == names()
    for other in ({"samples": 100}, {"seed": 1}, {"components": [2]}, {"densities": ["gaussian"]}):
        assert names(**other) != plain
    assert (
        len({t.shared_id for t in Generate().plan(Budget.of("quick"), OPTIONS, images, methods=["ae", "ae+gmm"])}) == 1
    )


@pytest.mark.slow
def test_samples_are_the_first_ones_over_their_nearest_training_images(images, tmp_path, caplog):
    store = ResultStore(tmp_path)
    trials = Generate().plan(
        Budget.of(steps=3), OPTIONS, images, methods=["aae:backbone=conv", "ae"], densities=["gaussian"], samples=40
    )
    records = run(store, trials)
    assert all(record.done for record in records), records[0].reason
    for trial, record in zip(trials, records, strict=True):
        assert record.result is not None
        arrays = store.paths(record).load_picture()
        assert arrays is not None
        model = load_generator(store.paths(record).weights)
        samples = model.sample(SHOWN, seed=derive_seed(trial.seed, "samples"))
        np.testing.assert_array_equal(arrays["samples"], np.rint(255 * samples).astype(np.uint8))
        distances = np.linalg.norm(samples[:, None].astype(float) - np.asarray(images.train)[None], axis=2)
        nearest = np.asarray(images.train)[distances.argmin(1)]
        np.testing.assert_array_equal(arrays["nearest"], np.rint(255 * nearest).astype(np.uint8))
        assert {"precision", "sharpness", "reconstruction_mse"} <= set(record.result.measures)
        assert Record.from_json(record.to_json()) == record
    (table,) = build_tables(records, experiment_of)
    assert [row.label for row in table.rows] == ["aae:backbone=conv", "ae+gaussian"]
    assert list(table.figures) == [name for name in FIGURES if name in records[1].result.measures]
    text = to_text(table_blocks(table))
    assert "Reconstruction loss: squared error, where a row does not say otherwise." in text
    places = {record.run_id: store.paths(record) for record in records}
    figure = Generate().picture(table, places)
    assert figure is not None
    assert len(figure.axes) == 1 + 2 * len(table.rows)
    assert run(store, trials) == records  # nothing is trained twice
    kept = places[records[0].run_id].picture
    kept.write_bytes(kept.read_bytes()[:-100])
    figure = Generate().picture(table, places)
    assert figure is not None
    assert len(figure.axes) == 1 + 2
    assert f"The picture does without {kept}: damaged" in caplog.text
    # Published without real images, a record shows those of the model alone.
    store.paths(records[1]).originals.unlink()
    figure = Generate().picture(table, places)
    assert figure is not None
    assert len(figure.axes) == 1
    assert "successive samples" in [text.get_text() for text in figure.texts]


@pytest.mark.slow
def test_real_images_lie_in_a_file_of_their_own(images, tmp_path):
    store = ResultStore(tmp_path)
    trials = Generate().plan(Budget.of(steps=3), OPTIONS, images, methods=["train-samples", "ae+gaussian"], samples=40)
    reference, model = run(store, trials)
    real = {
        bytes(row) for split in (images.train, images.test) for row in np.rint(255 * np.asarray(split)).astype("u1")
    }
    with np.load(store.paths(model).picture) as made:
        assert list(made) == ["samples"]
        assert not real & {bytes(row) for row in made["samples"]}
    with np.load(store.paths(reference).picture) as nothing:
        assert list(nothing) == []
    with np.load(store.paths(reference).originals) as originals:
        assert {bytes(row) for name in originals for row in originals[name]} <= real
    (table,) = build_tables([reference, model], experiment_of)
    places = {record.run_id: store.paths(record) for record in (reference, model)}
    figure = Generate().picture(table, places)
    assert figure is not None
    assert len(figure.axes) == 1 + 2 * 2


@pytest.mark.slow
def test_another_loss_or_space_makes_a_row_of_its_own(images, tmp_path):
    store = ResultStore(tmp_path)
    (trial,) = Generate().plan(Budget.of(steps=2), OPTIONS, images, methods=["ae"], densities=["gaussian"], samples=30)
    (record,) = run(store, [trial])
    other = replace(record, run_id="other", training={**record.training, "perceptual": 0.1})
    (table,) = build_tables([record, other], experiment_of)
    assert [row.label for row in table.rows] == ["ae+gaussian", "ae+gaussian (perceptual=0.1)"]
    (alone,) = build_tables([other], experiment_of)
    assert [row.label for row in alone.rows] == ["ae+gaussian (perceptual=0.1)"]  # the note tells of the usual one
    assert replace(trial, perceptual=0.1).unusual_loss() == {"perceptual": 0.1}
    assert trial.unusual_loss() == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trials": 0}, "trials = 0"),
        ({"samples": 5}, "samples = 5 are too few"),
        ({"perceptual": -1.0}, "perceptual = -1.0 is no number from 0 up"),
        ({"methods": ["lde"]}, "'lde' is unknown"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(images, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        Generate().plan(Budget.of("quick"), OPTIONS, images, **changes)


def test_the_rows_are_those_of_the_paper(images):
    rows = [trial.spec.label for trial in Generate().plan(Budget.of("quick"), OPTIONS, images)]
    assert len(rows) == len(METHODS)
    assert rows == ["aae:backbone=conv", "ae+lde", "iae+lde"]


def test_crops_of_one_photograph_give_no_null_and_the_name_of_a_run_says_so(images):
    (trial,) = Generate().plan(Budget.of("quick"), OPTIONS, images, methods=["train-samples"])
    many = replace(trial, dataset=replace(images, validation_groups=np.arange(len(images.validation))))
    few = replace(trial, dataset=replace(images, validation_groups=np.zeros(len(images.validation), np.int64)))
    unknown = replace(trial, dataset=replace(images, validation_groups=None))
    assert [each.evaluation().get("nulls") for each in (many, few, unknown)] == [None, "none", None]
    samples = np.asarray(images.train[:40])
    sets = [each.sample_sets(each.model(), samples) for each in (many, few)]
    assert [each.validation is None for each in sets] == [False, True]
