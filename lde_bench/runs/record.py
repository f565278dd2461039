"""The run record: everything that is known about one trial, as one JSON file (schema 1).

All log-likelihoods are in nats. Reading validates: a file that is not a record of this schema raises
`InputError` with the place and the fault. Writing is strict JSON: NaN and infinity are refused, the field
order is fixed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar

import numpy as np

from lde_bench.errors import InputError
from lde_bench.evaluation.law import Law
from lde_bench.evaluation.sample_measures import Measure
from lde_bench.evaluation.statistics import GroupMeans
from lde_bench.training.curve import CurvePoint
from lde_bench.training.plan import Budget
from lde_bench.training.start import Start
from lde_bench.version import BENCHMARK_VERSION

if TYPE_CHECKING:
    from lde_bench.data import Dataset

SCHEMA = 1

_T = TypeVar("_T")


@dataclass(frozen=True)
class Sizes:
    """Number of items in each split."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class DatasetInfo:
    """Which bytes the trial saw."""

    name: str
    version: str
    content_hash: str
    seed: int
    sizes: Sizes

    @classmethod
    def of(cls, dataset: Dataset) -> DatasetInfo:
        """Describe a loaded dataset."""
        return cls(dataset.name, dataset.version, dataset.content_hash, dataset.seed, Sizes(**dataset.sizes))


@dataclass(frozen=True)
class ParzenWindow:
    """How a Parzen-window log-likelihood came about: all that was chosen or drawn as a curve is of validation items.

    `sigma` is the best of `grid` by `grid_nats`; another beyond the grid may be better where it is `at_edge`.
    `count_nats` are those of the first `counts` samples at that sigma.
    """

    samples: int
    sigma: float
    at_edge: bool
    grid: list[float]
    grid_nats: list[float]
    counts: list[int]
    count_nats: list[float]


@dataclass(frozen=True)
class Result:
    """What was measured, once, after the weights were chosen on validation data (nats); what was not is None.

    Of a model of images, the log-likelihoods are those of the `parzen` window around its samples, of which there are
    other `measures` too, and of those that take distances in a feature space the same in further spaces, `beside`, by
    the label of the space. `groups` are the means of photographs or persons, `blocks` those of blocks of items where
    none belong together. Where the truth is known, `true_test_nats` is its mean log-density on the same test items, and
    `true_gap_standard_error` the standard error, paired by item, of what the model falls short of it.
    """

    test_nats: float | None = None
    validation_nats: float | None = None
    test_standard_error_naive: float | None = None
    test_standard_error_clustered: float | None = None
    best_step: int | None = None
    groups: GroupMeans | None = None
    true_test_nats: float | None = None
    true_gap_standard_error: float | None = None
    parzen: ParzenWindow | None = None
    measures: dict[str, Measure] = field(default_factory=dict)
    blocks: GroupMeans | None = None
    beside: dict[str, dict[str, Measure]] = field(default_factory=dict)

    @property
    def true_gap(self) -> float | None:
        """Nats that the model falls short of the truth; None where either is not known."""
        if self.true_test_nats is None or self.test_nats is None:
            return None
        return self.true_test_nats - self.test_nats


@dataclass(frozen=True)
class Cost:
    """Time of the trial, and what one sample costs, in words.

    `training_cpu_seconds` are those of `cpu_seconds` that were spent on training: the budget, which tables compare.
    None where records of before do not tell, or where the fit ends by itself and a longer one would change nothing.
    `side_by_side`: other trials ran on the machine at the same time, so that the seconds do not compare for speed.
    """

    wall_seconds: float
    cpu_seconds: float
    sample_cost: str
    training_cpu_seconds: float | None = None
    side_by_side: bool = False


def schema_of(content: bytes) -> Any:
    """Which schema a file says that it is a record of; None where it is no record at all."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value.get("schema") if isinstance(value, dict) else None


@dataclass(frozen=True)
class Record:
    """One trial. `status` "done" has a `result` and no `reason`; "failed" has a `reason` and no `result`.

    `features` is the length D of a row; None in records of before, as `starts` are missing there: where the training of
    each part of the model began, by its name. `input` is what a density of this package does to
    its rows first (`lde_bench.densities.base.Input`).
    """

    experiment: str
    run_id: str
    status: Literal["done", "failed"]
    reason: str | None
    method: str
    components: int | None
    trial: int
    parameters: int | None
    dataset: DatasetInfo
    budget: Budget
    training: dict[str, Any]
    seeds: dict[str, int]
    result: Result | None
    laws: dict[str, Law] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    starts: dict[str, Start] = field(default_factory=dict)
    cost: Cost | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    features: int | None = None
    input: str | None = None
    schema: int = SCHEMA
    benchmark_version: str = BENCHMARK_VERSION

    @property
    def done(self) -> bool:
        """Whether the trial finished and has a result."""
        return self.status == "done"

    @property
    def test_nats(self) -> float | None:
        """Its test log-likelihood (nats); None of a trial that failed, or that measured other things."""
        return None if self.result is None else self.result.test_nats

    def beside_others(self) -> Record:
        """The record of the same trial, marked as one that shared the machine with others."""
        return self if self.cost is None else replace(self, cost=replace(self.cost, side_by_side=True))

    @classmethod
    def from_dict(cls, value: object) -> Record:
        """Build and validate a record from the content of its JSON file; `InputError` names the place and
        the fault.
        """
        if isinstance(value, dict) and value.get("schema", SCHEMA) != SCHEMA:
            raise InputError(f"schema is {value['schema']!r}, this version reads {SCHEMA}")
        record = read_dataclass(cls, value, "record")
        record._check()
        return record

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Parse and validate; the message of the `InputError` is a clause to be put after the file's name."""
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not strict JSON ({error})") from error
        return cls.from_dict(value)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NumPy scalars become Python numbers. Raises `ValueError` naming a NaN or
        infinite field.
        """
        plain = _plain(self, "record")
        # The two versions head the file although, having defaults, they come last in the class.
        head = {"schema": plain.pop("schema"), "benchmark_version": plain.pop("benchmark_version")}
        return {**head, **plain}

    def to_json(self) -> str:
        """Strict JSON text in a fixed field order, short lists and objects on one line."""
        self._check()
        return _layout(self.to_dict()) + "\n"

    def _check(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9+._=-]+", self.run_id) or self.run_id.startswith("."):
            raise InputError(f"record.run_id {self.run_id!r} is not a name that can be a file's")
        # They name the folders that a record is copied to, which one from elsewhere must not lead out of.
        folders = {
            "experiment": self.experiment,
            "dataset": f"{self.dataset.name}-v{self.dataset.version}",
            "budget": self.budget.label,
        }
        for what, name in folders.items():
            if not name or name.startswith(".") or "/" in name or "\0" in name:
                raise InputError(f"record.{what} {name!r} is not a name that can be a folder's")
        if self.done and (self.result is None or self.reason is not None):
            raise InputError("record.status is 'done', which needs a result and no reason")
        if not self.done and (self.result is not None or not self.reason):
            raise InputError("record.status is 'failed', which needs a reason and no result")


def make_run_id(
    *,
    experiment: str,
    method: str,
    components: int | None,
    budget: Budget,
    trial: int,
    determines: dict[str, Any],
) -> str:
    """A readable slug and 12 hex digits of the SHA-256 of `determines`, e.g.
    `bsds300-lde+w-K10-quick-t0-<12 hex>`.

    `determines` holds everything that changes the result of the run (dataset hash and sizes, method and its
    arguments, budget, training options, seeds, benchmark version); the order of its keys does not matter.
    Raises `ValueError` when it holds NaN, infinity or something that JSON cannot say.
    """
    parts = [
        experiment,
        method,
        *([] if components is None else [f"K{components}"]),
        budget.label,
        f"t{trial}",
    ]
    slug = re.sub(r"[^A-Za-z0-9+._=-]+", "-", "-".join(parts)).strip("-.")[:120]
    return f"{slug}-{digest(determines)[:12]}"


def digest(determines: dict[str, Any]) -> str:
    """SHA-256 (hex) of a mapping; the order of its keys does not matter.

    Raises `ValueError` when it holds NaN, infinity or something that JSON cannot say.
    """
    canonical = json.dumps(_plain(determines, "determines"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


class _Misfit(Exception):
    """A value that is not of its kind: what is said of it, and where it lies below the value that was read."""

    def __init__(self, told: str) -> None:
        self.told = told
        self.where = ""

    def below(self, step: str) -> Self:
        """The same, seen from the value that holds it under `step`."""
        self.where = step + self.where
        return self


def read_dataclass(cls: type[_T], value: Any, where: str) -> _T:
    """`value` (from JSON) as an instance of a dataclass; `InputError` names the place and the fault if it is none."""
    try:
        read: _T = _reader(cls)(value)  # type: ignore[arg-type] # a class is hashable
    except _Misfit as misfit:
        raise InputError(f"{where}{misfit.where}{misfit.told}") from misfit
    return read


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value from JSON one of `kind`, a dataclass or a plain annotation, or raises `_Misfit`.

    Made once a kind: to look annotations up for every record of a large folder would take most of the time of reading.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _dataclass_reader(typing.cast(type, kind))
    if kind is Any:
        return lambda value: value
    if origin is Literal:
        return _choice_reader(arguments)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (_reader(argument) for argument in arguments if argument is not type(None))
        return lambda value: None if value is None else inner(value)
    if origin is list:
        return _list_reader(_reader(arguments[0]))
    if origin is dict:
        return _dict_reader(_reader(arguments[1]))
    return _read_float if kind is float else _plain_reader(kind)


def _dataclass_reader(cls: type) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(cls)
    readers = {each.name: _reader(hints[each.name]) for each in fields(cls)}
    needed = [each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING]

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Misfit(f" is {_brief(value)}, expected an object")
        if not value.keys() <= readers.keys():
            raise _Misfit(f" has the unknown field {min(value.keys() - readers.keys())!r}")
        for name in needed:
            if name not in value:
                raise _Misfit(f" has no field {name!r}")
        arguments = {}
        for name, item in value.items():
            try:
                arguments[name] = readers[name](item)
            except _Misfit as misfit:
                raise misfit.below(f".{name}") from misfit.__cause__
        try:
            return cls(**arguments)
        except ValueError as error:  # what the class itself asks of its fields
            raise _Misfit(f": {error}") from error

    return read


def _list_reader(read_item: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _Misfit(f" is {_brief(value)}, expected list")
        items = []
        for index, item in enumerate(value):
            try:
                items.append(read_item(item))
            except _Misfit as misfit:
                raise misfit.below(f"[{index}]") from misfit.__cause__
        return items

    return read


def _dict_reader(read_item: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Misfit(f" is {_brief(value)}, expected dict")
        items = {}
        for key, item in value.items():
            try:
                items[key] = read_item(item)
            except _Misfit as misfit:
                raise misfit.below(f".{key}") from misfit.__cause__
        return items

    return read


def _choice_reader(choices: Sequence[Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in choices:
            raise _Misfit(f" is {value!r}, expected one of {', '.join(map(repr, choices))}")
        return value

    return read


def _plain_reader(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):  # True is an int
            raise _Misfit(f" is {_brief(value)}, expected {kind.__name__}")
        return value

    return read


def _read_float(value: Any) -> float:
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise _Misfit(f" is {_brief(value)}, expected float")
    # 1e999 is valid JSON and parses to infinity, as a whole number of 400 digits cannot be a float.
    if not abs(value) <= sys.float_info.max:
        raise _Misfit(" is not a finite number")
    return float(value)


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _plain(value: Any, where: str) -> Any:
    """`value` in JSON's own types; `ValueError` names what is not finite or cannot be said in JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name), f"{where}.{each.name}") for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; a record holds finite numbers only")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where} is a {type(value).__name__}, which a record cannot hold")


def _layout(value: Any, indent: int = 0, width: int = 100) -> str:
    """JSON with an indent of 2 in which lists of numbers, and whatever fits in `width`, stand on one line."""
    flat = json.dumps(value, allow_nan=False, ensure_ascii=False)
    scalars = isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)
    if not isinstance(value, list | dict) or not value or scalars or (indent + len(flat) <= width and indent):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items = [
            f"{pad}{json.dumps(key, ensure_ascii=False)}: {_layout(item, indent + 2)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(pad + _layout(item, indent + 2) for item in value) + "\n" + " " * indent + "]"
