from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from small import Outcome

from lde_bench.cli import main

DRIVER = Path(small.__file__)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared once for all tests of the command line."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, no data, no network, and the main job made small."""
    small.make_small(monkeypatch, tmp_path, cache)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start the small job in a process of its own."""

    def run(*arguments: object, checkpoint_seconds: float = 0) -> subprocess.Popen[str]:
        command = [sys.executable, str(DRIVER), str(checkpoint_seconds), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return run


@pytest.fixture
def records(here: Path) -> Callable[..., dict[str, Any]]:
    """The content of every record below results/ by run id."""

    def read(folder: str = "results") -> dict[str, Any]:
        return {path.stem: json.loads(path.read_text()) for path in (here / folder).rglob("*.json")}

    return read
