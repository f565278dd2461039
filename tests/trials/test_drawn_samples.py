from __future__ import annotations

import errno
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lde_bench.errors import StorageError, TrainingDiverged
from lde_bench.evaluation.parzen import parzen_log_prob
from lde_bench.generators import create_generator, parse_generator
from lde_bench.trials import images
from lde_bench.trials.images import check_samples, draw_samples


@pytest.fixture
def model():
    return create_generator(parse_generator("gan:hidden=8,units=4,noise=3"), (1, 4, 4))


def test_samples_that_do_not_fit_in_memory_are_those_that_do(model, monkeypatch):
    whole = draw_samples(model, 5000, seed=3)
    monkeypatch.setattr(images, "HELD_NUMBERS", 1000)
    spooled = draw_samples(model, 5000, seed=3)
    assert isinstance(spooled, np.memmap)
    assert not isinstance(whole, np.memmap)
    np.testing.assert_array_equal(spooled, whole)
    np.testing.assert_array_equal(parzen_log_prob(whole[:9], spooled, 0.2), parzen_log_prob(whole[:9], whole, 0.2))


def test_a_full_disk_is_told_before_samples_are_drawn(model, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images, "HELD_NUMBERS", 1000)
    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr(model, "draw", lambda *_: pytest.fail("drawn"))
    with pytest.raises(StorageError, match="the disk is full"):
        draw_samples(model, 5000, seed=3)


def test_samples_for_which_the_disk_has_no_room_are_refused_before_any_training(monkeypatch):
    (gan, stored) = (parse_generator(text) for text in ("gan:hidden=8,units=4,noise=3", "train-samples"))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**9))
    check_samples([gan], 7_000_000, (1, 4, 4))  # in memory
    check_samples([gan], 15_000_000, (1, 4, 4))
    check_samples([stored], 16_000_000, (1, 4, 4))  # which has no more than there are images
    with pytest.raises(StorageError, match=r"take 1.0 GB there, and 1.0 GB are free; ask for fewer samples"):
        check_samples([gan], 16_000_000, (1, 4, 4))


@pytest.mark.parametrize("held", [1000, 10**6])
def test_samples_that_are_no_numbers_are_counted(model, monkeypatch, held):
    monkeypatch.setattr(images, "HELD_NUMBERS", held)
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda noise: torch.where(noise[:, :1] > 1.5, torch.nan, decode(noise)))
    with pytest.raises(TrainingDiverged, match=r"^\d+ of 5000 samples hold NaN"):
        draw_samples(model, 5000, seed=3)
