"""Every test, of `tests/` and of `benchmarks/`, draws the same random numbers whatever ran before it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Generator

import numpy as np
import pytest
import torch

pytest_plugins = ("pytester",)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        action="append",
        help="where tests/devices runs: cuda, cpu, or fake (the default), a GPU that is none; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    # pytest-randomly, where it is installed, shuffles the tests and no more: it would seed again from the number it
    # shuffles by.
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


def _seed(name: str) -> None:
    """Seed the three global generators from a name."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """Seed from the test's node id, before any fixture of the test's own draws."""
    _seed(request.node.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Seed a fixture that several tests share from its own name, and leave the test that happens to be first alone."""
    if fixturedef.scope == "function":
        return (yield)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    _seed(f"{fixturedef.baseid}::{fixturedef.argname}[{request.param_index}]")  # type: ignore[attr-defined]
    try:
        return (yield)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
