"""Official files: downloaded through pooch with their SHA-256 checked, and archives read without unpacking them."""

from __future__ import annotations

import re
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from lde_bench.errors import InputError
from lde_bench.files import describe_os_error, ensure_folder, file_sha256

_TIMEOUT = 20.0  # seconds without a byte
_SHA256_DIGITS = 64


def download(urls: Sequence[str], sha256: str, path: Path, *, remedy: str, progress: bool = False) -> Path:
    """Bring the file of that hash to `path` unless it is there, trying `urls` in order.

    `sha256` may be the first digits alone, where no more is published; a file that is there is then taken as it is.
    What an interrupted download left is continued on the next call. Raises `InputError`, ending in `remedy`, when no
    address answers or what arrives has another hash; `path` then does not exist.
    """
    import pooch
    from filelock import FileLock

    ensure_folder(path.parent)
    pooch.get_logger().setLevel("ERROR")
    known = f"sha256:{sha256}" if len(sha256) == _SHA256_DIGITS else None  # pooch compares whole hashes
    faults = []
    for url in urls:
        transfer = _Transfer(path.with_name(f"{path.name}.part"), sha256, progress)
        try:
            with FileLock(path.with_name(f"{path.name}.lock")):  # two runs at once share one download
                try:
                    return Path(pooch.retrieve(url, known, path.name, path.parent, downloader=transfer))
                except InputError:  # which is a ValueError too
                    raise
                except ValueError:  # pooch's word for a wrong hash, and that of some malformed addresses
                    transfer.partial.unlink(missing_ok=True)
                    faults.append(f"{url} sent a file with the wrong SHA-256")
        except OSError as error:  # requests' errors are OSErrors too
            if error.errno is not None:
                raise describe_os_error(error, path) from error
            faults.append(f"{url} could not be reached, or broke off ({type(error).__name__})")
    raise InputError(f"{path.name} could not be downloaded: {'; '.join(faults)}; {remedy}")


class _Transfer:
    """A pooch downloader that keeps what has arrived in `partial` and asks the server for the rest only.

    Raises `ValueError` where the SHA-256 of the whole does not begin with `sha256`.
    """

    def __init__(self, partial: Path, sha256: str, progress: bool) -> None:
        self.partial = partial
        self.sha256 = sha256
        self._progress = progress and sys.stderr.isatty()

    def __call__(self, url: str, output_file: str | IO[bytes], _pooch: Any) -> None:
        import requests
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        have = self.partial.stat().st_size if self.partial.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code != requests.codes.range_not_satisfiable:  # that one means: all is here
                answer.raise_for_status()
                resumed = answer.status_code == requests.codes.partial_content
                columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
                console = Console(stderr=True, quiet=not self._progress)
                with (
                    Progress(*columns, console=console, transient=True) as bar,
                    self.partial.open("ab" if resumed else "wb") as handle,
                ):
                    have = have if resumed else 0
                    length = int(answer.headers.get("Content-Length", 0)) + have
                    task = bar.add_task(f"Downloading {url.rsplit('/', 1)[-1]}", total=length or None, completed=have)
                    for piece in answer.iter_content(1 << 14):
                        handle.write(piece)
                        bar.advance(task, len(piece))
        if not file_sha256(self.partial).startswith(self.sha256):
            raise ValueError(f"the SHA-256 does not begin with {self.sha256}")
        self.partial.replace(str(output_file))


def read_archive(path: Path, sha256: str, member: re.Pattern[str]) -> dict[tuple[str, ...], bytes]:
    """The regular files of a .tgz whose names match `member`, by the pattern's groups.

    Nothing is unpacked to disk, so a hostile archive can write nowhere. Raises `InputError` when the archive's SHA-256
    is another or it cannot be read.
    """
    if file_sha256(path) != sha256:
        raise InputError(
            f"{path}: the SHA-256 is not that of the official archive; remove the file and download it again."
        )
    try:
        with tarfile.open(path, "r:gz") as archive:
            found = {}
            for item in archive:
                match = member.search(item.name)
                content = archive.extractfile(item) if match and item.isfile() else None
                if match and content is not None:
                    found[match.groups()] = content.read()
            return found
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: the archive cannot be read ({error}); download it again.") from error
