from __future__ import annotations

import re
from importlib.resources import files

import pytest

from lde_bench.densities import density_classes
from lde_bench.generators import generator_classes
from lde_bench.report.citations import BENCHMARK_KEYS, bibliography, references, samples_keys

MODELS = density_classes() | generator_classes()


def test_every_key_of_every_card_is_in_the_bibliography():
    for name, kind in MODELS.items():
        for key in kind.card.bibtex:
            assert key in references(), f"{name}: {key}"


def test_no_entry_of_the_bibliography_is_unused():
    used = {key for kind in MODELS.values() for key in kind.card.bibtex}
    assert set(references()) == used | set(BENCHMARK_KEYS) | set(samples_keys())


def test_every_model_that_is_not_a_wrapper_says_what_to_cite():
    models = {name: kind for name, kind in MODELS.items() if not getattr(kind, "wraps", False)}
    assert [name for name, kind in models.items() if not kind.card.bibtex] == []


def test_the_bibliography_parses():
    text = files("lde_bench.report").joinpath("data/references.bib").read_text(encoding="utf-8")
    assert "".join("\n".join(references().values()).split()) == "".join(text.split())  # nothing lies between entries
    assert len(references()) == text.count("\n@") + 1
    for key, entry in references().items():
        assert entry.count("{") == entry.count("}"), key
        fields = re.findall(r"^  (\w+)\s*= \{", entry, flags=re.MULTILINE)
        assert len(fields) == len(set(fields))
        assert {"title", "author", "year"} <= set(fields), key


def test_each_entry_is_printed_once_and_the_benchmark_is_always_cited():
    text = bibliography(["lde+w", "lde", "gmm:components=200", "lde+w"])
    for key in (*BENCHMARK_KEYS, "ldebench", "dempster1977maximum"):
        assert text.count(f"{{{key},") == 1
    assert "bishop2006pattern" not in text


def test_a_model_of_images_brings_its_own_references_those_of_its_density_and_those_of_the_measures():
    text = bibliography(["gan", "iae+gmm+w:latent=4", "gan"])
    for key in (*samples_keys(), "goodfellow2013maxout", "dempster1977maximum", "yoo2020unpriortized"):
        assert text.count(f"{{{key},") == 1, key
    assert "% iae+gmm+w:latent=4: yoo2020unpriortized, dempster1977maximum" in text
    assert "theis2016note" not in bibliography(["gmm"])


@pytest.mark.parametrize("method", ["my_package.models:Mine", "lde+nowrapper", "a\nb"])
def test_a_model_of_a_users_own_is_said_to_have_no_reference(method):
    last = bibliography([method]).splitlines()[-1]
    assert last == f"% {' '.join(method.split())}: no reference is known here."
