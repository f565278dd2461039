"""Models of images that can be sampled: one file of this package, one model.

`create_generator(name, image_shape)` makes one; an autoencoder is spelled with the density of its codes, as in
`ae+lde`, which is any method of `lde_bench.densities`: `iae+gmm:components=20`, `ae+lde+w`, `ae+package.module:Class`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lde_bench.densities import create, from_config, takes_argument
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError, UnknownMethod
from lde_bench.registry import LAST_PLACE, did_you_mean, discover, in_order, own_arguments

if TYPE_CHECKING:
    from lde_bench.generators.base import Generator
    from lde_bench.training.model import Model


@functools.cache
def generator_classes() -> dict[str, type[Generator]]:
    """Every model of images of this package by name, autoencoders without a prior too."""
    from lde_bench.generators.base import Generator

    return discover("lde_bench.generators", Generator)


def generator_class(name: str) -> type[Generator]:
    """The class of a model of images.

    Raises:
        InputError: there is none of that name; the message names the nearest.
    """
    known = generator_classes()
    if name not in known:
        raise UnknownMethod(
            f"method '{name}' is unknown; {did_you_mean(name, known, 0.4)}choose one of {', '.join(known)}."
        )
    return known[name]


def row_methods() -> list[str]:
    """Every model of images of this package in the order of the table, by `place` and then by name."""
    return in_order(generator_classes())


def place_of(method: str) -> int:
    """Where the rows of a method stand in a table of samples; what is no model of images of this package comes last."""
    kind = _row_class(method)
    return LAST_PLACE if kind is None else kind.place


def is_reference(method: str) -> bool:
    """Whether a row is there to show what a figure of samples is worth, and is no model."""
    kind = _row_class(method)
    return kind is not None and kind.is_reference


def _row_class(method: str) -> type[Generator] | None:
    """The class of a row by its method as a record spells it; None for a density, or a model that is gone."""
    known, name = generator_classes(), method.partition(":")[0]
    return known.get(name) or known.get(name.partition("+")[0])  # `gmmn+ae` is a name


def parse_generator(text: str) -> MethodSpec:
    """`name[+density[+wrapper...]][:key=value,...]`: the wrappers are the density of the codes, then its own.

    Raises:
        InputError: it is not spelled so.
    """
    name, colon, tail = text.strip().partition(":")
    if name in generator_classes():  # `gmmn+ae` is a name
        return MethodSpec(name, (), parse_method(f"model{colon}{tail}").arguments)
    head, plus, rest = text.strip().partition("+")
    if not plus or ":" in head:
        return parse_method(text)
    # By itself, as the name of a user's own class has a colon.
    inner = parse_method(rest)
    return MethodSpec(parse_method(head).name, (inner.name, *inner.wrappers), inner.arguments)


def is_image_model(method: str) -> bool:
    """Whether a spelled method is a model of images, and no density.

    Raises:
        InputError: it is not spelled as a method is.
    """
    return parse_generator(method).name in generator_classes()


def generator_arguments(spec: MethodSpec) -> list[str]:
    """The arguments that the model of images of a method takes, those of a density of its codes left out."""
    return own_arguments(generator_class(spec.name), ["image_shape"])


def density_spec(spec: MethodSpec) -> MethodSpec | None:
    """The density of the codes, with those arguments that the autoencoder does not take; None where there is none."""
    if not spec.wrappers:
        return None
    own = generator_arguments(spec)
    rest = {key: value for key, value in spec.arguments.items() if key not in own}
    return MethodSpec(spec.wrappers[0], spec.wrappers[1:], rest)


def takes_components(spec: MethodSpec) -> bool:
    """Whether a method has a number of components K: that of the mixtures of its density of codes."""
    density = density_spec(spec)
    return density is not None and takes_argument(density, "components")


def create_generator(method: str | MethodSpec, image_shape: Sequence[int], **arguments: Any) -> Generator:
    """Create a model of images by name, e.g. `create_generator("aae", (1, 28, 28), latent=8)` or
    `create_generator("ae+lde", (3, 64, 64), components=30, perceptual=0.1)`.

    Args:
        method: `name[+density...][:key=value,...]`; an argument spelled out there wins over the same keyword.
        image_shape: (C, H, W), or (H, W) of grey images.
        arguments: the model's own, e.g. `latent`, then those of the density of its codes, e.g. `components`.

    Raises:
        InputError: unknown name (with the nearest one) or argument, a bad value, or a density of the codes of a model
            that has none.
    """
    from lde_bench.generators.autoencoder import Autoencoder
    from lde_bench.generators.latent_density import LatentDensity

    spec = parse_generator(method) if isinstance(method, str) else method
    spec = spec.with_arguments(**arguments)
    kind = generator_class(spec.name)
    own = generator_arguments(spec)
    inner = density_spec(spec)
    given = {key: value for key, value in spec.arguments.items() if key in own}
    for key in spec.arguments:
        if key not in own and (inner is None or (did_you_mean(key, own) and not takes_argument(inner, key))):
            takes = f"it takes {', '.join(own)}" if own else "it takes no arguments"
            raise InputError(f"{spec.name} has no argument '{key}'; {did_you_mean(key, own)}{takes}.")
    model = kind(image_shape, **given)
    if inner is not None:
        if not isinstance(model, Autoencoder):
            raise InputError(f"{spec.name} has no codes to fit a density to; leave out +{inner.name}.")
        model.config = _config(MethodSpec(spec.name, (), given), model)
        model = LatentDensity(model, create(inner, model.latent))
    model.config = _config(spec, model)
    return model.eval()


def _config(spec: MethodSpec, model: Generator) -> dict[str, Any]:
    """What makes a model again. Of grey images (H, W) is kept: saved models and the names of runs began with those."""
    channels, *sides = model.image_shape
    return {"method": str(spec), "image_shape": sides if channels == 1 else [channels, *sides]}


def load_generator(path: str | Path) -> Generator:
    """Read a model of images that `save` wrote.

    Raises:
        InputError: the file is missing, is no safetensors file, or holds no such model.
    """
    from lde_bench.training.model import load_model

    return load_model(
        path, "model of images", lambda config: create_generator(config["method"], tuple(config["image_shape"]))
    )


def load_any(path: str | Path) -> Model:
    """Read a model that `save` wrote, a model of images or an explicit density.

    Raises:
        InputError: the file is missing, is no safetensors file, or holds no such model.
    """
    from lde_bench.training.model import load_model

    return load_model(path, "model", _made)


def _made(config: dict[str, Any]) -> Model:
    if "image_shape" in config:
        return create_generator(config["method"], tuple(config["image_shape"]))
    return from_config(config)
