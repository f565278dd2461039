"""Laws that every model of images keeps, whatever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError
from lde_bench.evaluation.laws.images import image_laws
from lde_bench.generators import (
    create_generator,
    generator_class,
    generator_classes,
    is_reference,
    load_generator,
    parse_generator,
    place_of,
    row_methods,
)
from lde_bench.generators.base import Generator
from lde_bench.registry import LAST_PLACE, in_order
from lde_bench.training import loop
from lde_bench.training.plan import Budget, Plan

SHAPE = (8, 8)
STEPS = 6

#: Every model that can be sampled; what has no prior with a density that is quickly fitted.
SAMPLERS = [f"{name}+gmm:components=2" if kind.has_no_prior else name for name, kind in generator_classes().items()]


@pytest.fixture(scope="module")
def digits() -> lb.data.Dataset:
    return lb.load_dataset("digits8x8")


def fitted(name: str, digits: lb.data.Dataset, seed: int = 0, **options) -> Generator:
    model = create_generator(name, SHAPE)
    return model.fit(digits.train, digits.validation, seed=seed, steps=STEPS, precision="fp32", **options)


def weights(model: Generator) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_published_epochs_are_those_of_the_data_at_hand():
    """Of the paper: 280 and 390 epochs of MNIST, 60 and 130 of TFD, 200 of CelebA and of codes (Yoo et al. 2020); of
    the GAN, 22 of TFD (goodfeli/adversarial).
    """
    budget = Budget("paper")
    for method, side, rows, steps in (
        ("ae", 28, 55_000, 280 * 430),
        ("iae", 28, 55_000, 390 * 430),
        ("ae", 48, 100_983, 60 * 789),
        ("iae", 48, 100_983, 130 * 789),
        ("gan", 28, 50_000, 250 * 500),
        ("gan", 48, 101_000, 22 * 1010),
    ):
        assert create_generator(method, (side, side)).plan(budget).over(rows).steps == steps
    model = create_generator("ae+lde", (3, 64, 64), latent=100)
    assert [model.part_plan(part, budget).over(162_770).steps for part in model.parts().values()] == [200 * 1272] * 2


def test_a_fit_takes_the_steps_that_the_epochs_are_of_its_rows(digits):
    plan = Plan(steps=20, rows=2 * len(digits.train), batch_size=50)
    model = create_generator("ae", SHAPE).fit(digits.train, plan=plan, precision="fp32")
    assert model.training_state.step == model.training_setup["steps"] == 10


def test_on_large_images_the_last_dimension_of_the_iae_has_an_eighth_of_the_rate_as_published():
    model = create_generator("iae", (48, 48), latent=15, warmup=120 / 130)
    arrives = next(share for share in np.linspace(0, 1, 1301) if model.in_use(share) == 15)
    for profile in ("quick", "standard", "paper"):
        plan = model.plan(Budget(profile))
        assert plan.rate_at(0, arrives) == plan.rate / 8
    ae = create_generator("ae", (48, 48))
    assert all(ae.plan(Budget(profile)) == model.plan(Budget(profile)) for profile in ("quick", "standard"))


def test_rows_keep_the_order_of_the_table_and_a_model_without_a_place_follows_by_name():
    assert row_methods()[:12] == [
        "train-samples",
        "validation-images",
        "kmeans",
        "deep-gsn",
        "gan",
        "gmmn+ae",
        "aae",
        "vae",
        "vae-iaf",
        "evae",
        "ae",
        "iae",
    ]
    labels = ["my.module:Class", "iae+lde", "ae+gmm:components=20", "ae", "gmmn+ae", "gan:hidden=9", "train-samples"]
    assert sorted(labels, key=place_of) == [
        "train-samples",
        "gan:hidden=9",
        "gmmn+ae",
        "ae+gmm:components=20",
        "ae",
        "iae+lde",
        "my.module:Class",
    ]
    placed = {name: kind for name, kind in generator_classes().items() if kind.place != LAST_PLACE}
    assert in_order({"a-new": Generator, **placed}) == [*row_methods()[: len(placed)], "a-new"]


def test_the_references_are_the_rows_that_hand_out_stored_images():
    assert [name for name in row_methods() if is_reference(name)] == ["train-samples", "validation-images", "kmeans"]
    assert is_reference("kmeans:clusters=5")
    assert not is_reference("gmm")
    assert not is_reference("kmeans.of.mine:Class")


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_are_images_and_the_laws_hold(name, digits):
    model = fitted(name, digits)
    samples = model.sample(5, seed=3)
    assert samples.shape == (5, 64)
    assert samples.dtype == np.float32
    broken = {law: verdict for law, verdict in image_laws(model, digits.validation).items() if not verdict.passed}
    assert not broken


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_saved_model_gives_the_same_samples_and_reconstructions(name, digits, tmp_path):
    model = fitted(name, digits)
    model.save(tmp_path / "model.safetensors")
    loaded = load_generator(tmp_path / "model.safetensors")
    assert np.array_equal(loaded.sample(20, seed=1), model.sample(20, seed=1))
    if model.reconstructs is not None:
        assert loaded.reconstructs is not None
        assert np.array_equal(loaded.reconstructs(digits.test[:9]), model.reconstructs(digits.test[:9]))


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_seed_decides_the_weights_and_nothing_else_does(name, digits):
    one = weights(fitted(name, digits))
    torch.rand(7)  # the state of the global generator is none of its business
    again, other = weights(fitted(name, digits)), weights(fitted(name, digits, seed=1))
    assert all(torch.equal(value, again[key]) for key, value in one.items())
    if name not in ("train-samples", "validation-images"):  # whose images no seed chooses among so few
        assert any(not torch.equal(value, other[key]) for key, value in one.items())


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(name, digits, tmp_path: Path, monkeypatch):
    whole = weights(fitted(name, digits))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    seen = []

    def kill(progress):
        seen.append(progress.share)
        if 0.4 < progress.share < 1:
            raise Killed

    checkpoint = tmp_path / "run.ckpt"
    try:
        fitted(name, digits, checkpoint=checkpoint, on_progress=kill)
    except Killed:
        assert list(tmp_path.iterdir()), "nothing to go on from"
    told: list[str] = []
    resumed = weights(fitted(name, digits, checkpoint=checkpoint, notify=told.append))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    if len(seen) > 2:
        assert any("continuing from step" in line for line in told)


@pytest.mark.slow
def test_the_density_of_other_codes_does_not_go_on_from_a_checkpoint(digits, tmp_path: Path, monkeypatch):
    """Of an autoencoder that was trained anew, as one under seconds is, which need not come out the same."""
    files = [tmp_path / "one", tmp_path / "other"]
    for seed, file in enumerate(files):
        model = create_generator("ae+made-mog", SHAPE)
        model.fit_shared_part(digits.train, digits.validation, file=file, seed=seed, steps=STEPS, precision="fp32")

    def kill(progress):
        if progress.share > 0.9:
            raise Killed

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = tmp_path / "run.ckpt"
    told: list[str] = []
    with pytest.raises(Killed):
        fitted("ae+made-mog", digits, checkpoint=checkpoint, shared=files[0], on_progress=kill)
    resumed = weights(fitted("ae+made-mog", digits, checkpoint=checkpoint, shared=files[1], notify=told.append))
    assert any("starts again from its first step" in line for line in told)
    whole = weights(fitted("ae+made-mog", digits, shared=files[1]))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_training_moves_every_parameter(name, digits):
    model = create_generator(name, SHAPE)
    start: dict[str, torch.Tensor] = {}

    def remember(progress):
        for key, value in model.named_parameters():
            start.setdefault(key, value.detach().clone())

    model.fit(digits.train, digits.validation, steps=STEPS, precision="fp32", on_progress=remember)
    still = [key for key, value in model.named_parameters() if key in start and torch.equal(value, start[key])]
    assert not still


def test_the_density_of_the_codes_is_any_method_with_its_arguments():
    assert parse_generator("ae+lde+w:components=3,latent=5") == MethodSpec(
        "ae", ("lde", "w"), {"components": 3, "latent": 5}
    )
    assert parse_generator("iae+zuko.flows:NSF:transforms=3").wrappers == ("zuko.flows:NSF",)
    assert parse_generator("gmmn+ae").wrappers == ()
    model = create_generator("ae+lde+w:components=3,latent=5", SHAPE)
    assert model.density.features == 5
    assert model.density.base.components == 3


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("aee", "unknown; did you mean 'ae'"),
        ("ae+ldee", "unknown; did you mean 'lde'"),
        ("gan+lde", "has no codes to fit a density to"),
        ("iae+lde:warmup=2", "warmup = 2 is no share of the run"),
        ("ae+lde:latnet=3", "ae has no argument 'latnet'; did you mean 'latent'"),
        ("ae+lde:latent=0", "latent = 0 is not a whole number"),
        ("kmeans:centroids=3", "has no argument 'centroids'"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(method, message):
    with pytest.raises(InputError, match=message):
        create_generator(method, SHAPE)


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(InputError, match="9x9 do not fit convolutions"):
        create_generator("ae+gmm", (9, 9))


def test_the_code_of_the_iae_grows_through_every_size_and_ends_whole():
    kind: Any = generator_class("iae")
    model = kind(SHAPE, latent=8, warmup=0.5)
    sizes = [model.in_use(step / 1000) for step in range(1001)]
    assert sorted(set(sizes)) == list(range(1, 9))
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[499], sizes[-1]) == (1, 8, 8)
    # int(z e / warm-up epochs + 1) of the paper, at whole epochs.
    epochs, warmup = 390, 96
    paper = kind((28, 28), latent=8, warmup=warmup / epochs)
    assert all(paper.in_use(e / epochs) == min(8, int(8 * e / warmup + 1)) for e in range(epochs) if e % 12)


@pytest.mark.parametrize("backbone", ["conv", "mlp"])
def test_masked_dimensions_of_the_iae_do_nothing(backbone):
    kind: Any = generator_class("iae")
    model = kind(SHAPE, latent=4, warmup=1.0, backbone=backbone).train()
    model.reset_parameters()
    x = torch.rand(16, 64)
    model.loss(x, 0.3).backward()  # the first two of four
    last = model.encoder.layers[-1] if backbone == "conv" else model.encoder[-1]
    used = last.weight.grad.flatten(1).abs().sum(1)
    assert (used[:2] > 0).all()
    assert (used[2:] == 0).all()


def test_parameters_of_the_paper_network_on_mnist():
    """By hand: 64 and 128 channels of 4x4 kernels, a 7x7 kernel to 8, and back; biases; BatchNorm but for the first."""
    encoder = (16 * 64 + 64) + (64 * 128 * 16 + 128) + 2 * 128 + (128 * 49 * 8 + 8)
    decoder = (8 * 128 * 49 + 128) + (128 * 64 * 16 + 64) + 2 * 64 + (64 * 16 + 1)
    kind: Any = generator_class("ae")
    assert kind((28, 28), latent=8).parameter_count() == encoder + decoder


def test_an_autoencoder_may_have_the_networks_of_the_vae():
    plain, vae = create_generator("ae", (28, 28)), create_generator("vae", (28, 28))
    head = 1000 * 8 + 8  # the log scales, which the code of an autoencoder has not
    for name in ("ae", "iae"):
        model = create_generator(f"{name}:backbone=mlp", (28, 28))
        assert model.parameter_count() == vae.parameter_count() - head != plain.parameter_count()
    with pytest.raises(InputError, match="backbone 'mpl' is unknown; choose mlp or conv"):
        create_generator("ae:backbone=mpl", (28, 28))


def test_a_backbone_has_a_standard_plan_of_its_own_on_grey_images():
    standard, quick = Budget.of("standard"), Budget.of("quick")
    plain, model = create_generator("ae", (28, 28)), create_generator("ae:backbone=mlp", (28, 28))
    assert model.plan(standard).steps > 4 * plain.plan(standard).steps
    assert model.plan(Budget.of("long")).steps == 12 * model.plan(standard).steps
    assert model.plan(quick) == plain.plan(quick)
    assert create_generator("vae:backbone=conv", (28, 28)).plan(standard) == plain.plan(standard)
    plain, model = create_generator("iae", (48, 48)), create_generator("iae:backbone=mlp", (48, 48))
    assert model.plan(standard).steps > 11 * plain.plan(standard).steps
    assert model.plan(standard).schedule == plain.plan(standard).schedule == "halving"
    shape = (3, 64, 64)  # not measured
    assert create_generator("ae:backbone=mlp", shape).plan(standard) == create_generator("ae", shape).plan(standard)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: (255 * x).astype(np.uint8),
            r"pixels of the training array go from 0 to 255 and should lie in \[0, 1\]",
        ),
        (lambda x: 255 * x, r"and should lie in \[0, 1\]; scale them"),
        (lambda x: x - 0.5, r"go from -0\.5 to 0\.5"),
        (lambda x: np.where(x > 0.9, np.nan, x), "NaN or infinity"),
        (lambda x: x[:, :5], r"should be \[n, 64\]"),
        (lambda x: x.reshape(-1, 8, 8), r"should be \[n, 64\]"),
    ],
)
@pytest.mark.parametrize("name", ["ae+gaussian", "gan", "train-samples"])
def test_what_are_no_images_in_0_1_is_refused(name, change, message, digits):
    model = lb.create_generator(name, (8, 8), **({"latent": 2} if name == "ae+gaussian" else {}))
    with pytest.raises(InputError, match=message):
        model.fit(change(digits.train), digits.validation, seed=0, steps=1)
    with pytest.raises(InputError, match=message.replace("training", "validation")):
        model.fit(digits.train, change(digits.validation), seed=0, steps=1)


def test_what_a_model_of_images_cannot_do_is_one_sentence(digits):
    staged = lb.create_generator("ae+gaussian", (8, 8), latent=2)
    with pytest.raises(InputError, match="each of its parts has a plan of its own; leave out plan"):
        staged.fit(digits.train, steps=1, plan=staged.density.plan(Budget.of("quick")))
    with pytest.raises(InputError, match=r"ae: has no prior to draw codes from; fit a density .* ae\+lde"):
        lb.create_generator("ae", (8, 8), latent=2).sample(1)
    for n in (1.5, "a", True):
        with pytest.raises(InputError, match="ask for a whole number from 0 up"):
            lb.create_generator("train-samples", (8, 8)).sample(n)
    vae = lb.create_generator("vae:latent=2", (8, 8))
    for seed in (1.5, "a", 2**64):
        for told in (vae.posterior_codes, vae.log_prob_bound, vae.bounds):
            with pytest.raises(InputError, match="seed = "):
                told(digits.test[:2], seed=seed)


def test_gmmn_ae_is_trained_in_float64_too(digits):
    lb.create_generator("gmmn+ae", (8, 8)).double().fit(digits.train, digits.validation, steps=1)


def test_the_density_of_codes_learns_those_of_training_images_and_is_chosen_on_those_of_validation_images():
    data = lb.load_dataset("digits8x8", train=50, validation=30)
    model = create_generator("ae+gaussian", data.image_shape, backbone="mlp").eval()
    _, density = model.stages(data.train, data.validation)
    np.testing.assert_array_equal(density.train, model.autoencoder.codes(data.train))
    np.testing.assert_array_equal(density.validation, model.autoencoder.codes(data.validation))
