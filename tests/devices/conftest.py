"""Where the tests of this folder run: on the devices that `pytest --device` names, and by default on a fake card."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fake_card import fake_card
from on_device import Device, Killed

from lde_bench.training import loop


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--device") or ["fake"]
        metafunc.parametrize("device", [name for each in asked for name in each.split(",")], indirect=True)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """One of the devices that were asked for."""
    name = request.param
    if name not in ("cpu", "cuda", "fake"):
        raise pytest.UsageError(f"--device {name} is unknown; choose cpu, cuda or fake.")
    if name == "fake":
        with fake_card() as card:
            yield Device(name, "cuda", card)
        return
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("NOT TESTED ON A GPU: this machine has none that torch can use; run pytest --device cuda on one")
    yield Device(name, name)


@pytest.fixture
def kill_halfway(monkeypatch: pytest.MonkeyPatch):
    """For `on_progress`: raises `Killed` past the middle of a run, which writes a checkpoint at every step."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)

    def kill(progress: loop.Progress) -> None:
        if 0.4 < progress.share < 1:
            raise Killed

    return kill
