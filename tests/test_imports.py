"""The map of the code: imports run one way, those for type checking too, and no two files import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lde_bench

PACKAGE = Path(lde_bench.__file__).parent

#: From the ground up; what stands in one tuple is on one floor, and may not import each other.
FLOORS = (
    ("version",),
    ("errors",),
    ("seeds", "arrays", "files", "memory", "registry", "progress", "process"),
    ("locks",),
    ("data", "training"),
    ("features",),
    ("densities",),
    ("generators",),
    ("cards", "evaluation"),
    ("runs",),
    ("trials",),
    ("report",),
    ("experiments",),
    ("checks", "catalogue"),
    ("cli",),
    ("__main__",),
)
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            # `from lde_bench.report import parts` imports a module, `from lde_bench.runs import Record` a name.
            found |= {name if (name := f"{node.module}.{each.name}") in MODULES else node.module for each in node.names}
    return {name for name in found if name.split(".")[0] == "lde_bench"}


IMPORTS = {name: imported(path) - {name} for name, path in MODULES.items()}


def floor_of(module: str) -> int:
    return FLOOR[module.split(".")[1]]


@pytest.mark.parametrize("module", [name for name in MODULES if name != "lde_bench"])
def test_no_import_runs_up(module):
    assert module.split(".")[1] in FLOOR, f"{module} has no place on the map"
    for target in IMPORTS[module]:
        assert target != "lde_bench", f"{module} imports the package that is made of it"
        if target.split(".")[1] == module.split(".")[1]:
            continue
        assert floor_of(target) < floor_of(module), f"{module} imports {target}"


def test_no_two_files_import_each_other_and_no_ring_of_files_does():
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"a ring: {' -> '.join([*trail[trail.index(module) :], module])}"
        if module in done:
            return
        for target in sorted(IMPORTS.get(module, ())):
            # The public names of the package are loaded on first use.
            if module != "lde_bench":
                walk(target, (*trail, module))
        done.add(module)

    for module in MODULES:
        walk(module, ())
