"""The protocol report: what the floor and the choice on the test patches are worth; no table can reach them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.densities import density_classes
from lde_bench.densities.made_mog import MadeMog
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.experiments import protocol
from lde_bench.experiments.protocol import (
    RELEASED_FLOOR,
    PeekingDensity,
    Protocol,
    floored_log_prob,
    measure_floor,
    report_document,
    run_protocol,
    run_protocol_of_record,
)
from lde_bench.report.render.markdown import document_to_markdown
from lde_bench.runs import ResultStore
from lde_bench.training import loop
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import run_density_trial, train_density

METHOD = "made-mog+w:hidden=8"


@pytest.fixture
def data():
    return lb.load_dataset("gaussian-correlated", train=300, validation=40, test=60)


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


@pytest.fixture
def often(monkeypatch):
    """Plans with a look at every second step; the barely trained model has one step."""
    plans = {name: replace(plan, validate_every=2, rate=0.05, warmup=1) for name, plan in MadeMog.plans.items()}
    monkeypatch.setattr(MadeMog, "plans", plans)
    monkeypatch.setattr(protocol, "BARELY_TRAINED_STEPS", 1)


def trial_of(data, steps: int = 12, method: str = METHOD):
    return Protocol().plan(method, 2, data, Budget.of(steps=steps), TrainingOptions(device="cpu", precision="fp32"))


def gaussian_conditionals(x: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of x_i | x_<i of N(0, S) by the normal equations: [n, D] and [D]."""
    means, scales = np.zeros_like(x), np.zeros(x.shape[1])
    for i in range(x.shape[1]):
        weights = np.linalg.solve(covariance[:i, :i], covariance[:i, i]) if i else np.zeros(0)
        means[:, i] = x[:, :i] @ weights
        scales[i] = math.sqrt(covariance[i, i] - covariance[i, :i] @ weights)
    return means, scales


def test_the_floored_sum_of_a_gaussian_is_the_direct_formula():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    covariance = root @ root.T + 0.1 * np.eye(4)
    x = rng.normal(scale=12, size=(200, 4))  # far out: many conditionals are below 1e-12
    means, scales = gaussian_conditionals(x, covariance)
    p = np.exp(-0.5 * ((x - means) / scales) ** 2) / (scales * math.sqrt(2 * math.pi))
    assert 0.1 < (p < RELEASED_FLOOR).mean() < 0.9
    direct = np.log(p + 1e-12).sum(1)
    log_p = -0.5 * ((x - means) / scales) ** 2 - np.log(scales) - 0.5 * math.log(2 * math.pi)
    assert floored_log_prob(torch.tensor(log_p)).numpy() == pytest.approx(direct, rel=1e-12)


def test_the_floor_never_lowers_a_figure_and_bounds_each_conditional():
    log_p = torch.tensor([[-1e6, -400.0, -27.7, 0.0, 5.0], [5.0, 5.0, 5.0, 5.0, 5.0]])
    floored = floored_log_prob(log_p)
    assert bool((floored >= log_p.double().sum(-1)).all())
    expected = 2 * math.log(1e-12) + math.log(math.exp(-27.7) + 1e-12) + 5.0
    assert floored[0].item() == pytest.approx(expected, abs=1e-5)
    assert floored[1].item() == pytest.approx(25.0, abs=1e-10)


def test_the_figures_of_the_floor_are_in_the_units_of_the_data(data):
    """A whitened model's conditionals carry the scale of whitening: the floor is not 1e-12 of the whitened density."""
    density = lb.create("made-mog+w:hidden=8", features=data.features, components=2)
    density.fit(data.train, seed=0, steps=2, device="cpu", precision="fp32")
    far = data.test * np.float32(8)
    told = measure_floor(density, far, None)
    log_p = density.conditional_log_prob(torch.tensor(far)).detach().double().numpy()
    assert told.test_nats == pytest.approx(float(density.log_prob(far).mean()), rel=1e-5)
    assert told.floored_nats == pytest.approx(np.logaddexp(log_p, math.log(1e-12)).sum(1).mean(), rel=1e-9)
    assert told.gain_nats == pytest.approx(told.floored_nats - told.test_nats, abs=1e-9)
    below = log_p < math.log(1e-12)
    assert (told.items, told.items_below, told.conditionals_below) == (60, below.any(1).sum(), below.sum())
    assert told.items_below > 0
    assert told.lowest_conditional == log_p.min()
    assert told.gain_standard_error is None


def test_a_conditional_that_is_not_finite_stops_the_report(data):
    density = lb.create("made-mog:hidden=8", features=data.features, components=2)
    rows = data.test.copy()
    rows[3, 0] = np.nan
    with pytest.raises(TrainingDiverged, match="1 of 60 test items"):
        measure_floor(density, rows, None)


def test_looking_at_the_test_patches_does_not_change_the_honest_weights(data, often):
    """The validation choice of the report is the model of the table, to the bit; the test choice is another's."""
    trial = trial_of(data)
    honest = trial.model().fit(trial.batches(), data.validation, seed=trial.seed, steps=12, device="cpu")
    peeked = 5 * data.test  # further out than the training rows: learning makes them less likely
    peeking = PeekingDensity(trial.model(), torch.tensor(peeked))
    peeking.fit(trial.batches(), data.validation, seed=trial.seed, steps=12, device="cpu")
    assert [look.step for look in peeking.looks] == [2, 4, 6, 8, 10, 12]
    assert [look.validation_nats for look in peeking.looks] == [
        look.validation_nats for look in honest.training_state.curve
    ]
    assert np.array_equal(peeking.base.log_prob(data.test), honest.log_prob(data.test))
    at_choice = next(look for look in peeking.looks if look.step == honest.training_state.best_step)
    assert at_choice.test_nats == pytest.approx(float(honest.log_prob(peeked).mean()), rel=1e-6)
    peeking.adopt_test_choice()
    best = max(look.test_nats for look in peeking.looks)
    assert best > at_choice.test_nats + 1
    assert float(peeking.base.log_prob(peeked).mean()) == pytest.approx(best, rel=1e-6)


def test_a_killed_training_continues_with_its_looks_and_the_test_choice(data, often, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    trial, peeked = trial_of(data), torch.tensor(5 * data.test)

    def train(stop_at: int | None, checkpoint):
        def progress(now):
            if now.step == stop_at:
                raise KeyboardInterrupt

        peeking = PeekingDensity(trial.model(), peeked)
        train_density(trial, peeking, checkpoint, progress, lambda message: None)
        return peeking

    whole = train(None, None)
    with pytest.raises(KeyboardInterrupt):
        train(7, tmp_path / "run.ckpt")
    continued = train(None, tmp_path / "run.ckpt")
    assert continued.looks == whole.looks
    assert max(whole.looks, key=lambda look: look.test_nats).step < 7
    for peeking in (whole, continued):
        peeking.adopt_test_choice()
    assert np.array_equal(continued.base.log_prob(data.test), whole.base.log_prob(data.test))


def test_a_report_adds_up_and_is_no_run_record(data, store, often, caplog):
    trial = trial_of(data)
    honest = run_density_trial(trial, store)
    report = run_protocol(trial, store)
    model, barely = report.models[0], report.models[-1]
    assert model.floor.test_nats == pytest.approx(store.write(honest).result.test_nats, abs=1e-4)
    assert (model.model, model.step) == ("made-mog+w:hidden=8 K=2", honest.result.best_step)
    assert barely.model == "made-mog:hidden=8 K=2, barely trained"
    content = report.to_dict()
    assert content["choice"]["gain_nats"] >= 0
    assert content["choice"]["on_validation"]["step"] == model.step
    assert report.seeds["trial"] == trial.seed
    written = sorted(path.name for path in (store.folder / "protocol").rglob("*") if path.is_file())
    assert written == [f"protocol-{trial.run_id}.report.json", f"protocol-{trial.run_id}.report.md"]
    assert "no density" in document_to_markdown(report_document(report))
    assert store.load() == [honest]
    assert store.skipped == set()
    assert caplog.records == []
    assert len(lb.load_results(store.folder)) == 1


def test_the_floor_alone_is_measured_on_the_weights_beside_a_record(data, store, monkeypatch):
    trial = trial_of(data, steps=3)
    store.write(record := run_density_trial(trial, store))
    told = run_protocol_of_record(store.paths(record).record, store)
    assert told.models[0].floor.test_nats == pytest.approx(record.result.test_nats, abs=1e-4)
    assert told.looks == ()
    assert len(list(store.folder.rglob(f"protocol-floor-{record.run_id}.report.*"))) == 2
    other = lb.load_dataset("gaussian-correlated", train=300, validation=40, test=60, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "load_dataset", lambda *arguments, **named: other)
        with pytest.raises(InputError, match="not comparable"):
            run_protocol_of_record(store.paths(record).record, store)
    store.paths(record).weights.unlink()
    with pytest.raises(InputError, match="the weights of this record are not beside it"):
        run_protocol_of_record(store.paths(record).record, store)


def test_a_density_without_conditionals_has_no_report(data, monkeypatch):
    monkeypatch.setattr(MadeMog, "autoregressive", False)
    with pytest.raises(InputError, match="made-mog:hidden=8 has no conditionals"):
        trial_of(data, method="made-mog:hidden=8")


def test_no_table_can_reach_the_density_that_peeks():
    assert PeekingDensity.name not in density_classes()
    with pytest.raises(InputError, match="unknown"):
        lb.create(PeekingDensity.name, features=3)
