"""The options, fixtures and summary table of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from races import HEADING, Line, Timing

CORES = torch.get_num_threads()
LINES: pytest.StashKey[list[Line]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compiled", action="store_true", help="time the torch.compile versions too (needs C++)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LINES] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash[LINES]
    if lines:
        terminalreporter.section("lde-bench: rates and ratios (medians; higher is faster)")
        for line in (HEADING, *lines):
            terminalreporter.write_line(str(line))


@pytest.fixture(autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads that torch may use: one, unless the test is parametrised on `threads`."""
    count = getattr(request, "param", 1)
    torch.set_num_threads(count)
    yield count
    torch.set_num_threads(CORES)


@pytest.fixture
def timing(benchmark: Any, pytestconfig: pytest.Config) -> Timing:
    return Timing(benchmark, pytestconfig.stash[LINES])
