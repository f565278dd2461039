"""What `lde-bench list` shows: methods, models of images, wrappers, measures of samples, datasets and profiles, each
with its source.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

from lde_bench.cards import check_method, describe_method, method_cards
from lde_bench.data import datasets
from lde_bench.densities import (
    create,
    density_class,
    density_classes,
    density_names,
    is_wrapper,
    method_classes,
    method_input,
    sample_cost,
)
from lde_bench.densities.base import Density
from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.sample_measures import sample_metrics
from lde_bench.experiments import experiments
from lde_bench.experiments.bsds300 import FEATURES, PROFILES
from lde_bench.generators import (
    create_generator,
    generator_arguments,
    generator_class,
    generator_classes,
    parse_generator,
)
from lde_bench.generators.base import Generator
from lde_bench.progress import duration
from lde_bench.registry import did_you_mean
from lde_bench.report.document import Grid
from lde_bench.report.render.text import print_blocks
from lde_bench.training.model import NONE_KNOWN
from lde_bench.training.plan import Budget, Plan

#: Models of images are listed with their parameters at this size, MNIST's, and this size of the code, if they have one.
IMAGE_SHAPE, LATENT = (1, 28, 28), 8

#: TFD's, for which some have other plans.
LARGER_SHAPE = (1, 48, 48)


def catalogue(name: str | None = None) -> dict[str, Any]:
    """Everything there is, or one method or wrapper, as JSON-able values.

    Raises:
        InputError: `name` is no method, and no suffix of one.
    """
    if name is not None:
        return _wrapper(name) if _is_suffix(name) else _card(name)
    names, own = density_names(), density_classes()
    return {
        "methods": [_method(method) for method in names if method in own]
        + [_brought(method) for method in names if method not in own],
        "wrappers": [_wrapper(f"+{kind.name}") for kind in density_classes().values() if is_wrapper(kind)],
        "models_of_images": [_image_model(method) for method in generator_classes()],
        "metrics": [
            {"name": metric.name, "summary": metric.summary, "source": metric.source}
            for metric in sample_metrics().values()
        ],
        "datasets": [
            {
                "name": entry.name,
                "version": entry.version,
                "items": entry.items,
                "summary": entry.description,
                "source": entry.source,
            }
            for entry in datasets().values()
        ],
        "experiments": [{"name": each.name, "summary": each.title} for each in experiments().values()],
        "profiles": [
            {
                "name": profile,
                "validation": defaults.validation,
                "test": defaults.test,
                "trials": defaults.trials,
                "methods": list(defaults.methods),
            }
            for profile, defaults in PROFILES.items()
        ],
    }


def _is_suffix(name: str) -> bool:
    return name.startswith("+") and name.count("+") == 1


def _wrapper(suffix: str) -> dict[str, Any]:
    kind = density_classes().get(suffix[1:])
    if kind is None or not is_wrapper(kind):
        known = [f"+{each.name}" for each in density_classes().values() if is_wrapper(each)]
        hint = did_you_mean(suffix, known)
        raise InputError(f"there is no wrapper '{suffix}'; {hint}choose one of {', '.join(known)}.")
    card = kind.card
    return {
        "suffix": suffix,
        "summary": card.summary,
        "source": card.source,
        "differences": card.differences,
        "sample_cost": card.sample_cost,
        "arguments": _arguments(kind, "base"),
    }


def _card(name: str) -> dict[str, Any]:
    check_method(name)
    return _image_model(name) if _is_image_model(name) else _method(name)


def _is_image_model(name: str) -> bool:
    return parse_generator(name).name in generator_classes()


def _method(name: str) -> dict[str, Any]:
    spec = parse_method(name)
    density = create(spec, FEATURES)
    kind, *wrappers = method_classes(spec)
    arguments = _arguments(kind, "features")
    for each in wrappers:
        own = _arguments(each, "base")
        arguments |= {key: own[key] for key in own if key not in arguments}  # what both have goes to the density
    further = [f"+{each.name}: {each.card.differences}" for each in wrappers if each.card.differences != NONE_KNOWN]
    return {
        "name": name,
        "summary": describe_method(name),
        "source": "; ".join(dict.fromkeys(each.card.source for each in (kind, *wrappers))),
        "differences": "; ".join([kind.card.differences, *further]),
        "input": method_input(name),
        "sample_cost": sample_cost(spec),
        "arguments": arguments | spec.arguments,
        "parameters_at_63_features": density.parameter_count(),
        "plans": {profile: _plan_of_density(density, profile) for profile in PROFILES},
    }


def _plan_of_density(density: Density, profile: str) -> dict[str, Any]:
    budget = Budget.of(profile)
    return _plan(density.plan(budget), density.expected_seconds(budget))


def _image_model(name: str) -> dict[str, Any]:
    spec = parse_generator(name)
    kind = generator_class(spec.name)
    latent = {"latent": LATENT} if "latent" in generator_arguments(spec) else {}
    model = create_generator(spec, IMAGE_SHAPE, **latent)
    plans = _image_plans(model)
    larger = _image_plans(create_generator(spec, LARGER_SHAPE, **latent))
    at_larger = f" at {LARGER_SHAPE[1]}x{LARGER_SHAPE[2]}"
    cards = method_cards(name).values()
    return {
        "name": name,
        "summary": describe_method(name),
        "source": "; ".join(dict.fromkeys(card.source for card in cards)),
        "differences": kind.card.differences,
        "sample_cost": kind.card.sample_cost,
        "arguments": _arguments(kind, "image_shape") | latent | spec.arguments,
        "parameters_at_28x28": model.parameter_count(),
        "plans": plans | {f"{title}{at_larger}": plan for title, plan in larger.items() if plan != plans[title]},
    }


def _image_plans(model: Generator) -> dict[str, Any]:
    plans = {}
    for budget in map(Budget.of, PROFILES):
        seconds = model.part_seconds(budget, None)
        for part, each in model.parts().items():
            plans[f"{budget.profile} {part}".strip()] = _plan(model.part_plan(each, budget), seconds[part])
    return plans


def _arguments(kind: type, taken: str) -> dict[str, Any]:
    """What a constructor takes and its defaults, but for the size of the data."""
    init: Any = kind.__init__  # type: ignore[misc]
    return {
        key: _plain(parameter.default)
        for key, parameter in inspect.signature(init).parameters.items()
        if key not in ("self", taken) and parameter.kind is not parameter.VAR_KEYWORD
    }


def _plan(plan: Plan, seconds: float) -> dict[str, Any]:
    return {**plan.describe(), "reference_seconds": round(seconds, 1)}


def _brought(name: str) -> dict[str, Any]:
    """A method that an installed package brings; one that cannot be had says why, and hides no other."""
    try:
        return _method(name)
    except InputError as error:
        unknown: dict[str, Any] = {
            "source": "an entry point",
            "input": None,
            "parameters_at_63_features": None,
            "arguments": {},
            "plans": {},
        }
        return {"name": name, "summary": str(error), **unknown}


def _plain(default: Any) -> Any:
    """A default in JSON's own types; the class of a user's own may have any."""
    if default is inspect.Parameter.empty:
        return "(required)"
    if isinstance(default, float) and not math.isfinite(default):
        return str(default)  # which JSON has no number for
    return default if isinstance(default, bool | int | float | str | None) else str(default)


def _count(parameters: int | None) -> str:
    return "unknown" if parameters is None else f"{parameters:,}"


def print_card(name: str) -> None:
    """One method in full, or a wrapper, on stdout."""
    if _is_suffix(name):
        _print_wrapper(_wrapper(name))
        return
    card = _card(name)
    of_images = _is_image_model(name)
    defaults = ", ".join(f"{key}={value}" for key, value in card["arguments"].items()) or "none"
    if of_images:
        parameters = f"{_count(card['parameters_at_28x28'])} at {_at(IMAGE_SHAPE, card['arguments'])}"
    else:
        parameters = f"{_count(card['parameters_at_63_features'])} at {FEATURES} features and these arguments"
    facts = {
        "source": card["source"],
        "against published": card["differences"],
        **({} if of_images else {"input": card["input"]}),
        "sampling": card["sample_cost"],
        "arguments": defaults,
        "parameters": parameters,
    }
    kind = None if of_images else density_class(parse_method(name).name)
    if kind is not None and kind.origin.get("fit"):
        facts["training"] = "its own fit, once"
    else:
        for profile, plan in card["plans"].items():
            steps = f"{plan['steps']:,} steps of {plan['batch_size']:,}"
            if kind is None or kind.by_gradient:
                steps += f", rate {plan['rate']:.3g} ({plan['schedule']})"
            if "rows" in plan:
                epochs = plan["steps"] * plan["batch_size"] / plan["rows"]
                steps += f", {epochs:.0f} epochs of {plan['rows']:,}: of other data as many epochs"
            how = "in closed form" if plan["closed_form"] else steps
            facts[profile] = f"{how}, about {duration(plan['reference_seconds'])} on 2 cores with bf16"
    _print_facts(f"{card['name']}: {card['summary']}", facts)


def _print_wrapper(card: dict[str, Any]) -> None:
    facts = {
        "source": card["source"],
        "against published": card["differences"],
        "sampling": card["sample_cost"],
        "arguments": ", ".join(f"{key}={value}" for key, value in card["arguments"].items()) or "none",
    }
    _print_facts(f"{card['suffix']}: {card['summary']}", facts)


def _print_facts(title: str, facts: dict[str, str]) -> None:
    width = max(map(len, facts))
    print("\n".join([title, *(f"  {key:<{width}} {fact}" for key, fact in facts.items())]))


def _at(image_shape: tuple[int, int, int], arguments: dict[str, Any] | None = None) -> str:
    """The size of images and codes, of one model with its `arguments` or of all."""
    _, height, width = image_shape
    latent = f", latent {LATENT} where there is one"
    if arguments is not None:
        latent = f", latent {arguments['latent']}" if "latent" in arguments else ""
    return f"{height}x{width} pixels{latent}"


def print_catalogue() -> None:
    """Tables of everything, on stdout: full width when that is no terminal."""
    parts = catalogue()
    blocks = [
        _grid(
            f"Methods (name[+wrapper...][:key=value,...]; parameters at {FEATURES} features)",
            ["method", "parameters", "what", "source"],
            [
                [card["name"], _count(card["parameters_at_63_features"]), card["summary"], card["source"]]
                for card in parts["methods"]
            ],
        ),
        _grid(
            "Models of images (name[:key=value,...]; ae+NAME and iae+NAME are sampled by any of the methods above on "
            f"their codes; parameters at {_at(IMAGE_SHAPE)})",
            ["model", "parameters", "what", "source"],
            [
                [card["name"], _count(card["parameters_at_28x28"]), card["summary"], card["source"]]
                for card in parts["models_of_images"]
            ],
        ),
        _grid(
            "Wrappers",
            ["suffix", "what", "source"],
            [[each["suffix"], each["summary"], each["source"]] for each in parts["wrappers"]],
        ),
        _grid(
            "Measures of samples, beside the Parzen window",
            ["measure", "what", "source"],
            [[each["name"], each["summary"], each["source"]] for each in parts["metrics"]],
        ),
        _grid(
            "Datasets",
            ["dataset", "version", "rows", "what", "source"],
            [
                [each["name"], each["version"], each["items"], each["summary"], each["source"]]
                for each in parts["datasets"]
            ],
        ),
        _grid("Experiments", ["command", "what"], [[each["name"], each["summary"]] for each in parts["experiments"]]),
        _grid(
            "Profiles of bsds300 (training steps per method: lde-bench list NAME)",
            ["profile", "validation patches", "test patches", "trials", "methods"],
            [
                [
                    profile["name"],
                    f"{profile['validation']:,}" if profile["validation"] else "all",
                    f"{profile['test']:,}" if profile["test"] else "all",
                    str(profile["trials"]),
                    ", ".join(profile["methods"]),
                ]
                for profile in parts["profiles"]
            ],
        ),
    ]
    print_blocks(blocks)


def _grid(title: str, headers: list[str], rows: list[list[str]]) -> Grid:
    """A table of words alone."""
    return Grid(headers, rows, left=len(headers), title=title)
