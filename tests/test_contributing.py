"""The worked examples of CONTRIBUTING.md pass what a density must pass, as they stand in the text."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lde_bench.evaluation.laws import check

ROOT = Path(__file__).parents[1]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"


def _code(example: int) -> str:
    """The code of one of the guide's two examples: a file of this package, a file of a user's."""
    examples = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    return examples[example]


@pytest.mark.slow
def test_the_class_of_a_users_own_of_the_guide_passes_every_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "laplace_of_the_guide.py").write_text(_code(1), encoding="utf-8")
    results = check("laplace_of_the_guide:Laplace")
    assert {"normalised", "samples", "entropy", "seeds"} < set(results)
    assert [law for law, result in results.items() if not result.passed] == []


@pytest.mark.slow
def test_the_example_density_of_the_guide_passes_every_test_of_a_density(tmp_path: Path) -> None:
    # In a copy of the package, where the file stands as the guide says, found by itself.
    for name in ("lde_bench", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "lde_bench" / "densities" / "logistic.py").write_text(_code(0), encoding="utf-8")
    where = [f"tests/{name}" for name in ("densities", "experiments", "report", "cli", "test_imports.py")]
    chosen = "logistic or test_registry or test_citations or test_other_commands or test_imports"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-k", chosen, *where]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 100
