"""A mixture over where the blocks of a JPEG file lie in a patch.

JPEG stores a photograph in blocks of 8x8 pixels, each as multiples of fixed steps in a basis of cosines (Wallace 1992).
A patch cut from such a photograph lies somewhere on this grid, and the closer to a block, the less there is to it: of
one that is a block, most of the 63 numbers stand near a few values each. With the place c latent,

    p(x) = pi_0 q(x) + sum_c pi_c q_c(T_c x) |det T_c|,

where q is the density it wraps and takes patches from anywhere, q_c are densities like it of the patches at place c,
and T_c turns a patch into the cosines of those parts of blocks that it shows, low frequencies first. The places c are
(0, 0) ... (0, 4): all at which rows or columns begin with a block, up to the symmetries of the patch. In training the
place of a patch is known, since it is drawn from its photograph; in p(x) it is summed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor

from lde_bench.data.patches import FEATURES, PIXELS, SIDE, SYMMETRIES, Offset, complete, turned
from lde_bench.densities.base import Density
from lde_bench.densities.ensemble import JointLearner
from lde_bench.densities.haar import Haar
from lde_bench.densities.view_mixture import View, ViewMixture
from lde_bench.errors import InputError
from lde_bench.training.batches import Batches, FreshBatches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

#: One step in so many is of a density of one place, in turn; all others are of the density of patches from anywhere.
EVERY = 4


def _share(offset: Offset) -> float:
    """Tell what share of the 64 places the symmetries of the patch bring to `offset`."""
    return len({turned(offset, symmetry) for symmetry in range(len(SYMMETRIES))}) / PIXELS


#: Where blocks lie in a patch, up to its symmetries.
PLACES: tuple[Offset, ...] = tuple((0, start) for start in range(SIDE // 2 + 1))


def cosines(offset: Offset) -> np.ndarray:
    """T of T x, the cosines of a patch x without its mean, low frequencies first: float64 [63, 63].

    Of a patch whose corner lies at row and column `offset` of a block, they are those of the parts of blocks it shows.
    """
    rows, columns = (_cosines_of_parts(SIDE - start, start) for start in offset)
    frequencies = rows.frequencies[:, None] + columns.frequencies  # [8, 8]
    # Of the lowest one, a mean, nothing is new: all 64 pixels sum to zero, and so the last one follows from the 63.
    order = np.argsort(frequencies.ravel(), kind="stable")[1:]
    return np.kron(rows.cosines, columns.cosines)[order] @ complete(np.eye(FEATURES)).T


class _Line(NamedTuple):
    """Orthonormal cosines of a row or column of a patch, [8, 8], and their frequencies, [8], of 1 at the highest."""

    cosines: np.ndarray
    frequencies: np.ndarray


def _cosines_of_parts(*lengths: int) -> _Line:
    cosines = np.zeros((SIDE, SIDE))
    start = 0
    for length in filter(None, lengths):
        stop = start + length
        cosines[start:stop, start:stop] = dct(np.eye(length), axis=0, norm="ortho")
        start = stop
    return _Line(cosines, np.concatenate([np.arange(length) / length for length in lengths]))


class JpegGrid(ViewMixture):
    """`base` and densities like it of patches at five places of the JPEG grid; method suffix `+jpeg`.

    Meant to stand inside `+sym`, which turns a patch from any place at which rows or columns begin with a block to one
    of the five. The prior of a place is its share of the grid, nothing is learnt of it.

    Raises:
        InputError: as of `ViewMixture`; or it is fitted to rows whose places are not known.
    """

    name = "jpeg"
    needs_places = True
    card = Card(
        summary="a mixture of 6 like it: of patches from anywhere, and at 5 places on the grid of the JPEG blocks",
        source="this project; the blocks: Wallace 1992, IEEE Transactions on Consumer Electronics 38(1)",
        sample_cost="that of the density it wraps; one evaluation costs 6 of its",
        differences="learns from where the training patches lie in their photographs, which no published row does",
        bibtex=("wallace1992jpeg",),
    )

    views = tuple(View.of(cosines(place), _share(place)) for place in PLACES)
    #: The share of all other places, whose patches are left to the density of patches from anywhere.
    own_weight = 1 - sum(view.weight for view in views)

    def __init__(self, base: Density) -> None:
        # Of a place there is one view, its cosines.
        super().__init__(base, base.base if isinstance(base, Haar) else base)

    def training_batches(self, batches: Batches) -> Batches:
        if not isinstance(batches, FreshBatches) or not batches.knows_places:
            raise InputError(
                "+jpeg learns from where patches lie in their photographs; train it on patches drawn afresh "
                "(--patches fresh)."
            )
        return _Turns(batches, self.views)

    def prepare(self, batches: Batches) -> None:
        assert isinstance(batches, _Turns)
        self.base.prepare(batches.anywhere)
        for density, rows in zip(self.each()[1:], batches.placed, strict=True):
            density.prepare(rows)

    def held_out(self, rows: Tensor) -> list[Tensor | None]:
        return [rows, *(None for _ in self.views)]

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        # A place has fewer steps: warm-up and average are that share of its training which they are of the other's.
        plans = [plan, *[plan.stretched(1 / (EVERY * len(PLACES)))] * len(PLACES)]
        own = zip(self.each(), plans, strict=True)
        return _GridLearner(self, [density.learner(each, device, precision, compiler) for density, each in own])


def _turn(step: int) -> tuple[int, int]:
    """Whose step it is (0: patches from anywhere, then the places), and how many it has had before."""
    if step % EVERY != EVERY - 1:
        return 0, step - step // EVERY
    rounds, which = divmod(step // EVERY, len(PLACES))
    return 1 + which, rounds


class _Turns:
    """The batches of whose step it is, those of a place as their cosines."""

    def __init__(self, anywhere: FreshBatches, views: Sequence[View]) -> None:
        self.anywhere = anywhere
        self.placed = [view.batches(anywhere.at(place)) for view, place in zip(views, PLACES, strict=True)]

    @property
    def features(self) -> int:
        return self.anywhere.features

    @property
    def size(self) -> None:
        return None

    def batch(self, step: int, size: int) -> np.ndarray:
        which, own = _turn(step)
        return (self.placed[which - 1] if which else self.anywhere).batch(own, size)

    def take(self, n: int) -> np.ndarray:
        return self.anywhere.take(n)


class _GridLearner(JointLearner):
    """The learners of all places, one at a time; the score is that of the mixture."""

    last = 0

    def __init__(self, density: JpegGrid, inner: list[Learner]) -> None:
        super().__init__(density, inner)
        self.log_dets = [0.0, *(view.log_det for view in density.views)]

    @property
    def was_clipped(self) -> bool:  # type: ignore[override] # of the one whose step it was
        return self.inner[self.last].was_clipped

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        self.last, own = _turn(step)
        return self.inner[self.last].step(batch, own, progress) - self.log_dets[self.last]
