"""Models and metrics are found by themselves: one file, one class with a name of its own, and nothing to enter."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

_Class = TypeVar("_Class")

#: The place of a class that does not say where it stands in a table: behind all that do.
LAST_PLACE = sys.maxsize


def discover(package: str, base: type[_Class]) -> dict[str, type[_Class]]:
    """The subclasses of `base` with a `name` that the modules of `package` define, by that name."""
    found: dict[str, type[_Class]] = {}
    for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{module_info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            if issubclass(member, base) and "name" in vars(member) and member.__module__ == module.__name__:
                found[vars(member)["name"]] = member
    return dict(sorted(found.items()))


class _Placed(Protocol):
    place: ClassVar[int]


def in_order(found: Mapping[str, type[_Placed]]) -> list[str]:
    """The names of classes in the order of their table: by `place`, then by name."""
    return sorted(found, key=lambda name: (found[name].place, name))


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`did you mean 'lde'? ` for a name that is near one of those known; else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean '{near[0]}'? " if near else ""


def own_arguments(kind: type, taken: Iterable[str]) -> list[str]:
    """The constructor arguments that a method may spell: all but `self`, those `taken`, `*args` and `**arguments`."""
    init: Any = kind.__init__  # type: ignore[misc]
    parameters = inspect.signature(init).parameters.values()
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.name not in ("self", *taken) and each.kind not in unnamed]
