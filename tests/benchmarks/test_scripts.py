"""Every script under `benchmarks/` still starts: it imports what it uses, and says what it takes."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_takes(script, monkeypatch, capsys):
    if script.name == "kill_workers.py":
        pytest.importorskip("psutil", reason="psutil comes with dask, of the extra [dask]")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert not ended.value.code
    assert script.name in capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_command_that_a_script_shows_has_what_it_must_have(script):
    text = script.read_text(encoding="utf-8")
    _, _, shown = text.partition(f"python benchmarks/{script.name}")
    needed = re.findall(r'add_argument\("(--[a-z-]+)"[^)]*required=True', text)
    missing = [option for option in needed if option not in shown.partition('"""')[0]]
    assert not missing


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("patch_units.py", ("--threads", "0")),
        ("jpeg_steps.py", ("--data-dir", ".", "--steps", "0")),
        ("unlike_networks.py", ("--steps", "-5")),
        ("table1_search.py", ("--seconds", "nan")),
    ],
)
def test_a_number_that_is_not_positive_is_refused(script, arguments, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    assert ended.value.code == 2
    assert f"{arguments[-1]} is not a positive number" in capsys.readouterr().err
