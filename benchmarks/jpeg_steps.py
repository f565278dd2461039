"""What it is worth to know the steps of a JPEG file, by where its blocks lie in a patch.

    python benchmarks/jpeg_steps.py --places 0,0 0,1 1,1 --steps 500 --threads 1 --data-dir DIR

Of patches at each place, two residual MADEs of the same width and the same coordinates, trained on the same batches:
one smooth, `resmade-mog+w`, and `LatticeMade`, the density of `+jpeg`, which knows the lattice. Validation nats of
3,000 patches a place, of both.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jpeg_places import patches_by_place
from short_runs import exit_code, positive

from lde_bench.data import load_dataset
from lde_bench.data.patches import FEATURES, Offset
from lde_bench.densities import create
from lde_bench.densities.base import Density
from lde_bench.densities.jpeg_grid import PLAN
from lde_bench.densities.jpeg_lattice import Coordinates, LatticeMade
from lde_bench.densities.view_mixture import View
from lde_bench.training.batches import FreshBatches

ROWS, WIDTH = 3000, 512


def measure(places: Sequence[Offset], steps: int, folder: Path) -> None:
    data = load_dataset("bsds300", validation=1000, data_dir=folder)
    assert data.fresh is not None
    rows = patches_by_place(folder, ROWS)
    plan = replace(PLAN.stretched(steps / PLAN.steps), average=max(0.0, 1 - 20 / steps))
    for place in places:
        view = View.of(Coordinates.at(place).matrix, 1.0)
        batches = view.batches(FreshBatches(data.fresh.draw, FEATURES, 0, draw_at=data.fresh.draw_at).at(place))
        smooth = create("resmade-mog+w", FEATURES, hidden=WIDTH)
        densities: dict[str, Density] = {"smooth": smooth, "steps known": LatticeMade(place, hidden=WIDTH)}
        for name, density in densities.items():
            started = time.process_time()
            density.fit(batches, seed=0, profile="long", steps=steps, plan=plan)
            spent = time.process_time() - started
            nats = density.log_prob(view.rows(rows[place])).mean() + view.log_det
            print(f"{place} {name}: {nats:.2f} validation nats after {spent:.0f} CPU seconds", flush=True)


def _place(text: str) -> Offset:
    row, column = (int(each) for each in text.split(","))
    return row, column


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=_place, nargs="+", default=[(0, 0), (0, 1), (1, 1)], help="row,column")
    parser.add_argument("--steps", type=positive(int), default=500, help="training steps of each, of 1,024 patches")
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder of BSDS300")
    parser.add_argument("--threads", type=positive(int), default=1)
    asked = parser.parse_args()
    return exit_code(asked.threads, lambda: measure(asked.places, asked.steps, asked.data_dir))


if __name__ == "__main__":
    sys.exit(main())
