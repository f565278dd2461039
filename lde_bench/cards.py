"""What the cards say of any method that a row may have: an explicit density, or a model of images."""

from __future__ import annotations

from lde_bench.densities import density_classes, method_classes
from lde_bench.densities import describe_method as describe_density
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError, UnknownMethod
from lde_bench.generators import density_spec, generator_classes, parse_generator
from lde_bench.registry import did_you_mean
from lde_bench.training.model import Card


def describe_method(label: str) -> str:
    """A method in words; the label itself where this version has no card of it.

    The density of an autoencoder's codes is told behind it: "autoencoder ...; on its codes, ...".
    """
    spec = _image_model(label)
    if spec is None:
        return describe_density(label)
    told = generator_classes()[spec.name].card.summary
    inner = density_spec(spec)
    return told if inner is None else f"{told}; on its codes, {describe_density(str(inner))}"


def method_cards(label: str) -> dict[str, Card]:
    """The cards of what a method is made of, by name; none for a model that is not of this package."""
    spec = _image_model(label)
    models = {} if spec is None else {spec.name: generator_classes()[spec.name].card}
    try:
        inner = parse_method(label) if spec is None else density_spec(spec)
    except InputError:
        return {}
    names = [] if inner is None else [inner.name, *inner.wrappers]
    known = density_classes()
    if not set(names) <= known.keys():
        return models
    return models | {name: known[name].card for name in names}


def check_method(label: str) -> None:
    """Raise `InputError`, with the nearest name, for a method that is neither a density nor a model of images."""
    spec = _image_model(label)
    inner = parse_method(label) if spec is None else density_spec(spec)
    if inner is None:
        return
    near = did_you_mean(inner.name, generator_classes())
    if spec is None and near and not did_you_mean(inner.name, density_classes()):
        raise UnknownMethod(f"method '{inner.name}' is unknown; {near}`lde-bench list` shows them all.")
    method_classes(inner)


def _image_model(label: str) -> MethodSpec | None:
    """The spelling of a model of images; None where the label is none."""
    try:
        spec = parse_generator(label)
    except InputError:
        return None
    return spec if spec.name in generator_classes() else None
