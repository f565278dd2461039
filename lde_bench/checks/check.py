"""`lde-bench check`: hold densities and models of images to their laws, on tiny networks, and print the verdicts."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict

import torch

from lde_bench.cards import check_method
from lde_bench.densities import create, method_classes, only_features
from lde_bench.densities.external import probe
from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.law import Law
from lde_bench.evaluation.laws import check
from lde_bench.evaluation.laws.images import check_images
from lde_bench.generators import create_generator, is_image_model
from lde_bench.process import process_unchanged
from lde_bench.progress import say
from lde_bench.report.document import Grid
from lde_bench.report.render.text import print_blocks


def check_methods(methods: Sequence[str], json: bool) -> int:
    """Print one row per method and law; 0 when every law holds, 1 when one is broken.

    Raises:
        InputError: an unknown method, or a class that does not keep the contract.
    """
    for method in methods:
        # A misspelt name is found before minutes are spent on the others.
        _try(method)
    # Tiny networks: a second thread costs more than it brings.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        verdicts = {}
        for method in methods:
            say(f"checking {method} ...")
            with process_unchanged():
                verdicts[method] = check_images(method) if is_image_model(method) else check(method)
    finally:
        torch.set_num_threads(threads)
    if json:
        print(
            json_module.dumps(
                {
                    method: [{"law": name, **asdict(law)} for name, law in laws.items()]
                    for method, laws in verdicts.items()
                },
                indent=2,
            )
        )
    else:
        _print(verdicts)
    broken = [
        f"{method}: {name} ({law.detail})"
        for method, laws in verdicts.items()
        for name, law in laws.items()
        if not law.passed
    ]
    for line in broken:
        say(f"lde-bench: law broken by {line}")
    return 1 if broken else 0


def _try(method: str) -> None:
    """Make a method once, and let a class of a user's own show that it keeps the contract."""
    check_method(method)
    if is_image_model(method):
        density = create_generator(method, (8, 8)).code_density
        if density is not None:
            probe(density)
        return
    spec = parse_method(method)
    if any(kind.needs_places for kind in method_classes(spec)):
        raise InputError(
            f"{method}: it is a density of patches whose place in their photograph is known, of which there are no "
            "tiny ones; train it (lde-bench bsds300 --patches fresh), and its record has the laws it was held to."
        )
    probe(create(spec, features=only_features(spec) or 2))


def _verdict(law: Law) -> str:
    if not law.verified:
        return "not verified"
    return "holds" if law.passed else "BROKEN"


def _print(verdicts: dict[str, dict[str, Law]]) -> None:
    rows = [
        [method, name, _verdict(law), f"{law.value:.3g}", f"{law.bound:.3g}", law.detail]
        for method, laws in verdicts.items()
        for name, law in laws.items()
    ]
    columns = ["method", "law", "verdict", "value", "bound", "where it was measured worst"]
    print_blocks([Grid(columns, rows, left=3, title="Laws, on tiny networks", words=columns[-1:])])
