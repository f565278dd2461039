"""Which code a class of a user's own is: its package's version, and the hash of its file and of what that imports.

Another version of the code is another run, so an edited helper file must not hand out the number of the old one.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

#: Digits of a hash that a record shows.
DIGITS = 12

#: Folders of installed packages, whose version says which code they are.
INSTALLED = ("site-packages", "dist-packages")


def code_of(found: type) -> str:
    """Names the code of a class: version of the package where it has one, and hash of the file where it has one.

    The hash of a class that imports other files of its own project is one of all those files. The project is what lies
    beside the class's top-level package, or in the current folder, and is neither installed nor this package.
    """
    words = []
    package = found.__module__.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(package, [])[:1]:
        words.append(f"{distribution} {importlib.metadata.version(distribution)}")
    with suppress(OSError, TypeError):  # built in, or typed at a prompt: there is no file
        words.append(_hash_of(found.__module__, Path(inspect.getfile(found)).resolve()))
    return ", ".join(words) or "unknown"


def _hash_of(module: str, file: Path) -> str:
    top = file.parents[module.count(".") + (file.stem == "__init__")]
    own = _sha256(file)
    others = {} if _is_installed(file) else _imported(module, file, {top, Path.cwd().resolve()})
    if not others:  # as it was before the imports counted: records of a single file serve on
        return own[:DIGITS]
    lines = sorted(f"{name} {_sha256(path)}" for name, path in others.items())
    return hashlib.sha256("\n".join([own, *lines]).encode()).hexdigest()[:DIGITS]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _is_installed(file: Path) -> bool:
    standard = (Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
    return any(part in INSTALLED for part in file.parts) or any(file.is_relative_to(folder) for folder in standard)


def _imported(module: str, file: Path, project: set[Path]) -> dict[str, Path]:
    """The files of the project that a module imports, and that those import, by the name of their module."""
    found: dict[str, Path] = {}
    todo = [(module, file)]
    while todo:
        for name in _imports(*todo.pop()):
            if name in found or name == module or name.partition(".")[0] == "lde_bench":
                continue
            path = _file_of(name)
            if path is None or path == file or _is_installed(path):
                continue
            if any(path.is_relative_to(folder) for folder in project):
                found[name] = path
                todo.append((name, path))
    return found


def _imports(module: str, file: Path) -> Iterator[str]:
    """The modules that the source of a module names in its imports, those within functions too, and their packages."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # an extension module, which is hashed and not read
        return
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                with suppress(ImportError, ValueError):  # beyond the top-level package
                    base = importlib.util.resolve_name("." * node.level + base, package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _file_of(name: str) -> Path | None:
    """The file of a module, imported or not; None where there is none. Nothing is imported for it."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None and (spec := _spec_of(name)) is not None and spec.has_location:
        file = spec.origin
    path = None if file is None else Path(file).resolve()
    return path if path is not None and path.is_file() else None


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """What Python would import under this name, found without importing its packages."""
    folders = None
    spec = None
    parts = name.split(".")
    for count in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: count + 1]), folders)
        if spec is None:
            return None
        folders = spec.submodule_search_locations
        if folders is None and count + 1 < len(parts):  # no package: what follows is a name within it
            return None
    return spec
