"""What every model that the benchmark trains has: seeded `fit` by the one training loop, `sample`, `save`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from lde_bench.arrays import PixelRows, Rows, as_rows, readable_rows, row_blocks
from lde_bench.errors import InputError
from lde_bench.files import write_bytes_atomic
from lde_bench.memory import check_memory
from lde_bench.process import seeded
from lde_bench.seeds import as_seed
from lde_bench.training.batches import ArrayBatches, Batches
from lde_bench.training.device import Compiler, resolve_device, resolve_precision, whole_float32
from lde_bench.training.learner import Learner
from lde_bench.training.loop import Progress, Seconds, TrainingState, train
from lde_bench.training.plan import Budget, Clock, Plan, plan_of
from lde_bench.training.start import Start

#: Samples, and numbers in them, drawn at once: bounds memory; fixed, so that a seed gives the same samples on every
#: machine.
SAMPLE_ROWS = 4096
SAMPLE_NUMBERS = 10_000_000

#: The largest number of anything that a model is made of: what lies above overflows before it fills a memory.
MOST = 1_000_000_000

#: Rows of the data that a checkpoint's run is known by.
NAMING_ROWS = 64

#: What of the JSON in a file of weights is no argument of the model.
NOTES = "notes"

_Model = TypeVar("_Model", bound="Model")


#: Of a card: how the model differs from the published one, as far as is known.
NONE_KNOWN = "none known"


@dataclass(frozen=True)
class Card:
    """What `lde-bench list` says of a model; `bibtex` are keys into `lde_bench/report/data/references.bib`.

    Of a wrapper, `sample_cost` and `differences` are what it adds to those of the density that it wraps.
    """

    summary: str
    source: str
    sample_cost: str
    differences: str = NONE_KNOWN
    bibtex: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingRequest:
    """What was asked of a `fit`, for a model that trains itself; `validation` [m, D] as the model sees it."""

    seed: int
    budget: Budget
    validation: Tensor | None


class Model(nn.Module):
    """A model of rows [n, D] that is trained from data and can be sampled.

    A subclass sets `name`, `card` and `plans`, and gives `learner`, `draw` and, if it has parameters to initialise,
    `reset_parameters`.

    Args:
        features: D, from 1 up.
    """

    #: Empty of a model that is part of others and has no name to call it by.
    name: ClassVar[str] = ""
    card: ClassVar[Card]
    plans: ClassVar[dict[str, Plan]]
    #: Raised when the usual arguments come to mean another network: of the rest that names a run nothing would tell.
    revision: ClassVar[int] = 1
    #: False where training would lose what it is after in bfloat16; the steps are then always in float32.
    trains_in_bf16: ClassVar[bool] = True
    #: False where the learner is no gradient one, so that rate and schedule of a plan mean nothing.
    by_gradient: ClassVar[bool] = True
    #: False where the last weights are kept, as there is no score to choose others by.
    chooses_on_validation: ClassVar[bool] = True

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = positive_integer("features", features)
        #: The arguments that make this model again; filled in by what made it by name.
        self.config: dict[str, Any] = {}
        #: What the last `fit` did.
        self.training_state: TrainingState | None = None
        self.training_setup: dict[str, Any] = {}
        #: Of each part, where there is more than one.
        self.training_starts: dict[str, Start] = {}

    # -- what a subclass gives -------------------------------------------------------------------------------------

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` independent samples [n, D]."""
        raise TypeError(f"{type(self).__name__} does not define draw")

    def reset_parameters(self) -> None:
        """Fresh random weights from torch's global generator (which `fit` seeds and restores)."""

    def prepare(self, batches: Batches) -> None:
        """Data-dependent initialisation from the training batches, before the first step."""

    def request(self, request: TrainingRequest) -> None:
        """Told after `prepare` what was asked of `fit`."""

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        """What the training loop drives.

        `compiler` turns a function into its compiled twin, or gives it back where nothing is compiled.
        """
        raise TypeError(f"{type(self).__name__} does not define learner")

    # -- public ----------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        return self._tensor().dtype

    @property
    def device(self) -> torch.device:
        return self._tensor().device

    def _tensor(self) -> Tensor:
        """One that says where the model lives and in what precision; a model of a user's own may learn none."""
        return next(each for each in chain(self.parameters(), self.buffers()) if each.is_floating_point())

    @property
    def lacks(self) -> frozenset[str]:
        """What the model cannot do, e.g. `samples`; nothing, as a rule."""
        return frozenset()

    def parameter_count(self) -> int | None:
        """Number of learnt parameters; None where the model cannot tell."""
        return sum(parameter.numel() for parameter in self.parameters())

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """`n` independent samples [n, D], the same for the same seed.

        Raises:
            InputError: `n` is negative or no whole number, or more than the memory holds, or `seed` is none.
        """
        blocks = self.sample_blocks(n, seed)
        needed = int(n) * self.features * self.dtype.itemsize
        check_memory(f"{n:,} samples of {self.features:,} numbers", needed, "ask for fewer.")
        samples = torch.empty(int(n), self.features, dtype=self.dtype)
        for block, drawn in blocks:
            if drawn.dtype != samples.dtype:  # in units that float32 would not hold
                samples = samples.to(drawn.dtype)
            samples[block] = drawn
        return samples.numpy()

    def sample_blocks(self, n: int, seed: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """The samples of `sample`, block after block, each with its place among them: [b, D].

        Raises:
            InputError: `n` is negative or no whole number, or `seed` is none.
        """
        seed = as_seed(self.name, seed)
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise InputError(f"{self.name}: cannot draw {n} samples; ask for a whole number from 0 up.")
        return self._sample_blocks(int(n), torch.Generator(self.device).manual_seed(seed))

    def _sample_blocks(self, n: int, generator: torch.Generator) -> Iterator[tuple[slice, Tensor]]:
        shape = torch.empty(n, self.features, device="meta")
        for block in row_blocks(shape, SAMPLE_NUMBERS, SAMPLE_ROWS):
            with self._evaluating(), torch.no_grad():
                drawn = self.draw(block.stop - block.start, generator).cpu()
            yield block, drawn

    def fit(
        self,
        train_rows: Rows | Tensor | Batches,
        validation: Rows | Tensor | None = None,
        *,
        seed: int = 0,
        profile: str | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        clock: Clock = "wall",
        plan: Plan | None = None,
        device: str = "auto",
        precision: str = "auto",
        compile: bool | None = None,
        checkpoint: Path | None = None,
        code: str = "",
        on_progress: Callable[[Progress], None] = lambda progress: None,
        notify: Callable[[str], None] = lambda message: None,
    ) -> Self:
        """Train from scratch on `train_rows` [n, D]; the weights are chosen on `validation` [m, D].

        Args:
            train_rows: an array, pixels that are read as they are needed (`lde_bench.arrays.PixelRows`), or batches
                (`lde_bench.training.batches`), e.g. of patches drawn afresh.
            validation: without it the last weights are kept.
            seed: from -2^63 to 2^64 - 1; the same gives the same weights, to the bit, on one machine type and thread
                count.
            profile: `quick` (the default), `standard`, `long` or `paper`; `steps` or `seconds` replace its number of
                steps.
            clock: what `seconds` are: `wall`, or `cpu` seconds of this process and the compilers it ran. Those of the
                data-dependent initialisation count.
            plan: replaces the profile's plan, e.g. by one with another rate. A plan of epochs is one of those of the
                training rows.
            device: `auto`, `cpu`, `cuda`.
            precision: of the training steps: `auto`, `fp32`, `bf16`. Evaluation is in float32 or better.
            compile: overrides the plan's choice to use `torch.compile`.
            checkpoint: a file to continue from if a run was killed, and to write now and then.
            code: names the code that trains; a checkpoint of other code is not continued.

        Raises:
            InputError: wrong shapes, no rows, NaN, infinity or no real numbers in the data, a bad seed or budget.
            TrainingDiverged: the loss stopped being finite.
        """
        started = Seconds.now()
        seed = as_seed(self.name, seed)
        budget = Budget.of(profile, steps, seconds, clock)
        plan = plan or self.plan(budget)
        place = resolve_device(device)
        resolved = self.training_precision(precision, place, plan)
        batches = self.training_batches(self._batches(train_rows, seed))
        plan = plan.over(batches.size)
        held_out = self._held_out(validation)
        held_out = None if held_out is None else held_out.to(place)
        self.to(place)
        with seeded(seed):
            self.reset_parameters()
            self.prepare(batches)
            self.request(TrainingRequest(seed, budget, held_out))
            compiling = plan.compile if compile is None else compile
            compiler = Compiler(place, compiling, notify)
            state = train(
                self.learner(plan, place, resolved, compiler),
                batches,
                held_out if self.chooses_on_validation else None,
                plan,
                budget,
                device=place,
                dtype=self.dtype,
                checkpoint=checkpoint,
                code=code,
                run=self._name_of_run(seed, plan, budget, batches, held_out, resolved) if checkpoint else "",
                started=started,
                on_progress=on_progress,
                notify=notify,
            )
        self.eval()
        self.training_state = state
        self.training_starts = {"model": state.start(plan.per_feature(self.features).clip)}
        self.training_setup = {
            **plan.describe(),
            "steps": None if budget.seconds is not None else plan.steps_within(budget),
            "batch_size": min(plan.batch_size, batches.size or plan.batch_size),
            "precision": resolved,
            "device": place.type,
            "compile": compiler.compiled,
            "threads": torch.get_num_threads(),
            **({"stopped_early": True} if state.stopped_early else {}),
            **({"own_fit": True} if plan.own_fit else {}),
            **self.treatment(),
            **self.revised(),
        }
        return self

    def _name_of_run(
        self, seed: int, plan: Plan, budget: Budget, batches: Batches, validation: Tensor | None, precision: str
    ) -> str:
        """SHA-256 of what shapes a training, of the data a few rows: whose checkpoint is whose."""
        told = [type(self).__qualname__, self.config, seed, plan.describe(), budget.describe(), precision]
        told += [self.device.type, batches.size, None if validation is None else list(validation.shape)]
        name = hashlib.sha256(json.dumps(told, default=str).encode())
        rows = [batches.batch(0, NAMING_ROWS), *([] if validation is None else [validation[:NAMING_ROWS]])]
        for each in rows:
            name.update(torch.as_tensor(each).cpu().numpy().tobytes())
        return name.hexdigest()

    def training_batches(self, batches: Batches) -> Batches:
        """Those that training takes, made of those it is given: by default the very same."""
        return batches

    def treatment(self) -> dict[str, Any]:
        """What `fit` does to the rows that neither the arguments nor the plan tell."""
        return {}

    def revised(self) -> dict[str, Any]:
        """Which revision it is, where it is not the first: part of what names a run, and of its record."""
        return {"revision": self.revision} if self.revision > 1 else {}

    def plan(self, budget: Budget) -> Plan:
        """The training plan under a budget's profile."""
        found = plan_of(self.plans, budget.profile, lambda: self.size)
        assert found is not None
        return found.of_batch(budget.batch) if self.by_gradient else found

    def describe_training(
        self, budget: Budget, precision: str, device: torch.device, plan: Plan | None = None
    ) -> dict[str, Any]:
        """What of the training under a budget, by `plan` if it is not the profile's, shapes the result: part of what
        names a run.
        """
        plan = plan or self.plan(budget)
        return {"plan": plan.describe(), "precision": self.training_precision(precision, device, plan)}

    def training_precision(self, choice: str, device: torch.device, plan: Plan) -> str:
        """`fp32` or `bf16`: what the training steps run in when `choice` is asked for."""
        resolved = resolve_precision(choice, device, plan.bf16)
        # Of a model in float64 bfloat16 would take nothing but what it was made float64 for.
        return resolved if self.trains_in_bf16 and self.dtype == torch.float32 else "fp32"

    def expected_seconds(self, budget: Budget, plan: Plan | None = None, rows: int | None = None) -> float:
        """About how long a trial on so many training rows takes on the reference machine: 2 cores with bf16."""
        plan = (plan or self.plan(budget)).over(rows)
        if budget.seconds is not None and not plan.closed_form:
            return budget.seconds
        return self.reference_seconds(plan) * plan.steps_within(budget) / plan.steps

    def reference_seconds(self, plan: Plan) -> float:
        """About how long training and evaluation take on the reference machine: 2 cores with bf16."""
        return plan.reference_seconds * self.size

    @property
    def size(self) -> float:
        """About how many times as long a step takes as at the usual arguments, whose seconds the plans tell."""
        return 1.0

    def save(self, path: str | Path, notes: dict[str, Any] | None = None) -> None:
        """Write the model to one safetensors file; its header holds the JSON that loading needs, and `notes`.

        Raises:
            InputError: the file cannot be written, or the model was not made by name, so that nothing could make it
                again.
        """
        if "weights" in self.lacks:
            raise InputError(f"{self.name}: it has no weights to keep that would load again; fit it again instead.")
        if not self.config:
            raise InputError(f"{self.name}: only models made by name can be saved; make it with lde_bench.create.")
        told = self.config if notes is None else {**self.config, NOTES: notes}
        # One entry: safetensors writes several in any order, and the same model is to be the same bytes.
        write_bytes_atomic(Path(path), safetensors_bytes(own_tensors(self), {"lde_bench": json.dumps(told)}))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _held_out(self, rows: Rows | Tensor | None) -> Tensor | None:
        """Rows to choose weights on; pixels that nothing is chosen on are checked and left where they are."""
        if rows is None:
            return None
        if isinstance(rows, PixelRows) and not self.chooses_on_validation:
            self._readable("validation", rows)
            return None
        return self._rows("validation", rows)

    def _readable(self, what: str, rows: Rows | Tensor) -> Rows | Tensor:
        """As `_rows`, but pixels stay where they are, to be read block by block."""
        if not isinstance(rows, PixelRows):
            return self._rows(what, rows)
        return readable_rows(self.name, f"the {what} array", rows, self.features, least=1)

    def _rows(self, what: str, rows: Rows | Tensor) -> Tensor:
        name = f"the {what} array"
        if isinstance(rows, Tensor):
            array = self._check_tensor(name, rows).detach().to(self.dtype)
        else:
            array = torch.tensor(as_rows(self.name, name, rows, self.features), dtype=self.dtype)
        if len(array) == 0:
            raise InputError(f"{self.name}: {name} is empty; give at least one row.")
        if not torch.isfinite(array).all():
            bad = int((~torch.isfinite(array)).any(1).sum())
            raise InputError(f"{self.name}: {bad} rows of {name} hold NaN or infinity; remove them.")
        return array

    def _check_tensor(self, name: str, rows: Tensor) -> Tensor:
        """`rows` as they are, where they are [n, D] of real numbers; else `InputError`."""
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise InputError(
                f"{self.name}: {name} should be [n, {self.features}], got {list(rows.shape)}; reshape it, one row an "
                "item."
            )
        if rows.is_complex() or rows.dtype == torch.bool:
            raise InputError(f"{self.name}: {name} holds {rows.dtype} values; give a tensor of real numbers.")
        return rows

    def _batches(self, rows: Rows | Tensor | Batches, seed: int) -> Batches:
        if not isinstance(rows, Batches):
            return ArrayBatches(as_array(self._readable("training", rows)), seed)
        if rows.features != self.features:
            raise InputError(
                f"{self.name}: the training batches have {rows.features} features, the model {self.features}; "
                "create it with the right number."
            )
        return rows

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        was_training = self.training
        if was_training:
            self.eval()
        try:
            with whole_float32():
                yield
        finally:
            if was_training:
                self.train()


def as_array(rows: Rows | Tensor) -> Rows:
    """A tensor as an array; other rows as they are."""
    return rows.cpu().numpy() if isinstance(rows, Tensor) else rows


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module as it is stored: each name has numbers of its own, so that tied weights load again."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in module.state_dict().items()
    }


def load_model(path: str | Path, what: str, make: Callable[[dict[str, Any]], _Model]) -> _Model:
    """Read a model that `Model.save` wrote; `make` gives the untrained one from its `config`, `what` is its kind.

    Raises:
        InputError: the file is missing, is no safetensors file, or holds no such model.
    """
    header, tensors = _read_safetensors(Path(path), what)
    try:
        config = dict(json.loads(header["lde_bench"]))
        config.pop(NOTES, None)
        model = make(config)
        dtype = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
        model.to(dtype).load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, StopIteration) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from error
        raise InputError(f"{path}: does not hold an lde-bench {what} of this version; save it again.") from error
    return model


def load_trained(model: Model, path: Path) -> dict[str, Any]:
    """Put the weights that `Model.save` wrote of an equal model into `model`; the notes that were saved with them.

    Raises:
        InputError: the file is damaged, or is of another model.
    """
    header, tensors = _read_safetensors(path, model.name)
    try:
        model.load_state_dict(tensors)
        notes = json.loads(header["lde_bench"])[NOTES]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: does not hold the trained {model.name}; delete it and run again.") from error
    model.eval()
    return notes


def _read_safetensors(path: Path, what: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give the path of a saved {what}.")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is no whole safetensors file; train or download it again.") from error


def positive_integer(what: str, value: Any) -> int:
    """`value` as an int from 1 up, and no more than `MOST`.

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{what} = {value!r} is not a whole number from 1 up; give for example {what}=10.")
    if value > MOST:
        raise InputError(f"{what} = {value} is more than any machine holds; give at most {MOST:,}.")
    return int(value)


def positive_number(what: str, value: Any) -> float:
    """`value` as a float above 0.

    Raises:
        InputError: it is something else, or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise InputError(f"{what} = {value!r} is no number above 0; give for example {what}=1.")
    return float(value)
