"""The regression check: same code same verdict, a real fault is found, what cannot be compared is said."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lde_bench.checks import baseline as baselines
from lde_bench.checks import regress
from lde_bench.cli import main
from lde_bench.cli.app import app
from lde_bench.densities.lde import _CausalProduct
from lde_bench.densities.masked import MixtureOutputs
from lde_bench.densities.whitened import Whitened
from lde_bench.generators.latent_density import LatentDensity
from lde_bench.trials import density as density_trials

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def only(tmp_path) -> Callable[..., Path]:
    """Cut the package's own baseline to some methods of one dataset."""

    def cut(dataset: str, *methods: str) -> Path:
        reference = json.loads(regress.BASELINE.read_text())
        (case,) = (each for each in reference["cases"] if each["data"]["name"] == dataset)
        case["case"]["methods"] = list(methods)
        case["rows"] = {title: row for title, row in case["rows"].items() if row["method"] in methods}
        assert len(case["rows"]) == len(methods)
        path = tmp_path / "baseline.json"
        path.write_text(json.dumps({**reference, "cases": [case]}))
        return path

    return cut


def verdicts(capsys) -> dict[str, str]:
    return {row["method"]: row["state"] for row in json.loads(capsys.readouterr().out)["verdicts"]}


def check(baseline: Path, *arguments: object) -> int:
    return main(["regress", "--baseline", str(baseline), "--json", *map(str, arguments)])


def without_laws(monkeypatch) -> None:
    monkeypatch.setattr(density_trials, "trial_laws", lambda *a, **k: {})


# -- the package's own case --------------------------------------------------------------------------------------------


def test_the_baseline_covers_every_method_with_a_tolerance_that_means_something():
    reference = baselines.read_baseline(regress.BASELINE)
    assert [measured.case for measured in reference.cases] == list(regress.CASES)
    assert reference.protocol == baselines.Protocol(regress.STEPS)
    for measured in reference.cases:
        assert {row.method for row in measured.rows.values()} == set(measured.case.methods)
        for title, row in measured.rows.items():
            assert len(row.test_nats) == baselines.SEEDS, title
            assert regress.LEAST_EFFECT <= regress.tolerance(row.test_nats) < 10, title


def test_a_folder_of_data_is_for_those_cases_that_are_made_of_files(only, capsys, tmp_path, monkeypatch):
    assert check(only("scale-mixture", "gaussian"), "--data-dir", tmp_path) == 2
    assert "none of the data is made of files" in capsys.readouterr().err
    given: list[tuple[str, Path | None]] = []
    monkeypatch.setattr(regress, "load_data", lambda file, name, **how: given.append((name, how["data_dir"])))
    regress.Asked(data_dir=tmp_path).load([regress.Case([], [], dataset=name) for name in ("scale-mixture", "mnist")])
    assert given == [("scale-mixture", None), ("mnist", tmp_path)]


@pytest.mark.slow  # the whole case takes four times as long: `.ci/run` runs it
@pytest.mark.parametrize("case", regress.CASES[1:], ids=lambda case: case.dataset)
def test_the_code_as_it_is_passes(only, capsys, case):
    methods = [method for method in case.methods if method != "vae"]
    assert check(only(case.dataset, *methods)) == 0
    states = verdicts(capsys)
    assert len(states) == len(methods)
    assert set(states.values()) == {"same"}


@pytest.mark.parametrize("option", ["--steps", "--K", "--train"])
def test_the_own_case_is_not_bent(capsys, option):
    for update in ([], ["--update"]):
        assert main(["regress", option, "7", *update]) == 2
        assert "name --methods and --dataset or --data" in capsys.readouterr().err


def test_the_check_prints_a_table_at_full_width(only, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["regress", "--baseline", str(only("scale-mixture", "gaussian"))]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("gaussian"))
    assert row.split()[-1] == "same"


# -- real faults; the laws that each trial is held to are put aside, so that the likelihood alone must tell ------------


def without_log_determinant(monkeypatch):
    monkeypatch.setattr(Whitened, "_log_scales", lambda self: torch.zeros(self.features))


def mask_that_is_not_strict(monkeypatch):
    own = MixtureOutputs.__init__

    def init(self, sources, features, components):
        own(self, sources, features, components)
        targets = torch.arange(1, features + 1).repeat_interleave(3 * components)
        self.mask.copy_((sources[None] <= targets[:, None]).to(self.mask))

    monkeypatch.setattr(MixtureOutputs, "__init__", init)


def taps_that_see_their_own_input(monkeypatch):
    own = _CausalProduct.apply

    def shifted(h, *rest):
        return own(torch.cat([h[1:], h[-1:]]) if h.shape[-1] == 2 else h, *rest)

    monkeypatch.setattr(_CausalProduct, "apply", shifted)


FAULTS = {
    "no-log-det": (without_log_determinant, "lde+w:components=3", "worse"),
    "mask": (mask_that_is_not_strict, "made-mog:components=3,hidden=128", "too good"),
    "taps": (taps_that_see_their_own_input, "lde:components=3", "too good"),
}


@pytest.mark.slow
@pytest.mark.parametrize("held_to_laws", [False, True], ids=["likelihood", "laws"])
@pytest.mark.parametrize(("inject", "method", "state"), FAULTS.values(), ids=FAULTS)
def test_an_injected_fault_is_exit_code_1(only, capsys, monkeypatch, inject, method, state, held_to_laws):
    baseline = only("gaussian-correlated", method)
    inject(monkeypatch)
    if not held_to_laws:
        without_laws(monkeypatch)
    assert check(baseline) == 1
    (found,) = verdicts(capsys).values()
    assert found == ("failed" if held_to_laws else state)


@pytest.mark.slow
def test_a_fault_of_a_model_of_images_moves_the_window_around_its_samples(only, capsys, monkeypatch):
    baseline = only("digits8x8", "ae+gmm:components=5")

    def draw(self, n, generator):  # codes of another density than the fitted one
        return self.autoencoder.decode(torch.randn(n, 8, generator=generator))

    monkeypatch.setattr(LatentDensity, "draw", draw)
    assert check(baseline) == 1
    assert verdicts(capsys) == {"ae+gmm K=5": "worse"}


# -- models and data of a user's own -----------------------------------------------------------------------------------

OWN = '''
"""A Gaussian; `width` is by how much its standard deviation is off, `wobble` by how much it is so by seed."""
import math
import torch

width = 1.0
wobble = 0.0
fault = ""

class Normal:
    def fit(self, train, seed):
        if fault == "fit":
            raise ValueError("no data like these")
        drawn = torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        self.mean = train.mean(0)
        self.scale = train.std(0) * width * (1 + wobble * drawn)

    def log_prob(self, x):
        z = (x - self.mean) / self.scale
        missing = 0.0 if fault == "law" else 0.5 * math.log(2 * math.pi)
        return (-0.5 * z**2 - torch.as_tensor(self.scale).log().numpy() - missing).sum(1)

class Flawed(Normal):
    def log_prob(self, x):
        return super().log_prob(x)[:, None]
'''


class Project:
    """The folder of a user: a module, a file of data, a baseline."""

    def __init__(self, folder: Path, module: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.module, self.capsys = folder, module, capsys
        self.method, self.flawed = f"{module}:Normal", f"{module}:Flawed"
        self.data = folder / "numbers.npz"
        self.write_data()
        self.baseline = folder / "lde-bench-baseline.json"
        self.held_to_laws = False  # they cost more than the fit of a Gaussian

    def write_data(self, seed: int = 0) -> None:
        draw = np.random.default_rng(seed).normal
        np.savez(self.data, train=draw(size=(300, 1)), validation=draw(size=(50, 1)), test=draw(size=(200, 1)))

    def run(self, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main(["regress", *map(str, arguments)])
        return code, *self.capsys.readouterr()

    def make(self, *arguments: object, methods: tuple[str, ...] = ()) -> None:
        """Measure the baseline of the user's class, and perhaps others."""
        code, _, err = self.run("--methods", self.method, *methods, "--data", self.data, "--update", *arguments)
        assert code == 0, err

    def check(self, *arguments: object) -> tuple[int, dict[str, str], str]:
        """Run what the baseline says; the states."""
        code, out, err = self.run("--baseline", self.baseline, "--json", *arguments)
        rows = json.loads(out)["verdicts"] if out else []
        return code, {row["method"]: row["state"] for row in rows}, err

    @property
    def content(self) -> Any:
        return json.loads(self.baseline.read_text())

    def change(self, **values: object) -> None:
        """Change the class as an edit of its file would."""
        for name, value in values.items():
            setattr(sys.modules[self.module], name, value)


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> str:
    """The folder of a user's module: one for all tests, as a process reads a file once."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "own_normal.py").write_text(OWN)
    return str(folder)


@pytest.fixture
def project(tmp_path, module, monkeypatch, capsys) -> Iterator[Project]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(module)
    made = Project(tmp_path, "own_normal", capsys)
    laws = density_trials.trial_laws
    monkeypatch.setattr(
        density_trials, "trial_laws", lambda *given, **named: laws(*given, **named) if made.held_to_laws else {}
    )
    yield made
    if made.module in sys.modules:
        made.change(width=1.0, wobble=0.0, fault="")


@pytest.mark.slow
def test_the_baseline_alone_says_what_ci_runs(project):
    project.held_to_laws = True
    project.make("--steps", 20, methods=("gaussian", "gmm"))
    assert project.check()[:2] == (0, {project.method: "same", "gaussian": "same", "gmm K=10": "same"})
    (case,) = project.content["cases"]
    assert case["case"] == {
        "methods": [project.method, "gaussian", "gmm"],
        "components": [10],
        "dataset": None,
        "file": "numbers.npz",
        "sizes": {},
    }
    assert case["data"]["sizes"] == {"train": 300, "validation": 50, "test": 200}
    assert project.content["protocol"]["steps"] == 20
    assert all(len(row["seeds"]) == len(set(row["seeds"])) == 5 for row in case["rows"].values())
    assert re.search(r"[0-9a-f]{12}$", case["rows"][project.method]["code"])
    assert case["rows"]["gaussian"]["code"] is None


def test_the_same_command_without_update_finds_the_file_that_update_wrote(project):
    command = ("--methods", project.method, "--data", project.data)
    code, _, err = project.run(*command)
    assert code == 2
    assert "lde-bench-baseline.json: there is no such baseline" in err
    assert "--update" in err
    assert project.run(*command, "--update")[0] == 0
    code, out, _ = project.run(*command)
    assert code == 0
    assert out.split()[-1] == "same"


@pytest.mark.parametrize(("before", "after", "state"), [(1.0, 1.5, "worse"), (1.5, 1.0, "too good")])
def test_too_low_and_too_high_are_both_regressions(project, before, after, state):
    project.make("--trials", 3)
    project.change(width=before)
    project.make("--trials", 3)
    project.change(width=after)
    code, states, err = project.check()
    assert (code, states) == (1, {project.method: state})
    assert f"{project.method} ({state})" in err


@pytest.mark.slow
def test_a_change_within_the_spread_over_seeds_is_the_same_and_more_seeds_see_more(project):
    project.make("--trials", 3)
    project.change(wobble=0.5)
    project.make("--trials", 8)
    values = project.content["cases"][0]["rows"][project.method]["test_nats"]
    assert statistics.stdev(values) > 0.02
    project.change(width=1.15)
    assert project.check()[:2] == (0, {project.method: "same"})
    assert project.check("--trials", 8)[:2] == (1, {project.method: "worse"})
    code, _, err = project.check("--trials", 9)
    assert code == 2
    assert "has 8 seeds" in err


def test_the_tolerance_asks_for_more_where_fewer_seeds_tell_the_spread():
    five, three, ten = [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0], [float(i) for i in range(10)]
    in_deviations = [regress.tolerance(values) / statistics.stdev(values) for values in (three, five, ten)]
    assert in_deviations == pytest.approx([8.94, 5.0, 3.83], abs=0.01)
    assert regress.tolerance(five, again=4) == pytest.approx(regress.tolerance(five) / 2)
    assert regress.tolerance([1.0, 1.0, 1.0]) == regress.LEAST_EFFECT


def test_harmless_changes_are_called_regressions_as_rarely_as_the_tolerance_says():
    draws = np.random.default_rng(0).normal(size=(2000, 11))
    for seeds in (3, 5, 10):
        false = [abs(row[10] - row[0]) > regress.tolerance(row[:seeds].tolist()) for row in draws]
        assert 0.01 < np.mean(false) < 0.04, seeds  # 2.4 %, were the first seed no part of the spread


def test_other_data_are_not_comparable_and_a_moved_file_is_the_same(project):
    project.make("--trials", 3)
    moved = project.folder / "elsewhere" / "renamed.npz"
    moved.parent.mkdir()
    project.data.rename(moved)
    code, _, err = project.check()
    assert code == 2
    assert "numbers.npz: there is no such file" in err
    assert project.check("--data", moved)[:2] == (0, {project.method: "same"})
    project.write_data(seed=1)
    code, states, err = project.check()
    assert (code, states) == (3, {})
    assert "the content hash of numbers is" in err
    assert "--update" in err
    code, _, err = project.check("--dataset", "ring")
    assert code == 3
    assert "the dataset is numbers there and ring now" in err


def test_the_baseline_finds_its_data_from_any_folder(project, monkeypatch):
    project.make("--trials", 3, "--baseline", "deep/folder/b.json", "--K", 3)
    other = project.folder / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    project.baseline = project.folder / "deep" / "folder" / "b.json"
    assert project.content["cases"][0]["case"]["file"] == "../../numbers.npz"
    assert project.check()[:2] == (0, {project.method: "same"})


def test_another_protocol_or_other_methods_are_not_comparable(project):
    project.make("--trials", 3, "--steps", 20, methods=("gaussian",))
    for arguments, told in {
        ("--steps", "21"): "the protocol's steps is 20 there and 21 now",
        ("--test", "199"): "the number of test rows of numbers is 200 there and 199 now",
        ("--methods", "gaussian"): f"the baseline alone has {project.method}",
        ("--methods", project.method, "gaussian", "gmm"): "the baseline has no gmm K=10",
    }.items():
        code, states, err = project.check(*arguments)
        assert (code, states) == (3, {}), arguments
        assert "not comparable" in err
        assert told in err
        assert "measure it anew by the same command with --update" in err
    code, states, err = project.check("--methods", "gausian", project.method)
    assert (code, states) == (2, {})
    assert "did you mean 'gaussian'" in err


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (("benchmark_version",), "the benchmark version is another there and 1 now"),
        (("protocol", "precision"), "the protocol's precision is another there and fp32 now"),
        (("cases", 0, "data", "version"), "the version of scale-mixture is another there and 1 now"),
        (("cases", 0, "data", "content_hash"), "the content hash of scale-mixture is another there and 672f"),
    ],
)
def test_another_version_or_other_data_are_not_comparable_never_regressed(only, capsys, place, told):
    path = only("scale-mixture", "gaussian")
    reference = part = json.loads(path.read_text())
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = "another"
    path.write_text(json.dumps(reference))
    assert check(path) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err


def test_other_seeds_are_not_comparable(only, capsys):
    path = only("scale-mixture", "gaussian")
    path.write_text(path.read_text().replace('"seeds": [5', '"seeds": [4'))
    assert check(path) == 3
    assert "the seeds of gaussian are others now" in capsys.readouterr().err


def test_other_code_of_the_class_is_no_bar_and_is_told_where_a_figure_moved(project):
    project.make("--trials", 3)
    content = project.content
    content["cases"][0]["rows"][project.method]["code"] = "000000000000"
    content["packages"]["torch"] = "1.0"
    project.baseline.write_text(json.dumps(content))
    code, states, err = project.check()
    assert (code, states) == (0, {project.method: "same"})
    assert "changed" not in err
    project.change(width=2.0)
    code, _, err = project.check()
    assert code == 1
    assert "since the baseline, torch 1.0 became" in err
    assert f"the code of {project.method} changed" in err


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["fit", "law", "gone"])
def test_a_class_that_fails_breaks_a_law_or_is_gone_is_failed(project, fault):
    project.make("--trials", 3, methods=("gaussian",))
    if fault == "gone":
        name = project.method
        project.baseline.write_text(project.baseline.read_text().replace(name, f"{name}Old"))
        project.method = f"{name}Old"
    else:
        project.held_to_laws = fault == "law"
        project.change(fault=fault)
    code, states, err = project.check()
    assert (code, states) == (1, {project.method: "failed", "gaussian": "same"})
    reason = {"fit": "no data like these", "law": "it breaks the law", "gone": "has no class 'NormalOld'"}[fault]
    assert reason in project.run("--baseline", project.baseline)[1]
    assert f"{project.method} (failed)" in err


@pytest.mark.parametrize("fault", ["fit", "gone"])
def test_nothing_finished_is_exit_code_3(project, fault):
    project.make("--trials", 3)
    if fault == "gone":
        project.baseline.write_text(project.baseline.read_text().replace(project.method, "no_such_module:Normal"))
    else:
        project.change(fault=fault)
    code, states, err = project.check()
    assert code == 3
    assert set(states.values()) == {"failed"}
    assert "no trial finished" in err


def test_a_faulty_class_or_bad_input_is_exit_code_2_before_anything_is_trained(project, monkeypatch):
    monkeypatch.setattr(regress, "_run", lambda *a: pytest.fail("trained in vain"))
    for arguments, told in {
        ("--methods", project.flawed, "--data", project.data): "one log-density per row",
        ("--methods", "gausian", "--data", project.data): "did you mean 'gaussian'",
        ("--methods", "vae", "--data", project.data): "vae is a model of images",
        ("--methods", "gaussian"): "name the data once",
        ("--data", project.data): "no method is named",
        ("--methods", "gaussian", "--data", project.data, "--dataset", "ring"): "name the data once",
        ("--methods", "gaussian", "--data", project.data, "--trials", "2"): "give --trials 3 or more",
        ("--methods", "gaussian", "--data", project.data, "--trials", "0"): "not a whole number from 1 up",
        ("--methods", "gaussian", "--data", project.data, "--steps", "0"): "not a whole number from 1 up",
        ("--methods", "gaussian", "--data", "absent.npz"): "there is no such file",
    }.items():
        code, out, err = project.run(*arguments, "--update")
        assert (code, out) == (2, ""), arguments
        assert told in err
        assert len(err.strip().splitlines()) == 1
        assert not project.baseline.exists()


@pytest.mark.slow
def test_models_of_images_are_told_by_what_they_are_beside_densities_of_the_same_rows(project, monkeypatch):
    monkeypatch.setattr(baselines.Protocol, "samples", 50)
    command = ("--dataset", "digits8x8", "--train", 100, "--validation", 30, "--test", 30, "--steps", 5, "--trials", 3)
    code, out, err = project.run("--methods", "train-samples", "made-mog:hidden=8", *command, "--update", "--json")
    assert code == 0, err
    assert [row["method"] for row in json.loads(out)["rows"]] == ["train-samples", "made-mog:hidden=8 K=10"]
    assert project.check()[:2] == (0, {"train-samples": "same", "made-mog:hidden=8 K=10": "same"})


# -- updating ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_update_keeps_what_is_not_given_and_says_what_it_replaces(project):
    project.make("--trials", 3, "--steps", 20)
    code, _, err = project.run("--baseline", project.baseline, "--update")
    assert code == 0
    assert "replaces" not in err
    before = project.content
    code, _, err = project.run("--methods", "gaussian", project.method, "--update")
    assert code == 0
    assert f"replaces the baseline of {project.method} on numbers." in err
    assert project.content["protocol"] == before["protocol"]
    (case,) = project.content["cases"]
    assert case["data"] == before["cases"][0]["data"]
    assert case["rows"][project.method] == before["cases"][0]["rows"][project.method]
    assert len(case["rows"]["gaussian"]["seeds"]) == 3
    # A command that names both is complete: it measures the same whatever was there.
    project.make(methods=("gaussian",))
    assert project.content["protocol"]["steps"] is None
    assert len(project.content["cases"][0]["rows"]["gaussian"]["seeds"]) == 5


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "code"), [("law", 1), ("fit", 3)])
def test_update_leaves_a_good_baseline_when_a_model_fails_or_breaks_a_law(project, fault, code):
    project.make("--trials", 3, methods=("gaussian",))
    before = project.baseline.read_bytes()
    project.held_to_laws = fault == "law"
    project.change(fault=fault)
    found, out, err = project.run("--baseline", project.baseline, "--update")
    assert (found, out) == (code, "")
    assert f"no baseline is written: {project.method}, trial 1: " in err
    assert project.baseline.read_bytes() == before
    assert {path.name for path in project.folder.iterdir() if path.suffix == ".json"} == {project.baseline.name}


def test_update_replaces_no_file_that_is_no_baseline(project):
    project.baseline.write_text('{"precious": 1}')
    code, _, err = project.run("--methods", "gaussian", "--data", project.data, "--update")
    assert code == 2
    assert "is no regression baseline" in err
    assert project.content == {"precious": 1}


@pytest.mark.slow
def test_update_without_a_case_measures_that_of_the_package(project, monkeypatch):
    case = baselines.Case(["gaussian"], [], dataset="ring", sizes={"train": 100, "validation": 30, "test": 30})
    monkeypatch.setattr(regress, "CASES", (case,))
    monkeypatch.setattr(regress, "BASELINE", project.folder / "own.json")
    assert project.run("--update")[0] == 0
    made = baselines.read_baseline(regress.BASELINE)
    assert [measured.case for measured in made.cases] == [case]
    assert (made.protocol.steps, made.seeds) == (regress.STEPS, baselines.SEEDS)
    assert project.run()[0] == 0
    assert project.run("--baseline", "copy.json", "--update")[0] == 0
    copy = baselines.read_baseline(project.folder / "copy.json")
    assert (copy.cases, copy.protocol) == (made.cases, made.protocol)


def test_a_baseline_that_could_not_be_written_is_told_before_anything_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regress, "_run", lambda *a: pytest.fail("measured in vain"))
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "baseline.json"):
        assert main(["regress", "--baseline", str(path), "--update"]) == 2
        assert "choose another path" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


# -- files that are no baseline ----------------------------------------------------------------------------------------


def test_a_missing_or_garbled_baseline_is_exit_code_2(only, capsys):
    path = only("scale-mixture", "gaussian")
    text = path.read_text()
    reference = json.loads(text)
    (case,) = reference["cases"]
    row = case["rows"]["gaussian"]

    def with_row(**changes: object) -> str:
        return json.dumps({**reference, "cases": [{**case, "rows": {"gaussian": {**row, **changes}}}]})

    garbled = [
        "", "{", "[]", "null", "{}", "[" * 100_000,
        json.dumps({**reference, "cases": []}),
        json.dumps({**reference, "cases": [{**case, "rows": {}}]}),
        with_row(test_nats=[1.0]),
        with_row(test_nats=row["test_nats"][:2], seeds=row["seeds"][:2]),
        with_row(test_nats=["a"] * 5),
        with_row(test_nats=[float("nan")] * 5),
        json.dumps({key: value for key, value in reference.items() if key != "protocol"}),
    ]  # fmt: skip
    for content in garbled:
        path.write_text(content)
        assert check(path) == 2, content
        out, err = capsys.readouterr()
        assert out == ""
        assert "is no regression baseline" in err
        assert len(err.strip().splitlines()) == 1
    path.unlink()
    assert check(path) == 2
    assert check(path.parent) == 2


# -- the page to copy from ---------------------------------------------------------------------------------------------


def test_every_command_of_the_page_on_ci_is_one():
    page = (REPOSITORY / "docs" / "ci.md").read_text()
    commands = re.findall(r"(?:^|run: |bin/)lde-bench (regress.*?)(?:  #.*)?$", page.replace("\\\n", " "), re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        _, bound, _ = app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)
        assert bound.signature.parameters["baseline"], command
    for code in range(4):
        assert f"| {code} |" in page
