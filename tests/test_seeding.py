"""A test draws the same numbers whatever ran before it, in whatever order, with pytest-randomly and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lde_bench.seeds import derive_generator

CONFTEST = Path(__file__).parents[1] / "conftest.py"
DRAWS = """
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

DRAWN = Path(__file__).with_name("drawn.json")


def draw():
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


@pytest.fixture(scope="module")
def shared():
    return draw()


@pytest.fixture
def own():
    return draw()


def note(name, *draws):
    drawn = json.loads(DRAWN.read_text()) if DRAWN.exists() else {}
    DRAWN.write_text(json.dumps({**drawn, name: draws}))


@pytest.mark.parametrize("case", ["a", "b"])
def test_with_fixtures(case, own, shared):
    note(f"fixtures {case}", own, shared, draw())


def test_late(request):
    note("late", request.getfixturevalue("shared"), draw())


def test_alone():
    note("alone", draw())
"""


@pytest.fixture
def drawn(pytester: pytest.Pytester) -> Callable[..., dict[str, Any]]:
    """Run the tests of `DRAWS` with some arguments, and return what they drew by name."""
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makepyfile(test_draws=DRAWS)

    def run(*arguments: str) -> dict[str, Any]:
        result = pytester.runpytest_inprocess("-p", "no:xdist", *arguments)
        result.assert_outcomes(passed=4)
        path = pytester.path / "drawn.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return found

    return run


@pytest.mark.slow
def test_draws_depend_on_the_name_of_the_test_alone(drawn: Callable[..., dict[str, Any]]) -> None:
    names = ["test_with_fixtures[a]", "test_with_fixtures[b]", "test_late", "test_alone"]
    order = [f"test_draws.py::{name}" for name in names]
    first = drawn("-p", "no:randomly", *order)
    assert drawn("-p", "no:randomly", *order[::-1]) == first
    assert first["fixtures a"][1] == first["fixtures b"][1] == first["late"][0]  # one module, one fixture
    draws = [*first["fixtures a"], first["fixtures b"][0], first["fixtures b"][2], first["late"][1], first["alone"][0]]
    values = [value for draw in draws for value in draw]
    assert len(set(values)) == len(values)
    if find_spec("pytest_randomly"):
        for seed in ("1", "2"):
            assert drawn("--randomly-seed", seed) == first


def test_what_datasets_are_made_of_is_the_same_in_this_version_of_numpy():
    # Splits and samples of datasets rest on these: NumPy keeps its bits for ever, and not what it makes of them.
    generator = derive_generator("a", 1)
    assert generator.permutation(10).tolist() == [3, 8, 4, 0, 6, 9, 2, 7, 1, 5]
    assert generator.integers(0, 1000, 5).tolist() == [80, 908, 485, 142, 21]
    assert generator.standard_normal(3) == pytest.approx([-1.9075454545106854, 0.15586001001664207, 0.5425908195968792])
    assert generator.random(2) == pytest.approx([0.5428998462941004, 0.9904607192687553])
