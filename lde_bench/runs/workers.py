"""Run a plan on the workers of a Dask cluster, one task at a time on each.

No data and no models are sent to a worker: it is told how to make the plan again and the name of a task of it, reads
the data from where it finds them, and must come to the same plan. The client keeps the order, places every task itself
and gives that of a worker that died to another, which continues from the checkpoint where both see the results folder.
"""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import queue
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from threadpoolctl import threadpool_limits

from lde_bench.errors import InputError, StorageError
from lde_bench.files import write_bytes_atomic, write_text_atomic
from lde_bench.memory import keep_freed_memory, usable_cores
from lde_bench.progress import say
from lde_bench.runs.executor import Outcome, Sweep, Watcher, attempt, describe_failure, fail, settled
from lde_bench.runs.plan import Node, Plan, Task
from lde_bench.runs.provenance import package_versions, source_hash
from lde_bench.runs.record import Record
from lde_bench.runs.store import ResultStore, RunPaths
from lde_bench.training.loop import Progress

if TYPE_CHECKING:
    from distributed import Client, Future

#: How often the client looks after its workers, a worker tells its progress, and a task that a process outside the
#: cluster runs is tried again.
LOOK_SECONDS, TELL_SECONDS, RETRY_SECONDS = 0.2, 1.0, 5.0


@dataclass(frozen=True)
class Brief:
    """What a worker is told of a sweep.

    Attributes:
        sweep: a name that no other sweep has.
        make_plan: makes the plan again; it is sent by the name of its function.
        tasks: the names of what is to be run, all of the plan or a share of it.
        versions: of whatever computes, as `versions` gives them.
        data: SHA-256 of every dataset, as `data_of` gives them.
        folder: the results folder as the client sees it.
        threads: for the arithmetic; None: all that the worker was given.
    """

    sweep: str
    make_plan: Callable[[], Plan]
    tasks: frozenset[str]
    versions: Mapping[str, str]
    data: Mapping[str, str]
    folder: Path
    threads: int | None

    @property
    def token(self) -> Path:
        """A file by which a worker finds out that its folder of that name is the same."""
        return self.folder / ".locks" / f"client-{self.sweep}"


@dataclass(frozen=True)
class Assignment:
    """One task for a worker.

    Attributes:
        run_id: which of the plan.
        asked, serves: as of its `Node`.
        earlier: its record when the sweep began.
        files: what it takes over, by path in the results folder, of a worker that does not see that.
        side_by_side: whether other workers are on the same machine.
    """

    run_id: str
    asked: bool
    serves: bool
    earlier: Record | None
    files: Mapping[str, bytes]
    side_by_side: bool


@dataclass(frozen=True)
class Report:
    """What a worker sends back: the outcome, None where another process runs the task, and files as in `Assignment`."""

    outcome: Outcome | None
    files: Mapping[str, bytes]


@functools.cache
def versions() -> dict[str, str]:
    """What computes here: the source of this package, Python, and the packages that can change a number."""
    packages = {name: version or "none" for name, version in package_versions().items()}
    return {"lde-bench": source_hash(), "python": platform.python_version(), **packages}


def data_of(plan: Plan) -> dict[str, str]:
    """SHA-256 of the datasets of a plan by their names."""
    return {node.task.dataset.name: node.task.dataset.content_hash for node in plan.nodes}


def names_of(plan: Plan) -> frozenset[str]:
    """The names of the tasks of a plan, which name all that shapes their numbers."""
    return frozenset(node.run_id for node in plan.nodes)


# -- on a worker -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Desk:
    """Where a worker works on a sweep: its plan, and the results folder or one of its own in place of it."""

    plan: Plan
    store: ResultStore
    sees_folder: bool


#: Of the last sweep, by its name.
_desks: dict[str, Desk] = {}


def join(brief: Brief) -> bool:
    """Get ready for a sweep; whether this worker sees the results folder.

    Raises:
        InputError: versions, data or plan differ from those of the client, or the data are not to be had here.
    """
    from distributed import get_worker

    _differ("", brief.versions, versions())
    if brief.sweep not in _desks:
        plan = brief.make_plan()
        _differ("data ", brief.data, data_of(plan))
        if not brief.tasks <= names_of(plan):
            raise InputError(
                "the same command means other trials on it, as where it has a GPU or bf16 instructions and the client "
                "has none; give --device and --precision."
            )
        seen = sees_folder(brief)
        folder = brief.folder if seen else tempfile.mkdtemp(dir=get_worker().local_directory)  # Dask removes it
        _desks.clear()
        _desks[brief.sweep] = Desk(plan, ResultStore(folder), seen)
    return _desks[brief.sweep].sees_folder


def sees_folder(brief: Brief) -> bool:
    """Whether the results folder of the client is one of this worker too."""
    return brief.token.is_file()


def _differ(what: str, wanted: Mapping[str, str], here: Mapping[str, str]) -> None:
    names = [name for name in wanted if wanted[name] != here.get(name)]
    if names:
        told = ", ".join(f"{what}{name} {here.get(name)} in place of {wanted[name]}" for name in names)
        raise InputError(f"it has {told}; give it what the client has.")


def work(brief: Brief, assignment: Assignment) -> Report:
    """Run a task here."""
    from distributed import get_worker

    join(brief)
    desk, worker = _desks[brief.sweep], get_worker()
    for path, content in assignment.files.items():
        write_bytes_atomic(desk.store.folder / path, content)
    found = desk.plan[assignment.run_id]
    node = Node(found.number, found.task, assignment.asked, found.depends_on, assignment.serves)
    teller = Teller(lambda message: worker.log_event(brief.sweep, {"run_id": node.run_id, **message}))
    keep_freed_memory()
    threads = brief.threads or worker.state.nthreads
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            outcome = attempt(node, desk.store, teller, assignment.earlier, side_by_side=assignment.side_by_side)
    finally:
        torch.set_num_threads(before)
    return Report(outcome, {} if desk.sees_folder else files_of(node.task.paths(desk.store), desk.store))


class Teller(Watcher):
    """Tells the client what a task says, of its progress not more often than it is worth."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._last = 0.0

    def event(self, event: str, task: Task, record: Record | None) -> None:
        self._send({"event": event})

    def progress(self, task: Task, progress: Progress) -> None:
        if time.monotonic() - self._last >= TELL_SECONDS:
            self._last = time.monotonic()
            self._send({"progress": asdict(progress)})

    def note(self, message: str) -> None:
        self._send({"note": message})


def files_of(paths: RunPaths, store: ResultStore) -> dict[str, bytes]:
    """What a task left but its checkpoints, by path in the results folder."""
    return {
        path.relative_to(store.folder).as_posix(): path.read_bytes()
        for path in sorted(paths.folder.glob(f"{paths.run_id}.*"))
        if path.suffix != ".ckpt"
    }


# -- at the client -----------------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """A worker as the client knows it.

    Attributes:
        address, host: where it is.
        future: what it does now, if anything.
        node: the task of it; None while it joins.
        sees_folder: known once it has joined.
        lock: held here for a task of a worker that does not see the folder.
    """

    address: str
    host: str
    future: Future | None = None
    node: Node | None = None
    sees_folder: bool | None = None
    lock: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def release(self) -> None:
        """It does nothing any more."""
        self.lock.close()
        self.future = self.node = None


#: How often in a row a task is given to another worker where nothing else is asked for.
RETRIES = 3


class Crew:
    """The workers of a cluster, on one sweep.

    Args:
        client: of the cluster.
        store: the results folder.
        plan: what is to be run.
        make_plan: makes the plan again on a worker.
        watcher: follows it.
        threads: of each task; None: all that a worker was given.
        retries: how often in a row a task whose worker died, and that got no further, is given to another.
        fail_fast: stop at the first failure.
        resource: take workers alone that state this Dask resource.
    """

    def __init__(
        self,
        client: Client,
        store: ResultStore,
        plan: Plan,
        make_plan: Callable[[], Plan],
        watcher: Watcher,
        *,
        threads: int | None = None,
        retries: int = RETRIES,
        fail_fast: bool = False,
        resource: str | None = None,
    ) -> None:
        self.client, self.store, self.watcher = client, store, watcher
        self.retries, self.resource = retries, resource
        self.brief = Brief(
            uuid.uuid4().hex, make_plan, names_of(plan), versions(), data_of(plan), store.folder, threads
        )
        self.sweep = Sweep(store, plan, watcher, fail_fast)
        self.workers: dict[str, Worker] = {}
        self.refused: dict[str, str] = {}
        #: Of the workers of each task, in a row without getting further; how far it had got at the last, and has now.
        self.deaths: Counter[str] = Counter()
        self.died_at: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        self.died_joining = 0
        #: When a task that a process outside the cluster runs is tried again.
        self.not_before: dict[str, float] = {}
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def run(self) -> list[Record]:
        """Run the plan; a record for each asked trial.

        Raises:
            InputError: no worker of the cluster can take a trial.
            SweepStopped: a task failed, and the sweep is to stop there.
            StorageError: a file cannot be written.
        """
        write_text_atomic(self.brief.token, "")
        self.client.subscribe_topic(self.brief.sweep, lambda event: self.messages.put(event[1]))
        try:
            while self.sweep.pending:
                self._look_after_workers()
                self._pass_on()
                self._collect()
                self._hand_out()
                time.sleep(LOOK_SECONDS)
            self._pass_on()
        finally:
            for worker in self.workers.values():
                if worker.future is not None:
                    worker.future.cancel()
                worker.release()
            self.client.unsubscribe_topic(self.brief.sweep)
            self.brief.token.unlink(missing_ok=True)
        return self.sweep.records()

    # -- workers -------------------------------------------------------------------------------------------------------

    def _look_after_workers(self) -> None:
        """Have new ones join, and take back the tasks of those that are gone."""
        try:
            there = workers_of(self.client)
        except OSError as error:
            raise InputError(f"the scheduler is gone ({error}); give the same command again to go on.") from error
        for address in self.workers.keys() - there.keys():
            worker = self.workers.pop(address)
            if worker.future is not None:
                worker.future.cancel()
            node, joined = worker.node, worker.sees_folder is not None
            worker.release()
            if node is not None:
                self._count_death(node, address)
            elif not joined:
                self.died_joining += 1
        if self.died_joining > self.retries:
            raise InputError("the workers die while they load the data, as when memory runs out; take fewer.")
        for address, told in there.items():
            wanted = self.resource is None or told["resources"].get(self.resource, 0) >= 1
            if wanted and address not in self.workers and address not in self.refused:
                self.workers[address] = worker = Worker(address, told["host"])
                worker.future = self._submit(worker, join, self.brief)
        if self.refused and not self.workers:
            reasons = "; ".join(f"{address}: {reason}" for address, reason in self.refused.items())
            raise InputError(f"no worker can take a trial. {reasons}")

    def _submit(self, worker: Worker, function: Callable[..., Any], *arguments: Any) -> Future:
        return self.client.submit(function, *arguments, workers=[worker.address], pure=False)

    def _count_death(self, node: Node, address: str) -> None:
        share = self.shares.get(node.run_id, 0.0)
        # One that outlives its workers by its checkpoints, as where these have a walltime, does not fail.
        if share > self.died_at.get(node.run_id, 1.0):
            self.deaths[node.run_id] = 0
        self.died_at[node.run_id] = share
        self.deaths[node.run_id] += 1
        died = self.deaths[node.run_id]
        self.watcher.note(f"{node.task.title}: its worker {address} is gone; death {died} of its workers")
        if died > self.retries:
            reason = f"its worker died {died} times in a row, as when memory runs out"
            self.sweep.end(node, fail(node.task, self.store, reason))

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Take in what workers have done."""
        for worker in list(self.workers.values()):
            if worker.future is None or not worker.future.done():
                continue
            if worker.future.cancelled():  # by the scheduler; the task is given out again
                pass
            elif (error := worker.future.exception()) is not None:
                if isinstance(error, StorageError):
                    raise error
                self.refused[worker.address] = describe_failure(error)
                self.watcher.note(f"the worker {worker.address} takes no trial: {describe_failure(error)}")
                del self.workers[worker.address]
            elif worker.node is None:
                worker.sees_folder = worker.future.result()
                self.died_joining = 0
            else:
                self._take(worker.node, worker.future.result())
            worker.release()

    def _take(self, node: Node, report: Report) -> None:
        """Keep what a worker sent, and take note of it."""
        if report.outcome is None:
            if node.run_id not in self.not_before:
                self.watcher.event("waiting", node.task, None)
            self.not_before[node.run_id] = time.monotonic() + RETRY_SECONDS
            return
        own = node.task.paths(self.store)
        for path, content in report.files.items():
            if not path.endswith(".json"):  # the record is written last, and by its own rules
                write_bytes_atomic(self.store.folder / path, content)
        outcome = report.outcome
        if report.files and outcome.record is not None:
            outcome = Outcome(outcome.event, self.store.write(outcome.record), outcome.failure)
            own.discard_unfinished()
        self.sweep.end(node, outcome)

    def _hand_out(self) -> None:
        """Give every idle worker the first task that can run."""
        running = {worker.node.run_id for worker in self.workers.values() if worker.node is not None}
        ready = [
            node
            for node in self.sweep.pending.values()
            if node.run_id not in running
            and not self.sweep.pending.keys() & set(node.depends_on)
            and time.monotonic() >= self.not_before.get(node.run_id, 0.0)
        ]
        for node in list(ready):
            if (reason := self.sweep.blocking_failure(node)) is not None:
                ready.remove(node)
                self.sweep.end(node, fail(node.task, self.store, reason))
        idle = [each for each in self.workers.values() if each.future is None and each.sees_folder is not None]
        for worker, node in zip(idle, ready, strict=False):
            self._assign(worker, node)

    def _assign(self, worker: Worker, node: Node) -> None:
        files: dict[str, bytes] = {}
        earlier = self.sweep.earlier[node.run_id]
        if not worker.sees_folder:
            if not worker.lock.enter_context(self.store.lock(node.run_id, wait=False)):
                worker.release()
                self._take(node, Report(None, {}))
                return
            if (outcome := settled(node, self.store, earlier)) is not None:
                worker.release()
                self.sweep.end(node, outcome)
                return
            needed = [node, *(self.sweep.plan[below] for below in self.sweep.plan.below([node.run_id]))]
            for each in needed:
                files |= files_of(each.task.trained_at(self.store), self.store)
        neighbours = any(other.host == worker.host for other in self.workers.values() if other is not worker)
        side_by_side = neighbours and len(self.sweep.pending) > 1  # which the others will be given
        assignment = Assignment(node.run_id, node.asked, node.serves, earlier, files, side_by_side)
        worker.node, worker.future = node, self._submit(worker, work, self.brief, assignment)

    def _pass_on(self) -> None:
        """Tell the watcher what the tasks said."""
        with contextlib.suppress(queue.Empty):
            while message := self.messages.get_nowait():
                task = self.sweep.plan[message["run_id"]].task
                if "note" in message:
                    self.watcher.note(message["note"])
                elif "progress" in message:
                    progress = Progress(**message["progress"])
                    self.shares[task.run_id] = progress.share
                    self.watcher.progress(task, progress)
                elif task.run_id in self.sweep.pending:
                    self.watcher.event(message["event"], task, None)


@contextlib.contextmanager
def connect(workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """A client of so many workers on this machine, or of a scheduler by its address or the file that tells it.

    Raises:
        InputError: Dask is not installed, or the scheduler does not answer.
    """
    try:
        import dask

        # Read when distributed is imported, and by the workers that start below: a profiler would take the interpreter
        # from their arithmetic every 10 ms.
        dask.config.set({"logging.distributed": "error", "distributed.worker.profile.enabled": False})
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError("workers need Dask, which is not installed; pip install 'lde-bench[dask]'.") from error
    if scheduler is not None:
        address = _address_in(Path(scheduler)) if Path(scheduler).is_file() else scheduler
        try:
            client = Client(address, timeout="30s")
        except (OSError, ValueError) as error:
            raise InputError(f"the scheduler {scheduler} does not answer ({error}); is it running?") from error
        with client:
            if not workers_of(client):
                say("The scheduler has no workers yet; waiting for the first.")
            yield client
        return
    # No limit of memory: Dask would end a worker at its share of it, which may fit with the others in all there is.
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _address_in(file: Path) -> str:
    """The address that a scheduler file tells.

    Raises:
        InputError: it is none.
    """
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as a scheduler file ({error}); is the scheduler running?") from error
    address = told.get("address") if isinstance(told, dict) else None
    if not isinstance(address, str):
        raise InputError(f"{file}: tells no address, as the file of a Dask scheduler does; give that, or its address.")
    return address


def workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """What the scheduler knows of its workers, by their addresses.

    Raises:
        OSError: it does not answer.
    """
    assert client.scheduler is not None  # of one that is connected
    # `client.scheduler_info` shares its answer with a clock of the client's own, which asks for no workers.
    return client.sync(client.scheduler.identity, n_workers=-1)["workers"]


def threads_each(workers: int) -> int:
    """Threads for each of so many workers on this machine."""
    return max(1, usable_cores() // workers)
