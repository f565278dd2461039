"""The two units of ResMADE's Gaussians against one: what a fixed unit beside the running scale is worth.

    python benchmarks/resmade_units.py --seconds 120 --threads 1 --seed 0

`resmade-mog+w` on patches as it is, half of its Gaussians in units of the causal running scale and half in the fixed
unit, and with all of them in the one or the other; the plan of `standard` made shorter, validation nats.
"""

from __future__ import annotations

import sys
from unittest import mock

import torch
from short_runs import main, nats, patches
from torch import Tensor

from lde_bench.densities import create
from lde_bench.densities.resmade_mog import ResMadeMog
from lde_bench.seeds import derive_seed

ROWS = 300_000


def running_alone(self: ResMadeMog, log_scale: Tensor) -> Tensor:
    """All Gaussians in units of the running scale."""
    return log_scale.unsqueeze(-1).expand(*log_scale.shape, self.components)


def fixed_alone(self: ResMadeMog, log_scale: Tensor) -> Tensor:
    """All Gaussians in the fixed unit."""
    return torch.zeros_like(running_alone(self, log_scale)) + self.unit.log()


def measure(seed: int, seconds: float) -> None:
    train, validation = patches(ROWS)
    for told, units in (("both", None), ("running scale", running_alone), ("fixed unit", fixed_alone)):
        with mock.patch.object(ResMadeMog, "log_units", units or ResMadeMog.log_units):
            density = create("resmade-mog+w:components=10", train.shape[1])
            found = nats(density, train, validation, derive_seed("units", seed), seconds)
        print(f"{told}: {found:.2f} nats", flush=True)


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", measure))
