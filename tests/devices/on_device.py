"""A device that tests run on, and what they expect of its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fake_card import FakeCard


class Killed(Exception):
    """What ends a run."""


def fit(
    model: Any, train: np.ndarray, held_out: np.ndarray, device: Device, where: str | None = None, **options
) -> Any:
    """The model, trained for a few steps on the device, or `where`."""
    options = {"seed": 3, "precision": "fp32", "compile": False, **options}
    return model.fit(train, held_out, device=where or device.name, **options)


@dataclass(frozen=True)
class Device:
    """Where models run: `kind` is as `--device` has it, `name` as `device=` has it; `fake` is the card that is none."""

    kind: str
    name: str
    fake: FakeCard | None = field(default=None, compare=False)

    @property
    def place(self) -> torch.device:
        return torch.device(self.name)

    @property
    def exact(self) -> bool:
        """Whether its arithmetic is the CPU's, to the bit."""
        return self.name == "cpu" or self.fake is not None

    def have_own_random_numbers(self) -> None:
        """Draw from a global generator of the device's own, as a GPU does; the fake card shares the CPU's else."""
        if self.fake is not None:
            self.fake.random_state = torch.Generator().get_state()

    def holds(self, module: torch.nn.Module) -> bool:
        """Whether all parameters and buffers are there."""
        return {each.device.type for each in (*module.parameters(), *module.buffers())} == {self.name}

    def check(self, found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-3) -> None:
        """Hold numbers made here against those of the CPU: equal to the bit where the arithmetic is the CPU's."""
        assert found.dtype == expected.dtype
        if self.exact:
            np.testing.assert_array_equal(found, expected)
        else:  # sums in another order
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
