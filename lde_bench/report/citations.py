"""BibTeX of the methods, from `data/references.bib`: what a reader of a table should cite."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from lde_bench import __version__
from lde_bench.errors import InputError

#: Cited with every table: the protocol of the patches, the photographs, and the paper this benchmark is built around.
BENCHMARK_KEYS = ("uria2016nade", "martin2001database", "yoo2020unpriortized")

_SOFTWARE = f"""\
@misc{{ldebench,
  title   = {{lde-bench: benchmark and evaluation suite for explicit density estimation and autoencoder image
             generation}},
  author  = {{{{The lde-bench developers}}}},
  version = {{{__version__}}},
}}"""


@cache
def references() -> dict[str, str]:
    """Every entry of the bibliography by its key, in the order of the file."""
    text = files("lde_bench.report").joinpath("data/references.bib").read_text(encoding="utf-8")
    found = re.finditer(r"^@\w+\{([^,\s]+),.*?^\}$", text, flags=re.MULTILINE | re.DOTALL)
    return {entry[1]: entry[0] for entry in found}


def method_keys(label: str) -> tuple[str, ...]:
    """Keys of what a method and its wrappers come from; empty for a model that is not of this package."""
    from lde_bench.densities import density_classes
    from lde_bench.densities.spec import parse_method

    known = density_classes()
    try:
        spec = parse_method(label)
    except InputError:
        return ()
    if not {spec.name, *spec.wrappers} <= known.keys():
        return ()
    return tuple(dict.fromkeys(key for name in (spec.name, *spec.wrappers) for key in known[name].card.bibtex))


def bibliography(methods: Iterable[str]) -> str:
    """BibTeX of the benchmark, this software and `methods`, each entry once; a comment says where there is none."""
    entries = references()
    lines = ["% The benchmark: protocol, photographs, paper, software."]
    lines += [entries[key] for key in BENCHMARK_KEYS]
    lines.append(_SOFTWARE)
    cited = set(BENCHMARK_KEYS)
    for method in dict.fromkeys(methods):
        keys = method_keys(method)
        named = "% " + " ".join(method.split())
        if not keys:
            lines.append(f"{named}: no reference is known here.")
            continue
        lines.append(f"{named}: {', '.join(keys)}.")
        lines += [entries[key] for key in keys if key not in cited]
        cited.update(keys)
    return "\n\n".join(lines) + "\n"
