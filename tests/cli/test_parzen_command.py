"""`lde-bench parzen` through the command line: what it refuses, a file of TFD's layout, trials that share and go on."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from test_bad_input import assert_refused

from lde_bench.cli.running import plan_of_command

DIGITS = ("parzen", "--samples", 100)
PLACE = Path("results/parzen/digits8x8-v1/quick-2-steps")

#: A density of a user's own: a unit Gaussian around the mean.
OWN = """
import numpy as np

class Ball:
    def fit(self, train):
        self.mean = train.mean(0)

    def log_prob(self, x):
        return -0.5 * ((x - self.mean) ** 2 + np.log(2 * np.pi)).sum(1)

    def sample(self, n, seed):
        return self.mean + np.random.default_rng(seed).normal(size=(n, len(self.mean)))
"""

FAULTS = {
    "unknown-dataset": (
        ("--dataset", "mnst"),
        "dataset 'mnst' is no set of images; choose one of celeba, digits32, digits8x8, ",
    ),
    "not-images": (("--dataset", "ring"), "dataset 'ring' is no set of images"),
    "unknown-method": (("--methods", "aee"), "did you mean 'ae'?"),
    "a-density-alone": (("--methods", "lde"), "method 'lde' is unknown"),
    "unknown-density": (("--methods", "ae", "--density", "ldee"), "did you mean 'lde'?"),
    "unknown-density-spelled": (("--methods", "iae+gausian"), "did you mean 'gaussian'?"),
    "a-density-of-no-codes": (("--methods", "gan+lde"), "gan has no codes to fit a density to"),
    "unknown-argument": (("--methods", "aae:latnt=3"), "did you mean 'latent'?"),
    "bad-argument": (("--methods", "ae:latent=0"), "latent = 0"),
    "bad-warmup": (("--methods", "iae:warmup=2"), "warmup = 2"),
    "K-0": (("--K", "0"), "K = 0 is not a whole number from 1 up"),
    "folds-of-digits": (("--folds", "1"), "--folds 1: digits8x8 has none"),
    "fold-6": (("--dataset", "tfd", "--folds", "6"), "--folds 6: tfd has those from 1 to 5"),
    "fold-1.5": (("--dataset", "tfd", "--folds", "1.5"), 'unable to convert "1.5" into int'),
    "fold-of-words": (("--dataset", "tfd", "--folds", "one"), 'unable to convert "one" into int'),
    "samples-0": (("--samples", "0"), "samples = 0 is not a whole number from 1 up"),
    "samples-19": (("--methods", "gan", "--samples", "19"), "samples = 19 are too few for the measures of samples"),
    "samples-1.5": (("--samples", "1.5"), "1.5 is not a whole number"),
    "trials-0": (("--trials", "0"), "trials = 0"),
    "steps-0": (("--steps", "0"), "steps = 0"),
    "seconds-nan": (("--seconds", "nan"), "seconds = nan"),
    "two-budgets": (("--steps", "5", "--seconds", "3"), "not both"),
    "threads-0": (("--threads", "0"), "threads = 0"),
    "unknown-profile": (("--profile", "slow"), '"paper"'),
    "no-such-module": (("--methods", "ae", "--density", "no_such_module:Class"), "no_such_module"),
    "no-tfd": (
        ("--dataset", "tfd"),
        "is given on request only; ask the University of Toronto",
    ),
    "unknown-features": (("--features", "vg"), "feature space 'vg' is unknown; did you mean 'vgg'?"),
    "no-vgg-file": (("--features", "vgg", "--vgg", "nowhere.pth"), "nowhere.pth: no such file; give torchvision's"),
    "no-data-folder": (("--dataset", "tfd", "--data-dir", "nowhere"), "nowhere"),
}


@pytest.mark.parametrize(("arguments", "part"), FAULTS.values(), ids=FAULTS)
def test_bad_input_is_one_sentence_and_exit_code_2(cli, here, arguments, part):
    assert_refused(cli(*DIGITS[:1], *arguments), part)
    assert [path for path in here.rglob("*") if path.is_file() and path.parent.name != ".locks"] == []


@pytest.mark.parametrize("wrapper", ["", "+w"])
def test_a_density_of_codes_without_samples_is_told_before_any_training(cli, here, monkeypatch, wrapper):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "densities"))
    outcome = cli("parzen", "--methods", "ae", "--density", f"adapters:Unnormalised{wrapper}", "--steps", 2)
    assert_refused(outcome, "the density of the codes has no sample(n)")
    assert not list(here.rglob("*.json"))


# -- a file of TFD's layout --------------------------------------------------------------------------------------------


@pytest.fixture
def tfd(here):
    """Write a small TFD_48x48.mat, some of its arrays replaced or left out; the folder it is in."""
    random = np.random.default_rng(0)
    n = 160
    folds = np.zeros((n, 5), np.uint8)
    for fold in range(5):  # the last 100 are labeled; each fold has 50 to train, 20 to validate and 30 to test on
        folds[n - 100 :, fold] = random.permutation([1] * 50 + [2] * 20 + [3] * 30)
    blobs = random.integers(0, 256, (n, 6, 6)).repeat(8, 1).repeat(8, 2)

    def write(**replaced) -> Path:
        content = {"images": blobs.astype(np.uint8), "folds": folds, "labs_ex": np.ones((n, 1)), **replaced}
        folder = here / "data"
        folder.mkdir(exist_ok=True)
        savemat(folder / "TFD_48x48.mat", {key: value for key, value in content.items() if value is not None})
        return folder

    return write


@pytest.mark.slow
def test_folds_of_tfd_from_the_file_to_the_table(cli, tfd, records, caplog):
    methods = ("--methods", "train-samples", "kmeans", "ae+gaussian", "--steps", 8)
    job = ("parzen", "--dataset", "tfd", "--folds", 1, 2, "--data-dir", tfd(), "--samples", 200, *methods)
    done = cli(*job)
    assert done.code == 0, done.err
    assert "this is not the known file, so figures compare with no other TFD" in caplog.text
    found = records()
    assert {(r["dataset"]["name"], r["method"]) for r in found.values()} == {
        (f"tfd-fold{fold}", method) for fold in (1, 2) for method in ("train-samples", "kmeans", "ae+gaussian")
    }
    for record in found.values():
        assert record["dataset"]["version"] == "2-unofficial"
        assert record["dataset"]["sizes"] == {"train": 60, "validation": 20, "test": 30}
        assert record["training"]["samples"] == {"train-samples": 60, "kmeans": 30}.get(record["method"], 200)
        assert all(law["passed"] for law in record["laws"].values())
        assert record["result"]["parzen"]["sigma"] in record["result"]["parzen"]["grid"]
        assert len(record["result"]["parzen"]["grid"]) == 40
    assert "tfd" in done.out
    first = {key: record["result"] for key, record in found.items()}
    assert cli(*job).err.count("(done before)") == 6
    assert {key: record["result"] for key, record in records().items()} == first


@pytest.mark.parametrize("command", ["beta", "generate"])
def test_a_figure_of_tfd_is_of_its_first_fold(tfd, here, command):
    planned = plan_of_command([command, "--dataset", "tfd", "--data-dir", str(tfd())], here)
    assert {node.task.dataset.name for node in planned.nodes if node.asked} == {"tfd-fold1"}


def test_a_file_that_is_not_tfds_is_one_sentence(cli, tfd, here):
    right = np.zeros((160, 48, 48), np.uint8)
    nan = np.full((160, 48, 48), np.nan)
    cases = [
        ({"folds": None}, "the array 'folds' is missing"),
        ({"images": None}, "the array 'images' is missing"),
        ({"images": right[:, :28, :28]}, "'images' is uint8 [160, 28, 28] where uint8 [n, 48, 48] belongs"),
        ({"images": right / 255.0}, "'images' is float64"),
        ({"images": nan}, "'images' is float64"),
        ({"images": right.astype(np.int16) - 1}, "'images' is int16"),
        ({"folds": np.full((160, 5), 4, np.uint8)}, "of the values 0 to 3 belongs"),
        ({"folds": np.full((160, 5), np.nan)}, "of the values 0 to 3 belongs"),
        ({"folds": np.zeros((160, 4), np.uint8)}, "'folds' is uint8 [160, 4] where [160, 5]"),
        ({"folds": np.zeros((160, 5), np.uint8)}, "fold 1 has no validation images"),
    ]
    for replaced, part in cases:
        assert_refused(cli("parzen", "--dataset", "tfd", "--data-dir", tfd(**replaced)), part)
    folder = tfd()
    (folder / "TFD_48x48.mat").write_bytes((folder / "TFD_48x48.mat").read_bytes()[:1000])
    assert_refused(cli("parzen", "--dataset", "tfd", "--data-dir", folder), "cannot be read (")
    assert not (here / "results").exists()


# -- trials ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reference_row_gives_as_many_samples_as_it_holds_and_the_record_says_so(cli, records):
    assert cli("parzen", "--methods", "kmeans", "--samples", 700).code == 0
    (record,) = records().values()
    assert record["training"]["samples"] == record["result"]["parzen"]["samples"] == 598  # half of 1,197


@pytest.mark.slow
def test_measures_on_features_are_a_row_of_their_own_that_names_the_space(cli, records, vgg_file, here):
    same = (*DIGITS, "--methods", "train-samples")
    done = [cli(*same), cli(*same, "--features", "vgg", "--vgg", vgg_file, "--cache-dir", here / "kept")]
    assert [outcome.code for outcome in done] == [0, 0], done[1].err
    features, pixels = sorted(records().values(), key=lambda record: "space" not in record["training"])
    assert features["run_id"] != pixels["run_id"]
    assert features["training"]["space"] == "vgg19-relu3_1"
    assert features["result"]["parzen"] == pixels["result"]["parzen"]
    only = {"frechet", "frechet_half", "frechet_limit", "kernel_distance"}
    assert features["result"]["measures"].keys() - pixels["result"]["measures"].keys() == only
    for name, measure in features["result"]["measures"].items():
        assert ("vgg19-relu3_1" in measure["detail"]) == (name != "sharpness"), name
    assert len(list((here / "kept").glob("vgg19-relu3_1-*.npz"))) == 4  # training, validation, test and mixed images
    assert "Distances between images: those of VGG19 features (vgg19-relu3_1: " in done[1].out
    text = (PLACE.parent / "quick" / "table-samples100.md").read_text()
    assert "train-samples (space=vgg19-relu3\\_1)" in text


@pytest.mark.slow
def test_two_densities_share_one_autoencoder_trained_once(cli, records, here, monkeypatch):
    (here / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(here)
    ae = "ae:latent=2"
    done = cli(*DIGITS, "--steps", 2, "--methods", ae, "--density", "gaussian", "own:Ball")
    assert done.code == 0, done.err
    gaussian, own = sorted(records().values(), key=lambda record: record["method"])
    assert (gaussian["method"], own["method"]) == ("ae+gaussian:latent=2", "ae+own:Ball:latent=2")
    assert gaussian["training"]["encoder"] == own["training"]["encoder"]
    assert gaussian["seeds"]["trial"] == own["seeds"]["trial"]
    assert done.err.count("autoencoder: trained before, taken from ae-") == 2
    assert len(list(PLACE.glob("ae-*.safetensors"))) == 1
    figures = [record["result"]["measures"]["reconstruction_mse"]["value"] for record in (gaussian, own)]
    assert figures[0] == figures[1]
    assert own["result"]["measures"].keys() == gaussian["result"]["measures"].keys()
    assert np.isfinite(own["result"]["measures"]["code_nats"]["value"])


@pytest.mark.slow
def test_a_class_of_a_users_own_is_named_in_the_method_too_and_its_faults_before_training(cli, here, monkeypatch):
    (here / "mine.py").write_text(OWN + "\n\nclass Torn:\n    def fit(self, train):\n        pass\n")
    monkeypatch.syspath_prepend(here)
    assert_refused(cli(*DIGITS, "--methods", "train-samples", "ae+mine:Torn"), "neither log_prob nor score_samples")
    assert_refused(cli(*DIGITS, "--methods", "ae+mine:Bal"), "mine")
    done = cli(*DIGITS, "--steps", 2, "--methods", "ae+mine:Ball:latent=2", "--json")
    assert done.code == 0, done.err
    (table,) = done.payload["tables"]
    assert [row["method"] for row in table["rows"]] == ["ae+mine:Ball:latent=2"]


def test_samples_that_are_not_finite_are_a_failure_with_its_reason(cli, records, monkeypatch):
    from lde_bench.generators.latent_density import LatentDensity

    own = LatentDensity.draw
    monkeypatch.setattr(LatentDensity, "draw", lambda self, n, generator: own(self, n, generator).log() * float("nan"))
    done = cli(*DIGITS, "--steps", 2, "--methods", "ae+gaussian:latent=2")
    assert done.code == 3
    (record,) = records().values()
    assert record["reason"] == ("TrainingDiverged: 100 of 100 samples hold NaN or infinity; try a lower rate.")


LONG = ("parzen", "--samples", 100, "--steps", 150, "--methods", "train-samples", "ae+gaussian:latent=2")


@pytest.mark.slow
def test_a_trial_killed_while_it_trains_goes_on_to_the_same_record_and_weights(cli, start, records, here):
    process = start(*LONG, "--threads", 1)
    deadline = time.monotonic() + 240
    while not (saved := list(here.rglob("ae-*.ckpt"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert saved, process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert [record["method"] for record in records().values()] == ["train-samples"]
    resumed = cli(*LONG)
    assert resumed.code == 0, resumed.err
    assert (step := re.search(r"continuing from step (\d+) of 150", resumed.err))
    assert 0 < int(step[1]) < 150
    assert cli(*LONG, "--results-dir", "whole").code == 0
    killed, whole = records(), records("whole")
    assert killed.keys() == whole.keys()
    for run_id, record in killed.items():
        assert record["result"] == whole[run_id]["result"]
        weights = [next(here.glob(f"{name}/**/{run_id}.safetensors")).read_bytes() for name in ("results", "whole")]
        assert weights[0] == weights[1]
    assert not list(here.rglob("*.ckpt"))
