"""The main job made small: few patches and quick evaluation; also a program, so that a test can kill it.

python small.py CHECKPOINT_SECONDS [lde-bench arguments ...]
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lde_bench.cli import main
from lde_bench.data import bsds300 as bsds300_data
from lde_bench.data import natural8x8
from lde_bench.experiments import bsds300
from lde_bench.training import loop
from lde_bench.trials import base as trials


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def payload(self) -> Any:
        return json.loads(self.out)


def make_small(patch: pytest.MonkeyPatch, folder: Path, cache: Path) -> None:
    """Work in `folder`, without data or network, on few patches."""
    patch.chdir(folder)
    patch.setenv("LDE_BENCH_CACHE", str(cache))
    patch.setenv("COLUMNS", "40")
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.delenv("LDE_BENCH_DATA", raising=False)
    patch.setattr(bsds300_data, "URLS", ("http://127.0.0.1:9/none.tgz",))  # the discard port: nothing answers
    few_patches(patch)


def few_patches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(natural8x8, "COUNTS", {"train": 3000, "validation": 200, "test": 400})
    patch.setitem(bsds300.PROFILES, "quick", bsds300.ProfileDefaults(None, None, 1, ("gaussian",)))
    # A checkpoint is continued by the code that wrote it; an edit made while the tests run is none of their business.
    patch.setattr(trials, "source_hash", lambda: "of the tests")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        few_patches(patch)
        patch.setattr(loop, "CHECKPOINT_SECONDS", float(sys.argv[1]))
        sys.exit(main(sys.argv[2:]))
