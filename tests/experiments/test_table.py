"""`lde-bench table`: data of a user's own, and the gap to a truth that is known."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest
from shown import build_tables, to_latex, to_markdown, to_text

import lde_bench as lb
from lde_bench.cli import main
from lde_bench.data.base import Request
from lde_bench.data.user_file import load_file
from lde_bench.errors import InputError
from lde_bench.report.table import to_csv, to_payload
from lde_bench.runs import Record, ResultStore

SIZES = {"train": 400, "validation": 60, "test": 120}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arrays(**changes):
    generator = np.random.default_rng(0)
    rows = {split: generator.normal(size=(n, 3)) @ np.diag([1.0, 2.0, 3.0]) for split, n in SIZES.items()}
    given = rows | {"test_groups": np.arange(SIZES["test"]) % 12} | changes
    return {name: array for name, array in given.items() if array is not None}


def save(path, **changes):
    content = arrays(**changes)
    if path.suffix == ".npz":
        np.savez(path, **content)
    else:
        with h5py.File(path, "w") as file:
            for name, array in content.items():
                file[name] = array
    return path


def table(capsys, *arguments):
    capsys.readouterr()
    code = main(["table", *map(str, arguments)])
    return code, *capsys.readouterr()


# -- a file of a user's own --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mine.npz", "mine.h5"])
def test_a_file_becomes_laws_records_and_a_table(name, here, capsys):
    path = save(here / name)
    code, out, err = table(capsys, "--data", path, "--methods", "gaussian", "gmm", "--K", 2, "--json")
    assert code == 0, err
    (payload,) = json.loads(out)["tables"]
    assert (payload["dataset"], payload["dataset_version"]) == ("mine", "user")
    assert [row["method"] for row in payload["rows"]] == ["gaussian", "gmm"]
    assert all(row["standard_error_clustered"] is not None for row in payload["rows"])
    folder = here / "results" / "table" / "mine-vuser" / "quick"
    assert {"table.md", "table.csv", "table.tex"} <= {each.name for each in folder.iterdir()}
    frame = lb.load_results(here / "results")
    assert set(frame["dataset"]) == {"mine"}
    assert frame["laws_passed"].all()
    assert frame["true_test_nats"].isna().all()
    assert "gap to truth" not in (folder / "table.md").read_text()


@pytest.mark.parametrize("name", ["...npz", ".mine.npz", os.fsdecode(b"caf\xe9.npz")])
def test_a_file_of_an_odd_name_has_a_record_that_is_found_again(name, here, capsys):
    for told in ("trial 1 ...", "(done before)"):
        code, _, err = table(capsys, "--data", save(here / name), "--methods", "gaussian")
        assert code == 0, err
        assert told in err
    assert len(lb.load_results(here / "results")) == 1


def test_the_formats_and_number_types_give_the_same_dataset(here):
    request = Request()
    from_npz = load_file(save(here / "a.npz"), request)
    from_hdf5 = load_file(save(here / "a.hdf5"), request)
    assert from_npz.content_hash == from_hdf5.content_hash
    assert from_npz.train.dtype == np.float32
    assert from_npz.test_groups.dtype == np.int64
    other = load_file(save(here / "a.npz", train=arrays()["train"] + 1), request)
    assert other.content_hash != from_hdf5.content_hash


def test_sizes_are_prefixes(here):
    data = load_file(save(here / "a.npz"), Request(train=50, test=30))
    assert data.sizes == {"train": 50, "validation": 60, "test": 30}
    assert len(data.test_groups) == 30


FAULTS = {
    "a missing array": ({"validation": None}, "the array 'validation' is missing"),
    "one dimension": ({"train": np.zeros(9)}, r"'train' should be \[n, D\], got \[9\]"),
    "no rows": ({"test": np.zeros((0, 3)), "test_groups": None}, "'test' is empty"),
    "a NaN": ({"test": np.full((120, 3), np.nan)}, "120 rows of 'test' hold NaN or infinity, the first is row 0"),
    "a constant column": ({"train": np.eye(50, 3) * [1, 0, 1] + [0, 7, 0]}, "column 1 of 'train' is 7 in every row"),
    "a row too far": ({"test": np.eye(120, 3) * 1e300}, "3 rows of 'test' are too many deviations from the training"),
    "other widths": ({"validation": np.zeros((60, 4))}, "'train' has 3, 'validation' has 4"),
    "words": ({"train": np.array([["a", "b", "c"]])}, "give an array of numbers"),
    "complex numbers": ({"train": np.zeros((5, 3), complex)}, "give an array of numbers"),
    "groups of other length": ({"test_groups": np.arange(7)}, "one whole number for each of the 120 test rows"),
    "groups that are no numbers": ({"test_groups": np.arange(120) / 2}, "one whole number"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_file_is_one_sentence(fault, here, capsys):
    changes, said = FAULTS[fault]
    path = save(here / "bad.npz", **changes)
    with pytest.raises(InputError, match=said):
        load_file(path, Request())
    code, out, err = table(capsys, "--data", path)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    assert "bad.npz" in err


def test_an_array_of_objects_is_never_unpickled(here):
    with pytest.raises(InputError, match="holds Python objects, which are not read"):
        load_file(save(here / "bad.npz", train=np.array([[1, None]], dtype=object)), Request())


def test_an_unreadable_or_absent_file_is_one_sentence(here):
    for name, content in (("torn.npz", b"PK\x03\x04 torn"), ("torn.h5", b"torn"), ("torn.npz", b"words")):
        (here / name).write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read \(|is no whole \.npz archive"):
            load_file(here / name, Request())
    with pytest.raises(InputError, match="no such file"):
        load_file(here / "none.npz", Request())
    (here / "rows.csv").write_text("1,2\n")
    with pytest.raises(InputError, match=r"is neither \.npz nor \.h5"):
        load_file(here / "rows.csv", Request())
    np.save(here / "single.npy", np.zeros((3, 2)))
    (here / "single.npy").rename(here / "single.npz")
    with pytest.raises(InputError, match=r"is no whole \.npz archive"):
        load_file(here / "single.npz", Request())


@pytest.mark.parametrize("arguments", [(), ("--data", "a.npz", "--dataset", "ring")])
def test_the_data_are_named_once(arguments, capsys):
    code, _, err = table(capsys, *arguments)
    assert code == 2
    assert "--data FILE" in err


# -- units -------------------------------------------------------------------------------------------------------------

UNITS = {
    "scales of columns": ([1e-6, 1.0, 1e6], [0.0, 0.0, 0.0]),
    "a Unix time": ([1.0, 1.0, 1.0], [1.7e9, -1e6, 1e6]),
    "tiny": ([1e-12] * 3, [0.0] * 3),
    "beyond float32": ([1e200] * 3, [0.0] * 3),
    "squares beyond float64": ([1e-250] * 3, [0.0] * 3),
}


def in_unit(unit):
    scale, offset = map(np.array, UNITS[unit])
    return {split: arrays()[split] * scale + offset for split in SIZES}, scale


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_a_log_likelihood_does_not_depend_on_the_units(unit, here, capsys):
    rows, scale = in_unit(unit)
    methods = ("--methods", "gaussian", "made-mog:hidden=8", "--K", 2, "--steps", 20)
    for path in (save(here / "a.npz"), save(here / "b.npz", **rows)):
        assert table(capsys, "--data", path, *methods)[0] == 0
    store = ResultStore(here / "results")
    by_name = {(record.dataset.name, record.method): record for record in store.load()}
    for method in ("gaussian", "made-mog:hidden=8"):
        plain, other = by_name["a", method], by_name["b", method]
        shift = np.log(scale).sum()
        assert plain.training["standardised"]
        assert plain.dataset.content_hash != other.dataset.content_hash
        assert plain.training["training_id"] != other.training["training_id"]
        for name in ("test_nats", "validation_nats"):
            assert getattr(other.result, name) == pytest.approx(getattr(plain.result, name) - shift, abs=0.02)
        assert other.curve[-1].validation_nats == pytest.approx(other.result.validation_nats, abs=1e-3)
        assert np.mean(other.result.groups.mean_nats) == pytest.approx(other.result.test_nats, abs=1e-6)
        assert store.paths(other).load_log_likelihoods().mean() == pytest.approx(other.result.test_nats, abs=1e-3)
        # What was kept answers in the units of the file, whatever float32 can say of them.
        kept = lb.load_density(store.paths(other).weights)
        assert kept.log_prob(rows["test"]).mean() == pytest.approx(other.result.test_nats, abs=1e-3)
        samples = store.paths(other).load_samples()
        assert samples.dtype == np.float64
        z = (samples - UNITS[unit][1]) / scale / [1, 2, 3]
        assert np.abs(z.mean(0)).max() < 1
        assert 0.3 < z.std(0).min() < z.std(0).max() < 3


def test_the_first_loss_is_in_the_units_of_the_file_as_all_else_is(here, capsys):
    scaled = {split: rows * 1e6 for split, rows in arrays().items() if split in SIZES}
    told: list[tuple[float, float]] = []
    for rows in ({split: arrays()[split] for split in SIZES}, scaled):
        path = save(here / f"a{len(told)}.npz", **rows)
        options = ("--methods", "made-mog", "--K", 2, "--steps", 1, "--results-dir", here / str(len(told)))
        assert table(capsys, "--data", path, *options)[0] == 0
        (record,) = ResultStore(here / str(len(told))).load()
        told.append((record.starts["model"].first_loss, -record.result.validation_nats))
    (one, one_validation), (other, other_validation) = told
    assert other - one == pytest.approx(3 * np.log(1e6), abs=0.1)
    assert other - one == pytest.approx(other_validation - one_validation, abs=0.1)


def test_a_gaussian_of_a_file_is_the_closed_form(here, capsys):
    rows, _ = in_unit("scales of columns")
    assert table(capsys, "--data", save(here / "a.npz", **rows), "--methods", "gaussian")[0] == 0
    (record,) = ResultStore(here / "results").load()
    mean, covariance = rows["train"].mean(0), np.cov(rows["train"].T, bias=True)
    e = np.linalg.solve(np.linalg.cholesky(covariance), (rows["test"] - mean).T)
    exact = float(-0.5 * (e**2).sum(0).mean() - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert record.result.test_nats == pytest.approx(exact, abs=1e-4)
    assert "units of the file" in (here / "results/table/a-vuser/quick/table.md").read_text()


def test_data_may_be_left_as_they_are_where_float32_holds_them(here, capsys):
    path, far = save(here / "a.npz"), save(here / "far.npz", **in_unit("a Unix time")[0])
    code, out, err = table(capsys, "--data", far, "--no-standardise")
    assert (code, out) == (2, "")
    assert "column 0 of 'train' loses its digits in float32" in err
    assert table(capsys, "--data", path, "--no-standardise", "--methods", "gaussian")[0] == 0
    (record,) = ResultStore(here / "results").load()
    assert "standardised" not in record.training
    data = load_file(path, Request(), standardise=False)
    assert (data.unit, data.log_det, data.content_hash) == (None, 0.0, record.dataset.content_hash)
    np.testing.assert_array_equal(data.train, arrays()["train"].astype(np.float32))
    for scale in (1e-46, 1e300):
        rows = {split: arrays()[split] * scale for split in SIZES}
        with pytest.raises(InputError, match="float32"):
            load_file(save(here / "b.npz", **rows), Request(), standardise=False)


def test_standardised_columns_whose_values_outliers_make_one_are_refused_and_read_as_they_are(here):
    rows = arrays()
    rows["train"][::50, 1] += 1e12  # the others then lie within a thousandth of float32's step
    path = save(here / "a.npz", **rows)
    with pytest.raises(
        InputError, match=r"column 1 of 'train' loses its digits in float32, of 400 different values in"
    ):
        load_file(path, Request())
    whole = {split: np.round(each * 2) for split, each in rows.items()}  # whole numbers are as many as before
    assert load_file(save(here / "b.npz", **{**whole, "train": whole["train"] % 7}), Request()).sizes["train"] == 400


def test_the_unit_is_of_the_training_rows_that_are_taken(here):
    data = load_file(save(here / "a.npz"), Request(train=50))
    rows = arrays()["train"][:50]
    np.testing.assert_allclose(data.unit.mean, rows.mean(0))
    np.testing.assert_allclose(data.unit.scale, rows.std(0))
    assert data.log_det == pytest.approx(np.log(rows.std(0)).sum())
    np.testing.assert_allclose(data.unit.undo(data.test), arrays()["test"], atol=1e-5)


# -- calibration on known truth ----------------------------------------------------------------------------------------


@pytest.fixture
def calibrated(here, capsys):
    """A right model and a wrong one on a density that is known."""
    methods = ("gaussian", "sklearn.mixture:GaussianMixture:covariance_type=diag")
    sizes = ("--train", 20_000, "--validation", 200, "--test", 2000)
    code, out, err = table(capsys, "--dataset", "gaussian-correlated", *sizes, "--K", 1, "--methods", *methods)
    assert code == 0, err
    return out, {record.method.partition(":")[0]: record for record in ResultStore(here / "results").load()}


def test_the_right_model_is_at_the_truth_and_a_wrong_one_below_it(calibrated, here):
    _, records = calibrated
    right, wrong = records["gaussian"].result, records["sklearn.mixture"].result
    assert abs(right.true_gap) < 3 * right.true_gap_standard_error + 44 / (2 * 20_000)  # + what 44 parameters cost
    assert wrong.true_gap > 30 * wrong.true_gap_standard_error
    # Paired: far smaller than the standard error of either mean.
    assert right.true_gap_standard_error < 0.1 * right.test_standard_error_naive
    data = lb.load_dataset("gaussian-correlated", train=20_000, validation=200, test=2000)
    truth = data.true_log_prob(data.test)
    assert right.true_test_nats == pytest.approx(truth.mean())
    items = ResultStore(here / "results").paths(records["gaussian"]).load_log_likelihoods()
    assert right.true_gap_standard_error == pytest.approx(np.std(truth - items, ddof=1) / 2000**0.5, rel=1e-3)


def test_every_rendering_tells_the_gap(calibrated):
    out, records = calibrated
    (made,) = build_tables(records.values())
    assert "gap to truth" in out
    gap = f"{records['gaussian'].result.true_gap:.3f}"
    for text in (to_text(made), to_markdown(made), to_latex(made)):
        assert "gap to truth" in text
        assert gap in text
    assert "true_gap,true_gap_standard_error" in to_csv(made)
    assert to_payload(made)["rows"][0]["true_gap"] == records["gaussian"].result.true_gap


def test_records_load_with_and_without_the_truth(calibrated, here):
    _, records = calibrated
    content = records["gaussian"].to_dict()
    for name in ("true_test_nats", "true_gap_standard_error"):
        del content["result"][name]
    assert Record.from_dict(content).result.true_gap is None
    frame = lb.load_results(here / "results").set_index("method")
    result = records["gaussian"].result
    assert frame.loc["gaussian", "true_test_nats"] == result.true_test_nats
    assert frame.loc["gaussian", "true_gap"] == result.true_gap
    assert frame.loc["gaussian", "true_gap_standard_error"] == result.true_gap_standard_error
