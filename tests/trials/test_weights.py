"""What only evaluates otherwise trains no step: its weights are those of the trials that it stands on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lde_bench as lb
from lde_bench import densities
from lde_bench.data import Dataset
from lde_bench.densities import density_classes
from lde_bench.densities.base import Density
from lde_bench.densities.made_mog import MadeMog
from lde_bench.densities.spec import parse_method
from lde_bench.densities.symmetric import Symmetric
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.law import Law
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Budget
from lde_bench.trials import density as density_trials
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, _random_symmetry, plan_trials
from lde_bench.trials.run import run_trials

OPTIONS = TrainingOptions(device="cpu", precision="fp32")
METHOD = "made-mog+w:components=2,hidden=8"


def dataset(features: int = 63, test: int = 60, is_patch: bool = True) -> Dataset:
    rows = skewed_rows(360, features, 0)
    arrays = {"train": rows[:200], "validation": rows[200:300], "test": rows[300 : 300 + test]}
    return Dataset.of("made-up", "1", 0, arrays, is_patch=is_patch)


DATA = dataset()


def plan(*methods: str, data: Dataset = DATA, trials: int = 1, steps: int = 4) -> list[DensityTrial]:
    return plan_trials("tests", data, methods, [2], trials, Budget.of(steps=steps), OPTIONS)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


@pytest.fixture(autouse=True)
def _no_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds, and are tested in one place."""
    monkeypatch.setattr(density_trials, "trial_laws", lambda *_, **__: {})


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods whose training was begun, in order."""
    begun: list[str] = []
    ordinary = Density.fit

    def fit(self: Density, *arguments, **options):
        begun.append(self.config["method"])
        return ordinary(self, *arguments, **options)

    monkeypatch.setattr(Density, "fit", fit)
    return begun


def run(store: ResultStore, trials: list[DensityTrial]) -> list[Record]:
    return run_sweep(store, trials)


def nats(density: Density, data: Dataset = DATA) -> float:
    return density.log_prob(data.test).astype(np.float64).mean()


def weights(store: ResultStore, record: Record) -> Density:
    return lb.load_density(store.paths(record).weights)


def symmetric_by_hand(store: ResultStore, record: Record) -> Density:
    return Symmetric(weights(store, record)).eval()


# -- the same training, another evaluation -----------------------------------------------------------------------------


def test_a_symmetry_average_after_its_base_trains_no_step(store, monkeypatch):
    (base,) = run(store, plan(METHOD))
    monkeypatch.setattr(Density, "fit", lambda *_, **__: pytest.fail("it trained"))
    (record,) = run(store, plan(METHOD.replace("+w", "+w+sym")))
    assert record.done, record.reason
    assert record.result.test_nats == nats(symmetric_by_hand(store, base))
    assert record.result.test_nats != base.result.test_nats
    assert record.training["weights_of"] == [base.run_id]
    assert record.training["training_id"] == base.training["training_id"]
    assert record.training["steps"] == base.training["steps"]
    assert (record.curve, record.result.best_step) == (base.curve, base.result.best_step)
    assert record.starts == base.starts
    assert base.starts["model"].steps == base.training["steps"]
    assert record.seeds == base.seeds
    assert record.cost.cpu_seconds >= base.cost.cpu_seconds
    np.testing.assert_array_equal(
        weights(store, record).log_prob(DATA.test), store.paths(record).load_log_likelihoods()
    )


def test_a_base_that_is_not_there_is_run_first_as_an_ordinary_trial(store, fits):
    (record,) = run(store, plan(METHOD.replace("+w", "+w+sym")))
    (base,) = (found for found in store.load() if found.run_id != record.run_id)
    assert fits == [METHOD]
    assert base.run_id == plan(METHOD)[0].run_id
    assert "weights_of" not in base.training
    assert record.training["weights_of"] == [base.run_id]


def test_a_sweep_runs_what_trains_before_what_takes_over_weights(store, fits):
    trials = plan(METHOD.replace("+w", "+w+sym"), METHOD, trials=2)
    assert [(str(trial.spec), trial.trial) for trial in trials] == [
        (METHOD, 0),
        (METHOD, 1),
        (METHOD.replace("+w", "+w+sym"), 0),
        (METHOD.replace("+w", "+w+sym"), 1),
    ]
    records = run(store, trials)
    assert fits == [METHOD, METHOD]
    assert records[0].training["training_id"] != records[1].training["training_id"]
    assert [record.training["weights_of"] for record in records[2:]] == [[records[0].run_id], [records[1].run_id]]


def test_another_test_set_trains_no_step(store, fits):
    (earlier,) = run(store, plan(METHOD))
    fewer = dataset(test=30)
    (record,) = run(store, plan(METHOD, data=fewer))
    assert fits == [METHOD]
    assert record.run_id != earlier.run_id
    assert record.training["weights_of"] == [earlier.run_id]
    assert record.result.test_nats == nats(weights(store, earlier), fewer)
    (symmetric,) = run(store, plan(METHOD.replace("+w", "+w+sym"), data=dataset(test=20)))
    assert fits == [METHOD]
    assert symmetric.result.test_nats == nats(symmetric_by_hand(store, earlier), dataset(test=20))


@pytest.mark.parametrize("change", ["validation", "train", "steps", "augment", "seed", "components"])
def test_any_other_training_is_no_twin(change, store, fits):
    run(store, plan(METHOD))
    (trial,) = plan(METHOD, data=dataset(test=30))
    changed = {
        "validation": lambda: replace(trial, dataset=replace(trial.dataset, validation=DATA.validation[:50])),
        "train": lambda: replace(trial, dataset=replace(trial.dataset, train=DATA.train[:150])),
        "steps": lambda: replace(trial, budget=Budget.of(steps=5)),
        "augment": lambda: replace(trial, options=replace(OPTIONS, augment="symmetries")),
        "seed": lambda: replace(trial, base_seed=1),
        "components": lambda: plan(METHOD.replace("=2", "=3"), data=trial.dataset)[0],
    }[change]()
    (record,) = run(store, [changed])
    assert len(fits) == 2
    assert "weights_of" not in record.training


class Choosy(MadeMog):
    """Takes an argument that only evaluation looks at."""

    name = "choosy"
    evaluation_only = frozenset({"halved"})

    def __init__(self, features: int, components: int = 2, halved: bool = False) -> None:
        super().__init__(features, components, hidden=8)
        self.halved = halved

    def forward(self, x):
        return super().forward(x) / (2 if self.halved else 1)


@pytest.fixture
def choosy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "density_classes", lambda: {**density_classes(), "choosy": Choosy})


@pytest.mark.usefixtures("choosy")
def test_an_argument_of_evaluation_alone_has_the_seed_and_the_weights_of_the_plain_method(store, fits):
    plain, halved, both = run(store, plan("choosy", "choosy:halved=true", "choosy+w+sym:halved=true"))
    assert halved.done
    assert halved.result.test_nats == pytest.approx(plain.result.test_nats / 2)
    assert halved.training["weights_of"] == [plain.run_id]
    assert halved.seeds == plain.seeds
    # Whitened is another training, which the halved one shares with the plain one.
    assert fits == ["choosy:components=2", "choosy+w:components=2"]
    assert both.done


def test_what_takes_over_weights_is_held_to_the_laws_too(store, monkeypatch):
    held: list[str] = []
    verdict = Law.of(1.0, 0.0, "made up")

    def laws(density: Density, *_, **__) -> dict:
        held.append(density.config["method"])
        return {"samples": verdict} if "sym" in density.config["method"] else {}

    monkeypatch.setattr(density_trials, "trial_laws", laws)
    (record,) = run(store, plan("gaussian+sym"))
    assert held == ["gaussian", "gaussian+sym"]
    assert not record.laws["samples"].passed


# -- a failed, a lost, an old source -----------------------------------------------------------------------------------


def test_weights_that_are_lost_are_trained_again_to_the_same_number(store, fits):
    (base,) = run(store, plan(METHOD))
    expected = nats(symmetric_by_hand(store, base))
    content = store.paths(base).record.read_bytes()
    store.paths(base).weights.unlink()
    (record,) = run(store, plan(METHOD.replace("+w", "+w+sym")))
    assert fits == [METHOD, METHOD]
    assert record.result.test_nats == expected
    assert store.paths(base).record.read_bytes() == content
    assert nats(weights(store, base)) == base.result.test_nats


def test_weights_that_are_not_those_of_their_record_are_never_taken(store, fits, capsys):
    (base,) = run(store, plan(METHOD))
    path = store.paths(base).weights
    density = lb.load_density(path)
    density.reset_parameters()
    density.save(path)
    (record,) = run(store, plan(METHOD.replace("+w", "+w+sym")))
    assert not record.done
    assert "is not the file of weights that its record names" in record.reason
    # Nor are those of another training, as another machine gives them, put beside the record.
    path.unlink()
    named = store.paths(base).record
    named.write_text(named.read_text().replace(base.training["weights_sha256"], "0" * 64))
    (record,) = run(store, plan(METHOD.replace("+w", "+w+sym")))
    assert "it has other weights than its record names" in record.reason
    assert not path.exists()
    # Nor is what failed told of by the figure of the record that stands.
    capsys.readouterr()
    run_trials(plan(METHOD.replace("+w", "+w+sym")), store)
    told = capsys.readouterr().err
    assert "it has other weights than its record names" in told
    assert "; its record stands" in told
    assert "nats on the test set" not in told


def test_a_base_that_fails_fails_what_stands_on_it_with_its_reason(store, monkeypatch):
    def diverge(*_, **__):
        raise TrainingDiverged("the loss became NaN.")

    monkeypatch.setattr(Density, "fit", diverge)
    (record,) = run(store, plan("gaussian+sym"))
    assert not record.done
    assert "gaussian, trial 1" in record.reason
    assert "the loss became NaN" in record.reason


# -- mixtures of trials -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trial_t_of_a_mixture_is_made_of_trials_of_its_own(store, fits):
    singles = run(store, plan(METHOD, trials=3))
    mixtures = run(store, plan(METHOD.replace("+w", "+w+ens").replace("hidden", "members=2,hidden"), trials=2))
    assert [record.done for record in mixtures] == [True, True]
    assert fits == [METHOD] * 4, "the fourth member was trained, the others were there"
    fourth = next(found for found in store.load() if found.method == singles[0].method and found.trial == 3)
    for record, pair in zip(mixtures, (singles[:2], (singles[2], fourth)), strict=True):
        parts = np.stack([weights(store, single).log_prob(DATA.test) for single in pair])
        assert record.training["weights_of"] == [single.run_id for single in pair]
        expected = (np.logaddexp.reduce(parts, 0) - np.log(2)).mean()
        assert record.result.test_nats == pytest.approx(expected, abs=1e-4)
        assert record.parameters == 2 * singles[0].parameters
        assert (record.curve, record.starts) == ([], {})
        assert record.cost.cpu_seconds >= sum(single.cost.cpu_seconds for single in pair)


@pytest.mark.slow
@pytest.mark.parametrize("wrappers", ["+w+sym+ens", "+w+ens+sym"])
def test_mixtures_and_averages_commute(wrappers, store, fits):
    (record,) = run(store, plan(METHOD.replace("+w", wrappers)))
    assert record.done, record.reason
    assert fits == [METHOD, METHOD]
    singles = [found for found in store.load() if found.method == METHOD.replace("components=2,", "")]
    parts = np.stack([symmetric_by_hand(store, single).log_prob(DATA.test) for single in singles])
    assert record.result.test_nats == pytest.approx((np.logaddexp.reduce(parts, 0) - np.log(2)).mean(), abs=1e-4)


def test_a_mixture_on_another_test_set_takes_its_own_weights(store, fits):
    method = METHOD.replace("+w", "+w+ens")
    (earlier,) = run(store, plan(method))
    (record,) = run(store, plan(method, data=dataset(test=30)))
    assert len(fits) == 2
    assert record.training["weights_of"] == [earlier.run_id]


# -- samples ----------------------------------------------------------------------------------------------------------


def test_samples_are_kept_beside_the_record_and_are_those_of_the_density(store):
    (plain, symmetric) = run(store, plan("gaussian", "gaussian+sym"))
    for record in (plain, symmetric):
        samples = store.paths(record).load_samples()
        assert (samples.shape, samples.dtype) == ((64, 63), np.float32)
        seed = derive_seed(record.seeds["trial"], "samples")
        np.testing.assert_array_equal(samples, weights(store, record).sample(64, seed=seed))


# -- names -------------------------------------------------------------------------------------------------------------


PUBLISHED = Path(__file__).parents[2] / "results" / "bsds300" / "bsds300-v1" / "standard"


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*-t0-*.json")), ids=lambda path: path.stem)
def test_published_runs_keep_their_names_and_seeds(path):
    record = Record.from_json(path.read_text(encoding="utf-8"))
    if "weights_of" in record.training or record.training["device"] != "cpu":
        pytest.skip("not trained by itself on a processor")
    spec = parse_method(record.method)
    trial = DensityTrial(
        record.experiment,
        spec if record.components is None else spec.with_arguments(components=record.components),
        record.components,
        record.trial,
        replace(
            DATA, name=record.dataset.name, version=record.dataset.version, content_hash=record.dataset.content_hash
        ),
        record.budget,
        TrainingOptions(
            record.training["patches"],
            record.training["augment"],
            "cpu",
            record.training["precision"],
            record.training["compile"],
        ),
        record.seeds["base"],
    )
    assert trial.run_id == path.stem
    assert trial.seed == record.seeds["trial"]


@pytest.mark.parametrize("method", ["made-mog", "made-mog+w+sym", "made-mog+ens"])
def test_a_density_that_came_to_mean_another_network_has_runs_and_weights_of_its_own(method, monkeypatch):
    def names() -> tuple[str, str, int]:
        trial = plan(method)[0]
        return trial.run_id, trial.training_id, trial.seed

    run, training, seed = names()
    monkeypatch.setattr(MadeMog, "revision", 2)
    assert names()[0] != run
    assert names()[1] != training
    assert names()[2] == seed


def test_a_density_that_needs_places_needs_patches_that_have_one(fits):
    with pytest.raises(InputError, match=r"made-mog\+jpeg:components=2 learns from where .* add --patches fresh"):
        plan("made-mog+jpeg")
    assert fits == []


def test_symmetries_of_data_that_are_no_patches_are_refused_before_training(fits):
    with pytest.raises(InputError, match=r"made-up is no set of 8x8 patches, which gaussian\+sym needs"):
        plan("gaussian", "gaussian+sym", data=dataset(is_patch=False))
    with pytest.raises(InputError, match="63 features and not 5"):
        plan("gaussian+sym", data=dataset(features=5, is_patch=False))
    assert fits == []


def test_every_row_of_a_batch_is_turned_by_a_symmetry_of_its_own_and_all_eight_come():
    rows = np.repeat(np.random.default_rng(0).normal(size=(1, 63)).astype(np.float32), 800, 0)
    turned, counts = np.unique(_random_symmetry(rows, np.random.default_rng(1)), axis=0, return_counts=True)
    assert len(turned) == 8
    assert np.abs(counts - 100).max() < 5 * (800 * 7 / 64) ** 0.5


def test_a_trial_trains_on_the_batches_that_its_options_ask_for():
    sevens = SimpleNamespace(draw=lambda n, generator: np.full((n, 63), 7, np.float32), draw_at=None)
    (fixed,) = plan(METHOD, data=replace(DATA, fresh=sevens))
    fresh = replace(fixed, options=replace(OPTIONS, patches="fresh"))
    assert (fresh.batches().batch(0, 5) == 7).all()
    assert fresh.batches().size is None
    drawn = fixed.batches().batch(0, 5)
    assert (drawn[:, None] == DATA.train).all(2).any(1).all()
    augmented = replace(fixed, options=replace(OPTIONS, augment="symmetries")).batches()
    assert not (augmented.batch(0, 200)[:, None] == DATA.train).all(2).any(1).all()


def test_the_validation_figure_of_a_record_is_that_of_its_weights_on_validation_rows(store):
    (record,) = run(store, plan(METHOD))
    mean = weights(store, record).log_prob(DATA.validation).astype(np.float64).mean()
    assert record.result.validation_nats == pytest.approx(mean, rel=1e-6)
