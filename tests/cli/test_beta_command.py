"""`lde-bench beta` through the command line: what it refuses, and the whole of it made small."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_bad_input import assert_refused

FAULTS = {
    "beta-0": (("--beta", "0"), "beta = 0 is no number above 0"),
    "beta-nan": (("--beta", "nan"), "is no number above 0"),
    "beta-of-words": (("--beta", "high"), 'unable to convert "high" into float'),
    "beta-twice": (("--beta", "1", "1.0"), "is named twice; give every beta once"),
    "latent-0": (("--latent", "0"), "latent = 0 is not a whole number from 1 up"),
    "K-0": (("--K", "0"), "components = 0"),
    "no-such-digit": (("--digit", "12"), "digit = 12: digits8x8 has no such image"),
    "samples-0": (("--samples", "0"), "samples = 0 is not a whole number from 1 up"),
    "trials-0": (("--trials", "0"), "trials = 0 is not a whole number from 1 up"),
    "not-images": (("--dataset", "ring"), "dataset 'ring' is no set of images"),
    "two-budgets": (("--steps", "5", "--seconds", "3"), "not both"),
}


@pytest.mark.parametrize(("arguments", "part"), FAULTS.values(), ids=FAULTS)
def test_bad_input_is_one_sentence_and_writes_nothing(cli, here, arguments, part):
    assert_refused(cli("beta", *arguments), part)
    assert not (here / "results").exists()


@pytest.mark.slow
def test_the_figure_from_the_command_to_the_files_and_again_without_training(cli, records):
    job = ("beta", "--beta", 1, "--K", 2, "--steps", 2, "--samples", 2, "--json")
    done = cli(*job)
    assert done.code == 0, done.err
    (table,) = done.payload["tables"]
    assert [row["method"].partition(":")[0] for row in table["rows"]] == ["vae", "ae+lde"]
    assert table["figures"]["elbo_nats"]["better"] == "higher"
    place = Path("results/beta/digits8x8-v1/quick-2-steps")
    for name in ("table.png", "table.svg", "table.md", "table.csv"):
        assert (place / name).is_file()
    before = records()
    assert cli(*job).err.count("(done before)") == 2
    assert records() == before
