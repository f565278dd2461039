"""Trials of the Parzen table: what is chosen on what, what is shared, and that a record's figure can be made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from shown import to_text
from sklearn.neighbors import KernelDensity

import lde_bench as lb
from lde_bench.arrays import Rows
from lde_bench.data import Dataset
from lde_bench.data.base import content_hash
from lde_bench.errors import InputError
from lde_bench.experiments.parzen import Parzen
from lde_bench.features.pixels import Pixels
from lde_bench.generators import load_generator
from lde_bench.generators.vae import VAE
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions, Trial
from lde_bench.trials.images import setting, usual_space
from lde_bench.trials.parzen import ParzenTrial, choose_window

OPTIONS = TrainingOptions(precision="fp32", device="cpu")
SAMPLES = 300
AIS = {"ais_nats", "ais_gap", "ais_sigma"}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return lb.load_dataset("digits8x8", test=120)


def planned(digits: Dataset, *methods: str, **more: Any) -> list[ParzenTrial]:
    budget = Budget.of(steps=4)
    return Parzen().plan(budget, OPTIONS, [digits], methods=methods, samples=SAMPLES, components=[2], **more)


def run(store: ResultStore, trials: list[ParzenTrial]) -> list[Record]:
    return run_sweep(store, trials)


def test_the_space_is_the_datasets_own_but_quick_needs_no_file_that_may_not_be_at_hand(digits):
    def spaces(name: str) -> list[str]:
        return [usual_space(replace(digits, name=name), profile) for profile in ("quick", "standard", "paper")]

    assert spaces("digits8x8") == ["pixels"] * 3
    assert spaces("mnist") == ["mnist"] * 3
    assert spaces("faces48") == spaces("tfd-fold2") == ["pixels", "vgg", "vgg"]


def test_a_space_is_taken_where_none_is_named_and_pixels_leave_the_names_of_runs_as_they_were(digits):
    def plan(profile: str = "quick", **named: Any) -> ParzenTrial:
        data = replace(digits, name="mnist", image_shape=(1, 28, 28))
        trial, *_ = Parzen().plan(Budget.of(profile), OPTIONS, [data], methods=["kmeans"], **named)
        return trial

    assert plan().space == "mnist"
    assert plan().run_id == plan(spaces=["mnist"]).run_id != plan(spaces=["pixels"]).run_id
    assert "space" not in plan(spaces=["pixels"]).evaluation()
    assert (plan("standard").space, plan("standard").beside) == ("mnist", ("pixels",))
    assert plan().beside == plan(spaces=["mnist", "mnist"]).beside == ()


def test_samples_are_measured_in_several_spaces_and_no_distance_is_measured_twice(digits, tmp_path, monkeypatch):
    class Doubled(Pixels):
        label = "doubled pixels"

        def features(self, rows: Rows, image_shape: Sequence[int] | None) -> np.ndarray:
            return 2 * np.asarray(rows)

        def real_features(self, rows: Rows, image_shape: Sequence[int] | None) -> Rows:
            return self.features(rows, image_shape)

    spaces = {"pixels": Pixels(), "doubled": Doubled()}
    monkeypatch.setattr("lde_bench.trials.images.feature_space", lambda name, device: spaces[name])
    (trial,) = Parzen().plan(
        Budget.of(steps=4), OPTIONS, [digits], methods=["ae+gmm"], samples=SAMPLES, spaces=["pixels", "doubled"]
    )
    (record,) = run(ResultStore(tmp_path), [trial])
    assert record.result is not None, record.reason
    (beside,) = record.result.beside.values()
    assert set(record.result.measures) - set(beside) == {"code_nats", "reconstruction_mse", "sharpness"}
    # Ratios of distances are the same in twice the pixels; distances are twice as large.
    assert beside["precision"] == replace(record.result.measures["precision"], detail=beside["precision"].detail)
    gap = record.result.measures["memorisation_gap"]
    assert beside["memorisation_gap"].value == pytest.approx(2 * gap.value, rel=1e-5)
    assert Record.from_json(record.to_json()) == record
    text = to_text(Parzen().table([record]))
    assert text.count("in doubled pixels") == 1
    assert text.index("in doubled pixels") < text.index("CPU seconds")


@pytest.mark.slow
def test_the_figure_of_a_record_is_made_again_from_its_weights_by_other_code(digits, tmp_path):
    store = ResultStore(tmp_path)
    trials = planned(digits, "ae+gmm")
    (record,) = run(store, trials)
    assert record.done, record.reason
    assert record.result is not None
    assert record.result.parzen is not None
    assert Record.from_json(record.to_json()) == record
    model = load_generator(store.paths(record).weights)
    samples = model.sample(SAMPLES, seed=derive_seed(trials[0].seed, "samples")).astype(np.float64)
    exact = KernelDensity(bandwidth=record.result.parzen.sigma, rtol=0, atol=0, leaf_size=SAMPLES).fit(samples)
    items = exact.score_samples(digits.test.astype(np.float64))
    assert record.result.test_nats == pytest.approx(items.mean(), rel=1e-6)
    assert record.result.test_standard_error_naive == pytest.approx(items.std(ddof=1) / np.sqrt(len(items)), rel=1e-5)
    kept = store.paths(record).load_samples()
    assert kept is not None
    assert np.array_equal(kept, samples[:100].astype(np.float32))


@pytest.mark.slow
def test_nothing_but_the_test_figures_depends_on_the_test_images(digits, tmp_path):
    other = replace(digits, test=digits.test[::-1] * 0.5)
    other = replace(other, content_hash=content_hash({"train": other.train, "test": other.test}))
    first, second = (
        run(ResultStore(tmp_path / n), planned(data, "kmeans", "ae+gmm")) for n, data in (("a", digits), ("b", other))
    )
    for one, two in zip(first, second, strict=True):
        assert one.run_id != two.run_id
        assert one.result is not None
        assert two.result is not None
        assert one.result.parzen == two.result.parzen
        assert one.result.validation_nats == two.result.validation_nats
        assert one.result.test_nats != two.result.test_nats


def test_sigma_is_the_best_of_the_grid_and_its_edge_is_told(digits):
    samples = digits.train[:SAMPLES]
    grid = setting(digits).grid
    window = choose_window(digits.validation, samples, grid)
    assert window.sigma == grid[int(np.argmax(window.grid_nats))]
    assert not window.at_edge
    assert window.counts == [100, SAMPLES]
    assert window.count_nats[-1] == max(window.grid_nats)
    assert choose_window(digits.validation, samples, grid[grid > window.sigma]).at_edge


@pytest.mark.slow
def test_densities_share_one_trained_autoencoder_and_their_code_figures_say_so(digits, tmp_path):
    store = ResultStore(tmp_path)
    trials = planned(digits, "ae+gmm", "ae+gaussian", "iae+gmm")
    assert trials[0].seed == trials[1].seed
    one, other, grown = run(store, trials)
    for name in ("encoder", "encoder_sha256"):
        assert one.training[name] == other.training[name] != grown.training[name]
    assert len(list(tmp_path.rglob("ae-*.safetensors"))) == 1
    assert list(one.starts) == ["autoencoder", "density"]
    assert one.starts["autoencoder"] == other.starts["autoencoder"]
    assert one.starts["autoencoder"].first_loss is not None  # of the shared one too
    first, second = (load_generator(store.paths(record).weights) for record in (one, other))
    assert np.array_equal(first.autoencoder.codes(digits.test), second.autoencoder.codes(digits.test))
    assert one.result is not None
    assert one.result.measures["code_nats"].value == pytest.approx(first.code_log_prob(digits.test).mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vae:hidden=12", "ae+gmm"])
def test_what_is_measured_anew_is_not_trained_anew(digits, tmp_path, monkeypatch, method):
    (first,) = run(ResultStore(tmp_path / "alone"), planned(digits, method, bound_images=20))
    store = ResultStore(tmp_path / "both")
    (before,) = run(store, planned(digits, method))
    for shared in store.folder.rglob("ae-*.safetensors"):
        shared.unlink()  # the whole model has its autoencoder
    monkeypatch.setattr(Trial, "train", lambda *_, **__: pytest.fail("it trained"))
    (again,) = run(store, planned(digits, method, bound_images=20))
    assert before.run_id != again.run_id == first.run_id
    assert (again.result, again.laws, again.starts) == (first.result, first.laws, first.starts)
    taken = {"weights_of": [before.run_id], "weights_commit": before.provenance["commit"]}
    assert again.training == {**first.training, **taken}
    assert again.cost.training_cpu_seconds == before.cost.training_cpu_seconds
    assert again.cost.cpu_seconds >= again.cost.training_cpu_seconds
    assert again.curve == before.curve
    weights = [store.paths(record).weights.read_bytes() for record in (before, again)]
    assert weights[0] == weights[1] == ResultStore(tmp_path / "alone").paths(first).weights.read_bytes()


@pytest.mark.slow
def test_weights_that_are_gone_or_of_another_training_are_trained_again(digits, tmp_path):
    store = ResultStore(tmp_path)
    (before,) = run(store, planned(digits, "vae:hidden=12"))
    (other,) = run(store, [replace(planned(digits, "vae:hidden=12")[0], base_seed=1)])
    store.paths(before).weights.unlink()
    (again,) = run(store, planned(digits, "vae:hidden=12", bound_images=20))
    assert "weights_of" not in other.training
    assert "weights_of" not in again.training
    assert again.result.test_nats == before.result.test_nats


@pytest.mark.slow
def test_a_sweep_leaves_no_checkpoint_behind(digits, tmp_path, monkeypatch):
    from lde_bench.training import loop

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    run(ResultStore(tmp_path), planned(digits, "ae+gmm"))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_what_a_dataset_fixes_is_taken_unless_it_is_spelled_out(digits):
    plain, spelled, other = planned(digits, "ae+gmm", "ae+gmm:latent=3", "aae")
    assert plain.model().autoencoder.latent == setting(digits).latent
    assert spelled.model().autoencoder.latent == 3
    assert other.model().latent == setting(digits).latent
    assert plain.spec.label == "ae+gmm"
    assert plain.run_id != spelled.run_id


def test_another_network_behind_the_usual_arguments_gives_a_run_another_name(digits, monkeypatch):
    before = planned(digits, "vae")[0].run_id
    assert planned(digits, "vae")[0].run_id == before
    monkeypatch.setattr(VAE, "revision", 2)
    assert planned(digits, "vae")[0].run_id != before


def test_bounds_on_the_likelihood_are_made_under_standard_and_leave_the_names_without_them_as_they_were(digits):
    def trial(profile: str, **given: int) -> ParzenTrial:
        return Parzen().plan(Budget.of(profile), OPTIONS, [digits], methods=["vae"], samples=SAMPLES, **given)[0]

    quick, without, standard = trial("quick"), trial("standard", bound_images=0), trial("standard")
    assert "bound_images" not in quick.evaluation() | without.evaluation()
    assert standard.evaluation()["bound_images"] == standard.bound_images == len(digits.test) < 500
    assert standard.run_id != without.run_id
    assert standard.reference_seconds() > without.reference_seconds()
    with pytest.raises(InputError, match="bound_images = 5 are too few"):
        trial("quick", bound_images=5)


@pytest.mark.slow
def test_a_record_holds_the_bounds_of_what_has_a_decoder(digits, tmp_path):
    trials = [replace(each, bound_images=20) for each in planned(digits, "ae+gmm", "vae", "kmeans")]
    annealed, both, neither = run(ResultStore(tmp_path), trials)
    for record, figures in ((annealed, AIS), (both, AIS | {"iwae_nats"})):
        assert record.result is not None, record.reason
        assert figures == {name for name in record.result.measures if name.startswith(("ais", "iwae"))}
    assert neither.result is not None
    assert not {"ais_nats", "iwae_nats"} & set(neither.result.measures)


def test_a_trial_of_images_is_measured_on_test_images_and_chooses_its_noise_on_validation_images(digits):
    (trial,) = planned(digits, "vae:hidden=8", bound_images=20)
    sets = trial.sample_sets(trial.model(), digits.train[:30])
    for given, name in ((sets.train, "train"), (sets.test, "test"), (sets.validation, "validation")):
        np.testing.assert_array_equal(given, getattr(digits, name))
    np.testing.assert_array_equal(sets.bounded.validation, digits.validation)
