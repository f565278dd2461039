"""The result store: one folder of run records, safe to share between processes and to kill at any moment.

Layout: `<results>/<experiment>/<dataset>-v<version>/<budget>/<run_id>.json`, where `<budget>` is the
profile or, for an explicit budget, e.g. `quick-2000-steps`. A trial that failed is `<run_id>.failed.json`. Beside
the record lie the weights (`.safetensors`), the log-likelihoods of the test items (`.npy`), a few samples
(`.samples.npy`), what a picture is drawn from (`.picture.npz`, and the real images in it, which may not be anybody's to
publish, in `.originals.npz`) and, while training, a checkpoint (`.ckpt`). Locks are in `<results>/.locks/`.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lde_bench.errors import InputError, StorageError
from lde_bench.files import (
    atomic_path,
    describe_os_error,
    ensure_folder,
    expanded,
    file_sha256,
    write_bytes_atomic,
    write_text_atomic,
)
from lde_bench.locks import FolderLocks
from lde_bench.runs.record import SCHEMA, Budget, Record, schema_of

log = logging.getLogger(__name__)

#: Files of results that are no run records, such as the protocol report, end so; they are never read as one.
REPORT_SUFFIX = ".report.json"

#: How the names of the files end that belong to a record for good.
BESIDE = (".safetensors", ".npy", ".npz")

#: Room that must be free before training starts: records, weights and a checkpoint of one trial.
PROBE_BYTES = 8 << 20


@dataclass(frozen=True)
class RunPaths:
    """Where the files of one run are; none of them need exist."""

    folder: Path
    run_id: str

    @property
    def record(self) -> Path:
        """The record of the finished trial."""
        return self.folder / f"{self.run_id}.json"

    @property
    def failed(self) -> Path:
        """The record of the last failure."""
        return self.folder / f"{self.run_id}.failed.json"

    @property
    def weights(self) -> Path:
        """The trained weights (safetensors)."""
        return self.folder / f"{self.run_id}.safetensors"

    def checked_weights(self, record: Record) -> Path:
        """The file of the trained weights, of which `record` names the hash; records of before do not, and are trusted.

        Raises:
            InputError: the weights are not there, or are others than those of the record.
        """
        if not self.weights.is_file():
            # In its own folder the same command trains nothing: the record is there.
            raise InputError(
                f"{self.weights}: the weights of this record are not beside it; run its command again with another "
                "--results-dir and name the record there."
            )
        named = record.training.get("weights_sha256")
        if named is not None and file_sha256(self.weights) != named:
            raise InputError(
                f"{self.weights}: is not the file of weights that its record names; put that one back, or delete both "
                "and run the command again."
            )
        return self.weights

    @property
    def log_likelihoods(self) -> Path:
        """Log-likelihood of each test item, float32 [n], nats."""
        return self.folder / f"{self.run_id}.npy"

    @property
    def samples(self) -> Path:
        """Some samples of the trained density, float32 or float64 [n, D]."""
        return self.folder / f"{self.run_id}.samples.npy"

    @property
    def picture(self) -> Path:
        """The arrays that the picture of an experiment is drawn from, made by a model."""
        return self.folder / f"{self.run_id}.picture.npz"

    @property
    def originals(self) -> Path:
        """The real images in that picture: of data whose terms may not let a record be published with them."""
        return self.folder / f"{self.run_id}.originals.npz"

    @property
    def checkpoint(self) -> Path:
        """The state of unfinished training; those of a model trained in stages are `<run_id>.<stage>.ckpt`."""
        return self.folder / f"{self.run_id}.ckpt"

    def discard_unfinished(self) -> None:
        """Delete what a trial that is done needs no more: checkpoints of all its stages, and what an earlier run that
        was killed had half-written.
        """
        for pattern in (f"{self.run_id}*.ckpt", f".{self.run_id}.*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def save_log_likelihoods(self, values: np.ndarray) -> None:
        """Write `values` [n] (nats) atomically as float32; `ValueError` when one is not finite."""
        values = np.asarray(values)
        if values.ndim != 1:
            raise ValueError(f"log-likelihoods: expected shape [n], got {list(values.shape)}")
        if bad := int(np.count_nonzero(~np.isfinite(values))):
            raise ValueError(f"log-likelihoods: {bad} of {values.size} are NaN or infinite")
        _save_array(self.log_likelihoods, values, np.float32)

    def load_log_likelihoods(self) -> np.ndarray | None:
        """Log-likelihood of each test item, float32 [n], nats; None when the file is not there (it is never
        committed).

        Raises `InputError` when the file is damaged.
        """
        return _load_array(self.log_likelihoods, "[n]", np.float32)

    def save_samples(self, values: np.ndarray) -> None:
        """Write samples [n, D] atomically, in float64 where they are, else in float32; `ValueError` when they are no
        matrix.
        """
        if np.ndim(values) != 2:
            raise ValueError(f"samples: expected shape [n, D], got {list(np.shape(values))}")
        _save_array(self.samples, values, np.float64 if np.asarray(values).dtype == np.float64 else np.float32)

    def load_samples(self) -> np.ndarray | None:
        """Samples of the trained density, float32 or float64 [n, D]; None when none were kept.

        Raises `InputError` when the file is damaged.
        """
        return _load_array(self.samples, "[n, D]", np.float32, np.float64)

    def save_picture(self, arrays: Mapping[str, np.ndarray], originals: Mapping[str, np.ndarray]) -> None:
        """Write the arrays that a picture is drawn from atomically, by their names; real images, `originals`, into a
        file of their own, where there are some.
        """
        self.originals.unlink(missing_ok=True)
        for path, kept in ((self.originals, originals), (self.picture, arrays)):
            if kept or path == self.picture:
                with atomic_path(path) as temporary, temporary.open("wb") as handle:
                    np.savez_compressed(handle, allow_pickle=False, **kept)

    def load_picture(self) -> dict[str, np.ndarray] | None:
        """The arrays that a picture is drawn from, with the real images where these were kept; None when none were.

        Raises `InputError` when a file is damaged.
        """
        made = _load_arrays(self.picture)
        return None if made is None else made | (_load_arrays(self.originals) or {})


def _load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and the record and run again.") from error


def _save_array(path: Path, values: np.ndarray, dtype: type) -> None:
    buffer = io.BytesIO()  # of a disk that fills up NumPy tells without saying so
    np.save(buffer, np.asarray(values).astype(dtype), allow_pickle=False)
    write_bytes_atomic(path, buffer.getvalue())


def _load_array(path: Path, shape: str, *dtypes: type) -> np.ndarray | None:
    try:
        with path.open("rb") as handle:
            values = np.load(handle, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and run again.") from error
    if not isinstance(values, np.ndarray) or values.ndim != len(shape.split(",")) or values.dtype not in dtypes:
        raise InputError(
            f"{path}: expected {' or '.join(each.__name__ for each in dtypes)} {shape}; delete it and run again."
        )
    return values


class ResultStore:
    """Run records under one folder, written atomically and never overwritten."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = expanded(folder).absolute()  # wherever the working folder moves to
        self._locks = FolderLocks(self.folder / ".locks")
        #: Files among the records that could not be read as one; they are left where they are.
        self.skipped: set[Path] = set()
        #: Records that were read, each with the inode, time and size of its file.
        self._records: dict[Path, tuple[tuple[int, int, int], Record]] = {}

    # ---- places

    def place(self, *, experiment: str, dataset: str, version: str, budget: Budget, run_id: str) -> RunPaths:
        """Where a run's files go, known before there is a record."""
        return RunPaths(self.folder / experiment / f"{dataset}-v{version}" / budget.label, run_id)

    def paths(self, record: Record) -> RunPaths:
        """Where the files of `record` go."""
        return self.place(
            experiment=record.experiment,
            dataset=record.dataset.name,
            version=record.dataset.version,
            budget=record.budget,
            run_id=record.run_id,
        )

    def check_writable(self) -> None:
        """Write and remove a probe of some MiB; `InputError` when the folder or the disk refuses. Call
        before training.
        """
        for folder in (self.folder, self._locks.folder):
            ensure_folder(folder)
        try:
            with atomic_path(self.folder / ".probe") as temporary:
                # Random bytes: a compressing file system would fit any number of zeros on a full disk.
                temporary.write_bytes(np.random.default_rng(0).bytes(PROBE_BYTES))
            (self.folder / ".probe").unlink(missing_ok=True)
        except OSError as error:
            raise describe_os_error(error, self.folder) from error

    # ---- locks

    def lock(self, run_id: str, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold the right to run `run_id` against every other process on this folder; yields whether it is held.

        With `wait=False` it yields False at once when another process holds it. A process that is killed lets go. See
        `lde_bench.locks` for what that is worth on network file systems.

        Raises `StorageError` when the folder refuses.
        """
        return self._locks.hold(run_id, wait=wait)

    # ---- writing

    def write(self, record: Record) -> Record:
        """Write `record` and return what now stands for its run.

        A done record that is already there wins: it is returned and nothing is written. A failure never
        replaces or hides a done record; a later success stands beside the failure. Raises `InputError` when
        the folder or disk refuses, `ValueError` when a number of the record is not finite.
        """
        text = record.to_json()
        paths = self.paths(record)
        with self.lock("write"):  # makes "look, then write" one step for all processes
            existing = self.find(record.run_id)
            if existing is not None and existing.done:
                return existing
            target = paths.record if record.done else paths.failed
            if record.done and target.exists():
                self.check_no_record(target)
                self._set_aside(target)
            write_text_atomic(target, text)
        return record

    def check_no_record(self, path: Path) -> None:
        """Find out before a run whose record is not found that there is none: else its files would be overwritten.

        Raises:
            StorageError: a file stands at `path` that cannot be read just now, or holds a record of another version.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be read ({error.strerror}), and may be the record of this run; mend its rights or its "
                "disk, and run again."
            ) from error
        if (schema := schema_of(content)) not in (None, SCHEMA):
            raise StorageError(
                f"{path}: is a record of schema {schema}, and this version writes {SCHEMA}; install the version that "
                "wrote it, or give another --results-dir."
            )

    def _set_aside(self, path: Path) -> None:
        """Keep a file that holds no record under another name, so that a good one can take its place."""
        number = 1
        while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
            number += 1
        path.rename(aside)

    # ---- reading

    def find(self, run_id: str) -> Record | None:
        """The done record of `run_id`, else its failed one, else None; of a record where the layout has it.

        Only names of folders are listed: a sweep asks several times a trial, in folders of any number of records.
        """
        folders = self._record_folders()
        found = [
            record
            for name in (f"{run_id}.json", f"{run_id}.failed.json")
            for folder in folders
            if (record := self._read(folder / name)) is not None and record.run_id == run_id
        ]
        return next((record for record in found if record.done), found[0] if found else None)

    def _record_folders(self) -> list[Path]:
        """Every `<experiment>/<dataset>-v<version>/<budget>/` that is there."""
        level = [self.folder]
        for _ in range(3):
            level = [folder for above in level for folder in _subfolders(above)]
        return sorted(level)

    def load(self) -> list[Record]:
        """Every run once, ordered by path; a failure only where no trial of the same run succeeded.

        A JSON file that is not a record is skipped with one sentence on the log and listed in `skipped`.
        Raises `InputError` when the folder does not exist, or it or a folder in it cannot be read.
        """
        return [record for _, record in self.load_with_paths()]

    def load_with_paths(self) -> list[tuple[Path, Record]]:
        """As `load`, with the file of each record."""
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder}: no such folder of results; run `lde-bench bsds300` first or name another."
            )
        runs: dict[str, tuple[Path, Record]] = {}
        for path in self._record_files():
            record = None if path.name.endswith(REPORT_SUFFIX) else self._read(path)
            if record is None:
                continue
            if record.run_id not in runs or (record.done and not runs[record.run_id][1].done):
                runs[record.run_id] = (path, record)
        return sorted(runs.values(), key=lambda run: run[0])

    def _record_files(self) -> list[Path]:
        """What may be a record, in the folder and those in it that are not hidden."""

        def refuse(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # which another process has removed
                raise InputError(f"{error.filename}: cannot be read ({error.strerror}); check its rights.")

        found = []
        for place, folders, files in os.walk(self.folder, onerror=refuse):
            folders[:] = [each for each in folders if not each.startswith(".")]
            found += [Path(place, file) for file in files if file.endswith(".json")]
        return sorted(found)

    def _read(self, path: Path) -> Record | None:
        """The record in a file, parsed again only where the file is another than it was; None where it holds none."""
        try:
            file = path.stat()
            version = (file.st_ino, file.st_mtime_ns, file.st_size)
            if path not in self._records or self._records[path][0] != version:
                self._records[path] = version, Record.from_json(path.read_text(encoding="utf-8"))
            return self._records[path][1]
        except FileNotFoundError:  # another process set it aside meanwhile
            return None
        except (OSError, UnicodeDecodeError, InputError) as error:
            if path not in self.skipped:
                self.skipped.add(path)
                log.warning("%s is not a run record and is skipped: %s.", path, error)
            return None


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out; none where it is gone."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
