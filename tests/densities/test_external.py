"""Densities of a user's own: four strangers, the contract and its faults, wrong models refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Distribution

import lde_bench as lb
from lde_bench.catalogue import catalogue, print_card, print_catalogue
from lde_bench.cli import main
from lde_bench.densities import density_names, describe_method, external, takes_argument
from lde_bench.densities.external import STEPS, entry_points, probe
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import check
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import expand_methods, plan_trials

HERE = Path(__file__).parent
FOUR = {
    "zuko.flows:NSF": {"bins": 4, "transforms": 1, "hidden_features": [16]},
    "sklearn.mixture:GaussianMixture": {"components": 2},
    "sklearn.neighbors:KernelDensity": {"bandwidth": 0.7},
    "strangers:Diagonal": {},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder from which `strangers` can be imported."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


# -- spelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("zuko.flows:NSF", MethodSpec("zuko.flows:NSF")),
        ("my_file:Mine+w", MethodSpec("my_file:Mine", ("w",))),
        ("a.b:C.D+w+ens:members=2,x=[1,2]", MethodSpec("a.b:C.D", ("w", "ens"), {"members": 2, "x": [1, 2]})),
        ("lde:Mine", MethodSpec("lde:Mine")),
    ],
)
def test_a_class_is_spelled_with_its_module_and_takes_wrappers_and_arguments(text, spec):
    assert parse_method(text) == spec
    assert parse_method(str(spec)) == spec
    assert str(spec) == text


def test_the_row_is_called_as_the_class_is_spelled():
    assert parse_method("sklearn.mixture:GaussianMixture:components=3").label == "sklearn.mixture:GaussianMixture"


# -- four strangers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FOUR)
def test_a_stranger_is_created_trained_evaluated_and_described(method):
    rows = skewed_rows(300, 3, 0)
    density = lb.create(method, 3, **FOUR[method]).fit(rows[:250], rows[250:], seed=1, steps=20)
    log_p = density.log_prob(rows)
    assert log_p.shape == (300,)
    assert np.isfinite(log_p).all()
    assert density.sample(5, seed=1).shape == (5, 3)
    assert np.array_equal(density.sample(5, seed=1), density.sample(5, seed=1))
    assert not np.array_equal(density.sample(5, seed=1), density.sample(5, seed=2))
    assert describe_method(method) != method
    assert catalogue(method)["name"] == method
    json.dumps(catalogue(method))


@pytest.mark.parametrize("method", ["strangers:Diagonal", "sklearn.mixture:GaussianMixture"])
def test_a_stranger_passes_every_law_that_applies_to_it(method):
    results = {result.law: result for result in check(method)}
    assert {law: result.detail for law, result in results.items() if not result.passed} == {}
    assert set(results) == {
        *("normalised", "batch_split", "permutation", "samples", "entropy", "finite", "seeds", "contract")
    }


@pytest.mark.slow
def test_a_zuko_flow_passes_the_laws_of_torch_modules_too():
    results = {result.law: result for result in check("zuko.flows:NSF:transforms=1,hidden_features=[16]")}
    assert {law: result.detail for law, result in results.items() if not result.passed} == {}
    assert {"gradients", "modes", "round_trip", "float64"} < set(results)


def test_kernel_density_passes_the_fast_laws():
    laws = ("normalised", "batch_split", "permutation", "finite", "seeds", "contract")
    results = check("sklearn.neighbors:KernelDensity", laws=laws)
    assert [result.law for result in results if not result.passed] == []
    assert len(results) == len(laws)


def test_importing_zuko_leaves_the_validation_of_torch_distributions_on():
    code = (
        "import lde_bench as lb; lb.create('zuko.flows:NSF', 2)\n"
        "from torch.distributions import Distribution; assert Distribution._validate_args"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert Distribution._validate_args


@pytest.mark.parametrize("inner", ["zuko.flows:NSF", "sklearn.mixture:GaussianMixture", "strangers:Diagonal"])
def test_a_wrapper_goes_around_a_stranger(inner):
    rows = skewed_rows(400, 3, 0)
    density = lb.create(f"{inner}+w", 3).fit(rows[:300], rows[300:], steps=20)
    # Whitened, the mean of log p of a Gaussian is that of the data's own Gaussian.
    full = lb.create("gaussian", 3).fit(rows[:300]).log_prob(rows)
    if inner != "zuko.flows:NSF":
        np.testing.assert_allclose(density.log_prob(rows), full, atol=1e-2)
    assert density.sample(4, seed=0).shape == (4, 3)


# -- what fit is given -------------------------------------------------------------------------------------------------


def test_fit_is_given_what_its_signature_names():
    import strangers

    rows = skewed_rows(100, 2, 0)
    lb.create("strangers:Diagonal", 2).fit(rows, rows[:20], seed=5, steps=3, profile="standard")
    given = strangers.Diagonal.calls[-1]
    np.testing.assert_array_equal(given["train"], rows)
    assert given["train"].dtype == np.float32
    np.testing.assert_array_equal(given["validation"], rows[:20])
    assert (given["seed"], given["steps"], given["profile"]) == (5, 3, "standard")


def test_without_an_explicit_number_of_steps_a_default_stands_and_a_need_is_met():
    import strangers

    rows = skewed_rows(100, 2, 0)
    lb.create("strangers:Diagonal", 2).fit(rows)
    assert strangers.Diagonal.calls[-1]["steps"] == 7
    assert lb.create("strangers:TensorsOnly", 2).fit(rows, profile="standard").model.steps == STEPS["standard"]


def test_a_wrapped_stranger_sees_whitened_validation_rows():
    import strangers

    rows = skewed_rows(500, 2, 0)
    lb.create("strangers:Diagonal+w", 2).fit(rows, rows)
    given = strangers.Diagonal.calls[-1]
    np.testing.assert_allclose(given["train"], given["validation"], atol=1e-5)
    np.testing.assert_allclose(np.cov(given["validation"].T), np.eye(2), atol=0.01)


def test_a_class_that_takes_tensors_alone_gets_tensors():
    rows = skewed_rows(200, 3, 0)
    density = lb.create("strangers:TensorsOnly", 3).fit(rows)
    np.testing.assert_allclose(
        density.log_prob(rows), lb.create("strangers:Diagonal", 3).fit(rows).log_prob(rows), atol=0.1
    )
    state = torch.random.get_rng_state()
    assert np.array_equal(density.sample(5, seed=1), density.sample(5, seed=1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_random_state_is_the_seed():
    rows = skewed_rows(100, 2, 0)
    assert lb.create("strangers:Scaled", 2).fit(rows, seed=11).model.random_state == 11
    assert lb.create("strangers:Scaled:random_state=4", 2).fit(rows, seed=11).model.random_state == 4
    assert lb.create("sklearn.mixture:GaussianMixture", 2).fit(rows, seed=11).model.random_state == 11


def test_our_loop_trains_a_module_whose_call_returns_a_distribution():
    rows = np.random.default_rng(0).normal(0.3, 1.5, size=(2000, 2)).astype(np.float32)
    density = lb.create("strangers:Returns", 2).fit(rows, rows[:200], steps=2000)
    best = lb.create("strangers:Diagonal", 2).fit(rows).log_prob(rows).mean()
    assert density.log_prob(rows).mean() == pytest.approx(best, abs=0.02)
    assert density.parameter_count() == 4


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["strangers:Scaled", "strangers:Returns+w", "zuko.flows:NSF:transforms=1"])
def test_a_module_is_saved_and_loaded_to_the_bit(method, tmp_path):
    rows = skewed_rows(100, 2, 0)
    density = lb.create(method, 2).fit(rows, steps=5)
    density.save(tmp_path / "d.safetensors")
    loaded = lb.load_density(tmp_path / "d.safetensors")
    np.testing.assert_array_equal(loaded.log_prob(rows), density.log_prob(rows))


@pytest.mark.parametrize("method", ["strangers:Diagonal", "sklearn.mixture:GaussianMixture+w"])
def test_what_is_no_module_has_no_weights_to_keep(method, tmp_path):
    density = lb.create(method, 2).fit(skewed_rows(50, 2, 0))
    with pytest.raises(InputError, match="no weights to keep"):
        density.save(tmp_path / "d.safetensors")
    assert density.parameter_count() is None


# -- a sweep over K ----------------------------------------------------------------------------------------------------


def test_the_number_of_components_of_scikit_learn_is_swept_as_components():
    assert takes_argument(parse_method("sklearn.mixture:GaussianMixture"), "components")
    assert not takes_argument(parse_method("zuko.flows:NSF"), "components")
    swept = expand_methods(["sklearn.mixture:GaussianMixture", "strangers:Diagonal"], [1, 3], 2)
    assert [(str(spec), k) for spec, k in swept] == [
        ("sklearn.mixture:GaussianMixture:components=1", 1),
        ("sklearn.mixture:GaussianMixture:components=3", 3),
        ("strangers:Diagonal", None),
    ]
    assert lb.create("sklearn.mixture:GaussianMixture:components=3", 2).model.n_components == 3


def test_more_components_than_probe_rows_are_no_fault():
    probe(lb.create("sklearn.mixture:GaussianMixture:components=300,covariance_type=spherical", 2))


# -- the table ---------------------------------------------------------------------------------------------------------


def test_a_stranger_gets_laws_records_and_a_row_and_another_version_of_it_another_row(here, capsys):
    shutil.copy(HERE / "strangers.py", here / "changing_stranger.py")
    table = ("table", "--dataset", "ring", "--train", 300, "--validation", 50, "--test", 100, "--json", "--methods")
    code, out, _ = run(capsys, *table, "changing_stranger:Diagonal", "gaussian", "--trials", 2)
    rows = json.loads(out)["tables"][0]["rows"]
    assert code == 0
    assert {row["label"]: row["trials"] for row in rows} == {"changing_stranger:Diagonal": 2, "gaussian": 2}
    (record, other) = sorted(here.glob("results/table/*/quick/*Diagonal*.json"))
    content = json.loads(record.read_text())
    assert content["parameters"] is None
    assert content["training"]["weights"] == "none kept: no torch module"
    assert "normalised" in content["laws"]
    assert not list(here.rglob("*Diagonal*.safetensors"))
    assert not [path for path in here.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]
    # The file has changed since: the run is another one, in a process that reads it anew.
    with (here / "changing_stranger.py").open("a") as file:
        file.write("\n# Changed.\n")
    command = [sys.executable, "-m", "lde_bench", *map(str, table), "changing_stranger:Diagonal"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert len(list(here.glob("results/table/*/quick/*Diagonal*.json"))) == 3
    assert other.exists()


def test_the_name_of_a_run_of_our_own_methods_does_not_know_of_strangers():
    data = lb.load_dataset("ring", train=50, validation=30, test=10)
    (trial,) = plan_trials("table", data, ["gaussian"], [1], 1, Budget.of(), TrainingOptions())
    assert "origin" not in trial._determines(trial.spec, data.content_hash)
    (trial,) = plan_trials("table", data, ["strangers:Diagonal"], [1], 1, Budget.of(), TrainingOptions())
    assert "code" in trial._determines(trial.spec, data.content_hash)["origin"]


# -- wrong models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "law"), [("BatchMean", "batch_split"), ("Unnormalised", "normalised")])
def test_an_outright_wrong_model_is_refused_and_the_law_is_named(method, law, capsys):
    data = ("--dataset", "ring", "--train", 300, "--validation", 50, "--test", 100)
    code, out, err = run(capsys, "table", *data, "--methods", f"strangers:{method}")
    assert code == 1
    assert f"breaks the law '{law}'" in out
    assert law in err
    code, out, err = run(capsys, "check", f"strangers:{method}")
    assert code == 1
    assert f"strangers:{method}: {law}" in err


# -- faults of the contract --------------------------------------------------------------------------------------------

FAULTS = {
    "nowhere_at_all:Model": "there is no module 'nowhere_at_all'",
    "strangers:Diagonel": "has no class 'Diagonel'; did you mean 'Diagonal'",
    "strangers:a_function": "is a function; name a class",
    "strangers:NoFit": "has no fit",
    "strangers:NoDensity": "has neither log_prob nor score_samples",
    "strangers:NeedsMore": "its constructor needs 'folder'",
    "strangers:Explodes": "its constructor raised OSError: no licence",
    "strangers:NeedsLabels": "fit needs the argument 'labels'",
    "strangers:NoRows": "fit takes no training array",
    "strangers:Stumbles": "fit raised RuntimeError: no convergence on 256 synthetic rows",
    "strangers:PerFeature": r"log_prob should return one log-density per row, shape \[5\] for 5 rows, got \[5, 2\]",
    "strangers:NotANumber": "log_prob is NaN or infinite on 5 of 5",
    "strangers:Words": "log_prob should return log-densities",
    "strangers:NarrowSamples": r"sample\(3\) should return 3 rows of 2",
    "strangers:NoDistribution": "its call returned a Tensor without log_prob",
    "strangers:NoGradient": "has no gradient, so our loop cannot train it",
    "strangers:Diagonal:widht=2": "no argument 'widht'; did you mean 'width'",
    "zuko.flows:NSF:bins=4,features=3": "has no argument 'features'",
}


@pytest.mark.parametrize("method", FAULTS)
def test_a_fault_of_the_contract_is_one_sentence_before_any_training(method, capsys, here):
    with pytest.raises(InputError, match=FAULTS[method]):
        probe(lb.create(method, 2))
    code, out, err = run(capsys, "table", "--dataset", "ring", "--methods", method)
    assert code == 2
    assert out == ""
    assert err.startswith("lde-bench: ")
    assert len(err.strip().splitlines()) == 1
    assert err.strip().endswith(".")
    assert not list(here.rglob("*.json"))


def test_a_module_that_fails_to_import_says_so(here):
    (here / "broken_stranger.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match="importing 'broken_stranger' raised ZeroDivisionError"):
        lb.create("broken_stranger:Model", 2)
    (here / "needy_stranger.py").write_text("import something_not_there\n")
    with pytest.raises(InputError, match="module 'needy_stranger' needs 'something_not_there'"):
        lb.create("needy_stranger:Model", 2)


def test_a_fault_is_found_by_fit_before_it_sees_the_data():
    with pytest.raises(InputError, match="NaN or infinite"):
        lb.create("strangers:NotANumber", 2).fit(skewed_rows(20, 2, 0))


# -- entry points and densities of our own kind ------------------------------------------------------------------------


def test_entry_points_are_methods_by_their_plain_name(monkeypatch, capsys):
    brought = {"brought": "strangers:Diagonal", "broken": "nowhere_at_all:Model", "lde": "strangers:NoFit"}
    monkeypatch.setattr(external, "entry_points", lambda: brought)
    assert {"brought", "broken"} <= set(density_names())
    rows = skewed_rows(50, 2, 0)
    assert lb.create("brought+w", 2).fit(rows).log_prob(rows).shape == (50,)
    assert lb.create("lde", 2).parameter_count()  # a name of ours stays ours
    assert density_names().count("lde") == 1
    with pytest.raises(InputError, match="broken: there is no module"):
        lb.create("broken", 2)
    print_catalogue()
    shown = capsys.readouterr().out
    assert "brought" in shown
    assert "broken: there is no module 'nowhere_at_all'" in shown
    print_card("brought")
    assert "its own fit" in capsys.readouterr().out


def test_there_are_no_entry_points_here():
    assert entry_points() == {}


def test_a_density_of_our_own_kind_in_a_file_of_the_users_works_as_it_is(here):
    (here / "shifted_stranger.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from lde_bench.densities.base import Density\n"
        "class Shifted(Density):\n"
        "    def __init__(self, features, scale=1.0):\n"
        "        super().__init__(features)\n"
        "        self.scale = scale\n"
        "        self.mean = nn.Parameter(torch.zeros(features))\n"
        "    def forward(self, x):\n"
        "        return torch.distributions.Normal(self.mean, self.scale).log_prob(x).sum(-1)\n"
        "    def draw(self, n, generator):\n"
        "        noise = torch.randn(n, self.features, generator=generator, dtype=self.dtype)\n"
        "        return self.mean + self.scale * noise\n"
    )
    results = check("shifted_stranger:Shifted:scale=1.5")
    assert {result.law: result.detail for result in results if not result.passed} == {}
    assert "gradients" in {result.law for result in results}


def test_a_sampler_that_says_it_has_none_is_none():
    density = lb.create("sklearn.neighbors:KernelDensity:kernel=exponential", features=2)
    assert "samples" in density.lacks
    assert "samples" not in lb.create("sklearn.neighbors:KernelDensity", features=2).lacks
