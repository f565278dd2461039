"""Trained weights that serve more than one row: whatever only evaluates otherwise is not trained again.

A method trains as another where it adds nothing but wrappers that train as what they wrap (`+sym`) and arguments that
matter at evaluation alone (`orderings`): the other is its *plain* method. A mixture of trials (`+ens`) has the weights
of its members. And a trial that differs from an earlier one in its test set alone, or in what is measured of a model of
images, has the weights of that one: their `training_id` is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from lde_bench.densities import load_density
from lde_bench.densities.base import Density
from lde_bench.densities.ensemble import Ensemble
from lde_bench.densities.spec import MethodSpec
from lde_bench.densities.standardised import Standardised
from lde_bench.errors import InputError
from lde_bench.runs import Record, ResultStore


class Borrower(Protocol):
    """What is asked here of a trial of a density (`lde_bench.trials.density.DensityTrial`)."""

    @property
    def spec(self) -> MethodSpec: ...

    @property
    def components(self) -> int | None: ...

    @property
    def trial(self) -> int: ...

    @property
    def run_id(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def training_id(self) -> str: ...

    @property
    def plain(self) -> Self: ...

    def members(self) -> Sequence[Self]: ...


def borrow_weights(trial: Borrower, density: Density, store: ResultStore) -> list[Record]:
    """Put the weights of other trials into `density`, the untrained one of `trial`; the records that they belong to.

    None where the trial must train: it is an ordinary one without a twin in the store, or its weights cannot be kept.

    Raises:
        InputError: it is a derived one, and that whose weights it takes has not run.
    """
    if "weights" in density.lacks:
        return []
    part = trained_part(density)
    record = find_trained(trial, store, but=trial.run_id)
    if record is None and trial.plain.spec != trial.spec:
        record = _trained(trial.plain, store)
    if record is not None:
        _load(part, record, store)
        return [record]
    if not isinstance(part, Ensemble):
        return []
    records = [_trained(member, store) for member in trial.members()]
    for member, record in zip(part.each(), records, strict=True):
        _load(trained_part(member), record, store)
    return records


def _trained(source: Borrower, store: ResultStore) -> Record:
    record = find_trained(source, store)
    if record is None:
        raise InputError(
            f"the weights of {source.plain.title}, which are taken over, are not in {store.folder}; run it before."
        )
    return record


def find_trained(trial: Borrower, store: ResultStore, but: str = "") -> Record | None:
    """A done record, other than that of run `but`, of the same training, with its weights beside it."""
    plain = trial.plain  # a derived record shares the training and keeps other weights
    return find_training(store, plain.spec.label, plain.components, plain.trial, trial.training_id, but)


def find_training(
    store: ResultStore, method: str, components: int | None, trial: int, training_id: str, but: str = ""
) -> Record | None:
    """A done record, other than that of run `but`, of this training of a method, with its weights beside it."""

    def is_it(record: Record) -> bool:
        named = (record.method, record.components, record.trial, record.training.get("training_id"))
        candidate = record.done and record.run_id != but and named == (method, components, trial, training_id)
        return candidate and store.paths(record).weights.is_file()

    return next(filter(is_it, store.load()), None) if store.folder.is_dir() else None


def trained_part(density: Density) -> Density:
    """The density inside, whose weights they are, of one that trains as what it wraps."""
    while density.trains_as_base:
        density = density.get_submodule("base")  # type: ignore[assignment]
    return density


def _load(part: Density, record: Record, store: ResultStore) -> None:
    loaded = load_density(store.paths(record).checked_weights(record))
    part.load_state_dict((loaded.base if isinstance(loaded, Standardised) else loaded).state_dict())
