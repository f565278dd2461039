"""The reference row of real images that were neither trained on nor tested on."""

from __future__ import annotations

import numpy as np
import pytest

from lde_bench.arrays import PixelRows, first_rows
from lde_bench.data import load_dataset
from lde_bench.errors import InputError
from lde_bench.generators import create_generator
from lde_bench.runs.store import ResultStore
from lde_bench.training.plan import Budget
from lde_bench.trials import parzen
from lde_bench.trials.base import TrainingOptions


@pytest.mark.parametrize("wrapped", [False, True])
def test_it_hands_out_the_last_third_of_the_validation_images_in_pixels_too(wrapped):
    pixels = np.random.default_rng(0).integers(256, size=(40, 12), dtype=np.uint8)
    rows = PixelRows(pixels) if wrapped else np.divide(pixels, np.float32(255), dtype=np.float32)
    model = create_generator("validation-images", (3, 4)).fit(rows, rows, steps=1)
    assert model.used_validation == model.most_samples == 13
    samples = model.sample(13, seed=1)
    assert {row.tobytes() for row in samples} == {row.tobytes() for row in rows[27:]}
    unused = first_rows(rows, len(rows) - model.used_validation)
    assert isinstance(unused, type(rows))
    np.testing.assert_array_equal(unused[:], rows[:27])


def test_without_three_validation_images_it_is_refused():
    rows = np.zeros((20, 12), np.float32)
    for validation in (None, rows[:2]):
        with pytest.raises(InputError, match="hands out a third of the validation images; give 3 or more"):
            create_generator("validation-images", (3, 4)).fit(rows, validation)


@pytest.mark.slow
def test_its_window_is_chosen_on_other_images_than_it_hands_out_and_its_nulls_are_made_of_those(tmp_path, monkeypatch):
    digits = load_dataset("digits8x8")
    seen = {}

    def measure(sets):
        seen["sets"] = sets
        return {}

    def choose(validation, samples, grid, device):
        seen["window"] = validation
        return chosen(validation, samples, grid, device)

    chosen = parzen.choose_window
    monkeypatch.setattr(parzen, "measure_samples", measure)
    monkeypatch.setattr(parzen, "choose_window", choose)
    experiment = parzen.ParzenTrial
    from lde_bench.experiments.parzen import Parzen

    (trial,) = Parzen().plan(Budget("quick"), TrainingOptions(), [digits], methods=["validation-images"])
    assert isinstance(trial, experiment)
    record = trial.run(ResultStore(tmp_path))
    assert record.result is not None
    assert record.training["samples"] == 66
    assert record.training["measures"] == trial.evaluation()["measures"] == 2
    np.testing.assert_array_equal(seen["window"], digits.validation[:134])
    np.testing.assert_array_equal(seen["sets"].validation, digits.validation[:134])
    np.testing.assert_array_equal(np.sort(seen["sets"].samples, 0), np.sort(digits.validation[134:], 0))
