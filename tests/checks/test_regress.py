"""The regression check: same code same verdict, a real fault is found, what cannot be compared is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lde_bench.checks import regress
from lde_bench.cli import main
from lde_bench.densities.lde import _CausalProduct
from lde_bench.densities.masked import MixtureOutputs
from lde_bench.densities.whitened import Whitened
from lde_bench.generators.latent_density import LatentDensity
from lde_bench.trials import density as density_trials


@pytest.fixture
def only(monkeypatch, tmp_path):
    """Cut the case, and its baseline, to some methods of one dataset."""

    def cut(dataset: str, *methods: str) -> Path:
        monkeypatch.setattr(regress, "CASES", {dataset: methods})
        reference = json.loads(regress.BASELINE.read_text())
        reference["content_hash"] = {dataset: reference["content_hash"][dataset]}
        kept = {method.partition(":")[0] for method in methods}
        reference["methods"] = {
            key: entry for key, entry in reference["methods"].items() if key.split()[0].partition(":")[0] in kept
        }
        path = tmp_path / "baseline.json"
        path.write_text(json.dumps(reference))
        return path

    return cut


def verdicts(capsys) -> dict[str, str]:
    return {row["method"]: row["state"] for row in json.loads(capsys.readouterr().out)["verdicts"]}


def check(baseline: Path) -> int:
    return main(["regress", "--baseline", str(baseline), "--json"])


def test_the_baseline_covers_every_method_with_a_tolerance_that_means_something():
    reference = json.loads(regress.BASELINE.read_text())
    assert len(reference["methods"]) == sum(map(len, regress.CASES.values()))
    for method, entry in reference["methods"].items():
        assert len(entry["test_nats"]) == regress.SEEDS, method
        assert regress.LEAST_EFFECT <= regress._tolerance(entry["test_nats"]) < 10, method


@pytest.mark.slow
def test_the_code_as_it_is_passes(capsys):
    assert main(["regress", "--json"]) == 0
    assert set(verdicts(capsys).values()) == {"same"}


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
    "no-log-det": (without_log_determinant, "gaussian-correlated", "lde+w", "worse"),
    "mask": (mask_that_is_not_strict, "gaussian-correlated", "made-mog", "too good"),
    "taps": (taps_that_see_their_own_input, "gaussian-correlated", "lde", "too good"),
}


@pytest.mark.parametrize("held_to_laws", [False, True], ids=["likelihood", "laws"])
@pytest.mark.parametrize(("inject", "dataset", "method", "state"), FAULTS.values(), ids=FAULTS)
def test_an_injected_fault_is_exit_code_1(only, capsys, monkeypatch, inject, dataset, method, state, held_to_laws):
    (spelled,) = (each for each in regress.CASES[dataset] if each.partition(":")[0] == method)
    baseline = only(dataset, spelled)
    inject(monkeypatch)
    if not held_to_laws:
        monkeypatch.setattr(density_trials, "trial_laws", lambda *a, **k: {})
    assert check(baseline) == 1
    (found,) = verdicts(capsys).values()
    assert found == ("failed" if held_to_laws else state)


def test_a_fault_of_a_model_of_images_moves_the_window_around_its_samples(only, capsys, monkeypatch):
    baseline = only("digits8x8", "ae+gmm:components=5")

    def draw(self, n, generator):  # codes of another density than the fitted one
        return self.autoencoder.decode(torch.randn(n, 8, generator=generator))

    monkeypatch.setattr(LatentDensity, "draw", draw)
    assert check(baseline) == 1
    assert verdicts(capsys) == {"ae+gmm K=5": "worse"}


# -- what cannot be compared -------------------------------------------------------------------------------------------


def test_a_missing_or_garbled_baseline_is_exit_code_2(only, capsys):
    path = only("scale-mixture", "gaussian")
    reference = json.loads(path.read_text())
    garbled = [
        "", "{", "[]", "null", "{}",
        json.dumps({**reference, "methods": []}),
        json.dumps({**reference, "methods": {"gaussian": {"test_nats": [1.0]}}}),
        json.dumps({**reference, "methods": {"gaussian": {"test_nats": ["a", "b"]}}}),
        json.dumps({key: value for key, value in reference.items() if key != "steps"}),
    ]  # fmt: skip
    for text in garbled:
        path.write_text(text)
        assert check(path) == 2, text
        out, err = capsys.readouterr()
        assert out == ""
        assert "is no regression baseline" in err
    path.unlink()
    assert check(path) == 2
    assert check(path.parent) == 2


@pytest.mark.parametrize("key", ["benchmark_version", "content_hash", "steps"])
def test_another_version_or_other_data_are_not_comparable_never_regressed(only, capsys, key):
    path = only("scale-mixture", "gaussian")
    reference = json.loads(path.read_text())
    path.write_text(json.dumps({**reference, key: "another"}))
    assert check(path) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert f"not comparable, its {key} is another" in err


def test_another_set_of_methods_is_not_comparable(only, capsys):
    path = only("scale-mixture", "gaussian")
    path.write_text(path.read_text().replace('"gaussian"', '"gaussian2"'))
    assert check(path) == 3
    assert "gaussian2" in capsys.readouterr().err


def test_a_trial_that_fails_is_a_regression_and_all_failing_is_nothing_measured(only, capsys, monkeypatch):
    def fail(self, batches):
        raise ValueError("no")

    path = only("scale-mixture", "gaussian", "gmm:components=3")
    monkeypatch.setattr("lde_bench.densities.gmm.GMM.prepare", fail)
    assert check(path) == 1
    assert verdicts(capsys) == {"gaussian": "same", "gmm K=3": "failed"}
    path = only("scale-mixture", "gmm:components=3")
    assert check(path) == 3


def test_a_baseline_that_could_not_be_written_is_told_before_anything_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regress, "measure", lambda *a: pytest.fail("measured in vain"))
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "baseline.json"):
        assert main(["regress", "--baseline", str(path), "--update"]) == 2
        assert "choose another path" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_update_writes_a_baseline_that_the_same_code_passes_and_refuses_a_broken_law(only, capsys, monkeypatch):
    path = only("scale-mixture", "gaussian")
    before = json.loads(path.read_text())
    path.unlink()
    assert main(["regress", "--baseline", str(path), "--update"]) == 0
    assert json.loads(path.read_text()).keys() == before.keys()
    assert check(path) == 0
    broken = {"causal": {"passed": False, "value": 1.0, "bound": 0.0}}
    monkeypatch.setattr(density_trials, "trial_laws", lambda *a, **k: broken)
    content = path.read_bytes()
    assert main(["regress", "--baseline", str(path), "--update"]) == 1
    assert path.read_bytes() == content
