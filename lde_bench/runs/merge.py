"""One results folder made of several: what was run on several machines, side by side as if it had been run on one."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lde_bench.errors import InputError
from lde_bench.files import atomic_path
from lde_bench.runs.record import Record
from lde_bench.runs.store import BESIDE, ResultStore


@dataclass(frozen=True)
class Merged:
    """What a merge did: how many runs and files it copied, and how many runs were there already."""

    runs: int
    files: int
    there: int


@dataclass(frozen=True)
class _Source:
    """A run as one of the folders has it: its record, the file of that, and the files beside it."""

    path: Path
    record: Record
    beside: tuple[Path, ...]


def merge_results(sources: Sequence[str | Path], into: str | Path) -> Merged:
    """Copy the runs of results folders into one, which may hold runs already; the sources stay as they are.

    Records come with what lies beside them: weights, log-likelihoods, samples and pictures. Tables and reports are made
    from records and are not copied, nor are checkpoints of unfinished trials. All records are compared before the first
    file is written, nothing is overwritten, and a record is written after its files, so that a merge that was killed is
    ended by the same call.

    The same run in two folders must be the same: equal in all that its records say but when, where and how fast it ran
    (`provenance`, the commit behind its weights, `cost`, the clocks of the `curve`). Its files are then those of the
    first folder, completed from the others. A trial that failed in one folder and was done in another is done.

    Raises:
        InputError: a source is no folder or holds no record, the same run differs, another file stands in the way of
            one that is copied, or another process is running a trial that is copied.
        StorageError: the folder or its disk refuses to be written to.
    """
    store = ResultStore(into)
    there = _runs(store) if store.folder.is_dir() else {}
    chosen: dict[str, list[_Source]] = {run_id: [source] for run_id, source in there.items()}
    for folder in sources:
        found = _runs(ResultStore(folder))
        if not found:
            raise InputError(f"{folder}: holds no run record; name a folder of results.")
        for run_id, source in found.items():
            chosen[run_id] = _joined(chosen.get(run_id, []), source)
    copies = {run_id: _copies(found, store, there.get(run_id)) for run_id, found in chosen.items()}
    for run_id, files in copies.items():
        _copy_run(run_id, files, store)
    runs = sum(bool(files) for files in copies.values())
    return Merged(runs, sum(map(len, copies.values())), len(chosen) - runs)


def _runs(store: ResultStore) -> dict[str, _Source]:
    """The runs of a folder by name."""
    found = {record.run_id: (path, record) for path, record in store.load_with_paths()}
    beside: dict[tuple[Path, str], list[Path]] = {(path.parent, run_id): [] for run_id, (path, _) in found.items()}
    for folder in {folder for folder, _ in beside}:
        for path in sorted(each for each in folder.iterdir() if each.suffix in BESIDE):
            # A run's name may hold full stops itself.
            owner = next((name for name in _stems(path.name) if (folder, name) in beside), None)
            if owner is not None:
                beside[folder, owner].append(path)
    return {
        run_id: _Source(path, record, tuple(beside[path.parent, run_id])) for run_id, (path, record) in found.items()
    }


def _stems(name: str) -> Iterator[str]:
    """`a.b.npy` -> `a.b`, `a`."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _joined(known: list[_Source], source: _Source) -> list[_Source]:
    """The folders' versions of one run, of which the first decides, with one more."""
    done = [each for each in known if each.record.done]
    if not source.record.done:
        return known or [source]
    if done and _compared(done[0].record) != _compared(source.record):
        raise InputError(
            f"{done[0].path} and {source.path}: are records of the same run that differ in "
            f"{_difference(done[0].record, source.record)}; keep the one that you trust and merge again."
        )
    return [*done, source]


def _compared(record: Record) -> Record:
    """A record without what may differ between two runs of one trial."""
    curve = [replace(point, cpu_seconds=0.0, wall_seconds=0.0) for point in record.curve]
    # The commit of the code that trained the weights is provenance too; the weights themselves are compared by hash.
    training = {name: value for name, value in record.training.items() if name != "weights_commit"}
    return replace(record, provenance={}, cost=None, curve=curve, training=training)


def _difference(a: Record, b: Record) -> str:
    """The first part of two records that differs."""
    one, other = _compared(a).to_dict(), _compared(b).to_dict()
    return next(name for name in one if one[name] != other[name])


def _copies(found: Sequence[_Source], store: ResultStore, there: _Source | None) -> dict[Path, Path]:
    """Which file is copied where, of one run: the record last, unless it is there.

    Raises:
        InputError: another file stands where one is to be copied.
    """
    record = found[0].record
    paths = store.paths(record)
    folder = there.path.parent if there is not None and there.record.done else paths.folder
    copies: dict[Path, Path] = {}
    for path in (path for source in found for path in source.beside):
        copies.setdefault(folder / path.name, path)
    if there is None or found[0] is not there:
        copies[paths.record if record.done else paths.failed] = found[0].path
    missing = {target: source for target, source in copies.items() if not target.exists()}
    if there is None or not there.record.done:
        for target in copies.keys() - missing.keys():
            # The remains of a merge or of a trial that was killed before its record was written.
            if not filecmp.cmp(copies[target], target, shallow=False):
                raise InputError(f"{target}: is in the way of another file of that name; move it away and merge again.")
    return missing


def _copy_run(run_id: str, files: dict[Path, Path], store: ResultStore) -> None:
    if not files:
        return
    # A sweep on the folder writes a run's files under its lock; what it has written meanwhile stays.
    with store.lock(run_id, wait=False) as held:
        if not held:
            raise InputError(f"{store.folder}: another process is running {run_id}; merge again when it has ended.")
        with store.lock("write"):
            for target, source in files.items():
                if not target.exists():
                    with atomic_path(target) as temporary:
                        shutil.copyfile(source, temporary)
