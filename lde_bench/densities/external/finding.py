"""Finds the class that `package.module:Class`, or an entry point, spells, and makes it a `Density`."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from lde_bench.densities.base import Density
from lde_bench.densities.external.adapters import Adapter, Module, OwnDensity, OwnFit
from lde_bench.densities.external.contract import check_methods, spelled_signature, told
from lde_bench.densities.external.origin import code_of
from lde_bench.errors import InputError, UnknownMethod
from lde_bench.process import process_unchanged
from lde_bench.registry import did_you_mean
from lde_bench.training.model import Card

GROUP = "lde_bench.densities"


def entry_points() -> dict[str, str]:
    """Name -> `package.module:Class` of the densities that installed packages bring."""
    return {each.name: f"{each.module}:{each.attr}" for each in importlib.metadata.entry_points(group=GROUP)}


@functools.cache
def external_class(name: str, target: str | None = None) -> type[Density]:
    """The class that `target` (by default `name`) spells as `package.module:Class`, as a density called `name`.

    Raises:
        InputError: there is no such module or class, or it does not keep the contract.
    """
    found, settings = _import(name, target or name)
    origin = {"code": code_of(found)}
    body: dict[str, Any] = {"name": name, "process_settings": settings, "__doc__": found.__doc__}
    if issubclass(found, Density):
        plain = {
            "card": Card(f"the density {found.__name__} of {found.__module__}", found.__module__, "its own"),
            "plans": Module.plans,
        }
        lacking = {key: value for key, value in plain.items() if not hasattr(found, key)}
        body |= {"origin": origin, "__module__": found.__module__, "__init__": _constructor(name, found, settings)}
        return type(found.__name__, (OwnDensity, found), {**body, **lacking})
    own_fit = callable(getattr(found, "fit", None))
    is_module = issubclass(found, nn.Module)
    check_methods(name, found, own_fit=own_fit)
    if own_fit:
        origin |= {"fit": "its own"} | ({} if is_module else {"weights": "none kept: no torch module"})
    base: type[Adapter] = OwnFit if own_fit else Module
    signature = spelled_signature(name, found)
    paragraph = " ".join((inspect.getdoc(found) or "").strip().partition("\n\n")[0].split())
    card = Card(
        summary=paragraph.partition(". ")[0].rstrip(".") or f"the class {found.__name__} of {found.__module__}",
        source=f"{found.__module__}.{found.__qualname__} ({origin['code']})",
        sample_cost="one call of its own sampler"
        if is_module or hasattr(found, "sample")
        else "none: it has no sample",
        differences="as its own package has it",
    )

    def __init__(self: Adapter, features: int, **arguments: Any) -> None:  # noqa: N807
        base.__init__(self, features, **arguments)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    body |= {"card": card, "target": found, "origin": origin, "__init__": __init__}
    return type(found.__name__, (base,), body)


def _constructor(name: str, found: Any, settings: dict[str, Any]) -> Any:
    """That of a `Density` of a user's own, with its arguments."""

    @functools.wraps(found.__init__)
    def __init__(self: Density, *given: Any, **arguments: Any) -> None:  # noqa: N807
        try:
            with process_unchanged(settings, generators=False):
                found.__init__(self, *given, **arguments)
        except InputError:
            raise
        except Exception as error:  # whatever a user's constructor raises
            raise InputError(
                f"{name}: its constructor raised {told(error)}; correct the arguments or the class."
            ) from error

    return __init__


def _import(name: str, target: str) -> tuple[type, dict[str, Any]]:
    """The class, and the settings of the process that its module changed when it was imported."""
    module_name, _, path = target.partition(":")
    spelling = "spell a class as package.module:Class, and arguments as key=value"
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` has it: the file of a user's is in the current folder
    try:
        found, settings = _import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"{name}: module '{module_name}' needs '{error.name}', which is not installed.") from error
        raise UnknownMethod(
            f"{name}: there is no module '{module_name}' in the current folder or installed; {spelling}."
        ) from error
    except Exception as error:  # whatever a user's file raises when it runs
        raise InputError(f"{name}: importing '{module_name}' raised {told(error)}; repair that module.") from error
    for part in path.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, vars(found)).rstrip("? ") or spelling
            raise UnknownMethod(f"{name}: module '{module_name}' has no class '{path}'; {hint}.")
        found = getattr(found, part)
    if not inspect.isclass(found):
        raise InputError(f"{name}: '{path}' of module '{module_name}' is a {type(found).__name__}; name a class.")
    return found, settings


@functools.cache  # a module runs once, so what it sets is seen once, whichever of its classes is asked for first
def _import_module(module_name: str) -> tuple[Any, dict[str, Any]]:
    importlib.invalidate_caches()
    with process_unchanged() as settings:
        module = importlib.import_module(module_name)
    return module, settings
