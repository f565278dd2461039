"""The plan of a sweep: the tasks it is made of, trials and what they take over, each after what it needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from lde_bench.data import Dataset
from lde_bench.errors import InputError
from lde_bench.runs.record import Record
from lde_bench.runs.store import ResultStore, RunPaths

if TYPE_CHECKING:
    from lde_bench.training.loop import Progress  # torch, which whoever reads records need not wait for


class Task(Protocol):
    """Work that leaves files in a store: a trial leaves a record, a shared part of several models its weights."""

    @property
    def run_id(self) -> str:
        """Names its files and its lock."""

    @property
    def title(self) -> str:
        """For a person."""

    @property
    def dataset(self) -> Dataset:
        """What it is trained on."""

    def prerequisites(self) -> Sequence[Task]:
        """What must have run before; the same whatever the store holds, so that all processes have one plan."""

    def is_ready(self, store: ResultStore) -> bool:
        """Whether what it trains is in the store, for itself and for the tasks that take it over."""

    def reference_seconds(self) -> float:
        """About how long it takes, without its prerequisites, on the reference machine: 2 cores with bf16."""

    def paths(self, store: ResultStore) -> RunPaths:
        """Where its files go."""

    def trained_at(self, store: ResultStore) -> RunPaths:
        """Where the files are by which it `is_ready`: its own, or those of an earlier run of the same training."""

    def run(
        self, store: ResultStore, on_progress: Callable[[Progress], None], notify: Callable[[str], None]
    ) -> Record | None:
        """Leave the files; the record of a trial."""

    def failed_record(self, reason: str) -> Record | None:
        """What is recorded where `run` raised; None of what is no trial."""


@dataclass(frozen=True)
class Node:
    """A task at its place in a plan.

    Attributes:
        number: from 1; a share of a plan keeps the numbers of the whole.
        asked: whether its record is wanted for itself, and not only what others take over from it.
        depends_on: the `run_id` of its prerequisites.
        serves: whether something that is still to run takes over from it.
    """

    number: int
    task: Task
    asked: bool
    depends_on: tuple[str, ...]
    serves: bool = False

    @property
    def run_id(self) -> str:
        return self.task.run_id

    def is_done(self, store: ResultStore) -> bool:
        """Whether all that is wanted of it is in the store."""
        if self.serves and not self.task.is_ready(store):
            return False
        return not self.asked or ((found := store.find(self.run_id)) is not None and found.done)


@dataclass(frozen=True)
class Plan:
    """Nodes, each after those it depends on and none twice."""

    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> Plan:
        """The tasks in their order, each after its prerequisites."""
        asked = {task.run_id for task in tasks}
        nodes: dict[str, Node] = {}

        def add(task: Task) -> None:
            if task.run_id in nodes:
                return
            needed = task.prerequisites()
            for each in needed:
                add(each)
            depends_on = tuple(each.run_id for each in needed)
            nodes[task.run_id] = Node(len(nodes) + 1, task, task.run_id in asked, depends_on)

        for task in tasks:
            add(task)
        return cls(tuple(nodes.values()))

    def __getitem__(self, run_id: str) -> Node:
        return next(node for node in self.nodes if node.run_id == run_id)

    def share(self, index: int, count: int) -> Plan:
        """Every `count`-th node from the `index`-th, counted from 1, and what these depend on.

        The shares 1 to `count` together are the whole plan. A prerequisite may be in several: processes on one results
        folder run it once.

        Raises:
            InputError: `index` is not between 1 and `count`.
        """
        if not 1 <= index <= count:
            raise InputError(f"share {index}/{count} is none of 1/{count} to {count}/{count}; give one of these.")
        own = {node.run_id for node in self.nodes if node.number % count == index % count}
        within = own | self.below(own)
        kept = (node for node in self.nodes if node.run_id in within)
        return Plan(tuple(replace(node, asked=node.asked and node.run_id in own) for node in kept))

    def below(self, run_ids: Collection[str]) -> set[str]:
        """Everything that these nodes depend on, at first or further hand."""
        found: set[str] = set()
        for node in reversed(self.nodes):
            if node.run_id in found or node.run_id in run_ids:
                found |= set(node.depends_on)
        return found

    def left(self, store: ResultStore) -> list[Node]:
        """The nodes that are still to run, in order; what nothing left takes over from and nobody asked for is not."""
        left: list[Node] = []
        serving: set[str] = set()
        for node in reversed(self.nodes):
            node = replace(node, serves=node.run_id in serving)
            if not node.is_done(store):
                left.append(node)
                # Weights of its own training, of an earlier run by other data or measures, serve as well.
                if node.depends_on and not node.task.is_ready(store):
                    serving |= set(node.depends_on)
        return left[::-1]
