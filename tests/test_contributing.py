"""The worked example of CONTRIBUTING.md is a density: it passes every law as it stands in the text."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from lde_bench.evaluation.laws import check

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_the_example_density_of_the_guide_passes_every_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "logistic_of_the_guide.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = check(module.Logistic)
    assert len(results) > 8
    assert [result for result in results if not result.passed] == []
