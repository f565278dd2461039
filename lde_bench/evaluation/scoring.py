"""Log-likelihoods of any number of rows under a saved density or a Parzen window, in constant memory and by any number
of processes.

Rows are read, evaluated and written in tasks of whole evaluation blocks, each on one thread, so that every number is
the same to the bit, whatever the number of processes; those of a density are `Density.log_prob` on one thread. What is
done stands in a partial file beside the output, to which tasks are appended in order: a run that was stopped continues
after the last of them.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import itertools
import json
import math
import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch

from lde_bench.arrays import row_blocks
from lde_bench.data.row_file import RowFile
from lde_bench.densities import load_density
from lde_bench.errors import InputError
from lde_bench.evaluation.parzen import TEST_ROWS, WindowSums, parzen_sums
from lde_bench.files import check_writable, describe_os_error, file_sha256
from lde_bench.training.device import resolve_device
from lde_bench.training.learner import evaluation_blocks
from lde_bench.version import __version__

#: Evaluation blocks of a task: some seconds of work, and what a run that is killed can lose.
TASK_BLOCKS = 8

#: Numbers of samples in a part of a Parzen window: 80 MB of float32.
PART_NUMBERS = 20_000_000

#: Tasks of each process that are asked for before the first of them is written.
AHEAD = 2


@dataclass(frozen=True)
class Scored:
    """How many rows were scored, how many of them by an earlier run, and how many log-likelihoods are not finite."""

    rows: int
    continued: int
    not_finite: int


class _Scorer(NamedTuple):
    """What scores rows [k, D] of `features` numbers: of them and a part of the job `score` gives what `join` needs."""

    features: int
    score: Callable[[np.ndarray, slice], Any]


@dataclass(frozen=True)
class _Job(ABC):
    """All that a process needs to score rows."""

    data: RowFile
    device: str

    @abstractmethod
    def open(self) -> _Scorer:
        """Load what scores the rows."""

    @abstractmethod
    def depends_on(self) -> dict[str, Any]:
        """Name what the numbers depend on beside the rows, the device and the versions."""

    @abstractmethod
    def step(self) -> int:
        """Return how many rows are written at once."""

    @abstractmethod
    def dtype(self, scorer: _Scorer) -> np.dtype:
        """Return the type of the log-likelihoods."""

    def parts(self) -> list[slice]:
        """Return the parts that each of these rows is scored by, which other processes may take."""
        return [slice(None)]

    def join(self, scores: Sequence[Any]) -> np.ndarray:
        """Make the log-likelihoods [k] of what all parts gave, in their order."""
        (log_likelihoods,) = scores
        return log_likelihoods

    def digest(self) -> str:
        """Give the SHA-256 of everything that the numbers depend on, as far as can be told without reading the data."""
        told = self.depends_on() | {
            "data": _identity(self.data),
            "device": resolve_device(self.device).type,
            "versions": [torch.__version__, __version__],
        }
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class _DensityJob(_Job):
    weights: Path
    double: bool

    def open(self) -> _Scorer:
        density = load_density(self.weights)
        if self.double and "float64" in density.lacks:
            raise InputError(f"{self.weights}: {density.name} cannot be evaluated in float64; leave out --float64.")
        density = density.double() if self.double else density
        density.to(resolve_device(self.device)).eval()
        return _Scorer(density.features, lambda rows, part: density.log_prob(rows))

    def depends_on(self) -> dict[str, Any]:
        return {"weights": file_sha256(self.weights), "double": self.double}

    def step(self) -> int:
        return TASK_BLOCKS * next(evaluation_blocks(self.data)).stop

    def dtype(self, scorer: _Scorer) -> np.dtype:
        return scorer.score(self.data[:1], slice(None)).dtype


@dataclass(frozen=True)
class _WindowJob(_Job):
    """The parts are blocks of samples, whose sums are joined to those over all."""

    samples: RowFile
    sigma: float

    def open(self) -> _Scorer:
        def score(rows: np.ndarray, part: slice) -> WindowSums:
            return parzen_sums(rows, self.samples[part], [self.sigma], device=self.device)

        return _Scorer(self.samples.shape[1], score)

    def depends_on(self) -> dict[str, Any]:
        return {"samples": _identity(self.samples), "sigma": self.sigma, "part": PART_NUMBERS}

    def step(self) -> int:
        return TEST_ROWS

    def dtype(self, scorer: _Scorer) -> np.dtype:
        return np.dtype(np.float64)

    def parts(self) -> list[slice]:
        return list(row_blocks(self.samples, PART_NUMBERS))

    def join(self, scores: Sequence[WindowSums]) -> np.ndarray:
        return functools.reduce(WindowSums.join, scores).log_prob()[0]


def _identity(rows: RowFile) -> list[Any]:
    """What tells an array from another, as far as can be told without reading it."""
    found = rows.path.stat()
    return [str(rows.path.resolve()), found.st_size, found.st_mtime_ns, rows.key]


def score_file(
    weights: Path,
    data: Path,
    output: Path,
    *,
    key: str | None = None,
    double: bool = False,
    device: str = "cpu",
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Write the log-likelihood in nats of every row of a file under a saved density: an .npy of shape [n].

    Args:
        weights: what `Density.save` wrote.
        data: an .npy, .npz (not compressed) or HDF5 file of rows [n, D]; `key` names the array where there are several.
        output: is written whole at the end; what is done until then is beside it, and the same call continues it.
        double: evaluate in float64, and write that, where the density is one of float32.
        device: `cpu`, `cuda` or `auto`.
        workers: processes; the numbers do not depend on it.
        on_progress: is told how many rows are done, and of how many; first what an earlier run did.

    Raises:
        InputError: a file cannot be read, the widths differ, a row holds NaN or infinity, or another process writes the
            same output.
        StorageError: the disk is full or refuses; what is done is kept.
    """
    return _score_rows(_DensityJob(RowFile.open(data, key), device, weights, double), output, workers, on_progress)


def score_window_file(
    samples: Path,
    sigma: float,
    data: Path,
    output: Path,
    *,
    key: str | None = None,
    device: str = "cpu",
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Write the log-likelihood in nats of every row of a file under a Parzen window: an .npy of shape [n], float64.

    It is that of `lde_bench.evaluation.parzen.parzen_log_prob`, to the rounding of float64. Neither the samples nor the
    rows need fit the memory; processes share out both.

    Args:
        samples: an .npy of samples [m, D].
        sigma: standard deviation of the window, above 0.
        data: the rows [n, D], as of `score_file`, and so are `key`, `output`, `device`, `workers` and `on_progress`.

    Raises:
        InputError: as `score_file`, or sigma is not a positive number, or there are no samples.
        StorageError: the disk is full or refuses; what is done is kept.
    """
    held = RowFile.open(samples)
    if held.shape[0] == 0:
        raise InputError(f"{held.name} is empty; give at least one sample.")
    if not 0 < sigma < math.inf:
        raise InputError(f"sigma = {sigma:g} is not a positive number; give for example 0.2.")
    return _score_rows(_WindowJob(RowFile.open(data, key), device, held, sigma), output, workers, on_progress)


def _score_rows(job: _Job, output: Path, workers: int, on_progress: Callable[[int, int], None]) -> Scored:
    if workers < 1:
        raise InputError(f"workers = {workers} is not a whole number from 1 up; give for example --workers 2.")
    scorer = job.open()
    rows, features = job.data.shape
    if features != scorer.features:
        raise InputError(
            f"{job.data.name} has rows of {features} numbers and is scored by what has {scorer.features}; give rows of "
            "the same width."
        )
    if rows == 0:
        raise InputError(f"{job.data.name} is empty; give at least one row.")
    check_writable(output)
    with _one_thread():
        dtype, step = job.dtype(scorer), job.step()
        partial_path = output.with_name(f".{output.name}.{job.digest()[:12]}.partial")
        with _Partial.locked(partial_path, rows, dtype, step) as partial:
            continued = partial.done
            on_progress(continued, rows)
            blocks = (slice(start, min(start + step, rows)) for start in range(continued, rows, step))
            parts = job.parts()
            scores = _in_turn(job, scorer, itertools.product(blocks, parts), workers)
            try:
                while of_block := list(islice(scores, len(parts))):
                    partial.append(job.join(of_block))
                    on_progress(partial.done, rows)
            except _UnfitRow:  # whoever mends the file has another one, to which these numbers do not belong
                partial.path.unlink()
                raise
            partial.path.replace(output)
    return Scored(rows, continued, _count_not_finite(output))


def _count_not_finite(output: Path) -> int:
    values = np.load(output, mmap_mode="r", allow_pickle=False)
    blocks = row_blocks(values[:, None])
    return sum(int(np.count_nonzero(~np.isfinite(values[block]))) for block in blocks)


# -- tasks, in this process or in others -------------------------------------------------------------------------------


class _UnfitRow(InputError):
    """A row that has no log-likelihood."""


#: Rows, and a part of the job.
_Task: TypeAlias = tuple[slice, slice]


def _score(job: _Job, scorer: _Scorer, task: _Task) -> Any:
    """What the scorer gives for a task."""
    rows, part = task
    x = job.data[rows]
    if (bad := ~np.isfinite(x).all(axis=1)).any():
        raise _UnfitRow(
            f"{job.data.name} holds NaN or infinity in row {rows.start + int(bad.argmax())}; remove such rows and "
            "score the rest."
        )
    return scorer.score(x, part)


def _in_turn(job: _Job, scorer: _Scorer, tasks: Iterator[_Task], workers: int) -> Iterator[Any]:
    """What `_score` gives for each task, in their order."""
    if workers == 1:
        yield from (_score(job, scorer, task) for task in tasks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _Worker.start, (job,))
    try:
        waiting = deque(pool.submit(_Worker.run, task) for task in islice(tasks, AHEAD * workers))
        while waiting:
            values = waiting.popleft().result()
            waiting.extend(pool.submit(_Worker.run, task) for task in islice(tasks, 1))
            yield values
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended before its task, perhaps for want of memory; what was done is kept: give the same "
            "command again, with fewer workers."
        ) from error
    except OSError as error:  # of no file: the rows are read with errors of their own, and written elsewhere
        raise InputError(
            f"{workers} worker processes cannot be started ({error.strerror}); what was done is kept: give the same "
            "command again, with fewer workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """What a worker process holds."""

    job: ClassVar[_Job]
    scorer: ClassVar[_Scorer]

    @classmethod
    def start(cls, job: _Job) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
        threading.Thread(target=_end_with_parent, daemon=True).start()
        torch.set_num_threads(1)
        cls.job, cls.scorer = job, job.open()

    @classmethod
    def run(cls, task: _Task) -> Any:
        return _score(cls.job, cls.scorer, task)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, and they would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# -- the partial file --------------------------------------------------------------------------------------------------


class _Partial:
    """An .npy that grows: a header that tells of all rows, and the numbers of whole tasks."""

    def __init__(self, path: Path, file: IO[bytes], rows: int, dtype: np.dtype, step: int) -> None:
        self.path = path
        self._file = file
        header = io.BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
        np.lib.format.write_array_header_1_0(header, description)
        start = len(header.getvalue())
        there = (file.seek(0, os.SEEK_END) - start) // dtype.itemsize
        #: Rows that are written.
        self.done = max(0, there if there == rows else there - there % step)
        file.seek(0)
        if file.read(start) != header.getvalue():
            self.done = 0
            file.seek(0)
            file.write(header.getvalue())
        file.seek(start + self.done * dtype.itemsize)
        file.truncate()

    @classmethod
    @contextmanager
    def locked(cls, path: Path, rows: int, dtype: np.dtype, step: int) -> Iterator[_Partial]:
        """The partial file at `path`, which no other process writes meanwhile.

        Raises:
            InputError: another process does.
            StorageError: the disk is full or refuses.
        """
        try:
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    told = f"{path}: another process scores these rows into this file; wait for it."
                    raise InputError(told) from error
                yield cls(path, file, rows, dtype, step)
        except OSError as error:
            raise describe_os_error(error, path) from error

    def append(self, values: np.ndarray) -> None:
        """The numbers of the next task, on disk before the call ends."""
        self._file.write(values.tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done += len(values)
