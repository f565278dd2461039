"""What a class of a user's own must take and give: the names of its arguments, the shape of its log-densities."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lde_bench.errors import CalledExit, InputError

#: Names under which a constructor may ask for the number of features, and for that of a mixture's components.
FEATURES = ("features", "in_features", "n_features", "num_features", "dim", "n_dim", "ndim", "n_dims", "input_dim")
COMPONENTS = ("components", "n_components", "num_components")
SEEDS = ("random_state", "seed")

#: Rows on which a class is tried; more for a mixture of many components.
PROBE_ROWS = 256

Form = Literal["array", "tensor"]


@dataclass(frozen=True)
class Habits:
    """What the probe found: what `fit` and the log-density take, and whether the model can do more.

    Attributes:
        fit: what `fit` takes.
        rows: what the log-density takes.
        samples: whether it can be sampled.
        gradients: whether the log-density has a gradient.
        weights: whether its weights can be kept, and put into another of its kind.
    """

    fit: Form
    rows: Form
    samples: bool
    gradients: bool
    weights: bool


def told(error: Exception) -> str:
    """An exception as a clause of a sentence."""
    if isinstance(error, CalledExit):
        return f"SystemExit ({error})"
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_of(names: tuple[str, ...], parameters: Mapping[str, Any]) -> str | None:
    """The first of `names` that is among the parameters."""
    return next((name for name in names if name in parameters), None)


def is_required(parameter: inspect.Parameter) -> bool:
    """Whether an argument must be given."""
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not variadic


def parameters_of(name: str, what: str, function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of `function`, which is `what` of the method `name`.

    Raises:
        InputError: they cannot be read.
    """
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: the arguments of {what} cannot be read; write it in Python.") from error


def spelled_signature(name: str, found: type) -> inspect.Signature:
    """What a method may spell: the constructor's own arguments, `components` for however it calls them."""
    own = parameters_of(name, "its constructor", found)
    features, components = first_of(FEATURES, own), first_of(COMPONENTS, own)
    kinds = inspect.Parameter
    parameters = [kinds("self", kinds.POSITIONAL_OR_KEYWORD), kinds("features", kinds.POSITIONAL_OR_KEYWORD)]
    for key, parameter in own.items():
        if key != features and parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY):
            spelled = "components" if key == components else key
            parameters.append(parameter.replace(name=spelled, kind=kinds.KEYWORD_ONLY))
    return inspect.Signature(parameters + [each for each in own.values() if each.kind is kinds.VAR_KEYWORD])


def check_methods(name: str, found: Any, *, own_fit: bool) -> None:
    """Look at the methods of a class that is no `Density`, without calling any.

    Raises:
        InputError: one is missing, or `fit` takes what it should not.
    """
    if not own_fit and not issubclass(found, torch.nn.Module):
        raise InputError(
            f"{name}: {found.__name__} has no fit(train), and is no torch.nn.Module that could be trained without; "
            "give it a method fit."
        )
    if not own_fit:
        return
    if not any(callable(getattr(found, method, None)) for method in ("log_prob", "score_samples")):
        raise InputError(
            f"{name}: {found.__name__} has neither log_prob nor score_samples; give it log_prob(x), which returns the "
            "log-density in nats, [n], of rows x [n, D]."
        )
    bound = isinstance(inspect.getattr_static(found, "fit"), staticmethod | classmethod)
    parameters = list(parameters_of(name, "fit", found.fit).values())[0 if bound else 1 :]
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if not positional and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        raise InputError(f"{name}: fit takes no training array; its first argument should be train [n, D].")
    given = ("validation", "seed", "steps", "profile", "random_state")
    for each in parameters:
        if is_required(each) and each not in positional[:1] and each.name not in given:
            raise InputError(
                f"{name}: fit needs the argument '{each.name}', which is none of {', '.join(given)}; give it a default."
            )


def probe_rows(n: int, features: int) -> Tensor:
    """Skewed rows of about unit size, each number correlated with its left neighbour: float32 [n, D]."""
    normal = np.random.default_rng(0).normal(size=(n, features))
    rows = normal + 0.3 * (normal**2 - 1) + 0.5 * np.roll(normal, 1, axis=1)
    return torch.as_tensor(rows, dtype=torch.float32)


def checked(name: str, what: str, values: Any, rows: int) -> Tensor:
    """The log-densities `values`, as they should be: numbers [rows], finite.

    Raises:
        InputError: they are not.
    """
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: {what} should return log-densities [n], got a {type(values).__name__}.") from error
    if found.shape != (rows,):
        raise InputError(
            f"{name}: {what} should return one log-density per row, shape [{rows}] for {rows} rows, got "
            f"{list(found.shape)}; return [n] in nats."
        )
    if found.is_complex():
        raise InputError(f"{name}: {what} returns complex numbers; return real log-densities in nats.")
    if not torch.isfinite(found).all():
        bad = int((~torch.isfinite(found)).sum())
        raise InputError(
            f"{name}: {what} is NaN or infinite on {bad} of {rows} of the rows that it was fitted to, on "
            "synthetic data; return finite log-densities."
        )
    return found
