"""Where a number came from: code version, packages, machine, command and times.

Records are published, so nothing here names a host, a user or a folder of the machine.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lde_bench.memory import physical_memory, usable_cores
from lde_bench.version import __version__

#: The packages whose version can change a number.
CORE_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "pillow", "h5py", "zuko")


def utc_now() -> str:
    """The time in UTC, ISO 8601 to the second, e.g. `2026-01-31T12:00:00+00:00`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(
    started: str, finished: str, argv: Sequence[str] | None = None, *, device: str = "cpu"
) -> dict[str, Any]:
    """The `provenance` part of a record; `started` and `finished` come from `utc_now`, `argv` defaults to
    `sys.argv`, and of device `cuda` it says which GPU that is.
    """
    commit, dirty = code_version()
    return {
        "lde_bench": __version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "packages": package_versions(),
        "machine": {**machine(), **(gpu() if device == "cuda" else {})},
        "started": started,
        "finished": finished,
        "command": describe_command(sys.argv if argv is None else argv),
    }


_PACKAGE = Path(__file__).resolve().parents[1]


@functools.cache
def source_hash() -> str:
    """SHA-256 of the source of this package, its first 12 digits: that of the code that runs, committed or not."""
    source = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        source.update(path.relative_to(_PACKAGE).as_posix().encode() + path.read_bytes())
    return source.hexdigest()[:12]


@functools.cache
def code_version(package: Path = _PACKAGE) -> tuple[str | None, bool | None]:
    """Commit of the repository that tracks `package` and whether the package differs from it; None, None
    elsewhere.

    Asked once per process: the code that runs is the code that was imported. A package installed into an
    environment that merely lies inside somebody's repository is not tracked by it and has no commit.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", ".")
    return (commit.strip() if commit else None), (None if changes is None else bool(changes.strip()))


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of git run in `folder`; None when git is missing, too slow or says no."""
    # A hook or a worktree tool sets GIT_DIR and friends for its own repository, not for ours.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def package_versions(names: Sequence[str] = CORE_PACKAGES) -> dict[str, str | None]:
    """Installed version of each package, None where it is absent; nothing is imported."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


@functools.cache
def machine() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GiB, and the platform; no host name."""
    memory = physical_memory()
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "platform": f"{platform.system()}-{platform.machine()}",
    }


def gpu() -> dict[str, str]:
    """The model of the GPU that `cuda` is."""
    import torch  # slow, and a report needs none

    return {"gpu": torch.cuda.get_device_name()}


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


#: Options of a path, by other names than those that say so.
_PATHS = ("--data", "--images", "--into", "--vgg", "--output", "--record", "--baseline", "--scheduler")


def describe_command(argv: Sequence[str]) -> str:
    """The command line with every path cut to its last component, e.g. `lde-bench bsds300 --data-dir data
    --K 1 10`.

    `python -m lde_bench` reads as `lde-bench`.
    """
    program = Path(argv[0]).name if argv else "python"
    if program == "__main__.py":
        program = Path(argv[0]).parent.name.replace("_", "-")
    words = [program]
    path_follows = False
    for word in argv[1:]:
        option, equals, value = word.partition("=")
        if path_follows:
            word = _last_component(word)
        elif equals and _names_a_path(option):
            word = f"{option}={_last_component(value)}"
        elif "/" in word and Path(word).exists():  # one that is given without an option
            word = _last_component(word)
        else:
            # An absolute or home path may stand anywhere: after an option, after key=, in a comma list.
            word = re.sub(r"(^|[=:,])((?:/|~|\.\.?/)[^=:,]*)", lambda m: m[1] + _last_component(m[2]), word)
        path_follows = not equals and _names_a_path(word)
        words.append(word)
    # A name that is no UTF-8 comes as half a surrogate, which no record can hold.
    return shlex.join(words).encode(errors="backslashreplace").decode()


def _names_a_path(option: str) -> bool:
    return option in _PATHS or (option.startswith("--") and option.endswith(("-dir", "-file", "-path", "-folder")))


def _last_component(path: str) -> str:
    name = Path(path).name
    # A home folder's last component is the name of a user.
    if name.startswith("~") or Path(path) == Path.home():
        return "~"
    return name or "."
