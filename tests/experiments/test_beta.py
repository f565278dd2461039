"""Figure 2 of the paper: what is planned, measured, kept and drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import lde_bench as lb
from lde_bench.data import Dataset
from lde_bench.densities import create
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.experiments import experiment_of
from lde_bench.experiments.beta import Beta, beta_budget
from lde_bench.generators import load_generator
from lde_bench.report.experiment import build_tables, write_tables
from lde_bench.report.numbers import DASH
from lde_bench.report.page import build_document
from lde_bench.report.table import to_csv, to_payload
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.beta import FIGURES, REGIONS, BetaTrial, LatentPicture, Plane, code_mmd2

OPTIONS = TrainingOptions(precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return lb.load_dataset("digits8x8", test=80)


def planned(digits: Dataset, steps: int = 2, **asked) -> list[BetaTrial]:
    arguments = {"betas": [0.5], "components": 2, "codes": 3, **asked}
    return Beta().plan(Budget.of(steps=steps), OPTIONS, digits, **arguments)


def run(store: ResultStore, trials: list[BetaTrial]) -> list[Record]:
    records = run_sweep(store, trials)
    for record in records:
        assert record.done, record.reason
    return records


def test_the_figure_is_a_vae_at_every_beta_and_the_autoencoder_last_with_equal_networks(digits):
    trials = Beta().plan(beta_budget("quick"), OPTIONS, digits)
    assert [trial.spec.arguments.get("beta") for trial in trials] == [0.1, 1, 5, 20, None]
    assert (trials[-1].spec.name, trials[-1].components) == ("ae", 30)
    assert {trial.budget.steps for trial in trials} == {600}
    assert {trial.label for trial in trials} == {5}
    *vaes, ae = (trial.model() for trial in trials)
    decoders = [str(model.decoder) for model in vaes]
    assert set(decoders) == {str(ae.autoencoder.decoder)}
    assert len({trial.seed for trial in trials}) == len({trial.run_id for trial in trials}) == 5


def test_steps_and_seconds_replace_those_of_the_figure_and_paper_has_the_models_own():
    assert beta_budget("standard").steps == 3_000
    assert beta_budget("standard", steps=7) == Budget.of("standard", 7)
    assert beta_budget("quick", seconds=3.0).steps is None
    assert beta_budget("paper").steps is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"betas": [0.0]}, "beta = 0 is no number above 0; give for example beta=1"),
        ({"betas": [-1.0]}, "beta = -1 is no number above 0"),
        ({"betas": [2.0, 1.0, 2.0]}, "beta=2,latent=2 is named twice; give every beta once"),
        ({"latent": 0}, "latent = 0 is not a whole number from 1 up"),
        ({"codes": 0}, "samples = 0 is not a whole number from 1 up"),
        ({"trials": 0}, "trials = 0 is not a whole number from 1 up"),
        ({"backbone": "resnet"}, "backbone 'resnet' is unknown; choose mlp or conv"),
        (
            {"label": 12},
            r"digit = 12: digits8x8 has no such image, its labels are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; choose",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_training(digits, asked, message):
    with pytest.raises(InputError, match=message):
        planned(digits, **asked)


def test_a_label_of_images_without_labels_is_refused(digits):
    with pytest.raises(InputError, match="digit = 5: digits8x8 has no such image, its images have no labels"):
        planned(replace(digits, test_labels=None), label=5)


@pytest.mark.slow
def test_the_figures_of_a_record_are_those_of_its_weights(digits, tmp_path):
    store = ResultStore(tmp_path)
    vae, ae = run(store, planned(digits))
    assert vae.result is not None
    assert ae.result is not None
    assert set(vae.result.measures) == {"reconstruction_mse", "kl_nats", "elbo_nats", "iwae_nats", "code_mmd2"}
    assert set(ae.result.measures) == {"reconstruction_mse", "code_nats", "code_mmd2"}
    assert vae.result.test_nats is None
    assert (vae.training["codes"], vae.training["images"], vae.training["label"]) == (3, 80, 5)
    assert "codes" not in ae.training
    model = load_generator(store.paths(vae).weights)
    told = vae.result.measures
    seed = derive_seed(0, "beta")
    # In the order of the trial, whose codes these are then.
    images = digits.test[np.random.default_rng(seed).permutation(80)]
    bounds = model.bounds(images, 3, seed)
    for name, values in zip(("kl_nats", "elbo_nats", "iwae_nats"), bounds, strict=True):
        assert told[name].value == pytest.approx(values.mean(), rel=1e-5)
        assert told[name].standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(80), rel=1e-4)
    drawn = store.paths(vae).load_picture()
    assert drawn is not None
    np.testing.assert_array_equal(drawn["codes"], model.posterior_codes(images, seed))
    errors = np.square(model.reconstructs(digits.test) - digits.test).mean(1)
    assert told["reconstruction_mse"].value == pytest.approx(errors.mean(), rel=1e-5)
    fitted = load_generator(store.paths(ae).weights)
    assert ae.result.measures["code_nats"].value == pytest.approx(fitted.code_log_prob(digits.test).mean(), rel=1e-5)
    arrays = store.paths(ae).load_picture()
    assert arrays is not None
    picture = LatentPicture.from_arrays(arrays)
    five = digits.test[digits.test_labels == 5][:6]
    assert picture.targets is not None
    np.testing.assert_array_equal(picture.targets, np.rint(255 * five).astype(np.uint8))
    shown = np.rint(255 * fitted.reconstructs(five))
    assert np.abs(picture.reconstructions - shown).max() <= 1
    assert picture.plane is not None
    codes = fitted.autoencoder.codes(digits.test)
    assert np.array_equal(np.sort(picture.plane.codes, 0), np.sort(codes, 0))


@pytest.mark.slow
def test_table_frame_csv_page_and_picture_show_every_model_and_a_second_run_trains_nothing(
    digits, tmp_path, monkeypatch
):
    store = ResultStore(tmp_path)
    trials = planned(digits, betas=[0.5, 4.0])
    records = run(store, trials)
    (table,) = build_tables(records, experiment_of)
    assert [row.method.partition(":")[0] for row in table.rows] == ["vae", "vae", "ae+lde"]
    assert [row.test_nats for row in table.rows] == [None] * 3
    cells = [dict(zip(table.headers, table.cells(row), strict=True)) for row in table.rows]
    assert cells[2]["KL (nats)"] == cells[2]["IWAE (nats)"] == cells[0]["code log-likelihood (nats)"] == DASH
    assert all(" ± " in cells[0][name] for name in ("reconstruction MSE", "KL (nats)", "ELBO (nats)", "MMD^2 of codes"))
    assert any("80 held-out images, 3 codes of each" in note for note in table.notes)
    payload = to_payload(table)
    assert payload["figures"]["iwae_nats"]["header"] == "IWAE (nats)"
    assert list(payload["figures"]) == list(FIGURES)
    assert "iwae_nats_standard_error" in to_csv(table).splitlines()[0]
    frame = lb.load_results(tmp_path)
    assert frame["measure.kl_nats.value"].notna().sum() == 2
    folder = store.paths(records[0]).folder
    assert {path.suffix for path in write_tables(records, folder, "table", experiment_of)} >= {".md", ".csv", ".png"}
    places = {record.run_id: store.paths(record) for record in records}
    figure = Beta().picture(table, places)
    assert figure is not None
    scattered = [axes for axes in figure.axes if axes.collections]
    assert [axes.get_title().strip() for axes in scattered] == [
        "VAE, $\\beta$ = 0.5",
        "VAE, $\\beta$ = 4",
        "AE + LDE, K = 2",
    ]
    assert len([axes for axes in figure.axes if axes.images]) == 3
    assert len(figure.legends) == 1
    document = build_document(store.load_with_paths(), tmp_path, experiment_of)
    assert any("posterior" in getattr(block, "caption", "") for block in document.blocks)
    store.paths(records[0]).originals.unlink()
    without = Beta().picture(table, places)
    assert without is not None
    words = [text.get_text() for axes in without.axes for text in axes.texts]
    assert ("target" in words, "decoded" in words) == (False, True)
    for record in records[1:]:
        store.paths(record).picture.unlink()
        store.paths(record).originals.unlink()
    rest = Beta().picture(table, places)
    assert rest is not None
    (only,) = [axes for axes in rest.axes if axes.collections]
    assert only.get_title().startswith("VAE")
    store.paths(records[0]).picture.unlink()
    assert Beta().picture(table, places) is None
    monkeypatch.setattr(BetaTrial, "run", lambda *_: pytest.fail("trained again"))
    assert run_sweep(store, trials) == records


@pytest.mark.slow
def test_codes_of_three_numbers_have_their_figures_and_no_plane(digits, tmp_path):
    store = ResultStore(tmp_path)
    records = run(store, planned(digits, latent=3))
    (table,) = build_tables(records, experiment_of)
    assert all(row.measures["code_mmd2"].null_high is not None for row in table.rows)
    figure = Beta().picture(table, {record.run_id: store.paths(record) for record in records})
    assert figure is not None
    assert not [axes for axes in figure.axes if axes.collections]
    assert len([axes for axes in figure.axes if axes.images]) == 2


@pytest.mark.slow
def test_images_without_labels_are_scattered_in_one_colour(digits, tmp_path):
    store = ResultStore(tmp_path)
    records = run(store, planned(replace(digits, test_labels=None))[:1])
    (table,) = build_tables(records, experiment_of)
    figure = Beta().picture(table, {record.run_id: store.paths(record) for record in records})
    assert figure is not None
    (axes,) = [axes for axes in figure.axes if axes.collections]
    assert len(axes.collections[0].get_facecolor()) == 1
    assert not [text for text in axes.texts if text.get_text().isdecimal()]


def test_the_regions_of_the_prior_are_circles_of_known_radius():
    plane = Plane.of(np.zeros((4, 2), np.float32), None, create("gaussian", features=2), seed=0)
    # Of N(0, I) in the plane, the circle that holds a share s has log p = -log 2 pi + log(1 - s) on it.
    known = [math.log(1 - share) - math.log(2 * math.pi) for share in REGIONS]
    np.testing.assert_allclose(plane.levels, known, atol=0.1)
    x, y = np.meshgrid(*plane.axes)
    np.testing.assert_allclose(plane.log_density, -0.5 * (x**2 + y**2) - math.log(2 * math.pi), atol=1e-4)


def test_codes_are_held_to_what_codes_are_drawn_from():
    prior = create("gaussian", features=2)
    codes = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
    same, wider = code_mmd2(codes, prior, seed=0), code_mmd2(1.5 * codes, prior, seed=0)
    assert same.null_low is not None
    assert same.null_high is not None
    assert wider.null_high is not None
    assert same.null_low <= same.value <= same.null_high
    assert wider.value > 3 * wider.null_high


def test_codes_that_are_all_one_are_told_and_not_called_bad_input():
    prior = create("gaussian", features=2)
    with pytest.raises(TrainingDiverged, match="more than half of the codes"):
        code_mmd2(np.zeros((100, 2), np.float32), prior, seed=0)
