"""One equal search for the plan of every row of a table: what `table1_search.py` and `table2_search.py` share.

Every row costs four fifths of a budget, counted in CPU seconds of training, and no run has more than a fifth: which
runs these are is the table's to say. The rate falls over whatever a run has, so that each is a whole run. The score is
taken on validation items; no test item is looked at.

Each run is one JSON file, and a second start continues; any number of processes may share the rows out among them
(`--rows`). What is chosen, and how many steps of it a budget pays, is printed at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from short_runs import positive

from lde_bench.data import Dataset
from lde_bench.errors import LdeBenchError, TrainingDiverged
from lde_bench.files import write_text_atomic
from lde_bench.progress import say
from lde_bench.training.plan import Budget

#: Of a budget: what a row costs, and the most that a run has.
OF_A_ROW, OF_A_RUN = 4 / 5, 1 / 5

#: What a run is worth whose loss stopped being finite: less than any other, and a number that JSON has.
DIVERGED = -1e9

BUDGET = Budget.of("standard")


@dataclass(frozen=True)
class Candidate:
    """One way to train a row.

    Attributes:
        arguments: of the model, as the command line spells them.
        plan: changes to the `standard` plan of the model, or of its first part.
        second: changes to that of the second part, of a model trained in stages.
        share: of the budget that the first part has.
    """

    arguments: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    second: Mapping[str, Any] = field(default_factory=dict)
    share: float = 0.7

    @property
    def label(self) -> str:
        """The candidate in one line."""
        shown = [self.arguments] if self.arguments else []
        shown += [f"{key}={value}" for key, value in self.plan.items()]
        if self.second or self.share != Candidate.share:
            shown += [f"first {self.share:.0%}", *(f"second {key}={value}" for key, value in self.second.items())]
        return ", ".join(shown) or "as it stands"


@dataclass(frozen=True)
class Search(ABC):
    """The search over the rows of one table; what is here is the same for every row.

    A subclass says what the rows are, loads the data, measures a run, and which runs a row has.
    """

    dataset: Dataset
    seconds: float
    seed: int
    folder: Path

    #: The candidates of each row.
    candidates: ClassVar[Mapping[str, Sequence[Candidate]]]
    #: What the rows are trained on where none is named.
    usual_dataset: ClassVar[str]

    @staticmethod
    @abstractmethod
    def load(name: str) -> Dataset:
        """The dataset of a name, with the validation items that candidates are chosen on."""

    @abstractmethod
    def measure(self, row: str, candidate: Candidate, seconds: float) -> dict[str, Any]:
        """Train for so many CPU seconds: `validation_nats`, `cpu_seconds`, and by part `steps_per_second`, the steps
        that a CPU second pays.

        Raises:
            TrainingDiverged: the loss stopped being finite.
        """

    @abstractmethod
    def setup(self, row: str, candidate: Candidate) -> dict[str, Any]:
        """The model of a candidate and how it is trained, as JSON has it: a run on file is of this and no other."""

    @abstractmethod
    def last_runs(self, row: str) -> list[dict[str, Any]]:
        """Make every run of a row, OF_A_ROW of the budget in all; those that had OF_A_RUN, one of which is chosen."""

    def choose(self, row: str) -> dict[str, Any]:
        """The winner of a row, and what a budget pays of it."""
        best = max(self.last_runs(row), key=lambda run: run["validation_nats"])
        steps = {name: round(rate * self.seconds) for name, rate in best["steps_per_second"].items()}
        return {"row": row, "candidate": best["candidate"], "nats": best["validation_nats"], "steps": steps}

    def run(self, row: str, candidate: Candidate, seconds: float) -> dict[str, Any]:
        """The result of one run, from its file where it was made before."""
        asked = {
            "row": row,
            "candidate": candidate.label,
            "settings": asdict(candidate),
            "setup": self.setup(row, candidate),
            "seconds": seconds,
            "seed": self.seed,
            "dataset": [self.dataset.name, self.dataset.version, self.dataset.training_hash],
        }
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        path = self.folder / f"{re.sub('[:,]', '-', row)}-{seconds:g}s-{name}.json"
        if path.is_file():
            return json.loads(path.read_text())
        try:
            found = asked | self.measure(row, candidate, seconds)
        except TrainingDiverged as error:
            found = asked | {"validation_nats": DIVERGED, "steps_per_second": {}, "failed": str(error)}
        write_text_atomic(path, json.dumps(found, indent=1) + "\n")
        say(f"{row} ({candidate.label}), {seconds:g} s: {found['validation_nats']:.1f} nats")
        return found


def table(folder: Path) -> pd.DataFrame:
    """Every run that is on file, the best of each row and budget first.

    Runs of several seeds have theirs beside them, and runs of one candidate that were set up otherwise, as before a
    change of the model, the end of their files' names: they do not compare.
    """
    runs = [json.loads(path.read_text()) | {"run": path.stem[-12:]} for path in sorted(folder.glob("*.json"))]
    columns = ["row", "seconds", "candidate", "validation_nats", "sigma", "first_loss", "clipped_share", "seed", "run"]
    # Only samples have a window, only densities tell where they started.
    frame = pd.DataFrame(runs).reindex(columns=columns).dropna(axis="columns", how="all")
    if not frame.duplicated(["row", "seconds", "candidate", "seed"]).any():
        frame = frame.drop(columns="run")
    if frame["seed"].nunique() == 1:
        frame = frame.drop(columns="seed")
    return frame.sort_values(["row", "seconds", "validation_nats"], ascending=[True, True, False])


def arguments(kind: type[Search], words: Sequence[str], told: str) -> argparse.Namespace:
    """The command line; `told` describes the command."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=kind.usual_dataset)
    parser.add_argument(
        "--seconds", type=positive(float), default=600.0, help="CPU seconds of training of a row's budget"
    )
    parser.add_argument("--rows", nargs="+", choices=kind.candidates, default=list(kind.candidates))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive(int), default=1)
    parser.add_argument("--results-dir", type=Path, default=Path("benchmarks/search"))
    return parser.parse_args(words)


def chosen(kind: type[Search], asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the search finds for each row in turn."""
    dataset = kind.load(asked.dataset)
    folder = asked.results_dir / f"{dataset.name}-v{dataset.version}"
    folder.mkdir(parents=True, exist_ok=True)
    each = asked.seconds * OF_A_ROW
    say(f"{len(asked.rows)} rows of {each:g} CPU seconds of training each, and their evaluation")
    search = kind(dataset, asked.seconds, asked.seed, folder)
    for row in asked.rows:
        yield search.choose(row)
    write_text_atomic(folder / "table.csv", table(folder).to_csv(index=False, lineterminator="\n"))


def main(kind: type[Search], words: Sequence[str], told: str) -> int:
    """Search, and print what is chosen as JSON, one row a line; the exit code."""
    asked = arguments(kind, words, told)
    torch.set_num_threads(asked.threads)
    try:
        for found in chosen(kind, asked):
            print(json.dumps(found), flush=True)
    except LdeBenchError as error:
        say(str(error))
        return error.exit_code
    return 0
