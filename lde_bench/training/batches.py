"""Where training batches come from: rows walked in shuffled epochs, or patches drawn afresh at every step.

A batch is a pure function of the seed and the step, so a resumed run sees exactly the batches that an
uninterrupted one would have seen. NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from lde_bench.arrays import Rows
from lde_bench.memory import check_memory
from lde_bench.seeds import derive_generator, derive_seed

#: Changes a batch given the batch and its own random generator, e.g. a random flip per sample.
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@runtime_checkable
class Batches(Protocol):
    """A stream of training batches."""

    @property
    def features(self) -> int: ...

    @property
    def size(self) -> int | None:
        """Number of distinct training samples; None when they are drawn afresh without end."""

    def batch(self, step: int, size: int) -> np.ndarray:
        """The batch of a step, float32 [size, features]."""

    def take(self, n: int) -> np.ndarray:
        """About `n` samples for data-dependent initialisation (whitening, mixture centres), augmented alike."""


def of_any_thread(batches: Batches) -> bool:
    """Whether the very class of `batches` says that they may be drawn in another thread, one after the other: one that
    inherits from such a class may draw otherwise, and has to say so anew.
    """
    return "of_any_thread" in vars(type(batches)) and getattr(batches, "of_any_thread", False)


@contextmanager
def drawn_ahead(batches: Batches, size: int, ahead: bool) -> Iterator[Callable[[int], np.ndarray]]:
    """What gives the batch of a step; with `ahead` that of the next step is drawn in a thread meanwhile, so that a GPU
    need not wait for it. Batches of a user's own class are not: they may be of one thread, or of one buffer.
    """
    if not ahead or not of_any_thread(batches):
        yield lambda step: batches.batch(step, size)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        drawn: dict[int, Future[np.ndarray]] = {}

        def batch(step: int) -> np.ndarray:
            asked = drawn.pop(step, None) or thread.submit(batches.batch, step, size)
            drawn[step + 1] = thread.submit(batches.batch, step + 1, size)
            return asked.result()

        try:
            yield batch
        finally:
            for future in drawn.values():
                future.cancel()


class ArrayBatches:
    """Shuffled epochs over `array` [n, features], each epoch a fresh permutation."""

    #: Its batches may be drawn in another thread, one after the other: each is an array of its own.
    of_any_thread = True

    def __init__(self, array: Rows, seed: int, augment: Augment | None = None) -> None:
        self.array = array
        self.seed = seed
        self.augment = augment
        self._epoch: tuple[int, np.ndarray] | None = None

    @property
    def features(self) -> int:
        return self.array.shape[1]

    @property
    def size(self) -> int:
        return len(self.array)

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, derive_generator(self.seed, "epoch", epoch).permutation(len(self.array)))
        return self._epoch[1]

    def batch(self, step: int, size: int) -> np.ndarray:
        epoch, start = divmod(step * size, len(self.array))
        index = self._permutation(epoch)[start : start + size]
        while len(index) < size:  # the batch runs over the end of one or more (tiny) epochs
            epoch += 1
            index = np.concatenate([index, self._permutation(epoch)[: size - len(index)]])
        rows = self.array[index]
        return rows if self.augment is None else self.augment(rows, derive_generator(self.seed, "augment", step))

    def take(self, n: int) -> np.ndarray:
        few = min(n, len(self.array))
        needed = few * self.features * np.dtype(np.float32).itemsize
        check_memory(
            f"{few:,} training rows of {self.features:,} numbers", needed, "give fewer of them, or smaller ones."
        )
        rows = self.array[:] if n >= len(self.array) else self.array[self._permutation(0)[:n]]
        return rows if self.augment is None else self.augment(rows, derive_generator(self.seed, "take"))


class FreshBatches:
    """New samples at every step from `draw(n, generator)`, e.g. patches cut anew with new noise.

    `draw_at(offset, n, generator)`, where there is one, draws those that lie at an offset (row, column) on the grid of
    8x8 blocks.
    """

    of_any_thread = True

    def __init__(
        self,
        draw: Callable[[int, np.random.Generator], np.ndarray],
        features: int,
        seed: int,
        augment: Augment | None = None,
        draw_at: Callable[[tuple[int, int], int, np.random.Generator], np.ndarray] | None = None,
    ) -> None:
        self._draw = draw
        self._draw_at = draw_at
        self._features = features
        self.seed = seed
        self.augment = augment

    @property
    def knows_places(self) -> bool:
        """Whether samples can be drawn by where they lie."""
        return self._draw_at is not None

    def at(self, offset: tuple[int, int]) -> FreshBatches:
        """The stream of those samples that lie at an offset, not augmented.

        Raises:
            ValueError: nothing is known of places.
        """
        if self._draw_at is None:
            raise ValueError("these batches do not know where their samples lie")
        seed = derive_seed(self.seed, "offset", *offset)
        return FreshBatches(partial(self._draw_at, offset), self._features, seed)

    @property
    def features(self) -> int:
        return self._features

    @property
    def size(self) -> None:
        return None

    def batch(self, step: int, size: int) -> np.ndarray:
        return self._rows(size, derive_generator(self.seed, "fresh", step))

    def take(self, n: int) -> np.ndarray:
        return self._rows(n, derive_generator(self.seed, "take"))

    def _rows(self, n: int, generator: np.random.Generator) -> np.ndarray:
        rows = self._draw(n, generator)
        return rows if self.augment is None else self.augment(rows, generator)


class MappedBatches:
    """The batches of `inner` with `function` applied to their rows, e.g. whitened."""

    def __init__(self, inner: Batches, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.inner = inner
        self.function = function

    @property
    def of_any_thread(self) -> bool:
        return of_any_thread(self.inner)

    @property
    def features(self) -> int:
        return self.inner.features

    @property
    def size(self) -> int | None:
        return self.inner.size

    def batch(self, step: int, size: int) -> np.ndarray:
        return self.function(self.inner.batch(step, size))

    def take(self, n: int) -> np.ndarray:
        return self.function(self.inner.take(n))
