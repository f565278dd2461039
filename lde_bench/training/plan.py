"""What a training run may spend (`Budget`) and how it spends it (`Plan`). No torch here."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from lde_bench.errors import InputError

PROFILES = ("quick", "standard", "long", "paper")

#: Of `long`, where a model has no plan of its own for it: how many times the steps of `standard` it has, as far as so
#: many seconds of the reference machine hold them.
LONG_STEPS, LONG_SECONDS = 12, 7200.0

#: What a budget in seconds counts: those on the wall, or CPU seconds of the process and of the compilers that it ran.
Clock = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Plan:
    """How a model is trained under one profile.

    A profile is a number of *steps*, sized for a time, so the same seed gives the same figures on a slow machine
    and on a fast one.
    """

    steps: int
    batch_size: int = 256
    rate: float = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    #: Of `sgd`: the share of the last step that the next one repeats.
    momentum: float = 0.0
    weight_decay: float = 0.0
    #: Training rows that `steps` are for, of a plan that is one of epochs: on others their number is in proportion
    #: (`over`). None: a plan of steps, whatever the data.
    rows: int | None = None
    #: `cosine`: linear warm-up, then half a cosine to zero. `halving`: x0.5 every `halve_every` steps, or at each of
    #: the shares `halve_at` of the budget. `exponential`: times `decay` every step.
    schedule: Literal["cosine", "halving", "exponential", "constant"] = "cosine"
    warmup: int = 200
    halve_every: int | None = None
    halve_at: tuple[float, ...] = ()
    decay: float = 1.0
    clip: float | None = None
    #: Whether `clip` and `weight_decay` are those of a loss in nats, as published; the loss of a density is one in nats
    #: a feature, whose gradients are that much smaller.
    of_nats: bool = False
    #: Decay of the exponential moving average of the weights; None trains without one.
    average: float | None = None
    #: Steps between two looks at the validation set.
    validate_every: int = 1000
    #: So many looks, at equal shares of the budget, in place of those by steps: for a budget in seconds, of which
    #: nobody knows beforehand how many steps it holds.
    looks: int | None = None
    #: Looks without an improvement after which training stops; None runs to the end.
    patience: int | None = None
    #: The fit needs no iteration: explicit steps or seconds do not apply.
    closed_form: bool = False
    #: The one step is a fit that a user's class brings, of whatever length: no budget bounds it, and a longer one may
    #: give another result.
    own_fit: bool = False
    #: Whether `precision="auto"` may take bfloat16 training steps where the processor has them.
    bf16: bool = True
    #: Measured seconds of a 63-feature trial of the usual size, evaluation included, on 2 cores with bf16: what is said
    #: beforehand of how long a run will take.
    reference_seconds: float = 60.0
    #: Whether to try `torch.compile`; without a C++ compiler the run falls back to eager with a notice.
    compile: bool = False

    def rate_at(self, step: int, progress: float) -> float:
        """The learning rate at a step, where `progress` in [0, 1] is the share of the budget spent."""
        if self.schedule == "cosine":
            return self.rate * min(1.0, (step + 1) / max(1, self.warmup)) * 0.5 * (1 + math.cos(math.pi * progress))
        if self.schedule == "halving":
            every = step // self.halve_every if self.halve_every else 0
            return self.rate * 0.5 ** (every + sum(progress >= at for at in self.halve_at))
        if self.schedule == "exponential":
            return self.rate * self.decay**step
        return self.rate

    def over(self, rows: int | None) -> Plan:
        """The plan for so many training rows: of one of epochs as many of them; None, endless rows, change nothing."""
        if self.rows is None or rows is None:
            return self
        steps = max(1, round(self.steps * rows / self.rows))
        ratio = steps / self.steps
        return replace(
            self,
            steps=steps,
            rows=rows,
            decay=self.decay ** (1 / ratio),
            reference_seconds=self.reference_seconds * ratio,
        )

    def stretched(self, ratio: float) -> Plan:
        """The plan over so many times the steps. Schedule, warm-up, average and looks are stretched alike: each keeps
        its share of the training. A fit in closed form stays as it is.
        """
        if self.closed_form:
            return self
        steps = max(1, round(self.steps * ratio))
        ratio = steps / self.steps
        return replace(
            self,
            steps=steps,
            warmup=round(self.warmup * ratio),
            halve_every=None if self.halve_every is None else max(1, round(self.halve_every * ratio)),
            decay=self.decay ** (1 / ratio),
            average=None if self.average is None else max(0.0, 1 - (1 - self.average) / ratio),
            validate_every=max(1, round(self.validate_every * ratio)),
            reference_seconds=self.reference_seconds * ratio,
        )

    def lengthened(self, size: float = 1.0) -> Plan:
        """The plan of `long` made of that of `standard`: `LONG_STEPS` times the steps, or as many as `LONG_SECONDS`
        hold of a model that takes `size` times as long as one of the usual size.

        The rate is that of `lengthened_rate`.
        """
        longer = self.stretched(min(LONG_STEPS, LONG_SECONDS / (size * self.reference_seconds)))
        return replace(longer, rate=lengthened_rate(self.rate, max(1.0, longer.steps / self.steps)))

    def of_batch(self, rows: int | None) -> Plan:
        """The plan with so many training rows a step, and as many steps; None: its own.

        The rate grows with the square root of the number of rows, as suits Adam (Malladi, Lyu, Panigrahi, Arora 2022,
        arXiv 2205.10287), by which all densities here are trained that are trained by gradients.
        """
        if rows is None or self.closed_form:
            return self
        ratio = rows / self.batch_size
        return replace(
            self,
            batch_size=rows,
            rate=self.rate * math.sqrt(ratio),
            reference_seconds=self.reference_seconds * ratio,
        )

    def per_feature(self, features: int) -> Plan:
        """The plan with `clip` and `weight_decay` for a loss in nats a feature; AdamW's decay knows no loss."""
        if not self.of_nats:
            return self
        return replace(
            self,
            of_nats=False,
            clip=None if self.clip is None else self.clip / features,
            weight_decay=self.weight_decay if self.optimizer == "adamw" else self.weight_decay / features,
        )

    def steps_within(self, budget: Budget) -> int:
        """The number of steps, where the budget is none of seconds."""
        return self.steps if budget.steps is None or self.closed_form else budget.steps

    def expected_steps(self, budget: Budget) -> float:
        """The number of steps, or, where the budget is one of seconds, about how many those hold by the plan's own."""
        if budget.seconds is None or self.closed_form:
            return self.steps_within(budget)
        return self.steps * budget.seconds / self.reference_seconds

    def describe(self) -> dict[str, Any]:
        """What shapes the result, as JSON-able values, for the run record and the name of the run."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        for name in ("reference_seconds", "own_fit"):  # say how long it takes, change nothing
            del values[name]
        for name in ("rows", "halve_at", "momentum", "decay", "of_nats", "looks"):  # names of runs were given without
            if getattr(self, name) == getattr(Plan, name):
                del values[name]
        return values


def lengthened_rate(rate: float, ratio: float) -> float:
    """The rate of a training that is `ratio` times as long as one that `rate` suits.

    It falls by the fourth root, between two measured sides: left as it is, the rate suits `lde` and `made-mog` better
    than one lower by the square root (by 0.8 and 0.3 test nats at 12 and 4 times the steps), and `real-nvp` and
    `resmade-mog+w` went from 3e-3 at 380 steps to 1e-3 at 3,500 and from 1.2e-2 at 430 to 4e-3 at 2,500.
    """
    return rate / ratio**0.25


def plan_of(plans: Mapping[str, Plan], profile: str, size: Callable[[], float] = lambda: 1.0) -> Plan | None:
    """The plan of a profile among some; that of `long`, where there is none, is `standard` lengthened, as far as a
    model of that size has the time; nobody asks for it otherwise, since telling it takes making another model.
    """
    if profile == "long" and "long" not in plans and "standard" in plans:
        return plans["standard"].lengthened(size())
    return plans.get(profile)


@dataclass(frozen=True)
class Budget:
    """A profile, or a profile whose number of steps is replaced by explicit steps or seconds; `batch`, where it is
    given, replaces the number of training rows a step (`Plan.of_batch`).

    A budget in seconds depends on the machine: it exists for time-to-quality studies only, and is marked so in
    every record.
    """

    profile: str = "quick"
    steps: int | None = None
    seconds: float | None = None
    machine_dependent: bool = False
    clock: Clock = "wall"
    batch: int | None = None

    @classmethod
    def of(
        cls,
        profile: str | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        clock: Clock = "wall",
        batch: int | None = None,
    ) -> Budget:
        """Check and build a budget; without any the profile is `quick`. `clock` says what `seconds` are.

        Raises:
            InputError: more than one is given, the profile or the clock is unknown, a number is not positive, or there
                are no seconds for a clock of CPU seconds.
        """
        if steps is not None and seconds is not None:
            raise InputError("a budget is steps or seconds, not both; give one of them.")
        if profile is not None and profile not in PROFILES:
            raise InputError(f"profile '{profile}' is unknown; choose one of {', '.join(PROFILES)}.")
        for name, value in (("steps", steps), ("batch", batch)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1):
                raise InputError(f"{name} = {value} is not a whole number from 1 up; give at least 1.")
        if seconds is not None and not (isinstance(seconds, numbers.Real) and 0 < seconds < math.inf):
            raise InputError(f"seconds = {seconds} is not a positive number; give at least 1.")
        if clock not in get_args(Clock):
            raise InputError(f"clock '{clock}' is unknown; choose one of {', '.join(get_args(Clock))}.")
        if clock == "cpu" and seconds is None:
            raise InputError("a clock of CPU seconds needs a number of seconds; give them, or leave the clock out.")
        whole, rows = (None if value is None else int(value) for value in (steps, batch))
        return cls(profile or "quick", whole, seconds, machine_dependent=seconds is not None, clock=clock, batch=rows)

    def describe(self) -> dict[str, Any]:
        """As JSON-able values, for the name of a run."""
        values = asdict(self)
        for name in ("clock", "batch"):  # the names of runs were given without
            if values[name] == getattr(Budget, name):
                del values[name]
        return values

    @property
    def label(self) -> str:
        """`quick`, or with the explicit budget in place of its steps: `quick-500-steps`, `quick-60-seconds`,
        `quick-60-cpu-seconds`; with a batch of its own `quick-500-steps-of-1024` or `quick-of-1024`.
        """
        rows = "" if self.batch is None else f"-of-{self.batch}"
        if self.steps is not None:
            return f"{self.profile}-{self.steps}-steps{rows}"
        if self.seconds is not None:
            return f"{self.profile}-{self.seconds:g}-{'cpu-' if self.clock == 'cpu' else ''}seconds{rows}"
        return self.profile + rows
