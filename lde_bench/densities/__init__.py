"""Explicit densities log p(z). One file = one model; a new file is found by itself.

A module of this package that holds a `Density` with a `name` registers it; one with `wraps = True` is a density that
wraps a density and is spelled as a suffix, `+name`.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError, UnknownMethod
from lde_bench.registry import did_you_mean, discover, own_arguments

if TYPE_CHECKING:
    from lde_bench.densities.base import Density, Input


@functools.cache
def density_classes() -> dict[str, type[Density]]:
    """Every density of this package by name, wrappers too."""
    from lde_bench.densities.base import Density

    return discover(__name__, Density)


def density_names() -> list[str]:
    """The names that `create` takes: of this package, then of entry points; wrappers left out."""
    from lde_bench.densities.external import entry_points

    own = [name for name, kind in density_classes().items() if not is_wrapper(kind)]
    return [*own, *(name for name in sorted(entry_points()) if name not in own)]


def is_wrapper(kind: type[Density]) -> bool:
    """Whether a class wraps another density (`+w`)."""
    return bool(getattr(kind, "wraps", False))


def density_class(name: str, *, wrapper: bool = False) -> type[Density]:
    """The class of a density, or of a wrapper; `package.module:Class` and entry points give one made of that class.

    Raises:
        InputError: there is none of that name; the message names the nearest. Or a class that is no density.
    """
    from lde_bench.densities.external import entry_points, external_class

    if ":" in name:
        return external_class(name)
    candidates = {key: kind for key, kind in density_classes().items() if is_wrapper(kind) == wrapper}
    if name in candidates:
        return candidates[name]
    if not wrapper and name in (brought := entry_points()):
        return external_class(name, brought[name])
    hint = did_you_mean(name, candidates, cutoff=0.4)
    what, mark = ("wrapper", "+") if wrapper else ("method", "")
    raise UnknownMethod(
        f"{what} '{mark}{name}' is unknown; {hint}choose one of {', '.join(mark + key for key in candidates)}."
    )


def method_classes(spec: MethodSpec) -> list[type[Density]]:
    """The class of the density, then those of its wrappers from the inside out.

    Raises:
        InputError: see `density_class`.
    """
    return [density_class(spec.name), *(density_class(name, wrapper=True) for name in spec.wrappers)]


def _own_arguments(kind: type[Density]) -> list[str]:
    """The constructor arguments that a method may spell."""
    return own_arguments(kind, ["base" if is_wrapper(kind) else "features"])


def _takes_any(kind: type[Density]) -> bool:
    """Whether a constructor has `**arguments`, as that of a class of a user's own may have."""
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(kind.__init__).parameters.values())


def takes_argument(spec: MethodSpec, argument: str) -> bool:
    """Whether a method, its density or a wrapper, has this constructor argument, e.g. `components` for mixtures."""
    return any(argument in _own_arguments(kind) for kind in method_classes(spec))


def training_spec(spec: MethodSpec) -> MethodSpec:
    """The method as it trains: without outermost wrappers such as `+sym`, and without arguments that training does not
    see.
    """
    wrappers = spec.wrappers
    while wrappers and density_class(wrappers[-1], wrapper=True).trains_as_base:
        wrappers = wrappers[:-1]
    unseen = frozenset().union(*(kind.evaluation_only for kind in method_classes(spec)))
    return MethodSpec(spec.name, wrappers, {key: value for key, value in spec.arguments.items() if key not in unseen})


def without_outermost_wrapper(spec: MethodSpec) -> MethodSpec:
    """What the outermost wrapper wraps, without that wrapper's own arguments."""
    inner = MethodSpec(spec.name, spec.wrappers[:-1])
    return inner.with_arguments(**{key: value for key, value in spec.arguments.items() if takes_argument(inner, key)})


def only_features(spec: MethodSpec) -> int | None:
    """The one number of features that a method takes, 63 for `+sym`; None where it takes any."""
    return next((kind.only_features for kind in method_classes(spec) if kind.only_features is not None), None)


def create(method: str | MethodSpec, features: int, *, whiten: str | None = None, **arguments: Any) -> Density:
    """Create a density by name, e.g. `create("lde", features=63, components=10)` or `create("lde+w", features=63)`.

    Args:
        method: `name[+wrapper...][:key=value,...]`; an argument spelled out there wins over the same keyword.
        features: D, from 1 up.
        whiten: `"cholesky"` is the same as the suffix `+w`.
        arguments: the model's own, e.g. `components` for mixtures, or a wrapper's, e.g. `members` of `+ens`.

    Raises:
        InputError: unknown name (with the nearest one) or argument, or a bad value.
    """
    if not isinstance(method, str | MethodSpec):
        raise InputError(f"method = {method!r} is no name of a density; give for example 'lde'.")
    spec = parse_method(method) if isinstance(method, str) else method
    if whiten not in (None, "cholesky"):
        raise InputError(f"whiten = {whiten!r} is unknown; give 'cholesky' or None.")
    wrappers = spec.wrappers if whiten is None or "w" in spec.wrappers else (*spec.wrappers, "w")
    spec = MethodSpec(spec.name, wrappers, {**arguments, **spec.arguments})
    kind, *wrapper_kinds = method_classes(spec)
    mine, *theirs = (_own_arguments(each) for each in (kind, *wrapper_kinds))
    if _takes_any(kind):
        taken = {"features", *(name for names in theirs for name in names)}
        mine += [name for name in spec.arguments if name not in taken]
    known = [*mine, *(name for names in theirs for name in names)]
    for argument in spec.arguments:
        if argument not in known:
            hint = did_you_mean(argument, known)
            takes = f"it takes {', '.join(known)}" if known else "it takes no arguments"
            raise InputError(f"{'+'.join((spec.name, *spec.wrappers))} has no argument '{argument}'; {hint}{takes}.")
    # What both have goes to the density.
    density = kind(features, **{name: value for name, value in spec.arguments.items() if name in mine})
    for wrapper_kind, names in zip(wrapper_kinds, theirs, strict=True):
        wrap: Any = wrapper_kind
        given = {name: value for name, value in spec.arguments.items() if name in names and name not in mine}
        density = wrap(density, **given)
    density.config = {"method": str(spec), "features": density.features}
    return density.eval()


def sample_cost(spec: MethodSpec) -> str:
    """What a sample costs, and an evaluation where a wrapper makes it dearer, in words.

    Raises:
        InputError: see `method_classes`.
    """
    density, *wrappers = method_classes(spec)
    return "; ".join([density.card.sample_cost, *(f"+{kind.name}: {kind.card.sample_cost}" for kind in wrappers)])


def describe_method(label: str) -> str:
    """A method in words, from the cards of density and wrappers; the label itself where this version has no card."""
    try:
        spec = parse_method(label)
    except InputError:
        return label
    try:
        return "; with ".join(kind.card.summary for kind in method_classes(spec))
    except InputError:
        return label


@functools.cache
def method_input(label: str) -> Input | None:
    """What a method does to its rows first, as its outermost part that does anything says; None where that is a class
    of a user's own, which alone knows, or nothing that this version has.
    """
    try:
        spec = parse_method(label)
    except InputError:
        return None
    own = density_classes()
    parts = [*((name, True) for name in reversed(spec.wrappers)), (spec.name, False)]
    kinds = [own[name] for name, wraps in parts if name in own and is_wrapper(own[name]) == wraps]
    return next(filter(None, (kind.input_under(spec.arguments) for kind in kinds)), None)


def load_density(path: str | Path) -> Density:
    """Read a density that `Density.save` wrote.

    Raises:
        InputError: the file is missing, is no safetensors file, or holds no lde-bench density.
    """
    from lde_bench.training.model import load_model

    return load_model(path, "density", from_config)


def from_config(config: dict[str, Any]) -> Density:
    """The untrained density of a saved `config`, in the units of the data where that names them."""
    import numpy as np

    from lde_bench.data.unit import Unit
    from lde_bench.densities.standardised import Standardised

    density = create(config["method"], config["features"])
    if "unit" not in config:
        return density
    mean, scale = (np.asarray(config["unit"][name], dtype=np.float64) for name in ("mean", "scale"))
    return Standardised(density, Unit(mean, scale))
