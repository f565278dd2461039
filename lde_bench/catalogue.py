"""What `lde-bench list` shows: methods, wrappers, datasets and profiles, each with its source."""

from __future__ import annotations

import inspect
from typing import Any

from lde_bench.data import datasets
from lde_bench.densities import create, density_classes, density_names, describe_method, is_wrapper
from lde_bench.densities.spec import parse_method
from lde_bench.experiments.bsds300 import FEATURES, PROFILES
from lde_bench.progress import duration, print_table


def catalogue(name: str | None = None) -> dict[str, Any]:
    """Everything there is, or one method, as JSON-able values.

    Raises:
        InputError: `name` is no method.
    """
    if name is not None:
        return _method(name)
    return {
        "methods": [_method(method) for method in density_names()],
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
    kind = density_classes()[spec.name]
    arguments = {
        key: parameter.default
        for key, parameter in inspect.signature(kind.__init__).parameters.items()
        if key not in ("self", "features")
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
        f"  parameters        {card['parameters_at_63_features']:,} at {FEATURES} features and these arguments",
    ]
    for profile, plan in card["plans"].items():
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
            [card["name"], f"{card['parameters_at_63_features']:,}", card["summary"], card["source"]]
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
