from __future__ import annotations

import threading

import numpy as np
import pytest

from lde_bench.errors import InputError
from lde_bench.training.batches import ArrayBatches, FreshBatches, MappedBatches, drawn_ahead


def indices(n: int, seed: int = 0) -> ArrayBatches:
    """Batches whose rows are their own index."""
    return ArrayBatches(np.arange(n, dtype=np.float32)[:, None], seed)


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    walked = indices(50)
    in_order = [walked.batch(step, 8) for step in range(20)]
    for step in (19, 3, 12, 0):
        np.testing.assert_array_equal(indices(50).batch(step, 8), in_order[step])
    assert not np.array_equal(indices(50, seed=1).batch(0, 8), in_order[0])


def test_every_epoch_is_a_permutation_and_no_two_are_alike():
    batches = indices(48)
    epochs = [np.concatenate([batches.batch(6 * epoch + i, 8) for i in range(6)])[:, 0] for epoch in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(48))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])


@pytest.mark.parametrize(("n", "size"), [(50, 8), (7, 20), (5, 5), (1, 3)])
def test_batches_run_over_the_ends_of_epochs_without_losing_a_row(n, size):
    batches = indices(n)
    stream = np.concatenate([batches.batch(step, size) for step in range(3 * n)])[:, 0]
    assert len(stream) == 3 * n * size
    for start in range(0, len(stream), n):
        np.testing.assert_array_equal(np.sort(stream[start : start + n]), np.arange(n))


def test_taking_all_is_the_array_and_taking_some_repeats_none():
    np.testing.assert_array_equal(indices(20).take(100)[:, 0], np.arange(20))
    some = indices(20).take(6)[:, 0]
    assert len(set(some.tolist())) == 6


def noisy(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return rows + generator.normal(size=rows.shape)


def test_more_rows_at_once_than_the_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr("lde_bench.memory.physical_memory", lambda: 50)
    with pytest.raises(InputError, match=r"20 training rows of \d+ numbers take .* GB, and there are"):
        indices(20).take(100)
    assert len(indices(20).take(2)) == 2


def test_augmentation_is_a_function_of_the_step_too_and_leaves_the_array_alone():
    array = np.zeros((10, 2), dtype=np.float32)
    batches = ArrayBatches(array, 0, noisy)
    first, second = batches.batch(0, 4), batches.batch(1, 4)
    np.testing.assert_array_equal(ArrayBatches(array, 0, noisy).batch(1, 4), second)
    assert not np.array_equal(first, second)
    assert not array.any()
    assert batches.take(10).all()


def test_fresh_batches_differ_at_every_step_and_repeat_with_the_seed():
    def draw(n: int, generator: np.random.Generator) -> np.ndarray:
        return generator.normal(size=(n, 3)).astype(np.float32)

    batches = FreshBatches(draw, 3, seed=0)
    assert batches.size is None
    assert batches.batch(5, 4).shape == (4, 3)
    assert not np.array_equal(batches.batch(0, 4), batches.batch(1, 4))
    np.testing.assert_array_equal(batches.batch(1, 4), FreshBatches(draw, 3, seed=0).batch(1, 4))
    assert not np.array_equal(batches.batch(1, 4), FreshBatches(draw, 3, seed=1).batch(1, 4))


def test_mapped_batches_apply_their_function_everywhere():
    mapped = MappedBatches(indices(10), lambda rows: 2 * rows)
    np.testing.assert_array_equal(mapped.batch(3, 4), 2 * indices(10).batch(3, 4))
    np.testing.assert_array_equal(mapped.take(5), 2 * indices(10).take(5))
    assert (mapped.size, mapped.features) == (10, 1)


def test_the_rows_that_are_taken_are_a_random_part_of_all():
    some = indices(1000).take(100)[:, 0]
    assert abs(some.mean() - 499.5) < 4 * 1000 / 12**0.5 / 100**0.5


def test_fresh_batches_are_augmented_too():
    batches = FreshBatches(lambda n, generator: np.zeros((n, 2), np.float32), 2, 0, noisy)
    assert batches.batch(0, 4).all()
    assert batches.take(4).all()
    assert not np.array_equal(batches.batch(0, 4), batches.batch(1, 4))


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_drawn_ahead_are_those_of_their_steps(ahead):
    plain = indices(50)
    with drawn_ahead(indices(50), 8, ahead) as draw:
        for step in (4, 5, 6, 7, 20, 3):  # a run that goes on begins anywhere
            np.testing.assert_array_equal(draw(step), plain.batch(step, 8))


def test_the_next_batch_is_drawn_while_this_one_is_in_use():
    drawn = {step: threading.Event() for step in range(3)}

    class Telling(ArrayBatches):
        of_any_thread = True

        def batch(self, step: int, size: int) -> np.ndarray:
            drawn[step].set()
            return super().batch(step, size)

    with drawn_ahead(Telling(np.zeros((9, 1), np.float32), 0), 2, ahead=True) as draw:
        draw(0)
        assert drawn[1].wait(60)
        assert not drawn[2].is_set()


def test_what_inherits_from_batches_of_any_thread_is_drawn_where_it_is_asked_for():
    threads = []

    class Inherits(ArrayBatches):
        def batch(self, step: int, size: int) -> np.ndarray:
            threads.append(threading.current_thread())
            return super().batch(step, size)

    own = Inherits(np.zeros((9, 1), np.float32), 0)
    for batches in (own, MappedBatches(own, np.negative)):
        with drawn_ahead(batches, 2, ahead=True) as draw:
            draw(0)
    assert threads == [threading.current_thread()] * 2


def test_a_batch_that_cannot_be_drawn_ahead_is_an_error_where_it_is_asked_for():
    def draw_rows(n: int, generator: np.random.Generator) -> np.ndarray:
        raise InputError("no rows")

    with drawn_ahead(FreshBatches(draw_rows, 1, 0), 2, ahead=True) as draw, pytest.raises(InputError, match="no rows"):
        draw(0)
