"""Atomic file writing: a reader sees the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lde_bench.errors import InputError, StorageError

#: What the system says where a disk, or a user's share of it, is full.
FULL = (errno.ENOSPC, errno.EDQUOT)


def describe_os_error(error: OSError, path: Path) -> StorageError:
    """Turn an operating-system error about `path` into one sentence with its remedy."""
    if error.errno in FULL:
        return StorageError(f"{path}: the disk is full; free some space or choose another folder.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"{path}: no permission to write there; choose a folder you may write to.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return StorageError(f"{path}: a file stands where a folder is needed, or the reverse; choose another path.")
    if error.errno == errno.ENAMETOOLONG:
        return StorageError(f"{path}: the name is too long for a file beside it; choose a shorter one.")
    return StorageError(f"{path}: cannot be written ({error.strerror or error}); choose another folder.")


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~` and `~user` replaced by the home folder that it names.

    Raises:
        InputError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: there is no such user or home folder; write the path out.") from error


def ensure_folder(path: Path) -> Path:
    """Create `path` and its parents; an `StorageError` says why when that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise describe_os_error(error, path) from error
    return path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it replaces `path`, on failure it is removed.

    Raises `StorageError` when the folder cannot be written or the disk is full, or `path` is a device or a pipe; and
    `InputError` when what fails inside is a file that is read from.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise StorageError(f"{path}: is no file that could be replaced; choose another name.")
    ensure_folder(path.parent)
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(descriptor)
    except OSError as error:
        raise describe_os_error(error, path if error.errno == errno.ENAMETOOLONG else path.parent) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as handle:  # data on disk before the name points at it
            os.fsync(handle.fileno())
        # mkstemp makes files private; a published file follows the user's umask like any other.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.parent.exists():
            raise StorageError(f"{path.parent}: the folder vanished while it was written to.") from error
        # A copy that fills the disk is told of by the name of its source.
        other = error.filename is not None and str(error.filename) not in (str(temporary), str(path))
        if other and error.errno not in FULL:
            raise InputError(
                f"{error.filename}: cannot be read ({error.strerror}); check the path and its rights."
            ) from error
        raise describe_os_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raises `StorageError` now where `path` could not be written later, after hours of work; leaves nothing behind."""
    if path.is_dir():
        raise describe_os_error(OSError(errno.EISDIR, os.strerror(errno.EISDIR)), path)
    probe = path.with_name(f".{path.name}.probe")
    with atomic_path(probe):
        pass
    probe.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its rights.") from error


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes_atomic(path, text.encode())
