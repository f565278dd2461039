"""The worked example of CONTRIBUTING.md is a density: it passes every law as it stands in the text."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from lde_bench.evaluation.laws import check

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def _code(example: int) -> str:
    """The code of one of the guide's two examples: a file of this package, a file of a user's."""
    examples = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    return examples[example]


def test_the_class_of_a_users_own_of_the_guide_passes_every_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "laplace_of_the_guide.py").write_text(_code(1), encoding="utf-8")
    results = check("laplace_of_the_guide:Laplace")
    assert {"normalised", "samples", "entropy", "seeds"} < {result.law for result in results}
    assert [result for result in results if not result.passed] == []


def test_the_example_density_of_the_guide_passes_every_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "logistic_of_the_guide.py"
    path.write_text(_code(0), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = check(module.Logistic)
    assert len(results) > 8
    assert [result for result in results if not result.passed] == []
