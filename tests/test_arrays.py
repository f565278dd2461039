"""What users hand to the public functions: the value of the native array, or one clear sentence."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import lde_bench as lb
from lde_bench.arrays import PixelRows, as_rows, readable_rows, row_blocks
from lde_bench.errors import InputError
from lde_bench.seeds import as_seed

ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)

TAKEN = {
    "big-endian": ROWS.astype(">f4"),
    "big-endian doubles": ROWS.astype(">f8"),
    "objects": ROWS.astype(object),
    "a data frame": pd.DataFrame(ROWS, columns=list("abc")),
    "a data frame of objects": pd.DataFrame(ROWS.astype(object)),
    "lists": ROWS.tolist(),
    "long doubles": ROWS.astype(np.longdouble),
    "Fortran order": np.asfortranarray(ROWS),
    "masked, nothing hidden": np.ma.array(ROWS, mask=False),
    "a tensor": torch.from_numpy(ROWS),
}

REFUSED = {
    "nothing": (None, "is None"),
    "complex": (ROWS + 1j, "holds complex64 values"),
    "words": (ROWS.astype(str), "holds <U32 values"),
    "words among objects": (np.where(ROWS.astype(object) > 1, "1.5", ROWS.astype(object)), "holds object values"),
    "a missing value": (pd.DataFrame(ROWS).astype("Float64").where(ROWS < 1), "holds object values"),
    "truth values": (ROWS > 0, "holds bool values"),
    "masked": (np.ma.array(ROWS, mask=ROWS > 1), "has masked values"),
    "ragged": ([[1.0, 2.0, 3.0], [1.0]], "is no array"),
    "one row flat": (ROWS[0], r"should be \[n, 3\], got \[3\]"),
    "another width": (ROWS[:, :2], r"should be \[n, 3\], got \[40, 2\]"),
    "dates": (ROWS.astype("M8[s]"), r"holds datetime64\[s\] values"),
    "a number": (3.0, r"got \[\]"),
    "a huge whole number": ([[10**400, 0, 0]] * 40, "too large for float64"),
}


@pytest.fixture(scope="module")
def gaussian():
    return lb.create("gaussian", features=3).fit(ROWS)


def measured(rows):
    sets = lb.SampleSets(rows, rows, rows, 0)
    return lb.measure_samples(sets, ["memorisation"])["memorisation_gap"].value


#: Every public function that is given rows, as a function of them to a number.
FUNCTIONS = {
    "fit": lambda model, rows: lb.create("gaussian", features=3).fit(rows).log_prob(ROWS).mean(),
    "fit, validation": lambda model, rows: lb.create("gaussian", features=3).fit(ROWS, rows).training_state.best_score,
    "log_prob": lambda model, rows: model.log_prob(rows).mean().item(),
    "parzen_log_prob": lambda model, rows: lb.parzen_log_prob(rows, rows, 0.3).mean(),
    "select_sigma": lambda model, rows: lb.select_sigma(rows, ROWS, [0.3])[1].sum(),
    "measure_samples": lambda model, rows: measured(rows),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", TAKEN)
def test_arrays_of_any_kind_have_the_value_of_the_native_one(kind, function, gaussian):
    call = FUNCTIONS[function]
    assert float(call(gaussian, TAKEN[kind])) == pytest.approx(float(call(gaussian, ROWS)), abs=1e-5)


#: Figures are of rows of any width, and validation rows may be left out.
MEANT = {("another width", "measure_samples"), ("another width", "parzen_log_prob"), ("nothing", "fit, validation")}


@pytest.mark.parametrize(("kind", "function"), sorted({*itertools.product(REFUSED, FUNCTIONS)} - MEANT))
def test_what_is_no_array_of_numbers_is_one_sentence(kind, function, gaussian):
    rows, said = REFUSED[kind]
    if function not in ("fit", "fit, validation", "log_prob"):
        said = "give arrays of one width" if kind == "another width" else said.replace("3\\], got", "D\\].*, got")
    with pytest.raises(InputError, match=said):
        FUNCTIONS[function](gaussian, rows)


def test_rows_keep_their_precision():
    for dtype, kept in {"f2": "f4", "f4": "f4", "f8": "f8", "u1": "f4", "i4": "f8", "O": "f8"}.items():
        assert as_rows("model", "the array", np.ones((2, 3), dtype)).dtype == np.dtype(kept)


def test_a_tensor_gives_a_tensor_with_its_gradient(gaussian):
    x = torch.from_numpy(ROWS).requires_grad_()
    assert gaussian.log_prob(x).requires_grad
    for bad in (torch.zeros(2, 3, dtype=torch.complex64), torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3)):
        with pytest.raises(InputError, match="gaussian: the array of log_prob"):
            gaussian.log_prob(bad)


@pytest.mark.parametrize("seed", ["a", None, 1.5, True, 2**70, -(2**64), np.float64(1)])
def test_a_seed_is_a_whole_number(seed, gaussian):
    for call in (
        lambda: lb.create("gaussian", features=3).fit(ROWS, seed=seed),
        lambda: gaussian.sample(2, seed=seed),
        lambda: lb.SampleSets(ROWS, ROWS, ROWS, seed),
        lambda: lb.create_generator("gan", (8, 8)).fit(np.zeros((9, 64)), seed=seed, steps=1),
        lambda: lb.create_generator("train-samples", (8, 8)).sample(0, seed=seed),
    ):
        with pytest.raises(InputError, match="is not a whole number"):
            call()


def test_a_seed_of_numpy_is_that_of_python(gaussian):
    np.testing.assert_array_equal(gaussian.sample(3, seed=np.int64(7)), gaussian.sample(3, seed=7))
    own, theirs = (lb.create("made-mog", features=3, hidden=4).fit(ROWS, seed=s, steps=3) for s in (7, np.uint8(7)))
    np.testing.assert_array_equal(own.log_prob(ROWS), theirs.log_prob(ROWS))
    for edge in (-(2**63), 2**64 - 1):
        assert as_seed("model", edge) == edge
        gaussian.sample(1, seed=edge)


@pytest.mark.parametrize("shape", [(8, 8, 3), (2, 8, 8), (8,), 8, None, "88", (8, 0)])
def test_an_image_has_channels_and_two_sides(shape):
    with pytest.raises(InputError, match="image_shape = "):
        lb.create_generator("gan", shape)


@pytest.mark.parametrize("sigma", ["a", None, 1j, [[0.1]], [], -1.0])
def test_a_sigma_is_a_positive_number(sigma):
    with pytest.raises(InputError, match="sigma"):
        lb.parzen_log_prob(ROWS, ROWS, sigma)


PIXELS = np.random.default_rng(1).integers(0, 256, (40, 12), np.uint8)


def test_rows_of_pixels_are_those_of_the_array_of_their_values() -> None:
    rows, values = PixelRows(PIXELS), PIXELS.astype(np.float32) / np.float32(255)
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == (values.shape, 2, values.dtype, len(values))
    for index in (slice(None), slice(3, 11), slice(30, 5, -4), slice(35, 99), np.array([7, 7, -1, 0]), [2, 39], 5, -1):
        np.testing.assert_array_equal(rows[index], values[index], strict=True)
    np.testing.assert_array_equal(np.asarray(rows), values, strict=True)
    np.testing.assert_array_equal(np.stack([rows[i] for i in range(40)]), values)
    np.testing.assert_array_equal(rows[np.array([], int)], values[:0], strict=True)
    first = rows.first(7)
    assert first.shape == (7, 12)
    np.testing.assert_array_equal(first[:], values[:7])
    np.testing.assert_array_equal(first[-1], values[6])
    for bad in (np.array([7]), np.array([-8]), 7):
        with pytest.raises(IndexError):
            first[bad]
    with pytest.raises(TypeError, match="not by bool"):
        rows[np.ones(40, bool)]


def test_the_hash_of_pixels_is_of_their_bytes_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lde_bench.arrays.BLOCK_NUMBERS", 50)
    assert PixelRows(PIXELS).sha256 == hashlib.sha256(PIXELS.tobytes()).hexdigest()
    assert PixelRows(PIXELS).first(9).sha256 == hashlib.sha256(PIXELS[:9].tobytes()).hexdigest()


def test_blocks_cover_all_rows_within_their_bounds() -> None:
    for numbers, most in ((30, None), (1000, 7), (1, None), (10**9, None)):
        blocks = list(row_blocks(PIXELS, numbers, most))
        assert [row for block in blocks for row in range(*block.indices(40))] == list(range(40))
        sizes = {block.stop - block.start for block in blocks}
        assert max(sizes) <= min(max(1, numbers // 12), most or 40)
    assert list(row_blocks(PIXELS[:0])) == []


def test_readable_rows_leave_pixels_where_they_are() -> None:
    rows = PixelRows(PIXELS)
    assert readable_rows("me", "the array", rows, 12, finite=True, least=40) is rows
    with pytest.raises(InputError, match=r"me: the array should be \[n, 11\], got \[40, 12\]"):
        readable_rows("me", "the array", rows, 11)
    with pytest.raises(InputError, match="me: the array has 40 rows, too few; give at least 41 rows"):
        readable_rows("me", "the array", rows, least=41)
    np.testing.assert_array_equal(as_rows("me", "the array", rows), rows[:], strict=True)
