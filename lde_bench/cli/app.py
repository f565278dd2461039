"""The application that every command registers with, and the options that commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, Token

from lde_bench import __version__

app = App(
    name="lde-bench",
    help="Which density estimator is better on this data, by how much, and can I trust the number? "
    "Log-likelihoods are in nats.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says how to continue
)


def whole_numbers(type_: Any, tokens: Sequence[Token]) -> list[int]:
    """Values of `--K`: whole numbers from 1 up."""
    values = []
    for token in tokens:
        if not token.value.isdecimal() or int(token.value) < 1:
            raise ValueError(f"K = {token.value} is not a whole number from 1 up; give for example --K 1 10 30 100.")
        values.append(int(token.value))
    return values


DataDir = Annotated[
    Path | None,
    Parameter(help="Folder of the official files (else LDE_BENCH_DATA, the cache, or a download); only read."),
]
CacheDir = Annotated[
    Path | None, Parameter(help="Folder for prepared data (else LDE_BENCH_CACHE or the user's cache).")
]
ResultsDir = Annotated[Path, Parameter(help="Folder of run records, tables and figures.")]
Json = Annotated[bool, Parameter(negative=(), help="Machine-readable output on stdout.")]
Threads = Annotated[int | None, Parameter(help="Threads for the arithmetic; torch's choice if left out.")]
