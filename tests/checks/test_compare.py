"""`lde-bench compare` on records made here."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lde_bench.checks.compare import compare
from lde_bench.cli import main
from lde_bench.errors import InputError, LawBroken, NothingMeasured
from lde_bench.evaluation.statistics import GroupMeans, naive_standard_error
from lde_bench.runs import Record, ResultStore
from lde_bench.runs.find import find_side

GROUPS = np.repeat(np.arange(30), 40)

#: A dataset whose items are independent.
RING = {"name": "ring"}


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results")


@pytest.fixture
def put(store):
    """Write the record of a trial with these log-likelihoods [n], and by default the items beside it."""

    def write(method: str, items: np.ndarray, *, groups: np.ndarray | None = GROUPS, keep: bool = True, **changes: Any):
        photographs = None
        if groups is not None:
            means = GroupMeans.from_items(items, groups)
            photographs = asdict(means)
        components, trial = changes.pop("components", 10), changes.pop("trial", 0)
        dataset = {"name": "bsds300", "version": "1", "content_hash": "ab" * 32, "seed": 0, **changes.pop("data", {})}
        content = {
            "experiment": "bsds300",
            "run_id": changes.pop("run_id", f"bsds300-{method}-K{components}-t{trial}"),
            "status": "done",
            "reason": None,
            "method": method,
            "components": components,
            "trial": trial,
            "parameters": 1,
            "dataset": {"sizes": {"train": 10, "validation": 10, "test": len(items)}, **dataset},
            "budget": {"profile": "quick", "steps": None, "seconds": None, "machine_dependent": False},
            "training": {},
            "seeds": {"trial": trial},
            "result": {
                "test_nats": float(np.mean(items)),
                "validation_nats": 0.0,
                "test_standard_error_naive": 1.0,
                "test_standard_error_clustered": None,
                "best_step": 1,
                "groups": photographs,
            },
        }
        record = store.write(Record.from_dict({**content, **changes}))
        if keep:
            store.paths(record).save_log_likelihoods(items)
        return store.paths(record).record

    return write


def likelihoods(seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Items of hard and easy photographs; representable in float32, as they are kept."""
    generator = np.random.default_rng(seed)
    hardness = np.random.default_rng(99).normal(150, 30, 30)
    values = hardness[GROUPS] + generator.normal(shift, 1, 30)[GROUPS] + generator.normal(0, 5, len(GROUPS))
    return values.astype(np.float32).astype(np.float64)


def test_the_comparison_is_that_of_the_items(store, put):
    first, second = likelihoods(1), likelihoods(2, shift=5)
    put("lde+w", first)
    put("nsf", second, components=None)
    told = compare(find_side("lde+w", store.folder), find_side("nsf", store.folder))
    each = first - second
    assert told.difference == pytest.approx(each.mean(), abs=1e-10)
    assert told.standard_error_naive == pytest.approx(naive_standard_error(each), rel=1e-10)
    assert told.standard_error_clustered == pytest.approx(GroupMeans.from_items(each, GROUPS).standard_error, rel=1e-9)
    assert (told.items, told.photographs) == (1200, 30)
    low, high = told.interval
    assert low < told.difference < high < 0
    assert told.verdict == f"Of these trained models that of nsf is better by {-each.mean():.3f} nats (p < 0.001)"
    assert told.about == "models"


def test_the_other_way_round_the_signs_change_and_the_winner_stays(store, put):
    put("a", likelihoods(1))
    put("b", likelihoods(2, shift=5))
    a, b = (find_side(name, store.folder) for name in "ab")
    one, other = compare(a, b), compare(b, a)
    assert other.difference == -one.difference
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]), abs=0.05)
    assert other.verdict == one.verdict.replace("a K", "b K")
    assert one.verdict.startswith("Of these trained models that of b K=10 is better")


def test_where_photographs_disagree_no_difference_is_shown_although_the_naive_error_would_have_it(store, put):
    first = likelihoods(1)
    by_photograph = np.tile([-4.0, 4.0], 15) + 1.0  # 1 +- 0.74 by photograph, 1 +- 0.12 taken as independent
    put("a", first)
    put("b", first - by_photograph[GROUPS])
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert told.difference == pytest.approx(1.0, abs=1e-6)
    assert told.difference > 5 * told.standard_error_naive
    assert told.verdict == f"No difference could be shown between these trained models (p = {told.p_value:.3f})"
    assert told.interval[0] < 0 < told.interval[1]


def test_trials_of_a_method_are_averaged_by_item_and_by_photograph(store, put):
    first, again, other = likelihoods(1), likelihoods(2), likelihoods(3)
    put("a", first)
    put("a", again, trial=1)
    put("b", other)
    side = find_side("a", store.folder)
    assert len(side.trials) == 2
    told = compare(side, find_side("b", store.folder))
    each = (first + again) / 2 - other
    assert told.difference == pytest.approx(each.mean(), abs=1e-10)
    assert told.standard_error_naive == pytest.approx(naive_standard_error(each), rel=1e-10)
    assert told.standard_error_clustered == pytest.approx(GroupMeans.from_items(each, GROUPS).standard_error, rel=1e-9)
    assert any("2 trials and 1 trial" in note for note in told.notes)


def test_a_verdict_on_methods_counts_the_spread_over_seeds(store, put):
    """One seed says that a is better, the next that b is: two of each say nothing."""
    base = likelihoods(1)
    for trial, (of_a, of_b) in enumerate([(0.1, 0.0), (-0.1, 0.1)]):
        put("a", base + of_a, trial=trial)
        put("b", base + of_b, trial=trial)
    one = compare(find_side("bsds300-a-K10-t0", store.folder), find_side("bsds300-b-K10-t0", store.folder))
    other = compare(find_side("bsds300-a-K10-t1", store.folder), find_side("bsds300-b-K10-t1", store.folder))
    assert one.verdict.startswith("Of these trained models that of a K=10 is better by 0.100 nats (p < 0.001)")
    assert other.verdict.startswith("Of these trained models that of b K=10 is better by 0.200 nats (p < 0.001)")
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert told.about == "methods"
    assert told.verdict == f"No difference could be shown (p = {told.p_value:.3f})"
    assert told.standard_error == pytest.approx(math.sqrt(0.02 / 2 + 0.005 / 2), rel=1e-4)
    assert told.p_value > 0.4
    assert any("The verdict counts what another seed changes (2 trials and 2 trials)" in note for note in told.notes)


def test_from_records_alone_the_clustered_figures_come_and_what_is_missing_is_said(store, put):
    put("a", likelihoods(1))
    path = put("b", likelihoods(2, shift=5), keep=False)
    told = compare(find_side("a", store.folder), find_side(str(path), Path("nowhere")))
    assert told.standard_error_naive is None
    assert told.standard_error_clustered > 0
    assert told.interval is not None
    assert "is better by" in told.verdict
    assert any("not kept for b K=10;" in note for note in told.notes)


def test_without_photographs_the_naive_figures_are_the_verdict(store, put):
    first, second = likelihoods(1), likelihoods(2, shift=5)
    put("a", first, groups=None, data=RING)
    put("b", second, groups=None, data=RING)
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert (told.standard_error_clustered, told.interval, told.photographs) == (None, None, None)
    assert told.difference == pytest.approx((first - second).mean(), abs=1e-10)
    assert "b K=10 is better by" in told.verdict


def test_without_photographs_and_items_one_sentence_says_so(store, put):
    put("a", likelihoods(1), groups=None, data=RING)
    put("b", likelihoods(2), groups=None, keep=False, data=RING)
    with pytest.raises(NothingMeasured, match="no error can be told: the dataset has no photographs"):
        compare(find_side("a", store.folder), find_side("b", store.folder))


def test_without_photographs_and_items_the_blocks_of_the_records_tell(store, put):
    first, second = likelihoods(1), likelihoods(2, shift=5)
    for name, values in (("a", first), ("b", second)):
        path = put(name, values, groups=None, keep=False, data=RING)
        record = Record.from_json(path.read_text())
        assert record.result is not None
        result = replace(record.result, blocks=GroupMeans.of_blocks(values))
        path.write_text(replace(record, result=result).to_json())
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert told.difference == pytest.approx((first - second).mean(), abs=1e-4)
    blocks = len(GroupMeans.of_blocks(first).ids)
    assert told.degrees_of_freedom == blocks - 1
    assert "b K=10 is better by" in told.verdict
    assert f"The naive error is over {blocks} blocks of items" in " ".join(told.notes)


def test_patches_of_unknown_photographs_are_not_judged_as_if_they_were_independent(store, put):
    put("a", likelihoods(1), groups=None, data={"name": "bsds300-hdf5"})
    put("b", likelihoods(2, shift=5), groups=None, data={"name": "bsds300-hdf5"})
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert (told.standard_error, told.p_value) == (None, None)
    assert told.standard_error_naive > 0
    unknown = "No verdict: the data do not tell which patches are of one photograph"
    assert told.verdict.startswith(unknown)
    for trial, name in itertools.product((0, 1), "cd"):
        put(name, likelihoods(trial), groups=None, data={"name": "bsds300-hdf5"}, trial=trial)
    of_two = compare(find_side("c", store.folder), find_side("d", store.folder))
    assert of_two.verdict.startswith(unknown)
    assert "The verdict counts" not in " ".join(of_two.notes)
    put("e", likelihoods(1), data={"name": "bsds300-hdf5"})  # of which only one side knows
    assert compare(find_side("e", store.folder), find_side("a", store.folder)).verdict.startswith(unknown)


@pytest.mark.parametrize(
    ("identity", "own", "shared"),
    [
        ("training_id", "weights_sha256", True),
        ("encoder", "weights_sha256", True),
        ("weights_sha256", "threads", False),
        ("encoder", "encoder_sha256", False),  # trained again, and to other weights
    ],
)
def test_what_another_seed_changes_in_both_cancels_where_they_share_trained_weights(store, put, identity, own, shared):
    # The gain of 0.6 is nearly the same in every trial, while seeds of one method differ by 1 to 2.5 nats.
    items = np.random.default_rng(5).normal(0, 0.1, len(GROUPS))
    for trial, (level, gain) in enumerate([(150.0, 0.60), (151.5, 0.62), (149.0, 0.59)]):
        training = {identity: f"weights {trial}"}
        put("made-mog", items + level, trial=trial, training={**training, own: "one"})
        put("made-mog+sym", items + level + gain, trial=trial, training={**training, own: "other"})
    told = compare(find_side("made-mog+sym", store.folder), find_side("made-mog", store.folder))
    assert told.difference == pytest.approx(0.6033, abs=1e-3)
    if shared:
        # The photographs differ by the same in every one, so that the error is that of the three gains.
        assert told.standard_error == pytest.approx(np.std([0.60, 0.62, 0.59], ddof=1) / math.sqrt(3), rel=1e-3)
        assert told.p_value < 0.001
        assert "which share trained weights" in " ".join(told.notes)
    else:
        assert told.standard_error > 1
        assert told.p_value > 0.5


def test_too_few_photographs_give_figures_and_no_verdict(store, put):
    few = GROUPS % 9
    put("a", likelihoods(1), groups=few)
    put("b", likelihoods(2, shift=50), groups=few)
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert (told.standard_error_clustered, told.interval, told.p_value) == (None, None, None)
    assert told.standard_error_naive > 0
    assert told.verdict == "No verdict: 9 photographs are too few to judge by, at least 10 are needed"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data": {"name": "natural8x8"}}, "natural8x8 version 1"),
        ({"data": {"version": "2"}}, "bsds300 version 2"),
        ({"data": {"content_hash": "cd" * 32}}, "content cdcdcdcdcdcd"),
        ({"benchmark_version": "0"}, "benchmark version 0"),
    ],
)
def test_other_data_or_another_benchmark_version_are_not_comparable(store, put, capsys, changes, named):
    first = put("a", likelihoods(1))
    second = put("b", likelihoods(1), **changes)
    assert main(["compare", str(first), str(second)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lde-bench: not comparable: a K=10 was measured on bsds300 version 1 (content abababababab")
    assert f"b K=10 on {changes.get('data', {}).get('name', 'bsds300')} version" in err
    assert named in err


def test_another_test_set_is_not_comparable(store, put):
    put("a", likelihoods(1))
    put("b", likelihoods(1)[:600], groups=GROUPS[:600])
    with pytest.raises(InputError, match=r"not comparable: .*1,200 test items.*600 test items"):
        compare(find_side("a", store.folder), find_side("b", store.folder))
    put("c", likelihoods(1), groups=GROUPS + 1)
    with pytest.raises(InputError, match=r"not comparable: .*photographs or their counts differ"):
        compare(find_side("a", store.folder), find_side("c", store.folder))


def test_another_budget_is_comparable_and_said(store, put):
    put("a", likelihoods(1))
    put("b", likelihoods(2), budget={"profile": "standard"})
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert told.notes[0] == "The budgets differ: a K=10 was trained under quick, b K=10 under standard."


def test_unequal_training_under_one_budget_is_said(store, put):
    put("a", likelihoods(1), cost=cost(100.0), training={"precision": "fp32"})
    put("b", likelihoods(2), cost=cost(300.0), training={"precision": "fp32", "patches": "fresh"})
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert told.notes[:2] == (
        "The budgets came out unequal: a K=10 trained for 100 CPU seconds a trial, b K=10 for 300; the better one need "
        "not be so at equal ones.",
        "The training patches differ: a K=10 has fixed, b K=10 fresh.",
    )
    put("c", likelihoods(1), cost=cost(105.0), training={"precision": "fp32"})
    told = compare(find_side("a", store.folder), find_side("c", store.folder))
    assert not any("unequal" in note or "differ" in note for note in told.notes)


def cost(seconds: float) -> dict[str, Any]:
    return {"wall_seconds": 1, "cpu_seconds": 999, "sample_cost": "one", "training_cpu_seconds": seconds}


def test_a_run_that_measured_no_log_likelihood_is_named_and_cannot_be_compared(put, store):
    path = put("lde", likelihoods(), result={"measures": {"separation": {"value": 0.5}}})
    other = put("b", likelihoods())
    with pytest.raises(InputError, match="measured no test log-likelihood"):
        compare(find_side(str(other), store.folder), find_side(str(path), store.folder))


def test_a_method_that_means_several_rows_is_refused_with_what_there_is_and_chosen_by_options(store, put):
    put("a", likelihoods(1))
    put("a", likelihoods(2), components=30)
    put("a", likelihoods(3), budget={"profile": "standard"}, run_id="standard-run")
    put("a", likelihoods(4), data={"name": "natural8x8"}, run_id="other-data")
    with pytest.raises(InputError, match=r"'a' means 4 rows of .*a K=30 on bsds300, quick.*choose with --K"):
        find_side("a", store.folder)
    at_30 = find_side("a:components=30", store.folder, dataset="bsds300")
    assert at_30.record == find_side("a", store.folder, components=30).record
    assert at_30.record.components == 30
    assert find_side("a", store.folder, components=10, profile="standard").record.run_id == "standard-run"
    assert find_side("a", store.folder, dataset="natural8x8").record.run_id == "other-data"
    assert find_side("standard-run", store.folder).record.run_id == "standard-run"
    with pytest.raises(InputError, match="otherwise than asked; there is a K=10 on bsds300, quick"):
        find_side("a", store.folder, components=7)
    with pytest.raises(InputError, match="has no run or method 'b'; there is a"):
        find_side("b", store.folder)


def test_a_method_means_its_records_of_this_benchmark_version(store, put):
    put("a", likelihoods(1))
    put("a", likelihoods(2), trial=1, benchmark_version="0")
    assert [record.trial for _, record in find_side("a", store.folder).trials] == [0]
    put("b", likelihoods(2), benchmark_version="0")
    with pytest.raises(InputError, match="not comparable"):
        compare(find_side("a", store.folder), find_side("b", store.folder))


def test_two_trials_of_a_method_are_told_apart_by_their_runs(store, put):
    put("a", likelihoods(1))
    put("a", likelihoods(2, shift=5), trial=1)
    told = compare(find_side("bsds300-a-K10-t0", store.folder), find_side("bsds300-a-K10-t1", store.folder))
    assert told.verdict.startswith("Of these trained models that of a K=10 (bsds300-a-K10-t1) is better by")


def test_what_broke_a_law_or_failed_is_refused(store, put):
    put("a", likelihoods(1), laws={"normalised": {"passed": False, "value": 2.0, "bound": 0.1}})
    with pytest.raises(LawBroken, match="breaks the law 'normalised'"):
        find_side("a", store.folder)
    failed = put("b", likelihoods(1), keep=False)
    record = json.loads(failed.read_text()) | {"status": "failed", "reason": "Diverged: no", "result": None}
    failed.write_text(json.dumps(record))
    with pytest.raises(InputError, match="failed"):
        find_side(str(failed), store.folder)


def test_items_of_another_run_are_noticed(store, put):
    path = put("a", likelihoods(1))
    put("b", likelihoods(2))
    np.save(path.with_suffix(".npy"), likelihoods(1, shift=1).astype(np.float32))
    with pytest.raises(InputError, match="is not of the record beside it"):
        compare(find_side("a", store.folder), find_side("b", store.folder))


def test_groups_of_a_users_own_data_are_not_called_photographs(store, put, capsys):
    data = {"name": "mine", "version": "user"}
    first = put("a", likelihoods(1), data=data)
    second = put("b", likelihoods(2), data=data)
    assert main(["compare", str(first), str(second)]) == 0
    out = capsys.readouterr().out
    assert "1,200 test items of 30 groups" in out
    assert "standard error, by group" in out
    assert "photograph" not in out


def test_a_file_that_is_called_as_a_method_is_does_not_hide_it(store, put, tmp_path, monkeypatch):
    put("lde", np.arange(len(GROUPS)) * 1.0)
    monkeypatch.chdir(tmp_path)
    Path("lde").touch()
    assert find_side("lde", store.folder).records


def test_what_is_no_record_is_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "foreign.json").write_text("{}")
    for name, fault in (("foreign.json", "is no run record"), ("absent.json", "there is no such record")):
        assert main(["compare", str(tmp_path / name), str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert fault in err
        assert err.count("\n") == 1
    assert main(["compare", "a", "b", "--results-dir", str(tmp_path / "nowhere")]) == 2
    assert "no such folder of results" in capsys.readouterr().err


def test_the_command_prints_the_verdict_and_json_holds_the_figures(store, put, capsys):
    put("a", likelihoods(1))
    put("b", likelihoods(2, shift=5))
    arguments = ["compare", "a", "b", "--K", "10", "--results-dir", str(store.folder)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "bsds300 version 1, benchmark version 1: 1,200 test items of 30 photographs" in out
    assert "b K=10 is better by" in out
    assert main([*arguments, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["difference"] < 0
    assert payload["interval"][0] < payload["difference"] < payload["interval"][1]
    assert payload["a"]["run_ids"] == ["bsds300-a-K10-t0"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == payload  # the bootstrap is seeded


def test_methods_that_do_not_vary_over_seeds_have_the_degrees_of_freedom_of_the_photographs(store, put):
    for name, seed in (("a", 1), ("b", 2)):
        for trial in (0, 1):
            put(name, likelihoods(seed), trial=trial)
    told = compare(find_side("a", store.folder), find_side("b", store.folder))
    assert told.about == "methods"
    assert told.degrees_of_freedom == pytest.approx(told.photographs - 1)
