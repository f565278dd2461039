"""A changed protocol changes the benchmark version, and old records are then not comparable anywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from shown import build_tables

import lde_bench as lb
from lde_bench.checks.compare import compare
from lde_bench.errors import InputError
from lde_bench.runs import ResultStore
from lde_bench.runs.find import find_side
from lde_bench.training.plan import Budget
from lde_bench.trials import density as density_trials
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import plan_trials, run_density_trial


@pytest.fixture
def two_versions(tmp_path, monkeypatch):
    """The same trial under the version before and under this one, in one folder of results."""
    data = lb.load_dataset("gaussian-correlated", train=300, validation=40, test=60)
    store = ResultStore(tmp_path / "results")

    def run():
        (trial,) = plan_trials("bsds300", data, ["gaussian"], [], 1, Budget.of(), TrainingOptions(device="cpu"))
        return run_density_trial(trial, store)

    with monkeypatch.context() as patch:
        patch.setattr(density_trials, "BENCHMARK_VERSION", "0")
        old = replace(run(), benchmark_version="0")
    return store, store.write(old), store.write(run())


def test_the_same_run_under_another_version_is_another_run_and_is_not_reused(two_versions):
    store, old, new = two_versions
    assert old.run_id != new.run_id
    assert old.result == new.result
    assert len(store.load()) == 2


def test_tables_comparisons_and_data_frames_keep_versions_apart(two_versions):
    store, old, new = two_versions
    assert [table.benchmark_version for table in build_tables([old, new])] == ["0", "1"]
    assert all(len(table.rows) == 1 for table in build_tables([old, new]))
    frame = lb.load_results(store.folder)
    assert frame.groupby("benchmark_version").size().to_dict() == {"0": 1, "1": 1}
    assert find_side("gaussian", store.folder).record == new
    with pytest.raises(InputError, match=r"not comparable: .*benchmark version 0\), .*benchmark version 1\)"):
        compare(find_side(old.run_id, store.folder), find_side(new.run_id, store.folder))
