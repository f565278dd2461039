"""Trained weights that serve more than one row: whatever only evaluates otherwise is not trained again.

A method trains as another where it adds nothing but wrappers that train as what they wrap (`+sym`) and arguments that
matter at evaluation alone (`orderings`): the other is its *plain* method. A mixture of trials (`+ens`) has the weights
of its members. And a trial that differs from an earlier one in its test set alone has the weights of that one: their
`training_id` is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from lde_bench.densities import load_density
from lde_bench.densities.base import Density
from lde_bench.densities.ensemble import Ensemble
from lde_bench.runs import Record, ResultStore

if TYPE_CHECKING:
    from lde_bench.experiments.density_trials import DensityTrial


def borrow_weights(
    trial: DensityTrial, density: Density, store: ResultStore, ensure: Callable[[DensityTrial], Record]
) -> list[Record]:
    """Put the weights of other trials into `density`, the untrained one of `trial`; the records that they belong to.

    None where the trial must train: it is an ordinary one without a twin in the store, or its weights cannot be kept.

    Args:
        ensure: gives the done record of an ordinary trial with its weights beside it, trained now if need be.
    """
    if "weights" in density.lacks:
        return []
    part = trained_part(density)
    record = find_trained(trial, store, but=trial.run_id)
    if record is None and trial.plain.spec != trial.spec:
        record = ensure(trial.plain)
    if record is not None:
        _load(part, record, store)
        return [record]
    if not isinstance(part, Ensemble):
        return []
    records = [find_trained(member, store) or ensure(member.plain) for member in trial.members()]
    for member, record in zip(part.each(), records, strict=True):
        _load(trained_part(member), record, store)
    return records


def find_trained(trial: DensityTrial, store: ResultStore, but: str = "") -> Record | None:
    """A done record, other than that of run `but`, of the same training, with its weights beside it."""

    def is_it(record: Record) -> bool:
        candidate = record.done and record.run_id != but and _is_same_training(record, trial)
        return candidate and store.paths(record).weights.is_file()

    return next(filter(is_it, store.load()), None) if store.folder.is_dir() else None


def _is_same_training(record: Record, trial: DensityTrial) -> bool:
    plain = trial.plain
    # A derived record shares the training and keeps other weights.
    if (record.method, record.components, record.trial) != (plain.spec.label, plain.components, plain.trial):
        return False
    if "training_id" in record.training:
        return record.training["training_id"] == trial.training_id
    # From before there was one: the same seed and sizes of a prepared dataset are the same bytes, and the rest is what
    # its name was made of, with the hash of its own test set.
    seen, data = record.dataset, trial.dataset
    sizes = {"train": seen.sizes.train, "validation": seen.sizes.validation}
    if (seen.name, seen.version, seen.seed) != (
        data.name,
        data.version,
        data.seed,
    ) or not sizes.items() <= data.sizes.items():
        return False
    return replace(plain, dataset=replace(data, content_hash=seen.content_hash)).run_id == record.run_id


def trained_part(density: Density) -> Density:
    """The density inside, whose weights they are, of one that trains as what it wraps."""
    while density.trains_as_base:
        density = density.get_submodule("base")  # type: ignore[assignment]
    return density


def _load(part: Density, record: Record, store: ResultStore) -> None:
    part.load_state_dict(load_density(store.paths(record).weights).state_dict())
