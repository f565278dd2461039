"""`lde-bench sample`: pictures and arrays from the weights beside a record, and what cannot be had in one sentence."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import make_small
from test_bad_input import assert_refused

import lde_bench as lb
from lde_bench.cli import main
from lde_bench.report.plots import draw_sheet
from lde_bench.report.sampling import MOST_ON_A_SHEET, as_images

JOBS = (
    ("parzen", "--methods", "train-samples", "ae+gaussian:latent=2", "--steps", 2, "--samples", 200),
    ("bsds300", "--source", "embedded", "--methods", "gaussian", "--steps", 2),
    ("table", "--dataset", "ring", "--train", 200, "--methods", "gaussian", "--steps", 2),
    ("table", "--dataset", "digits8x8", "--methods", "made-mog:hidden=8,components=1", "--steps", 2),
    ("generate", "--methods", "ae", "--density", "gaussian", "--steps", 2, "--samples", 50, "--features", "pixels"),
)


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory) -> Path:
    """A folder with results of images, of patches and of rows that are no pictures."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as told:
        make_small(patch, folder, cache)
        for job in JOBS:
            assert main([str(argument) for argument in job]) == 0, told.getvalue()
    return folder


@pytest.fixture
def results(trained, here) -> Path:
    shutil.copytree(trained / "results", here / "results")
    return here / "results"


def record_of(results: Path, method: str, dataset: str) -> Path:
    (path,) = results.glob(f"*/{dataset}-*/*/*-{method}-*.json")
    return path


def test_a_sheet_of_images_has_a_row_of_cells_a_root_of_their_number(cli, results):
    outcome = cli("sample", record_of(results, "ae+gaussian", "digits8x8"), "-n", 10, "-o", "digits.png")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "written: digits.png\n")
    image = Image.open("digits.png")
    assert image.mode == "L"
    assert image.size == (3 * (4 * 9 + 1), 3 * (3 * 9 + 1))


def test_a_density_of_images_is_drawn_as_images(cli, results):
    outcome = cli("sample", record_of(results, "made-mog", "digits8x8"), "-n", 10, "-o", "digits.png")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "written: digits.png\n")
    assert Image.open("digits.png").size == (3 * (4 * 9 + 1), 3 * (3 * 9 + 1))


@pytest.mark.parametrize("more", [(), ("--interpolate",)])
def test_a_model_without_a_score_can_be_sampled_too(cli, results, more):
    outcome = cli("sample", record_of(results, "ae+gaussian", "natural32"), "-n", 4, "-o", "a.png", *more)
    assert (outcome.code, outcome.err.splitlines()[-1]) == (0, "written: a.png")


def test_a_sheet_shows_each_image_at_its_place():
    images = np.arange(7 * 2 * 3, dtype=np.uint8).reshape(7, 2, 3)
    sheet = np.asarray(Image.open(io.BytesIO(draw_sheet(images))))[1::3, 1::3]
    assert sheet.shape == (3 * 3 + 1, 3 * 4 + 1)
    np.testing.assert_array_equal(sheet[4:6, 5:8], images[4])
    assert (sheet[7:9, 5:] == 255).all()
    assert (sheet[0] == 255).all()
    np.testing.assert_array_equal(as_images(np.array([[0.0, 0.5, 1.0, 2.0]]), (1, 2, 2)), [[[0, 128], [255, 255]]])


def test_patches_are_drawn_with_their_missing_pixel_and_grey_for_0(cli, results):
    assert cli("sample", record_of(results, "gaussian", "natural8x8"), "-n", 4, "-o", "patches.PNG").code == 0
    assert Image.open("patches.PNG").size == (3 * 19, 3 * 19)
    patches = np.zeros((1, 63), np.float32)
    patches[0, 0] = 0.5
    (shown,) = as_images(patches, None)
    assert shown.shape == (8, 8)
    assert (shown[0, 0], shown[4, 4], shown[7, 7]) == (255, 128, 0)


@pytest.mark.parametrize(("method", "dataset"), [("ae+gaussian", "digits8x8"), ("gaussian", "ring")])
def test_an_array_is_what_the_model_gives_for_that_seed(cli, results, method, dataset):
    record = record_of(results, method, dataset)
    for seed in (0, 1):
        assert cli("sample", record.stem, "-n", 30, "-o", f"there/{seed}.npy", "--seed", seed).code == 0
    arrays = [np.load(f"there/{seed}.npy") for seed in (0, 1)]
    load = lb.load_generator if dataset == "digits8x8" else lb.load_density
    assert arrays[1].dtype == np.float32
    np.testing.assert_array_equal(arrays[1], load(record.with_suffix(".safetensors")).sample(30, seed=1))
    assert not np.array_equal(*arrays)


def test_a_method_names_its_record(cli, results):
    assert cli("sample", "train-samples", "-n", 9).code == 0
    assert Path("samples.png").is_file()


def test_what_cannot_be_sampled_is_one_sentence_and_nothing_is_written(cli, results, here):
    digits, ring = record_of(results, "ae+gaussian", "digits8x8"), record_of(results, "gaussian", "ring")
    cases = [
        ((digits, "-n", 0), "number = 0 is not a whole number"),
        ((digits, "-n", "1.5"), "1.5 is not a whole number"),
        ((digits, "-o", "samples.gif"), "samples.gif: what to write is told by .png (a picture) or .npy"),
        ((digits, "-o", "samples"), "give one of them"),
        ((digits, "-n", MOST_ON_A_SHEET + 1), "ends in .npy"),
        ((ring, "-o", "ring.png"), "is of ring, whose rows are no pictures"),
        (("train-samples", "-n", 2000), "cannot give 2000 samples, it holds 1,197 images"),
        (("absent.json",), "absent.json: there is no such record"),
        (("gausian",), "has no run or method 'gausian'"),
        (("train-samples", "--results-dir", "nowhere"), "nowhere: no such folder of results"),
        ((digits, "-o", "/proc/samples.png"), "/proc"),
    ]
    before = sorted(here.rglob("*"))
    for arguments, part in cases:
        assert_refused(cli("sample", *arguments), part)
    assert sorted(here.rglob("*")) == before


def test_weights_that_are_not_there_or_damaged_are_told(cli, results):
    record = record_of(results, "ae+gaussian", "digits8x8")
    weights = record.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    assert_refused(cli("sample", record), "is not the file of weights that its record names")
    content = json.loads(record.read_text())
    del content["training"]["weights_sha256"]  # as records of before
    record.write_text(json.dumps(content))
    assert_refused(cli("sample", record), "is no whole safetensors file")
    weights.unlink()
    assert_refused(cli("sample", record), "run its command again with another --results-dir")


@pytest.mark.parametrize("dataset", ["digits8x8", "ring"])
def test_weights_of_another_record_are_refused(cli, results, here, dataset):
    method = "ae+gaussian" if dataset == "digits8x8" else "gaussian"
    record = record_of(results, method, dataset)
    other = record_of(results, "gaussian", "natural8x8")
    content = json.loads(record.read_text())
    weights = record.with_suffix(".safetensors")
    assert content["training"]["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    shutil.copy(other.with_suffix(".safetensors"), weights)
    assert_refused(cli("sample", record, "-o", "samples.npy"), "is not the file of weights that its record names")
    assert not (here / "samples.npy").exists()


def test_walks_have_a_line_each_between_images_that_the_model_reconstructs(cli, results):
    record = record_of(results, "ae+gaussian", "digits8x8")
    outcome = cli("sample", record, "--interpolate", "-n", 3, "-o", "walks.png", "--seed", 4)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "written: walks.png\n")
    sheet = np.asarray(Image.open("walks.png"))[1::3, 1::3]
    assert sheet.shape == (3 * 9 + 1, 6 * 9 + 1)
    # The ends are reconstructions of test images, drawn with the seed.
    model = lb.load_generator(record.with_suffix(".safetensors"))
    real = lb.load_dataset("digits8x8").test[:100]
    ends = real[np.random.default_rng(4).integers(100, size=6)]
    shown = as_images(model.reconstructs(ends), model.image_shape)
    for number in range(3):
        row = sheet[1 + 9 * number : 9 * (number + 1)]
        np.testing.assert_array_equal(row[:, 1:9], shown[number])
        np.testing.assert_array_equal(row[:, 46:54], shown[3 + number])


@pytest.mark.parametrize(
    ("method", "dataset", "options", "part"),
    [
        ("gaussian", "natural8x8", (), "is no model of images"),
        ("train-samples", "digits8x8", (), "has no encoder"),
        ("ae+gaussian", "digits8x8", ("-n", 0), "number = 0"),
        ("ae+gaussian", "digits8x8", ("-o", "walks.npy"), "walks are drawn as a picture"),
    ],
)
def test_what_cannot_be_walked_through_says_so(cli, results, method, dataset, options, part):
    record = record_of(results, method, dataset)
    output = () if "-o" in options else ("-o", "walks.png")
    assert_refused(cli("sample", record, "--interpolate", *output, *options), part)
    assert not Path("walks.png").exists()
