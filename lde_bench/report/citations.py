"""BibTeX of the methods, from `data/references.bib`: what a reader of a table should cite."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from lde_bench.data import datasets
from lde_bench.evaluation.sample_measures import sample_metrics
from lde_bench.features import feature_spaces
from lde_bench.version import __version__

#: Cited with every table: the protocol of the patches, the photographs, and the paper this benchmark is built around.
BENCHMARK_KEYS = ("uria2016nade", "martin2001database", "yoo2020unpriortized")

#: Cited where there are samples of images: the Parzen window and what it is worth.
WINDOW_KEYS = ("breuleux2011quickly", "goodfellow2014generative", "theis2016note")

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
    """Keys of what a method, the density of its codes and its wrappers come from; empty for a model that is not of this
    package.
    """
    from lde_bench.cards import method_cards

    return tuple(dict.fromkeys(key for card in method_cards(label).values() for key in card.bibtex))


def samples_keys() -> tuple[str, ...]:
    """Keys of what is cited where there are samples of images: the window, the measures beside it and the networks that
    they may be taken through, the images.
    """
    measures = (key for kind in (sample_metrics() | feature_spaces()).values() for key in kind.bibtex)
    images = (key for entry in datasets().values() if entry.items == "images" for key in entry.bibtex)
    return tuple(dict.fromkeys((*WINDOW_KEYS, *measures, *images)))


def samples_images(label: str) -> bool:
    """Whether a method is a model of images, which is measured by its samples."""
    from lde_bench.cards import method_cards
    from lde_bench.generators import generator_classes

    return not generator_classes().keys().isdisjoint(method_cards(label))


def bibliography(methods: Iterable[str]) -> str:
    """BibTeX of the benchmark, this software and `methods`, each entry once; a comment says where there is none."""
    entries = references()
    named = list(dict.fromkeys(methods))
    lines = ["% The benchmark: protocol, photographs, paper, software."]
    lines += [entries[key] for key in BENCHMARK_KEYS]
    lines.append(_SOFTWARE)
    cited = set(BENCHMARK_KEYS)
    if any(map(samples_images, named)):
        lines.append("% The Parzen window, the other measures of samples, and the images.")
        lines += [entries[key] for key in samples_keys()]
        cited.update(samples_keys())
    for method in named:
        keys = method_keys(method)
        comment = "% " + " ".join(method.split())
        if not keys:
            lines.append(f"{comment}: no reference is known here.")
            continue
        lines.append(f"{comment}: {', '.join(keys)}.")
        lines += [entries[key] for key in keys if key not in cited]
        cited.update(keys)
    return "\n\n".join(lines) + "\n"
