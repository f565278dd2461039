"""Kill a sweep on two workers again and again, and hold what is left to the sweep that was let alone.

    python benchmarks/kill_workers.py --kills 100 --seed 0 --folder /tmp/kills

Small trials of `lde-bench table` run on two workers. At random moments the client or one of its workers is ended by
SIGKILL; where it was the client, the same command is given again. At the end every record of the uninterrupted sweep
has to be there once, with the same log-likelihoods, to the bit. A line is printed for each kill; exit code 1 where
something is lost, twice or other.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from short_runs import positive

from lde_bench.runs import ResultStore

COMMAND = (
    *(sys.executable, "-m", "lde_bench", "table", "--dataset", "natural8x8", "--train", "2000", "--validation", "200"),
    *("--test", "300", "--K", "2", "--threads", "1", "--methods", "gaussian", "made-mog:hidden=16"),
    *("made-mog+sym:hidden=16", "made-mog+ens:hidden=16", "real-nvp:hidden=16"),
)

#: A kill comes between so many seconds after the start of the sweep or the last kill.
EARLIEST, LATEST = 1.0, 12.0


def command(folder: Path, trials: int, steps: int, *more: str) -> list[str]:
    """The sweep, into `folder`."""
    return [*COMMAND, "--trials", str(trials), "--steps", str(steps), "--results-dir", str(folder), *more]


def contents(folder: Path) -> dict[str, tuple[float | None, bytes]]:
    """By run: the mean and all log-likelihoods of the test items.

    Raises:
        ValueError: a run has two records.
    """
    if not folder.is_dir():
        return {}
    store = ResultStore(folder)
    paths = [path.name for path in folder.rglob("*.json")]
    if len(paths) != len(set(paths)):
        raise ValueError("a run has two records")
    return {
        record.run_id: (record.test_nats, store.paths(record).log_likelihoods.read_bytes())
        for record in store.load()
        if record.done
    }


def workers_of(client: psutil.Process) -> list[psutil.Process]:
    """The processes of the workers of a client."""
    return [child for child in client.children() if "spawn_main" in " ".join(child.cmdline())]


def kill_one(client: subprocess.Popen[bytes], generator: random.Random) -> str:
    """End the client or one of its workers; which."""
    known = psutil.Process(client.pid)
    victims = {"client": known} | {f"worker {number}": child for number, child in enumerate(workers_of(known))}
    name = generator.choice(list(victims))
    os.kill(victims[name].pid, signal.SIGKILL)
    return name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=positive(int), default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=positive(int), default=10, help="seeds of each row")
    parser.add_argument("--steps", type=positive(int), default=300)
    parser.add_argument("--folder", type=Path, required=True, help="an empty one, for both results folders")
    asked = parser.parse_args()
    generator = random.Random(asked.seed)
    whole, killed = asked.folder / "whole", asked.folder / "killed"
    subprocess.run(command(whole, asked.trials, asked.steps), check=True, capture_output=True)
    expected = contents(whole)

    arguments = command(killed, asked.trials, asked.steps, "--workers", "2", "--retries", str(asked.kills))
    client = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kills = 0
    while kills < asked.kills:
        time.sleep(generator.uniform(EARLIEST, LATEST))
        if client.poll() is None:
            kills += 1
            who = kill_one(client, generator)
            print(f"kill {kills}: the {who}; {len(contents(killed))} of {len(expected)} records", flush=True)
        elif len(contents(killed)) == len(expected):
            print(f"the sweep ended after {kills} kills", flush=True)
            break
        if client.poll() is not None:
            client = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client.wait()
    subprocess.run(arguments, check=True, capture_output=True)

    found = contents(killed)
    lost, more = expected.keys() - found.keys(), found.keys() - expected.keys()
    other = [run_id for run_id in expected.keys() & found.keys() if expected[run_id] != found[run_id]]
    left = [path.name for path in killed.rglob("*") if path.suffix in (".tmp", ".ckpt")]
    print(
        f"{len(expected)} records expected, {len(lost)} lost, {len(more)} too many, {len(other)} with other "
        f"log-likelihoods, {len(left)} temporary files and checkpoints left"
    )
    return 1 if lost or more or other or left else 0


if __name__ == "__main__":
    sys.exit(main())
