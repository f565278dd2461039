"""Measures of walks between codes, on walks whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from lde_bench.errors import InputError
from lde_bench.evaluation.interpolation import (
    KINDS,
    STEPS,
    Walks,
    draw_pairs,
    ghosting,
    largest_step,
    measure_walks,
    realism,
    sharpest_turn,
    walk,
    walk_figures,
)


def fades(first: np.ndarray, last: np.ndarray) -> Walks:
    """Double exposures of two images [n, D] each."""
    shares = np.linspace(0, 1, STEPS)[:, None]
    images = (1 - shares) * first[:, None] + shares * last[:, None]
    return Walks(images, (first + last) / 2)


def test_a_walk_is_straight_in_the_codes_and_decoded_with_its_midpoint():
    starts, ends = np.array([[0.0, 10.0]], np.float32), np.array([[5.0, 0.0]], np.float32)
    walked = walk(starts, ends, lambda codes: np.concatenate([codes, codes.sum(1, keepdims=True)], 1))
    np.testing.assert_allclose(walked.images[0, :, 0], [0, 1, 2, 3, 4, 5], rtol=1e-6)
    np.testing.assert_allclose(walked.images[0, :, 1], [10, 8, 6, 4, 2, 0], atol=1e-6)
    np.testing.assert_allclose(walked.midpoints, [[2.5, 5.0, 7.5]], rtol=1e-6)


def test_a_double_exposure_is_a_ghost_and_a_jump_is_none():
    first, last = np.random.default_rng(0).random((2, 5, 12))
    fade = fades(first, last)
    np.testing.assert_allclose(ghosting(fade), 1.0, atol=1e-12)
    # Half-way the first image stands still: as far from the average as the ends are.
    np.testing.assert_allclose(ghosting(Walks(fade.images, first)), 0.0, atol=1e-12)
    # Another picture at twice that distance.
    np.testing.assert_allclose(ghosting(Walks(fade.images, 1.5 * first - 0.5 * last)), -1.0, atol=1e-12)


def test_steps_of_one_length_are_even_and_one_jump_is_all_of_them():
    first, last = np.random.default_rng(1).random((2, 4, 7))
    np.testing.assert_allclose(largest_step(fades(first, last).images), 1.0)
    jump = np.where(np.arange(STEPS)[:, None] < 2, first[:, None], last[:, None])
    np.testing.assert_allclose(largest_step(jump), STEPS - 1)
    np.testing.assert_allclose(largest_step(np.repeat(first[:, None], STEPS, 1)), 1.0)


def test_an_answer_turns_evenly_or_at_once():
    np.testing.assert_allclose(sharpest_turn(np.linspace(0, 1, STEPS)[None]), 1 / (STEPS - 1))
    np.testing.assert_allclose(sharpest_turn(np.array([[0, 0, 0, 1, 1, 1.0]])), 1.0)
    # There and back: half of all that changes falls on each.
    np.testing.assert_allclose(sharpest_turn(np.array([[0, 0, 1, 1, 0, 0.0]])), 0.5)
    np.testing.assert_allclose(sharpest_turn(np.zeros((1, STEPS))), 1 / (STEPS - 1))


def test_realism_is_a_ratio_of_distances_to_the_nearest_training_image():
    train = np.array([[0.0, 0.0], [10.0, 0.0]])
    ends = np.array([[0.0, 1.0], [10.0, -2.0]])  # 1 and 2 off
    midpoints = np.array([[0.0, 3.0], [7.0, 0.0]])  # 3 off each
    ratio, error = realism(midpoints, ends, train)
    assert ratio == pytest.approx(2.0)
    assert error == pytest.approx(2.0 * (0.5 / 1.5))
    assert realism(train, ends, train) == (0.0, 0.0)  # midpoints that are training images


def test_pairs_are_of_different_images_of_their_domains_and_the_seeds_own():
    domains = np.tile([0, 1], 30)
    pairs = draw_pairs(domains, 400, np.random.default_rng(3))
    again = draw_pairs(domains, 400, np.random.default_rng(3))
    for kind, wanted in zip(KINDS, ((0, 0), (1, 1), (0, 1)), strict=True):
        np.testing.assert_array_equal(pairs[kind], again[kind])
        np.testing.assert_array_equal(domains[pairs[kind]].T, np.tile(wanted, (400, 1)))
        assert (pairs[kind][0] != pairs[kind][1]).all()
    with pytest.raises(InputError, match="fewer than two test images"):
        draw_pairs(np.array([0, 0, 1]), 5, np.random.default_rng(3))


@pytest.mark.parametrize("way", ["fade", "jump"])
def test_a_fade_across_two_domains_and_a_jump_are_told_apart(way):
    generator = np.random.default_rng(4)
    train = generator.normal(np.tile([[0.0], [4.0]], (100, 1)), 0.3, (200, 6))  # the domains in turn
    first, last = generator.normal(0.0, 0.3, (60, 6)), generator.normal(4.0, 0.3, (60, 6))
    fade = fades(first, last)
    jump = Walks(np.where(np.arange(STEPS)[:, None] < 3, first[:, None], last[:, None]), first)
    walks = dict.fromkeys(KINDS, fade if way == "fade" else jump)
    figures = measure_walks(walks, lambda rows: rows, train, np.tile([0, 1], 100), "pixels")
    assert set(figures) == set(walk_figures())
    ghost, real = figures["ghosting_across"], figures["realism_across"]
    if way == "fade":
        assert ghost.value == pytest.approx(1.0)
        assert real.value > 5.0  # half-way lies no training image
        assert figures["largest_step_across"].value == pytest.approx(1.0)
    else:
        assert ghost.value == pytest.approx(0.0)
        assert real.value == pytest.approx(1.0, abs=0.1)
        assert figures["sharpest_turn_across"].value > 0.99
    assert "100.0% of held-out" in figures["sharpest_turn_across"].detail
