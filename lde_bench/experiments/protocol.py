"""`lde-bench protocol`: how many nats the released choices of the LDE's authors are worth, on one trained model.

The authors' public script (yoojy31/unpriortized-autoencoder, commit 53753c9) adds 1e-12 to each conditional inside the
logarithm and chooses the epoch on the test patches. The first makes it no density: p(x_i | x_<i) + 1e-12 has an
infinite integral over x_i. The second has seen the answers. This report measures both beside the honest figures. It is
never a row: its files are no run records (`lde_bench.runs.store.REPORT_SUFFIX`), no table reads them, and the class
that looks at test patches during training stands here alone, where `create` does not find it.
"""

from __future__ import annotations

import json as json_module
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lde_bench.data import Dataset, load_dataset
from lde_bench.densities import load_density
from lde_bench.densities.base import Density
from lde_bench.densities.wrapper import Wrapper
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.statistics import clustered_standard_error
from lde_bench.experiments.bsds300 import Bsds300
from lde_bench.files import write_text_atomic
from lde_bench.progress import say
from lde_bench.report.document import Block, Document, Grid, Heading, Paragraph
from lde_bench.report.experiment import Experiment
from lde_bench.report.numbers import DASH
from lde_bench.report.render.markdown import document_to_markdown
from lde_bench.report.render.text import print_blocks
from lde_bench.runs import DatasetInfo, Record, ResultStore, RunPaths, provenance, utc_now
from lde_bench.runs.display import SweepDisplay
from lde_bench.runs.rows import with_components
from lde_bench.runs.store import REPORT_SUFFIX
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, evaluate_rows
from lde_bench.training.plan import Budget, Plan
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, innermost, plan_trials, train_density
from lde_bench.version import BENCHMARK_VERSION

#: What the released script adds to each conditional inside the logarithm.
RELEASED_FLOOR = 1e-12

#: A network after this many steps has learnt nothing yet: there the floor shows what it hides.
BARELY_TRAINED_STEPS = 50


# ---- the addition inside the logarithm


def floored_log_prob(conditionals: Tensor, floor: float = RELEASED_FLOOR) -> Tensor:
    """sum_i log(p_i + floor) of conditionals log p_i in nats: [B, D] -> float64 [B]. The logarithm of no density."""
    return torch.logaddexp(conditionals.double(), torch.tensor(math.log(floor), dtype=torch.float64)).sum(-1)


@dataclass(frozen=True)
class FloorFigures:
    """Test log-likelihood without and with the floor (nats), and where the floor acts.

    `items_below` test items, and `conditionals_below` of their conditionals, are less likely than the floor;
    `lowest_conditional` is the lowest log p(x_i | x_<i). The standard error of the gain is clustered by photograph.
    """

    test_nats: float
    floored_nats: float
    gain_nats: float
    gain_standard_error: float | None
    items: int
    items_below: int
    conditionals_below: int
    lowest_conditional: float


def measure_floor(density: Density, rows: np.ndarray, groups: np.ndarray | None) -> FloorFigures:
    """What the floor is worth on `rows` [n, D], whose photographs are `groups` int64 [n].

    The conditionals are those of the data's own units, whitened model or not: whitening's scales are counted in them.

    Raises:
        TrainingDiverged: a conditional is NaN or infinite.
    """

    def measure(block: Tensor) -> Tensor:
        conditionals = density.conditional_log_prob(block).double()  # [B, D]
        below = (conditionals < math.log(RELEASED_FLOOR)).sum(-1)
        columns = (conditionals.sum(-1), floored_log_prob(conditionals), below, conditionals.amin(-1))
        return torch.stack([column.double() for column in columns], -1)

    density.eval()
    told = evaluate_rows(measure, torch.as_tensor(rows).to(density.device, density.dtype)).cpu().numpy()  # [n, 4]
    if bad := int((~np.isfinite(told)).any(1).sum()):
        raise TrainingDiverged(f"{bad} of {len(told)} test items have a conditional that is not finite.")
    plain, floored, below, lowest = told.T
    return FloorFigures(
        test_nats=float(plain.mean()),
        floored_nats=float(floored.mean()),
        gain_nats=float((floored - plain).mean()),
        gain_standard_error=None if groups is None else clustered_standard_error(floored - plain, groups),
        items=len(told),
        items_below=int((below > 0).sum()),
        conditionals_below=int(below.sum()),
        lowest_conditional=float(lowest.min()),
    )


# ---- the choice on the test patches


@dataclass(frozen=True)
class TestLook:
    """One look at both sets during training (nats)."""

    step: int
    validation_nats: float
    test_nats: float


class PeekingDensity(Wrapper):
    """Trains `base` exactly as it trains alone, and scores `test` [m, D] at each look beside the validation set.

    After `fit` the base has the weights chosen on validation; `adopt_test_choice` puts in those of the best test score.
    """

    name = "peeking"

    def __init__(self, base: Density, test: Tensor) -> None:
        super().__init__(base)
        self.test = test
        self.peeking: _PeekingLearner | None = None

    @property
    def looks(self) -> list[TestLook]:
        assert self.peeking is not None
        return self.peeking.looks

    def adopt_test_choice(self) -> None:
        """Put the weights into `base` that do best on the test patches."""
        assert self.peeking is not None
        assert self.peeking.best is not None
        self.peeking.inner.adopt(self.peeking.best)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        inner = super().learner(plan, device, precision, compiler)
        self.peeking = _PeekingLearner(inner, self.test.to(device, self.dtype))
        return self.peeking

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x)


class _PeekingLearner:
    """The base's learner; scoring draws no random numbers, so it trains to the same weights, to the bit."""

    def __init__(self, inner: Learner, test: Tensor) -> None:
        self.inner = inner
        self.test = test
        self.steps = 0
        self.looks: list[TestLook] = []
        self.best: dict[str, Tensor] | None = None
        self.candidate: Callable[[], dict[str, Tensor]] = inner.candidate
        self.adopt: Callable[[dict[str, Tensor]], None] = inner.adopt

    @property
    def score_rows(self) -> int | None:
        return self.inner.score_rows

    @property
    def was_clipped(self) -> bool:
        return self.inner.was_clipped

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        self.steps = step + 1
        return self.inner.step(batch, step, progress)

    def score(self, validation: Tensor) -> float:
        look = TestLook(self.steps, self.inner.score(validation), self.inner.score(self.test))
        if look.test_nats > max((earlier.test_nats for earlier in self.looks), default=-math.inf):
            self.best = self.inner.candidate()
        self.looks.append(look)
        return look.validation_nats

    def state_dict(self) -> dict[str, Any]:
        looks = [asdict(look) for look in self.looks]
        return {"inner": self.inner.state_dict(), "looks": looks, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state["inner"])
        self.looks = [TestLook(**look) for look in state["looks"]]
        self.best = state["best"]


# ---- the report


@dataclass(frozen=True)
class ModelFigures:
    """One set of weights: what it is, and the figures of the floor."""

    model: str
    chosen_on: str
    step: int
    floor: FloorFigures


@dataclass(frozen=True)
class ProtocolReport:
    """`models`, the honest one first; `looks` are empty where nothing was trained here. Nats."""

    method: str
    components: int | None
    budget: str
    dataset: DatasetInfo
    seeds: dict[str, int]
    models: tuple[ModelFigures, ...]
    looks: tuple[TestLook, ...]
    provenance: dict[str, Any]
    kind: str = "protocol report, no run record"
    floor: float = RELEASED_FLOOR
    benchmark_version: str = BENCHMARK_VERSION

    @property
    def validation_choice(self) -> TestLook:
        return max(self.looks, key=lambda look: look.validation_nats)

    @property
    def test_choice(self) -> TestLook:
        return _best_on_test(self.looks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        choice = None
        if self.looks:
            gain = self.test_choice.test_nats - self.validation_choice.test_nats
            choice = {
                "on_validation": asdict(self.validation_choice),
                "on_test": asdict(self.test_choice),
                "gain_nats": gain,
            }
        return {**asdict(self), "choice": choice}


class Protocol(Experiment):
    """What the authors' released choices are worth, on one trained model; it keeps no run records and has no rows."""

    name = "protocol"
    title = "what the authors' released choices are worth in nats on one trained model; never a row"

    def plan(
        self, method: str, components: int, dataset: Dataset, budget: Budget, options: TrainingOptions, seed: int = 0
    ) -> DensityTrial:
        """The trial to look into: the first of its row in Table 1, same seed, same weights.

        Raises:
            InputError: the method has no conditionals, or see `plan_trials`.
        """
        (trial,) = plan_trials(Bsds300.name, dataset, [method], [components], 1, budget, options, seed)
        if not trial.model().autoregressive:
            raise InputError(
                f"{trial.spec.label} has no conditionals to add to; name an autoregressive one such as lde+w."
            )
        return trial


def run_protocol(trial: DensityTrial, store: ResultStore) -> ProtocolReport:
    """Train with looks at both sets, measure, and write the report; a run that is killed continues."""
    started = utc_now()
    paths = _paths(store, trial.dataset, trial.budget, f"protocol-{trial.run_id}")
    plan = trial.plan(trial.model())
    steps = min(BARELY_TRAINED_STEPS, plan.steps_within(trial.budget))
    bare = replace(trial, spec=innermost(trial.spec), budget=Budget.of(trial.budget.profile, steps=steps))
    say(f"{trial.title}: trained once more, with the test patches scored at each look beside the validation patches.")
    test = torch.as_tensor(np.asarray(trial.dataset.test))
    trained = [trial] if plan.closed_form else [trial, bare]  # a fit in closed form is whole at its first step
    with SweepDisplay(trained, len(trained)) as display:

        def train(what: DensityTrial, density: Density, checkpoint: Path | None) -> None:
            display.event("started", what, None)
            train_density(what, density, checkpoint, partial(display.progress, what), display.note)
            display.event("done", what, None)

        peeking = PeekingDensity(trial.model(), test)
        train(trial, peeking, paths.checkpoint)
        barely = bare.model()
        if bare in trained:
            train(bare, barely, None)
    looks = tuple(peeking.looks)
    title = with_components(trial.spec.label, trial.components)
    assert peeking.training_state is not None
    models = [_figures(title, "validation", peeking.training_state.best_step, peeking.base, trial.dataset)]
    best = _best_on_test(looks)
    if best.step != models[0].step:
        peeking.adopt_test_choice()
        models.append(_figures(title, "test", best.step, peeking.base, trial.dataset))
    if bare in trained:
        bare_title = f"{with_components(bare.spec.label, bare.components)}, barely trained"
        models.append(_figures(bare_title, "validation", steps, barely, trial.dataset))
    report = ProtocolReport(
        method=trial.spec.label,
        components=trial.components,
        budget=trial.budget.label,
        dataset=DatasetInfo.of(trial.dataset),
        seeds={"base": trial.base_seed, "trial": trial.seed, "barely_trained": bare.seed},
        models=tuple(models),
        looks=looks,
        provenance=provenance(started, utc_now()),
    )
    _write(report, paths)
    paths.checkpoint.unlink(missing_ok=True)
    return report


def run_protocol_of_record(
    path: Path, store: ResultStore, data_dir: Path | None = None, cache_dir: Path | None = None
) -> ProtocolReport:
    """What the floor is worth on the model of a record, whose weights lie beside it; nothing is trained.

    Raises:
        InputError: there is no such record, no weights, no conditionals, or the data are not those of the record.
    """
    started = utc_now()
    try:
        record = Record.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: is no run record that can be read ({error}); give the file of one.") from error
    density = load_density(RunPaths(path.parent, record.run_id).checked_weights(record))
    if not density.autoregressive:
        raise InputError(f"{record.method} has no conditionals to add to; give a record of an autoregressive method.")
    sizes = asdict(record.dataset.sizes)
    dataset = load_dataset(
        record.dataset.name, data_dir=data_dir, cache_dir=cache_dir, seed=record.dataset.seed, progress=True, **sizes
    )
    if dataset.content_hash != record.dataset.content_hash:
        raise InputError(
            f"not comparable: {path.name} was measured on {record.dataset.name} with content "
            f"{record.dataset.content_hash[:12]}, the data here have {dataset.content_hash[:12]}."
        )
    step = (record.result.best_step if record.result else None) or 0
    report = ProtocolReport(
        method=record.method,
        components=record.components,
        budget=record.budget.label,
        dataset=record.dataset,
        seeds=record.seeds,
        models=(_figures(with_components(record.method, record.components), "validation", step, density, dataset),),
        looks=(),
        provenance=provenance(started, utc_now()),
        benchmark_version=record.benchmark_version,
    )
    _write(report, _paths(store, dataset, record.budget, f"protocol-floor-{record.run_id}"))
    return report


def _figures(model: str, chosen_on: str, step: int, density: Density, dataset: Dataset) -> ModelFigures:
    return ModelFigures(model, chosen_on, step, measure_floor(density, np.asarray(dataset.test), dataset.test_groups))


def _paths(store: ResultStore, dataset: Dataset, budget: Budget, name: str) -> RunPaths:
    return store.place(
        experiment=Protocol.name, dataset=dataset.name, version=dataset.version, budget=budget, run_id=name
    )


def _write(report: ProtocolReport, paths: RunPaths) -> None:
    content = json_module.dumps(report.to_dict(), indent=2, allow_nan=False)
    for suffix, text in (
        (REPORT_SUFFIX, content + "\n"),
        (".report.md", document_to_markdown(report_document(report))),
    ):
        path = paths.folder / f"{paths.run_id}{suffix}"
        write_text_atomic(path, text)
        say(f"written: {path}")


# ---- telling

FLOOR_COLUMNS = (
    "model",
    "chosen on",
    "step",
    "test (nats)",
    "with 1e-12 added",
    "gain",
    "SE by photograph",
    "items it acts on",
    "lowest log conditional",
)
LOOK_COLUMNS = ("step", "validation (nats)", "test (nats)", "chosen on")


def _best_on_test(looks: Sequence[TestLook]) -> TestLook:
    """What somebody would keep who chose by the test patches."""
    return max(looks, key=lambda look: look.test_nats)


def floor_rows(report: ProtocolReport) -> list[list[str]]:
    """The first part as a table."""
    return [
        [
            each.model,
            each.chosen_on,
            f"{each.step:,}",
            f"{each.floor.test_nats:.3f}",
            f"{each.floor.floored_nats:.3f}",
            f"{each.floor.gain_nats:+.4f}",
            DASH if each.floor.gain_standard_error is None else f"{each.floor.gain_standard_error:.4f}",
            f"{each.floor.items_below:,} of {each.floor.items:,}",
            f"{each.floor.lowest_conditional:.1f}",
        ]
        for each in report.models
    ]


def look_rows(report: ProtocolReport) -> list[list[str]]:
    """The second part as a table: every look at both sets."""
    chosen = {"validation": report.validation_choice, "test": report.test_choice}
    return [
        [
            f"{look.step:,}",
            f"{look.validation_nats:.3f}",
            f"{look.test_nats:.3f}",
            " and ".join(name for name, choice in chosen.items() if choice == look),
        ]
        for look in report.looks
    ]


def sentences(report: ProtocolReport) -> list[str]:
    """What the tables say, in words."""
    honest = report.models[0].floor
    told = [
        f"1e-12 inside the logarithm: {honest.gain_nats:+.4f} nats on {report.models[0].model} "
        f"({honest.items_below:,} of {honest.items:,} test items have a conditional below it)."
    ]
    if report.looks:
        first, second = report.validation_choice, report.test_choice
        told.append(
            f"Choosing the weights on the test patches: {second.test_nats - first.test_nats:+.4f} nats (step "
            f"{second.step:,} in place of step {first.step:,}, of {_looks(len(report.looks))})."
        )
        both = next((each for each in report.models if each.chosen_on == "test"), report.models[0]).floor
        told.append(
            f"Both: {both.floored_nats:.3f} in place of {honest.test_nats:.3f} nats, "
            f"{both.floored_nats - honest.test_nats:+.4f}."
        )
    return told


def _looks(number: int) -> str:
    return "1 look" if number == 1 else f"{number:,} looks"


def report_document(report: ProtocolReport) -> Document:
    """The whole report as blocks."""
    data = report.dataset
    blocks: list[Block] = [
        Paragraph(
            f"Dataset {data.name} version {data.version} (content {data.content_hash[:12]}), {report.budget}, "
            f"benchmark version {report.benchmark_version}. No row of a table: what the authors' released choices are "
            "worth in nats."
        ),
        *(Paragraph(sentence) for sentence in sentences(report)),
        Heading(2, "1e-12 added to each conditional inside the logarithm"),
        Paragraph(
            "With it the model is no density: each conditional's integral is infinite. It is added in the units of "
            "the data, also where the model works on whitened input. It can only raise a figure."
        ),
        Grid(FLOOR_COLUMNS, floor_rows(report), left=2),
    ]
    if report.looks:
        blocks += [
            Heading(2, "The weights chosen on the test patches"),
            Grid(LOOK_COLUMNS, look_rows(report), left=0, words=LOOK_COLUMNS[-1:]),
        ]
    blocks.append(Paragraph(f"Command: {report.provenance['command']}"))
    return Document(f"Protocol report: {report.models[0].model} on {data.name}", blocks)


def print_report(report: ProtocolReport, json: bool) -> None:
    """The report on stdout."""
    if json:
        print(json_module.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        print_blocks(report_document(report).blocks)
