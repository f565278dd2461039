"""Bad input: one sentence on stderr, exit code 2, nothing half-written."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

EMBEDDED = ("bsds300", "--source", "embedded", "--methods", "gaussian")

FAULTS = {
    "K-0": ((*EMBEDDED, "--K", "0"), "K = 0 is not a whole number from 1 up"),
    "K-ten": ((*EMBEDDED, "--K", "1", "ten"), "K = ten is not a whole number"),
    "K-1.5": ((*EMBEDDED, "--K", "1.5"), "K = 1.5 is not a whole number"),
    "K-negative": ((*EMBEDDED, "--K", "-3"), "--K"),
    "unknown-method": (("bsds300", "--source", "embedded", "--methods", "made-mg"), "did you mean 'made-mog'?"),
    "unknown-wrapper": (
        ("bsds300", "--source", "embedded", "--methods", "lde+x"),
        "choose one of +ens, +haar, +jpeg, +neg, +sym, +w",
    ),
    "unknown-argument": (("bsds300", "--source", "embedded", "--methods", "gmm:component=3"), "'components'"),
    "bad-argument": (("bsds300", "--source", "embedded", "--methods", "lde:components=0"), "components = 0"),
    "bad-argument-word": (("bsds300", "--source", "embedded", "--methods", "made-mog:hidden=wide"), "'wide'"),
    "bad-spelling": (("bsds300", "--source", "embedded", "--methods", "lde:10"), "'10' is not key=value"),
    "empty-method": (("bsds300", "--source", "embedded", "--methods", "+w"), "is not spelled"),
    "test-1.5": ((*EMBEDDED, "--test", "99.5"), "99.5 is not a whole number"),
    "steps-1.5": ((*EMBEDDED, "--steps", "1.5"), "1.5 is not a whole number"),
    "seed-0.5": ((*EMBEDDED, "--seed", "0.5"), "0.5 is not a whole number"),
    "K-of-no-machine": ((*EMBEDDED, "--K", "99999999999999999999"), "is out of range; give a whole number of at most"),
    "K-of-many-digits": ((*EMBEDDED, "--K", "9" * 5000), "is not a whole number"),
    "seed-of-70-bits": ((*EMBEDDED, "--seed", str(2**70)), "at most 9,223,372,036,854,775,807"),
    "seed-of-sample": (("sample", "a", "--seed", str(-(2**70))), "is out of range"),
    "seed-of-prepare": (("prepare", "ring", "--seed", str(2**70)), "is out of range"),
    "threads-of-no-machine": ((*EMBEDDED, "--threads", "99999"), "is out of range"),
    "trials-of-no-machine": ((*EMBEDDED, "--trials", "999999"), "is out of range"),
    "steps-of-no-machine": ((*EMBEDDED, "--steps", "9" * 20), "is out of range"),
    "samples-of-no-machine": (("sample", "a", "-n", "9" * 20), "is out of range"),
    "window-of-no-machine": (("parzen", "--samples", "9" * 20), "is out of range"),
    "K-of-a-comparison": (("compare", "a", "b", "--K", "9" * 20), "is out of range"),
    "fold-of-no-machine": (("parzen", "--folds", "9" * 20), "for --folds"),
    "misspelt-command": (("tabel",), 'did you mean "table"; available commands: beta,'),
    "some-commands": (("nonsense",), "list and others (see lde-bench --help)"),
    "two-sorts-of-data": (("table", "--data", "mine.npz", "--dataset", "ring"), "name the data once"),
    "a-file-in-a-folder": (("table", "--data", "mine.npz", "--data-dir", "there"), "--data-dir there has no use"),
    "workers-0": ((*EMBEDDED, "--workers", "0"), "--workers 0 is not a whole number from 1 up"),
    "workers-negative": ((*EMBEDDED, "--workers", "-2", "--plan"), "--workers -2 is not a whole number from 1 up"),
    "retries-negative": ((*EMBEDDED, "--retries", "-1"), "--retries -1 is not a whole number from 0 up"),
    "walks-of-no-memory": (("interpolate", "--pairs", "999999999"), "ask for fewer pairs"),
    "unit-of-a-dataset": (("table", "--dataset", "ring", "--no-standardise"), "ring is taken as it is"),
    "retries-of-no-workers": ((*EMBEDDED, "--retries", "2"), "--retries 2 is about workers that die"),
    "seed-of-what-is-not-drawn": (("prepare", "digits8x8", "--seed", "1"), "nothing of it is drawn"),
    "files-of-a-baseline": (("regress", "--data-dir", "there"), "none of the data is made of files"),
    "density-of-no-codes": (
        ("parzen", "--methods", "vae", "--density", "gmm"),
        "none of the methods is an autoencoder",
    ),
    "density-of-given-codes": (("generate", "--methods", "ae+lde", "--density", "gmm"), "none of the methods is an"),
    "weights-of-no-use": (("generate", "--vgg", "there.pth"), "nothing here looks through VGG19"),
    "window-needs-no-weights": (("parzen", "--vgg", "there.pth"), "nothing here looks through VGG19"),
    "walks-need-no-weights": (("interpolate", "--vgg", "there.pth"), "nothing here looks through VGG19"),
    "term-of-no-loss": (("generate", "--methods", "vae", "--perceptual", "0.2"), "none of the models has a term"),
    "workers-here-and-there": ((*EMBEDDED, "--workers", "2", "--scheduler", "tcp://a:1"), "leave out one of the two"),
    "name-of-300-letters": (("table", "--data", "x" * 300), "File name too long"),
    "folder-of-300-letters": (("prepare", "mnist", "--data-dir", "x" * 300), "File name too long"),
    "results-of-300-letters": (("report", "--results-dir", "x" * 300), "name too long"),
    "home-of-nobody": (("prepare", "mnist", "--data-dir", "~nosuchuser/d"), "no such user"),
    "files-of-no-files": (("prepare", "ring", "--data-dir", "there"), "ring is made of no files"),
    "files-of-no-images": (("parzen", "--data-dir", "there"), "digits8x8 is made of no files"),
    "more-rows-than-memory": (("table", "--dataset", "ring", "--train", "999999999"), "ask for fewer"),
    "one-domain-twice": (("interpolate", "--dataset", "digits32", "digits32"), "have the same images"),
    "size-of-no-pictures": (("interpolate", "--side", "16"), "neither domain takes --side"),
    "files-of-two-domains": (("interpolate", "--data-dir", "there"), "neither domain takes --data-dir"),
    "record-and-seed": (("protocol", "--record", "a.json", "--seed", "1"), "a record has its budget, data and seed"),
    "test-0": ((*EMBEDDED, "--test", "0"), "test=0"),
    "test-1": ((*EMBEDDED, "--test", "1"), "1 test rows"),
    "test-more-than-there-are": ((*EMBEDDED, "--test", "401"), "ask for test=400"),
    "orderings-of-none": ((*EMBEDDED, "--orderings", "4"), "deep-rnade"),
    "orderings-0": ((*EMBEDDED[:-1], "deep-rnade", "--orderings", "0"), "orderings = 0"),
    "folder-of-embedded": ((*EMBEDDED, "--data-dir", "nowhere"), "--data-dir nowhere"),
    "unknown-profile": ((*EMBEDDED, "--profile", "slow"), '"paper"'),
    "unknown-source": (("bsds300", "--source", "mars"), '"embedded"'),
    "trials-0": ((*EMBEDDED, "--trials", "0"), "trials = 0"),
    "trials-word": ((*EMBEDDED, "--trials", "few"), "few"),
    "steps-0": ((*EMBEDDED, "--steps", "0"), "steps = 0"),
    "seconds-0": ((*EMBEDDED, "--seconds", "0"), "seconds = 0"),
    "seconds-nan": ((*EMBEDDED, "--seconds", "nan"), "seconds = nan"),
    "two-budgets": ((*EMBEDDED, "--steps", "5", "--seconds", "3"), "not both"),
    "threads-0": ((*EMBEDDED, "--threads", "0"), "threads = 0"),
    "unknown-option": ((*EMBEDDED, "--stpes", "5"), "--stpes"),
    "no-data-folder": (("bsds300", "--data-dir", "nowhere"), "nowhere"),
    "no-data-at-all": (("bsds300",), "--source embedded"),
    "no-hdf5": (("bsds300", "--source", "hdf5", "--data-dir", "nowhere"), "nowhere"),
    "unknown-dataset": (("prepare", "bsds30"), "bsds300"),
    "unknown-in-list": (("list", "ldee"), "did you mean 'lde'?"),
    "unknown-in-check": (("check", "gausian"), "did you mean 'gaussian'?"),
    "check-nothing": (("check",), "--all"),
    "check-of-places": (("check", "made-mog+jpeg"), "its record has the laws"),
    "check-all-and-some": (("check", "lde", "--all"), "--all"),
    "no-baseline": (("regress", "--baseline", "none.json"), "none.json"),
    "unknown-command": (("bsds301",), "bsds301"),
}


def assert_refused(outcome, part: str) -> None:
    """Exit code 2, nothing on stdout, and on stderr one line that is one sentence and says `part`."""
    assert outcome.code == 2
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("lde-bench: ")
    assert part in line
    assert line.endswith((".", "?"))
    assert not re.search(r"\.\)? +[(A-Z]", line), "one sentence"


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "part"), FAULTS.values(), ids=FAULTS)
def test_bad_input_is_one_sentence_and_exit_code_2(cli, here, arguments, part):
    assert_refused(cli(*arguments), part)
    written = [path for path in here.rglob("*") if path.is_file() and path.parent.name != ".locks"]
    assert written == []


def test_missing_data_name_both_remedies(cli, here):
    (here / "empty").mkdir()
    for arguments in (("--data-dir", here / "empty"), ("--data-dir", here / "missing"), ()):
        outcome = cli("bsds300", *arguments)
        assert_refused(outcome, "--data-dir")
        assert "--source embedded" in outcome.err


def test_a_gpu_is_refused_where_there_is_none(cli, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert_refused(cli(*EMBEDDED, "--device", "cuda"), "device 'cuda' is not available")


def test_a_results_folder_that_is_a_file_is_refused(cli, here):
    (here / "results").write_text("mine")
    assert_refused(cli(*EMBEDDED), "results")
    assert (here / "results").read_text() == "mine"


def test_a_results_folder_that_cannot_be_written_is_refused(cli):
    assert_refused(cli(*EMBEDDED, "--results-dir", "/proc/results"), "/proc/results")  # root too may not write there


@pytest.mark.slow
def test_patches_cannot_be_drawn_afresh_from_the_ready_made_file(cli, here, monkeypatch):
    folder = here / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with h5py.File(folder / "BSDS300.hdf5", "w") as file:
        for split in ("train", "validation", "test"):
            file[split] = rng.normal(size=(300, 63)).astype(np.float32)
    arguments = ("bsds300", "--source", "hdf5", "--data-dir", folder, "--methods", "gaussian")
    assert_refused(cli(*arguments, "--patches", "fresh"), "use --patches fixed")
    assert cli(*arguments).code == 0


@pytest.mark.slow
def test_a_corrupted_record_among_good_ones_is_one_warning(cli, start):
    assert cli(*EMBEDDED).code == 0
    (folder,) = {path.parent for path in Path("results").rglob("*.safetensors")}
    (folder / "broken.json").write_text('{"schema": 1, "run_id": ')
    process = start(*EMBEDDED)
    out, err = process.communicate()
    assert process.returncode == 0
    assert "gaussian" in out
    (warning,) = [line for line in err.splitlines() if "broken.json" in line]
    assert "skipped" in warning
    assert "(done before)" in err
