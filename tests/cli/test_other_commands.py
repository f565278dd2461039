"""`list`, `check` and `prepare` through the command line."""

from __future__ import annotations

import pytest

import lde_bench as lb
from lde_bench.data import bsds300 as _bsds300
from lde_bench.data import datasets
from lde_bench.densities import density_names
from lde_bench.evaluation import laws
from lde_bench.evaluation.sample_measures import sample_metrics
from lde_bench.generators import generator_classes
from lde_bench.training.plan import Budget


@pytest.mark.slow
def test_list_shows_every_method_dataset_and_profile_with_its_source_uncut(cli):
    outcome = cli("list")
    assert outcome.code == 0
    assert outcome.err == ""
    assert "\x1b" not in outcome.out
    assert "…" not in outcome.out
    listed = [
        *density_names(),
        *generator_classes(),
        *sample_metrics(),
        "+w",
        *datasets(),
        "quick",
        "standard",
        "paper",
    ]
    for name in listed:
        assert any(line.split()[:1] == [name] for line in outcome.out.splitlines()), name
    for source in ["arXiv 1902.04294", *(entry.source for entry in datasets().values())]:
        assert source in outcome.out


def test_list_of_one_method_is_its_card(cli):
    card = cli("list", "lde")
    assert card.code == 0
    for part in ("arXiv 1902.04294", "components=10", "paper", "367,", "against published"):
        assert part in card.out
    assert cli("list", "lde:components=30").out.count("398,442") == 1
    given = cli("list", "ae+lde:components=200,latent=3").out
    assert "latent=3" in given
    assert "components=200" in given
    assert "at 28x28 pixels, latent 3\n" in given
    assert "in closed form" in cli("list", "gaussian").out
    assert "rate 0.0015 (cosine)" in card.out
    assert "400 steps of 20,000, about" in cli("list", "gmm").out  # of EM, which knows no rate


def test_list_tells_of_wrappers_what_they_add(cli):
    card = cli("list", "lde+w+ens:members=3").out
    for part in ("+w: one triangular product more", "+ens: one evaluation costs one of every", "members=3"):
        assert part in card
    assert "; +jpeg: learns from where the training patches lie" in cli("list", "resmade-mog+w+sym+jpeg").out
    own = cli("list", "+jpeg").out
    for part in ("the table of steps that all files have", "width=1024", "Wallace 1992"):
        assert part in own
    refused = cli("list", "+jpg")
    assert (refused.code, refused.out) == (2, "")
    assert "there is no wrapper '+jpg'; did you mean '+jpeg'?" in refused.err


def test_list_says_how_long_a_method_takes_at_its_own_arguments(cli):
    for method in ("gmm:components=200", "lde+ens", "resmade-mog+w:hidden=1536"):
        (told,) = (cli("list", method, "--json").payload["plans"]["standard"]["reference_seconds"],)
        assert told == pytest.approx(lb.create(method, 63).expected_seconds(Budget.of("standard")), abs=0.1)
    parts = cli("list", "ae+lde", "--json").payload["plans"]
    assert parts["standard density"]["reference_seconds"] < parts["standard autoencoder"]["reference_seconds"]


def test_list_of_a_model_of_images_is_its_card(cli):
    card = cli("list", "aae:backbone=mlp")
    assert card.code == 0
    for part in ("Makhzani", "backbone=", "at 28x28 pixels", "against published", "paper"):
        assert part in card.out
    both = cli("list", "ae+lde:components=30").out
    count = lb.create_generator("ae+lde:components=30", (28, 28)).parameter_count()
    assert f"{count:,} at 28x28" in both
    assert "on its codes" in both
    assert {"quick autoencoder", "paper density"} <= set(cli("list", "ae+lde", "--json").payload["plans"])
    plans = [line.strip() for line in cli("list", "gan").out.splitlines() if line.startswith("  paper")]
    assert [line.startswith("paper at 48x48") for line in plans] == [False, True]
    assert "22 epochs of 101,000" in plans[1]
    refused = cli("list", "aee")
    assert (refused.code, refused.out) == (2, "")
    assert "did you mean 'ae'?" in refused.err


@pytest.mark.slow
def test_list_json_holds_what_the_tables_hold(cli):
    payload = cli("list", "--json").payload
    assert [card["name"] for card in payload["methods"]] == density_names()
    assert {entry["name"] for entry in payload["datasets"]} == set(datasets())
    assert [card["name"] for card in payload["models_of_images"]] == list(generator_classes())
    parts = ("methods", "models_of_images", "wrappers", "metrics", "datasets")
    assert all(entry["source"] for part in parts for entry in payload[part])
    assert cli("list", "lde", "--json").payload["sample_cost"]


@pytest.fixture
def few_laws(monkeypatch):
    """`check` with a handful of laws: the whole suite has tests of its own."""
    whole = laws.check
    chosen = ("causal", "chain_rule", "seeds")
    monkeypatch.setattr("lde_bench.checks.check.check", lambda method: whole(method, laws=chosen))
    return chosen


def test_check_prints_a_verdict_per_law(cli, few_laws):
    outcome = cli("check", "gaussian", "made-mog")
    assert outcome.code == 0
    for law in few_laws:
        rows = [line.split() for line in outcome.out.splitlines() if law in line.split()]
        assert [(row[0], row[2]) for row in rows] == [("gaussian", "holds"), ("made-mog", "holds")]
    assert "checking made-mog" in outcome.err


def test_check_names_a_broken_law_with_exit_code_1(cli, few_laws, monkeypatch):
    monkeypatch.setattr("lde_bench.densities.gaussian.Gaussian.sample", lambda self, n, seed=0: [])
    outcome = cli("check", "gaussian", "--json")
    assert outcome.code == 1
    assert "law broken by gaussian: seeds" in outcome.err
    verdicts = {law["law"]: law["passed"] for law in outcome.payload["gaussian"]}
    assert verdicts["causal"]
    assert not verdicts["seeds"]


def test_prepare_says_what_it_made(cli):
    made = cli("prepare", "natural8x8", "--json").payload
    assert made["sizes"] == {"train": 3000, "validation": 200, "test": 400}
    text = cli("prepare", "natural8x8")
    assert text.code == 0
    assert made["content_hash"] in text.out
    assert _bsds300.NAME not in text.out
