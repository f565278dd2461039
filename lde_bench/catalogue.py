"""What `lde-bench list` shows: methods, wrappers, datasets and profiles, each with its source."""

from __future__ import annotations

import inspect
from typing import Any

from lde_bench.data import datasets
from lde_bench.densities import create, density_class, density_classes, density_names, describe_method, is_wrapper
from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError
from lde_bench.experiments.bsds300 import FEATURES, PROFILES
from lde_bench.progress import duration, print_table


def catalogue(name: str | None = None) -> dict[str, Any]:
    """Everything there is, or one method, as JSON-able values.

    Raises:
        InputError: `name` is no method.
    """
    if name is not None:
        return _method(name)
    names, own = density_names(), density_classes()
    return {
        "methods": [_method(method) for method in names if method in own]
        + [_brought(method) for method in names if method not in own],
        "wrappers": [
            {"suffix": f"+{kind.name}", "summary": kind.card.summary, "source": kind.card.source}
            for kind in density_classes().values()
            if is_wrapper(kind)
        ],
        "datasets": [
            {"name": entry.name, "version": entry.version, "summary": entry.description, "source": entry.source}
            for entry in datasets().values()
        ],
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


def _method(name: str) -> dict[str, Any]:
    spec = parse_method(name)
    density = create(spec, FEATURES)
    kind = density_class(spec.name)
    arguments = {
        key: _plain(parameter.default)
        for key, parameter in inspect.signature(kind.__init__).parameters.items()
        if key not in ("self", "features") and parameter.kind is not parameter.VAR_KEYWORD
    }
    return {
        "name": name,
        "summary": describe_method(name),
        "source": kind.card.source,
        "differences": kind.card.differences,
        "sample_cost": kind.card.sample_cost,
        "arguments": arguments,
        "parameters_at_63_features": density.parameter_count(),
        "plans": {
            profile: {**plan.describe(), "reference_seconds": plan.reference_seconds}
            for profile, plan in kind.plans.items()
        },
    }


def _brought(name: str) -> dict[str, Any]:
    """A method that an installed package brings; one that cannot be had says why, and hides no other."""
    try:
        return _method(name)
    except InputError as error:
        unknown: dict[str, Any] = {
            "source": "an entry point",
            "parameters_at_63_features": None,
            "arguments": {},
            "plans": {},
        }
        return {"name": name, "summary": str(error), **unknown}


def _plain(default: Any) -> Any:
    """A default in JSON's own types; the class of a user's own may have any."""
    if default is inspect.Parameter.empty:
        return "(required)"
    return default if isinstance(default, bool | int | float | str | None) else str(default)


def _count(parameters: int | None) -> str:
    return "unknown" if parameters is None else f"{parameters:,}"


def print_card(name: str) -> None:
    """One method in full, on stdout."""
    card = _method(name)
    defaults = ", ".join(f"{key}={value}" for key, value in card["arguments"].items()) or "none"
    lines = [
        f"{card['name']}: {card['summary']}",
        f"  source            {card['source']}",
        f"  against published {card['differences']}",
        f"  sampling          {card['sample_cost']}",
        f"  arguments         {defaults}",
        f"  parameters        {_count(card['parameters_at_63_features'])} at {FEATURES} features and these arguments",
    ]
    own_fit = density_class(parse_method(name).name).origin.get("fit")
    if own_fit:
        lines.append("  training          its own fit, once")
    for profile, plan in [] if own_fit else card["plans"].items():
        reference = duration(plan["reference_seconds"])
        lines.append(
            f"  {profile:<17} {plan['steps']:,} steps of {plan['batch_size']:,}, rate {plan['rate']:g} "
            f"({plan['schedule']}), about {reference} on 2 cores with bf16"
        )
    print("\n".join(lines))


def print_catalogue() -> None:
    """Tables of everything, on stdout: full width when that is no terminal."""
    parts = catalogue()
    print_table(
        f"Methods (name[+wrapper...][:key=value,...]; parameters at {FEATURES} features)",
        ["method", "parameters", "what", "source"],
        [
            [card["name"], _count(card["parameters_at_63_features"]), card["summary"], card["source"]]
            for card in parts["methods"]
        ],
    )
    print_table(
        "Wrappers", ["suffix", "what", "source"], [[w["suffix"], w["summary"], w["source"]] for w in parts["wrappers"]]
    )
    print_table(
        "Datasets",
        ["dataset", "version", "what", "source"],
        [[d["name"], d["version"], d["summary"], d["source"]] for d in parts["datasets"]],
    )
    print_table(
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
    )
