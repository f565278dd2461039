"""What a training step costs on a GPU, its kernels launched one by one and replayed as a CUDA graph.

    python benchmarks/gpu_steps.py --data-dir DIR --rows lde@1024 lde@4096 tan:hidden=256@1024 nsf@1024

Of each row with so many patches a step: milliseconds of a step both ways (of a row that cannot be replayed both are
launched), and the loss of the eighth step, which is one and the same. Patches are drawn afresh.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from short_runs import exit_code, positive

from lde_bench.data import load_dataset
from lde_bench.densities import create
from lde_bench.experiments.bsds300 import FEATURES
from lde_bench.process import seeded
from lde_bench.training.batches import FreshBatches, drawn_ahead
from lde_bench.training.device import Compiler, resolve_device
from lde_bench.training.graphs import SWITCH
from lde_bench.training.plan import Budget

ROWS = ("lde@1024", "lde@4096", "deep-rnade@4096", "tan:hidden=256@1024", "nsf@1024")
#: Steps before the clock starts.
FIRST = 8


def row_and_batch(text: str) -> tuple[str, int]:
    """The type of `--rows`: a method and its patches a step."""
    row, _, batch = text.rpartition("@")
    if not row or not batch.isdecimal() or not int(batch):
        raise argparse.ArgumentTypeError(f"{text} is no METHOD@BATCH, such as lde@1024")
    return row, int(batch)


def step_seconds(row: str, batch: int, patches: FreshBatches, seconds: float, device: torch.device) -> str:
    """Take steps for so many seconds; what is said of them."""
    density = create(row, FEATURES)
    plan = density.plan(Budget.of("long", batch=batch))
    density.to(device)
    with seeded(0):
        density.reset_parameters()
        batches = density.training_batches(patches)
        density.prepare(batches)
        precision = density.training_precision("auto", device, plan)
        learner = density.learner(plan, device, precision, Compiler(device, False, print))
        with drawn_ahead(batches, batch, ahead=True) as draw:
            for step in range(FIRST):
                loss = learner.step(torch.as_tensor(draw(step), device=device), step, 0.0)
            torch.cuda.synchronize()
            started, step = time.perf_counter(), FIRST
            while (spent := time.perf_counter() - started) < seconds:
                learner.step(torch.as_tensor(draw(step), device=device), step, 0.0)
                step += 1
    return f"{1000 * spent / (step - FIRST):.2f} ms a step (loss of the eighth {loss:.2f})"


def measure(rows: Sequence[tuple[str, int]], seconds: float, folder: Path) -> None:
    device = resolve_device("cuda")
    fresh = load_dataset("bsds300", data_dir=folder).fresh
    assert fresh is not None
    patches = FreshBatches(fresh.draw, FEATURES, 0)
    print(torch.cuda.get_device_name(device), flush=True)
    for row, batch in rows:
        for replayed in (False, True):
            how = "replayed" if replayed else "launched"
            with patch.dict(os.environ, {SWITCH: str(int(replayed))}):
                told = step_seconds(row, batch, patches, seconds, device)
            print(f"{row} {batch} {how}: {told}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=row_and_batch, nargs="+", default=[row_and_batch(row) for row in ROWS])
    parser.add_argument("--seconds", type=positive(float), default=2.0, help="of steps, each way")
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder of BSDS300")
    parser.add_argument("--threads", type=positive(int), default=2)
    asked = parser.parse_args()
    return exit_code(asked.threads, lambda: measure(asked.rows, asked.seconds, asked.data_dir))


if __name__ == "__main__":
    sys.exit(main())
