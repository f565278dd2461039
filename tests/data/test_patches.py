from __future__ import annotations

import hashlib
import io
import itertools

import numpy as np
import pytest

from lde_bench.data.patches import (
    FEATURES,
    PIXELS,
    SYMMETRIES,
    FreshPatches,
    Photographs,
    apply_symmetries,
    complete,
    cut_split,
    decode_grey,
    dequantise,
    turned,
)
from lde_bench.errors import InputError

SEEDS = [11, 22, 33]


@pytest.fixture
def photographs() -> Photographs:
    rng = np.random.default_rng(1)
    shapes = {7: (20, 31), 3: (9, 8), 5: (40, 17)}
    return Photographs.of({i: rng.integers(0, 256, shape, dtype=np.uint8) for i, shape in shapes.items()})


def cut(photographs: Photographs, count: int) -> tuple[np.ndarray, np.ndarray]:
    blocks = list(cut_split(photographs, count, SEEDS))
    return np.concatenate([x for x, _ in blocks]), np.concatenate([groups for _, groups in blocks])


def test_dequantising_follows_the_protocol_to_the_last_bit():
    rng = np.random.default_rng(0)
    brightness = rng.integers(0, 256, (500, PIXELS), dtype=np.uint8)
    noise = rng.integers(0, 1 << 24, (500, PIXELS), dtype=np.uint32)
    brightness[0], noise[0] = 255, (1 << 24) - 1
    value = (brightness + noise / 2**24) / 256  # exact in float64: 32 bits each
    assert value.min() >= 0
    assert value.max() < 1
    expected = value - value.mean(axis=1, keepdims=True)  # exact too: 38 bits
    made = dequantise(brightness, noise)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, expected[:, :FEATURES].astype(np.float32))


def test_every_patch_stands_in_its_photograph_with_noise_below_one_level():
    image = np.random.default_rng(2).integers(0, 256, (15, 12), dtype=np.uint8)
    photograph = Photographs.of({1: image})
    (x, _), *_ = cut_split(photograph, 200, [5])
    windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8)).reshape(-1, PIXELS).astype(float)
    for patch in complete(x.astype(np.float64)) * 256:
        noise = patch - windows  # of the right window: noise minus a constant
        assert (np.ptp(noise, axis=1) < 1 + 1e-4).sum() == 1


def test_places_cover_the_photograph_evenly():
    image = np.arange(13 * 11, dtype=np.uint8).reshape(13, 11)
    words = np.random.PCG64(3).random_raw(60_000 * 33).reshape(-1, 33)
    words[:, 1:] = 0
    x = Photographs.of({1: image}).patches(np.zeros(60_000, int), words)
    # All patches of this ramp are alike once centred, so count places through the brightness of a marked pixel.
    assert np.ptp(x, axis=0).max() == 0
    marked = np.zeros((13, 11), np.uint8)
    marked[5, 5] = 255
    x = Photographs.of({1: marked}).patches(np.zeros(60_000, int), words)
    # Every one of the 6 x 4 windows that holds the mark shows it at another pixel.
    counts = np.bincount(np.where(x.max(axis=1) > 0.5, x.argmax(axis=1), 63), minlength=64)
    seen = counts[counts > 0]
    assert len(seen) == 24
    assert abs(seen / 2500 - 1).max() < 0.1


def test_completed_patches_sum_to_zero(photographs):
    x, _ = cut(photographs, 3000)
    full = complete(x)
    assert full.shape == (3000, PIXELS)
    assert full.dtype == np.float32
    assert np.abs(full.sum(axis=1, dtype=np.float64)).max() < 1e-7
    np.testing.assert_array_equal(full[:, :FEATURES], x)


def test_a_smaller_split_is_a_prefix_of_a_larger(photographs):
    large, large_groups = cut(photographs, 40_000)  # several blocks
    for count in (1, 2, 3, 1000, 16_384, 16_385, 39_999):
        small, groups = cut(photographs, count)
        assert small.tobytes() == large[:count].tobytes()
        np.testing.assert_array_equal(groups, large_groups[:count])


def test_any_prefix_spreads_evenly_over_the_photographs(photographs):
    _, groups = cut(photographs, 20_000)
    assert set(groups[:3]) == {3, 5, 7}
    for count in (10, 100, 16_384, 20_000):
        per_photograph = np.unique(groups[:count], return_counts=True)[1]
        assert np.ptp(per_photograph) <= 1


def test_the_stream_of_one_photograph_does_not_depend_on_the_others(photographs):
    x, groups = cut(photographs, 3000)
    alone = Photographs.of({5: photographs.pixels[-40 * 17 :].reshape(40, 17)})
    (y, _), *_ = cut_split(alone, 1000, [SEEDS[2]])
    np.testing.assert_array_equal(x[groups == 5], y)


def test_patches_of_a_fixed_photograph_have_fixed_bytes():
    image = (np.arange(20 * 20) * 37 % 256).astype(np.uint8).reshape(20, 20)
    (x, _), *_ = cut_split(Photographs.of({1: image}), 100, [123])
    digest = hashlib.sha256(x.astype("<f4").tobytes()).hexdigest()
    assert digest == "afa268ea2c67c9c2896d38f90d45087ce3983327205236d23b6bd7c9e8e07aca"


def test_the_symmetries_are_the_dihedral_group():
    assert SYMMETRIES.shape == (8, PIXELS)
    assert SYMMETRIES.dtype == np.int64
    np.testing.assert_array_equal(SYMMETRIES[0], np.arange(PIXELS))
    tables = {tuple(table) for table in SYMMETRIES}
    assert len(tables) == 8
    for a, b in itertools.product(SYMMETRIES, repeat=2):
        assert tuple(a[b]) in tables
    rows, columns = np.divmod(SYMMETRIES, 8)  # neighbours stay neighbours: these are flips and turns, nothing else
    steps = np.abs(np.diff(rows.reshape(8, 8, 8), axis=2)) + np.abs(np.diff(columns.reshape(8, 8, 8), axis=2))
    assert (steps == 1).all()


def test_symmetries_act_on_the_whole_patch_and_keep_its_zero_sum(photographs):
    x, _ = cut(photographs, 800)
    which = np.arange(800) % 8
    y = apply_symmetries(x, which)
    assert y.dtype == np.float32
    full, turned = complete(x), complete(y)
    for i in range(16):
        np.testing.assert_allclose(turned[i], full[i][SYMMETRIES[which[i]]], atol=1e-7)
    assert np.abs(turned.sum(axis=1, dtype=np.float64)).max() < 1e-7
    np.testing.assert_array_equal(apply_symmetries(x, np.zeros(800, int)), x)


def test_fresh_patches_come_from_all_photographs_with_new_noise(photographs):
    fresh = FreshPatches(photographs)
    a = fresh.draw(3000, np.random.default_rng(0))
    assert a.shape == (3000, FEATURES)
    assert a.dtype == np.float32
    np.testing.assert_array_equal(a, fresh.draw(3000, np.random.default_rng(0)))
    assert len(np.unique(a, axis=0)) == 3000
    # Photograph 3 has two windows only: a third of all draws fall on them, each time with other noise.
    windows = np.lib.stride_tricks.sliding_window_view(photographs.pixels[20 * 31 :][: 9 * 8].reshape(9, 8), (8, 8))
    centred = windows.reshape(-1, PIXELS) / 256
    centred = (centred - centred.mean(axis=1, keepdims=True))[:, :FEATURES]
    near = (np.abs(a[:, None] - centred).max(axis=2) < 2 / 256).any(axis=1)
    assert abs(near.mean() - 1 / 3) < 0.04


def test_grey_is_the_integer_luma_of_bt601():
    from PIL import Image

    colours = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    handle = io.BytesIO()
    Image.fromarray(colours).save(handle, "PNG")
    luma = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode_grey(handle.getvalue(), "x") - luma).max() <= 0.51


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.7, 0.99, -1, -2])
def test_a_truncated_jpeg_is_named(keep):
    from PIL import Image

    handle = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(handle, "JPEG")
    data = handle.getvalue()
    decode_grey(data, "whole.jpg")
    cut_at = int(keep * len(data)) if isinstance(keep, float) else keep
    with pytest.raises(InputError, match=r"photos/12\.jpg: .*; put back the original file\.$"):
        decode_grey(data[:cut_at], "photos/12.jpg")


def test_a_photograph_smaller_than_a_patch_is_named():
    from PIL import Image

    handle = io.BytesIO()
    Image.new("RGB", (7, 40)).save(handle, "PNG")
    with pytest.raises(InputError, match=r"12\.jpg: the photograph is 7x40, too small"):
        decode_grey(handle.getvalue(), "12.jpg")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(20_000, 12_000), (10_000, 10_000), (5_000, 4_000)])
def test_a_huge_photograph_is_refused_in_a_sentence_and_without_a_warning(size, recwarn):
    from PIL import Image

    handle = io.BytesIO()
    Image.new("1", size).save(handle, "png")
    with pytest.raises(
        InputError, match=r"^12\.png: the photograph .* (67,108,864|16 million) pixels; put back [^.]*\.$"
    ):
        decode_grey(handle.getvalue(), "12.png")
    assert not recwarn.list


def test_patches_at_an_offset_show_the_grid_of_blocks_there_whatever_their_symmetry():
    rng = np.random.default_rng(4)
    # Flat blocks, their brightness far apart: where it jumps there is the grid.
    image = np.kron(rng.permutation(30).reshape(5, 6) * 8, np.ones((8, 8))).astype(np.uint8)
    fresh = FreshPatches(Photographs.of({1: image, 2: image.T.copy()}))
    for offset in ((0, 0), (0, 3), (2, 5), (7, 4)):
        x = complete(fresh.draw_at(offset, 300, rng)).reshape(-1, 8, 8) * 256
        for axis, start in enumerate(offset, 1):
            jumps = np.abs(np.diff(x, axis=axis)).max(axis=(0, 3 - axis)) > 4
            assert np.flatnonzero(jumps).tolist() == ([8 - start - 1] if start else []), (offset, axis)


def test_patches_at_an_offset_come_from_all_places_there_and_only_there():
    marked = np.zeros((32, 40), np.uint8)
    marked[1::8, 2::8] = np.arange(1, 21).reshape(4, 5) * 12  # a mark of its own in every block
    x = FreshPatches(Photographs.of({1: marked})).draw_at((1, 2), 4000, np.random.default_rng(5))
    corner = complete(x)[:, [0, 7, 56, 63]] * 256
    marks = np.round(np.ptp(corner, axis=1) / 12).astype(int)
    # 12 of the 20 marks begin a patch that is whole; it is at a corner under two of the eight symmetries, those that
    # leave the grid of a patch where it was in the photograph.
    assert np.unique(marks).tolist() == [0, *(5 * row + column + 1 for row in range(3) for column in range(4))]
    assert np.mean(marks == 0) == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 4000) ** 0.5)
    assert FreshPatches(Photographs.of({1: marked})).draw_at((1, 2), 0, np.random.default_rng(5)).shape == (0, FEATURES)


def test_the_grid_turns_with_the_patch():
    for offset, symmetry in itertools.product(((0, 0), (0, 3), (2, 5)), range(8)):
        rows, columns = np.add.outer(offset, np.arange(8)) // 8
        blocks = (2 * rows[:, None] + columns).ravel()[SYMMETRIES[symmetry]].reshape(8, 8)
        seen = [int(np.flatnonzero(np.diff(line))[0]) + 1 if np.ptp(line) else 8 for line in (blocks[:, 0], blocks[0])]
        assert turned(offset, symmetry) == tuple(8 - at for at in seen)


def test_a_photograph_too_small_for_every_offset_is_refused(photographs):
    with pytest.raises(InputError, match="less than 15 pixels a side"):
        FreshPatches(photographs).draw_at((0, 1), 3, np.random.default_rng(0))
