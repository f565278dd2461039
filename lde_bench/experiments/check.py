"""`lde-bench check`: hold densities to their laws, on tiny networks, and print the verdicts."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from dataclasses import asdict

import torch

from lde_bench.densities import create
from lde_bench.evaluation.laws import LawResult, check
from lde_bench.progress import say


def check_methods(methods: Sequence[str], json: bool) -> int:
    """Print one row per method and law; 0 when every law holds, 1 when one is broken.

    Raises:
        InputError: an unknown method.
    """
    for method in methods:
        create(method, features=2)  # a misspelt name is found before minutes are spent on the others
    # Tiny networks: a second thread costs more than it brings.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        verdicts = {}
        for method in methods:
            say(f"checking {method} ...")
            verdicts[method] = check(method)
    finally:
        torch.set_num_threads(threads)
    if json:
        print(json_module.dumps({name: [asdict(law) for law in laws] for name, laws in verdicts.items()}, indent=2))
    else:
        _print(verdicts)
    broken = [f"{name}: {law.law} ({law.detail})" for name, laws in verdicts.items() for law in laws if not law.passed]
    for line in broken:
        say(f"lde-bench: law broken by {line}")
    return 1 if broken else 0


def _print(verdicts: dict[str, list[LawResult]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column, justify in (
        ("method", "left"),
        ("law", "left"),
        ("verdict", "left"),
        ("value", "right"),
        ("bound", "right"),
    ):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("where it was measured worst", overflow="fold")
    for method, laws in verdicts.items():
        for law in laws:
            verdict = "holds" if law.passed else "BROKEN"
            table.add_row(method, law.law, verdict, f"{law.value:.3g}", f"{law.bound:.3g}", law.detail)
    Console(width=None if sys.stdout.isatty() else 1_000_000, highlight=False).print(table)
