"""What workers bring and what they cost: one sweep on two workers against the same in turn, and a task on one worker
against a task in the process itself.

    python benchmarks/workers.py

Both ways run as whole commands, A B A B. The speed-up is the ratio of their seconds on the wall, the start of the
cluster counted, some ten seconds of which a sweep of short trials would be most.
What a task costs is the slope over their number, in which all starts cancel.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from short_runs import positive

DATA = ("--dataset", "natural8x8", "--train", "20000", "--validation", "1000", "--test", "1000", "--threads", "1")

#: Speed-up by two workers that is asked for.
TARGET = 1.8

#: Trials of the short and the long sweep whose difference tells what a task costs.
FEW, MANY = 2, 22


def seconds(method: str, trials: int, steps: int | None, *more: str) -> float:
    """The seconds on the wall of a sweep into an empty folder."""
    budget = () if steps is None else ("--steps", str(steps))
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "lde_bench", "table", *DATA, "--methods", method, "--trials", str(trials))
        start = time.perf_counter()
        subprocess.run([*command, *budget, "--results-dir", folder, *more], check=True, capture_output=True)
        took = time.perf_counter() - start
        assert len(list(Path(folder).rglob("*.safetensors"))) == trials
    return took


def speed_up(trials: int, steps: int, rounds: int) -> None:
    """Print how much faster two workers do the trials."""
    ratios = []
    for number in range(1, rounds + 1):
        alone = seconds("made-mog", trials, steps)
        shared = seconds("made-mog", trials, steps, "--workers", "2")
        ratios.append(alone / shared)
        print(f"round {number}: in turn {alone:.1f} s, on 2 workers {shared:.1f} s: {ratios[-1]:.2f}", flush=True)
    middle = statistics.median(ratios)
    verdict = "PASS" if middle >= TARGET else "miss"
    print(f"{trials} trials on 2 workers: {middle:.2f} times as fast (target {TARGET}) {verdict}", flush=True)


def task_cost(rounds: int) -> None:
    """Print what a task costs on a worker and in the process."""
    slopes: dict[str, list[float]] = {"in the process": [], "on one worker": []}
    for _ in range(rounds):
        for place, more in zip(slopes, ((), ("--workers", "1")), strict=True):
            few, many = (seconds("gaussian", trials, None, *more) for trials in (FEW, MANY))
            slopes[place].append((many - few) / (MANY - FEW))
    for place, found in slopes.items():
        print(f"a trial of gaussian {place}: {1000 * statistics.median(found):.0f} ms", flush=True)
    over = statistics.median(b - a for a, b in zip(*slopes.values(), strict=True))
    print(f"a task on a worker costs {1000 * over:.0f} ms more", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=positive(int), default=8)
    parser.add_argument("--steps", type=positive(int), default=600)
    parser.add_argument("--rounds", type=positive(int), default=1)
    asked = parser.parse_args()
    task_cost(asked.rounds)
    speed_up(asked.trials, asked.steps, asked.rounds)


if __name__ == "__main__":
    main()
