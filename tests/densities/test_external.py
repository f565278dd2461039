"""Densities of a user's own: four of them, the contract and its faults, wrong models refused."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
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
from lde_bench.densities.external.origin import code_of
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
    "adapters:Diagonal": {},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder from which `adapters` can be imported."""
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


# -- four of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FOUR)
def test_a_users_class_is_created_trained_evaluated_and_described(method):
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


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adapters:Diagonal", "sklearn.mixture:GaussianMixture"])
def test_a_users_class_passes_every_law_that_applies_to_it(method):
    results = check(method)
    assert {law: result.detail for law, result in results.items() if not result.passed} == {}
    assert set(results) == {
        *("normalised", "batch_split", "permutation", "samples", "entropy", "finite", "seeds", "contract")
    }


@pytest.mark.slow
def test_a_zuko_flow_passes_the_laws_of_torch_modules_too():
    results = check("zuko.flows:NSF:transforms=1,hidden_features=[16]")
    assert {law: result.detail for law, result in results.items() if not result.passed} == {}
    assert {"gradients", "modes", "round_trip", "float64"} < set(results)


@pytest.mark.slow
def test_kernel_density_passes_the_fast_laws():
    laws = ("normalised", "batch_split", "permutation", "finite", "seeds", "contract")
    results = check("sklearn.neighbors:KernelDensity", laws=laws)
    assert [law for law, result in results.items() if not result.passed] == []
    assert len(results) == len(laws)


@pytest.mark.slow
def test_importing_zuko_leaves_the_validation_of_torch_distributions_on():
    code = (
        "import lde_bench as lb; lb.create('zuko.flows:NSF', 2)\n"
        "from torch.distributions import Distribution; assert Distribution._validate_args"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert Distribution._validate_args


@pytest.mark.parametrize("inner", ["zuko.flows:NSF", "sklearn.mixture:GaussianMixture", "adapters:Diagonal"])
def test_a_wrapper_goes_around_a_users_class(inner):
    rows = skewed_rows(400, 3, 0)
    density = lb.create(f"{inner}+w", 3).fit(rows[:300], rows[300:], steps=20)
    # Whitened, the mean of log p of a Gaussian is that of the data's own Gaussian.
    full = lb.create("gaussian", 3).fit(rows[:300]).log_prob(rows)
    if inner != "zuko.flows:NSF":
        np.testing.assert_allclose(density.log_prob(rows), full, atol=1e-2)
    assert density.sample(4, seed=0).shape == (4, 3)


# -- what fit is given -------------------------------------------------------------------------------------------------


def test_fit_is_given_what_its_signature_names():
    import adapters

    rows = skewed_rows(100, 2, 0)
    lb.create("adapters:Diagonal", 2).fit(rows, rows[:20], seed=5, steps=3, profile="standard")
    given = adapters.Diagonal.calls[-1]
    np.testing.assert_array_equal(given["train"], rows)
    assert given["train"].dtype == np.float32
    np.testing.assert_array_equal(given["validation"], rows[:20])
    assert (given["seed"], given["steps"], given["profile"]) == (5, 3, "standard")


def test_without_an_explicit_number_of_steps_a_default_stands_and_a_need_is_met():
    import adapters

    rows = skewed_rows(100, 2, 0)
    lb.create("adapters:Diagonal", 2).fit(rows)
    assert adapters.Diagonal.calls[-1]["steps"] == 7
    assert lb.create("adapters:TensorsOnly", 2).fit(rows, profile="standard").model.steps == STEPS["standard"]


def test_a_wrapped_class_sees_whitened_validation_rows():
    import adapters

    rows = skewed_rows(500, 2, 0)
    lb.create("adapters:Diagonal+w", 2).fit(rows, rows)
    given = adapters.Diagonal.calls[-1]
    np.testing.assert_allclose(given["train"], given["validation"], atol=1e-5)
    np.testing.assert_allclose(np.cov(given["validation"].T), np.eye(2), atol=0.01)


def test_a_class_that_takes_tensors_alone_gets_tensors():
    rows = skewed_rows(200, 3, 0)
    density = lb.create("adapters:TensorsOnly", 3).fit(rows)
    np.testing.assert_allclose(
        density.log_prob(rows), lb.create("adapters:Diagonal", 3).fit(rows).log_prob(rows), atol=0.1
    )
    state = torch.random.get_rng_state()
    assert np.array_equal(density.sample(5, seed=1), density.sample(5, seed=1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_random_state_is_the_seed():
    rows = skewed_rows(100, 2, 0)
    assert lb.create("adapters:Scaled", 2).fit(rows, seed=11).model.random_state == 11
    assert lb.create("adapters:Scaled:random_state=4", 2).fit(rows, seed=11).model.random_state == 4
    assert lb.create("sklearn.mixture:GaussianMixture", 2).fit(rows, seed=11).model.random_state == 11


@pytest.mark.slow
def test_our_loop_trains_a_module_whose_call_returns_a_distribution():
    rows = np.random.default_rng(0).normal(0.3, 1.5, size=(2000, 2)).astype(np.float32)
    density = lb.create("adapters:Returns", 2).fit(rows, rows[:200], steps=2000)
    best = lb.create("adapters:Diagonal", 2).fit(rows).log_prob(rows).mean()
    assert density.log_prob(rows).mean() == pytest.approx(best, abs=0.02)
    assert density.parameter_count() == 4


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    ["adapters:Scaled", "adapters:Tied", "adapters:Tied+ens", "adapters:Returns+w", "zuko.flows:NSF:transforms=1"],
)
def test_a_module_is_saved_and_loaded_to_the_bit(method, tmp_path):
    rows = skewed_rows(100, 2, 0)
    density = lb.create(method, 2).fit(rows, steps=5)
    density.save(tmp_path / "d.safetensors")
    loaded = lb.load_density(tmp_path / "d.safetensors")
    np.testing.assert_array_equal(loaded.log_prob(rows), density.log_prob(rows))
    state = density.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_tied_weights_stay_tied(tmp_path):
    density = lb.create("adapters:Tied", 2).fit(skewed_rows(100, 2, 0), steps=5)
    density.save(tmp_path / "d.safetensors")
    model = lb.load_density(tmp_path / "d.safetensors").model
    assert model.same is model.mean
    assert torch.equal(model.mean, density.model.mean)
    assert not torch.equal(model.mean, torch.zeros(2))


def test_weights_that_no_new_model_could_take_are_not_kept():
    density = lb.create("adapters:Rows", 2).fit(skewed_rows(100, 2, 0))
    assert "weights" in density.lacks
    assert np.isfinite(density.log_prob(skewed_rows(100, 2, 0))).all()


@pytest.mark.parametrize("method", ["adapters:Diagonal", "sklearn.mixture:GaussianMixture+w"])
def test_what_is_no_module_has_no_weights_to_keep(method, tmp_path):
    density = lb.create(method, 2).fit(skewed_rows(50, 2, 0))
    with pytest.raises(InputError, match="no weights to keep"):
        density.save(tmp_path / "d.safetensors")
    assert density.parameter_count() is None


# -- a sweep over K ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_number_of_components_of_scikit_learn_is_swept_as_components():
    assert takes_argument(parse_method("sklearn.mixture:GaussianMixture"), "components")
    assert not takes_argument(parse_method("zuko.flows:NSF"), "components")
    swept = expand_methods(["sklearn.mixture:GaussianMixture", "adapters:Diagonal"], [1, 3], 2)
    assert [(str(spec), k) for spec, k in swept] == [
        ("sklearn.mixture:GaussianMixture:components=1", 1),
        ("sklearn.mixture:GaussianMixture:components=3", 3),
        ("adapters:Diagonal", None),
    ]
    assert lb.create("sklearn.mixture:GaussianMixture:components=3", 2).model.n_components == 3


@pytest.mark.slow
def test_more_components_than_probe_rows_are_no_fault():
    probe(lb.create("sklearn.mixture:GaussianMixture:components=300,covariance_type=spherical", 2))


# -- the table ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_users_class_gets_laws_records_and_a_row_and_another_version_of_it_another_row(here, capsys):
    shutil.copy(HERE / "adapters.py", here / "changing_class.py")
    table = ("table", "--dataset", "ring", "--train", 300, "--validation", 50, "--test", 100, "--json", "--methods")
    code, out, _ = run(capsys, *table, "changing_class:Diagonal", "gaussian", "--trials", 2)
    rows = json.loads(out)["tables"][0]["rows"]
    assert code == 0
    assert {row["label"]: row["trials"] for row in rows} == {"changing_class:Diagonal": 2, "gaussian": 2}
    (record, other) = sorted(here.glob("results/table/*/quick/*Diagonal*.json"))
    content = json.loads(record.read_text())
    assert content["parameters"] is None
    assert content["training"]["weights"] == "none kept: no torch module"
    assert "normalised" in content["laws"]
    assert not list(here.rglob("*Diagonal*.safetensors"))
    assert not [path for path in here.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]
    # The file has changed since: the run is another one, in a process that reads it anew.
    with (here / "changing_class.py").open("a") as file:
        file.write("\n# Changed.\n")
    command = [sys.executable, "-m", "lde_bench", *map(str, table), "changing_class:Diagonal"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert len(list(here.glob("results/table/*/quick/*Diagonal*.json"))) == 3
    assert other.exists()


def test_the_name_of_a_run_of_our_own_methods_does_not_know_of_users_classes():
    data = lb.load_dataset("ring", train=50, validation=30, test=10)
    (trial,) = plan_trials("table", data, ["gaussian"], [1], 1, Budget.of(), TrainingOptions())
    assert "origin" not in trial._determines(trial.spec, data.content_hash)
    (trial,) = plan_trials("table", data, ["adapters:Diagonal"], [1], 1, Budget.of(), TrainingOptions())
    assert "code" in trial._determines(trial.spec, data.content_hash)["origin"]


# -- one class changes nothing for another -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["InPlace", "InPlaceModule", "OneBuffer"])
def test_rows_are_a_class_s_own_to_change(name):
    rows = skewed_rows(5000, 2, 0)
    kept = rows.copy()
    density = lb.create(f"adapters:{name}", 2).fit(rows, rows[:200], steps=3)
    once = density.log_prob(rows)
    np.testing.assert_array_equal(density.log_prob(rows), once)
    np.testing.assert_array_equal(np.concatenate([density.log_prob(part) for part in np.split(rows, 5)]), once)
    np.testing.assert_array_equal(rows, kept)
    tensor = torch.as_tensor(rows)
    density.fit(tensor, tensor[:200], steps=1)
    density.log_prob(tensor)
    assert torch.equal(tensor, torch.as_tensor(kept))


@pytest.mark.slow
def test_batches_of_a_density_of_our_own_kind_are_its_own_to_change(here):
    (here / "greedy_module.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from lde_bench.densities.base import Density\n"
        "class Greedy(Density):\n"
        "    def __init__(self, features):\n"
        "        super().__init__(features)\n"
        "        self.mean = nn.Parameter(torch.zeros(features))\n"
        "    def prepare(self, batches):\n"
        "        rows = batches.take(10_000)\n"
        "        rows[:] = 0\n"
        "        torch.set_default_dtype(torch.float64)\n"
        "    def forward(self, x):\n"
        "        value = torch.distributions.Normal(self.mean, 1.0).log_prob(x).sum(-1)\n"
        "        x.zero_()\n"
        "        return value\n"
    )
    data = lb.load_dataset("ring", train=100, validation=30, test=50)
    kept = data.train.copy()
    (trial,) = plan_trials("table", data, ["greedy_module:Greedy"], [1], 1, Budget.of(steps=3), TrainingOptions())
    density = trial.model()
    density.fit(trial.batches(), data.validation, steps=3)
    once = density.log_prob(data.test)
    np.testing.assert_array_equal(density.log_prob(data.test), once)
    np.testing.assert_array_equal(data.train, kept)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.slow
def test_what_a_module_sets_when_it_is_imported_holds_for_its_own_classes_alone(here):
    (here / "double_module.py").write_text(
        "import os, warnings, torch\n"
        "torch.set_default_dtype(torch.float64)\n"
        "os.environ['LDE_BENCH_MADE_UP'] = '1'\n"
        "class Double:\n"
        "    def fit(self, train):\n"
        "        assert os.environ['LDE_BENCH_MADE_UP'] == '1'\n"
        "        self.mean = torch.zeros(train.shape[1])\n"
        "        os.chdir('/')\n"
        "    def log_prob(self, x):\n"
        "        assert torch.zeros(1).dtype == self.mean.dtype == torch.float64\n"
        "        return torch.distributions.Normal(self.mean, 1.0).log_prob(torch.as_tensor(x).double()).sum(-1)\n"
    )
    density = lb.create("double_module:Double", 2).fit(skewed_rows(50, 2, 0))
    assert density.log_prob(skewed_rows(50, 2, 0)).shape == (50,)
    assert torch.get_default_dtype() == torch.float32
    assert "LDE_BENCH_MADE_UP" not in os.environ
    assert Path.cwd() == here


def test_dropout_of_a_module_that_our_loop_trains_differs_from_step_to_step(here):
    (here / "noisy_module.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Noisy(nn.Module):\n"
        "    drawn = []\n"
        "    def __init__(self, dim):\n"
        "        super().__init__()\n"
        "        self.mean = nn.Parameter(torch.zeros(dim))\n"
        "    def log_prob(self, x):\n"
        "        Noisy.drawn += [torch.rand(()).item()] if self.training else []\n"
        "        return torch.distributions.Normal(self.mean, 1.0).log_prob(x).sum(-1)\n"
    )
    density = lb.create("noisy_module:Noisy", 2)
    density.habits  # noqa: B018
    density.target.drawn.clear()
    density.fit(skewed_rows(50, 2, 0), steps=4)
    assert len(set(density.target.drawn)) == 4


def test_members_of_an_ensemble_have_weights_of_their_own(here):
    (here / "random_module.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Random(nn.Module):\n"
        "    def __init__(self, dim):\n"
        "        super().__init__()\n"
        "        self.mean = nn.Parameter(torch.randn(dim))\n"
        "    def log_prob(self, x):\n"
        "        return torch.distributions.Normal(self.mean, 1.0).log_prob(x).sum(-1)\n"
    )
    first, second = (member.model.mean for member in lb.create("random_module:Random+ens", 2).each())
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_prints_of_a_class_stay_out_of_the_json(capsys):
    data = ("--dataset", "ring", "--train", 100, "--validation", 50, "--test", 50)
    _, out, err = run(capsys, "table", *data, "--methods", "adapters:Talks", "--json")
    assert [row["label"] for row in json.loads(out)["tables"][0]["rows"]] == ["adapters:Talks"]
    assert {"made", "epoch 1, loss 3.2", "asked"} <= set(err.splitlines())


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("LeavesAtOnce", "fit raised SystemExit"),
        ("LeavesWhenMade", "its constructor raised SystemExit"),
        ("LeavesWhenAsked", "log_prob raised SystemExit"),
        ("LeavesAsModule", "log_prob raised SystemExit"),
    ],
)
def test_a_class_that_calls_sys_exit_is_a_fault_of_the_contract(name, part, capsys):
    code, out, err = run(capsys, "table", "--dataset", "ring", "--methods", f"adapters:{name}", "gaussian")
    assert (code, out) == (2, "")
    assert f"adapters:{name}: {part}" in err
    assert len(err.strip().splitlines()) == 1


def test_a_module_that_calls_sys_exit_is_one_sentence(here, capsys):
    (here / "script_module.py").write_text("import sys\nclass Model: pass\nsys.exit(0)\n")
    code, out, err = run(capsys, "table", "--dataset", "ring", "--methods", "script_module:Model")
    assert (code, out) == (2, "")
    assert "importing 'script_module' raised SystemExit" in err


@pytest.mark.slow
def test_a_class_that_calls_sys_exit_with_the_data_costs_the_others_nothing(capsys):
    data = ("--dataset", "ring", "--train", 300, "--validation", 50, "--test", 50)
    code, out, err = run(capsys, "table", *data, "--methods", "adapters:Leaves", "gaussian", "--json")
    assert code == 1
    assert "gaussian" in [row["label"] for row in json.loads(out)["tables"][0]["rows"] if row["test_nats"] is not None]
    (line,) = [line for line in err.splitlines() if line.startswith("lde-bench:")]
    assert "adapters:Leaves" in line
    assert "sys.exit(0)" in line


# -- which code it is --------------------------------------------------------------------------------------------------

FILES = {
    "hashed/__init__.py": "",
    "hashed/model.py": "import json\nfrom . import parts\nfrom hashed.more import scale\nclass Model: pass\n",
    "hashed/parts.py": "",
    "hashed/more/__init__.py": "scale = 1\n",
    "hashed/more/lazy.py": "",
    "hashed_beside.py": "",
    "hashed/unused.py": "",
    "hashed_alone.py": "import numpy, torch, lde_bench\nclass Model: pass\n",
}


def hashes(here, **edited):
    """The origin of two classes after edits, in a process that reads them anew."""
    for path, text in FILES.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text(text)
    (here / "hashed/parts.py").write_text("def late():\n    import hashed.more.lazy, hashed_beside\n")
    for path, text in edited.items():
        (here / path).write_text(text)
    for name in [name for name in sys.modules if name.startswith("hashed")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, str(here))
    try:
        modules = [importlib.import_module(name) for name in ("hashed.model", "hashed_alone")]
        return [code_of(module.Model) for module in modules]
    finally:
        sys.path.remove(str(here))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("hashed/model.py", True),
        ("hashed/parts.py", True),
        ("hashed/more/__init__.py", True),
        ("hashed/more/lazy.py", True),
        ("hashed_beside.py", True),
        ("hashed/unused.py", False),
    ],
)
def test_the_origin_is_that_of_every_file_that_a_class_imports_from_its_project(here, path, counts):
    before, alone = hashes(here)
    text = FILES[path] if path != "hashed/parts.py" else (here / path).read_text()
    after, _ = hashes(here, **{path: text + "# Edited.\n"})
    assert (after != before) == counts
    assert alone == hashlib.sha256(FILES["hashed_alone.py"].encode()).hexdigest()[:12]


def test_a_class_of_an_installed_package_is_known_by_its_version_and_its_file():
    from sklearn.mixture import GaussianMixture
    from sklearn.mixture import _gaussian_mixture as module

    own = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:12]
    assert code_of(GaussianMixture) == f"scikit-learn {importlib.metadata.version('scikit-learn')}, {own}"


# -- wrong models ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("method", "law"), [("BatchMean", "batch_split"), ("Unnormalised", "normalised")])
def test_an_outright_wrong_model_is_refused_and_the_law_is_named(method, law, capsys):
    data = ("--dataset", "ring", "--train", 300, "--validation", 50, "--test", 100)
    code, out, err = run(capsys, "table", *data, "--methods", f"adapters:{method}")
    assert code == 1
    assert f"breaks the law '{law}'" in out
    assert law in err
    code, out, err = run(capsys, "check", f"adapters:{method}")
    assert code == 1
    assert f"adapters:{method}: {law}" in err


# -- faults of the contract --------------------------------------------------------------------------------------------

FAULTS = {
    "nowhere_at_all:Model": "there is no module 'nowhere_at_all'",
    "adapters:Diagonel": "has no class 'Diagonel'; did you mean 'Diagonal'",
    "adapters:a_function": "is a function; name a class",
    "adapters:NoFit": "has no fit",
    "adapters:NoDensity": "has neither log_prob nor score_samples",
    "adapters:NeedsMore": "its constructor needs 'folder'",
    "adapters:Explodes": "its constructor raised OSError: no licence",
    "adapters:NeedsLabels": "fit needs the argument 'labels'",
    "adapters:NoRows": "fit takes no training array",
    "adapters:TakesAnyNumber": "fit needs the argument 'epochs'",
    "adapters:OfTheClass": "log_prob returns complex numbers",
    "adapters:Stumbles": "fit raised RuntimeError: no convergence on 256 synthetic rows",
    "adapters:PerFeature": r"log_prob should return one log-density per row, shape \[5\] for 5 rows, got \[5, 2\]",
    "adapters:NotANumber": "log_prob is NaN or infinite on 5 of 5",
    "adapters:Words": "log_prob should return log-densities",
    "adapters:NarrowSamples": r"sample\(3\) should return 3 rows of 2",
    "adapters:NoDistribution": "its call returned a Tensor without log_prob",
    "adapters:NoGradient": "has no gradient, so our loop cannot train it",
    "adapters:Diagonal:widht=2": "no argument 'widht'; did you mean 'width'",
    "zuko.flows:NSF:bins=4,features=3": "has no argument 'features'",
}


@pytest.mark.slow
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
    (here / "broken_module.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match="importing 'broken_module' raised ZeroDivisionError"):
        lb.create("broken_module:Model", 2)
    (here / "needy_module.py").write_text("import something_not_there\n")
    with pytest.raises(InputError, match="module 'needy_module' needs 'something_not_there'"):
        lb.create("needy_module:Model", 2)


def test_a_fault_is_found_by_fit_before_it_sees_the_data():
    with pytest.raises(InputError, match="NaN or infinite"):
        lb.create("adapters:NotANumber", 2).fit(skewed_rows(20, 2, 0))


# -- entry points and densities of our own kind ------------------------------------------------------------------------


@pytest.mark.slow
def test_entry_points_are_methods_by_their_plain_name(monkeypatch, capsys):
    brought = {"brought": "adapters:Diagonal", "broken": "nowhere_at_all:Model", "lde": "adapters:NoFit"}
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


@pytest.mark.slow
def test_a_density_of_our_own_kind_in_a_file_of_the_users_works_as_it_is(here):
    (here / "shifted_module.py").write_text(
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
    results = check("shifted_module:Shifted:scale=1.5")
    assert {law: result.detail for law, result in results.items() if not result.passed} == {}
    assert "gradients" in results


def test_a_sampler_that_says_it_has_none_is_none():
    density = lb.create("sklearn.neighbors:KernelDensity:kernel=exponential", features=2)
    assert "samples" in density.lacks
    assert "samples" not in lb.create("sklearn.neighbors:KernelDensity", features=2).lacks
