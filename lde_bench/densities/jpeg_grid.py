"""A mixture over where the blocks of a JPEG file lie in a patch.

JPEG stores a photograph in blocks of 8x8 pixels, each as multiples of fixed steps in a basis of cosines (Wallace 1992).
A patch cut from such a photograph lies somewhere on this grid, and the closer to a block, the less there is to it: of
one that is a block, most of the 63 numbers stand near multiples of their steps. With the place c latent,

    p(x) = pi_0 q(x) + sum_c pi_c 1/4 sum_f q_c(T_c f x) |det T_c|,

where q is the density it wraps and takes patches from anywhere, f are the four flips of a patch, and q_c are densities
of the patches at place c, and of those that a flip brings there, that know the steps, `LatticeMade`. The places c are
(0, 0) ... (0, 4) and (1, 0) ... (4, 0), up to flips all at which rows or columns begin with a block, and (1, 1). A
patch is not transposed for them, since the steps are others in rows than in columns. In training the place of a patch
is known, since it is drawn from its photograph; in p(x) it is summed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lde_bench.data.patches import FEATURES, FLIPS, PIXELS, SIDE, SYMMETRIES, Offset, complete, turned
from lde_bench.densities.base import Density
from lde_bench.densities.ensemble import JointLearner
from lde_bench.densities.jpeg_lattice import Coordinates, LatticeMade
from lde_bench.densities.resmade_mog import ResMadeMog
from lde_bench.densities.view_mixture import View, ViewMixture
from lde_bench.errors import InputError
from lde_bench.training.batches import Batches, FreshBatches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Budget, Plan

#: One step in so many is of a density of one place, in turn; all others are of the density of patches from anywhere.
EVERY = 3

#: Width of the density of a place unless another is given.
WIDTH = 1024
#: How the density of a place is trained, stretched to its share of the steps of the plan of `base`. It is that of the
#: profile, so that `--steps` leaves warm-up and average as they are, as of every row; the batches are those of `base`.
PLAN = replace(ResMadeMog.plans["long"], rate=6e-3)


def _share(offset: Offset) -> float:
    """Tell what share of the 64 places the flips of the patch bring to `offset`."""
    return len({turned(offset, flip) for flip in FLIPS}) / PIXELS


#: Where blocks lie in a patch, up to its flips.
PLACES: tuple[Offset, ...] = (
    (0, 0),
    (1, 1),
    *((0, start) for start in range(1, SIDE // 2 + 1)),
    *((start, 0) for start in range(1, SIDE // 2 + 1)),
)


def _views(offset: Offset) -> list[View]:
    """Those of the density of a place: of the four flips of a patch."""
    matrix, pixels = Coordinates.at(offset).matrix, complete(np.eye(FEATURES))
    flips = (pixels[:, SYMMETRIES[flip, :FEATURES]].T for flip in FLIPS)
    return [View.of(matrix @ flip, _share(offset) / len(FLIPS)) for flip in flips]


class JpegGrid(ViewMixture):
    """`base` and densities of patches at ten places of the JPEG grid; method suffix `+jpeg`.

    Meant to stand outside `+sym`, whose quarter turns its places do not share. The prior of a place is its share of the
    grid, nothing is learnt of it. What trains the densities of places is `PLAN` and no plan that is given.

    Args:
        base: q.
        width: of the residual stream of the density of a place.

    Raises:
        InputError: as of `ViewMixture`; or `width` is no whole number from 1 up; or `base` is fitted in closed form, so
            that nothing says how long to train the others, or holds a `+jpeg`; or it is fitted to rows whose places
            are not known.
    """

    name = "jpeg"
    revision = 3
    needs_places = True
    card = Card(
        summary="a mixture of it, of patches from anywhere, and of 10 residual MADEs, each of a place on the grid of "
        "JPEG blocks, that know the steps of the file",
        source="this project; the blocks: Wallace 1992, IEEE Transactions on Consumer Electronics 38(1)",
        sample_cost="that of the density, or a pass per dimension; one evaluation costs 40 of a residual MADE "
        f"of width {WIDTH} more, ten of each flip of a patch",
        differences="learns from where the training patches lie in their photographs, and is told the table of steps "
        "that all files have, those of the test photographs too; no published row does",
        bibtex=("wallace1992jpeg", "babai1986lattice"),
    )

    views = tuple(view for place in PLACES for view in _views(place))
    repeats = len(FLIPS)
    #: The share of all other places, whose patches are left to the density of patches from anywhere.
    own_weight = 1 - sum(view.weight for view in views)

    def __init__(self, base: Density, width: int = WIDTH) -> None:
        width = positive_integer("width", width)
        super().__init__(base, [self.density_at(place, width) for place in PLACES])
        self.width = width

    @staticmethod
    def density_at(place: Offset, width: int) -> Density:
        """The density of patches at a place, untrained."""
        return LatticeMade(place, hidden=width)

    def reference_seconds(self, plan: Plan) -> float:
        usual = ResMadeMog(FEATURES, hidden=self.width)  # a density of a place costs what it does
        places = PLAN.reference_seconds * usual.size * plan.steps / PLAN.steps
        return (1 - 1 / EVERY) * self.base.reference_seconds(plan) + places / EVERY

    def plan(self, budget: Budget) -> Plan:
        if budget.batch is not None:
            raise InputError(
                f"+{self.name} trains the densities of its places by a plan of their own, of the usual batches; leave "
                "out --batch."
            )
        return super().plan(budget)

    def treatment(self) -> dict[str, Any]:
        """How the densities of the places are trained."""
        own = {"every": EVERY, "places": len(PLACES), "width": self.width, "rate": PLAN.rate}
        return super().treatment() | {"jpeg": own}

    def training_batches(self, batches: Batches) -> Batches:
        if not isinstance(batches, FreshBatches) or not batches.knows_places:
            raise InputError(
                "+jpeg learns from where patches lie in their photographs; train it on patches drawn afresh "
                "(--patches fresh)."
            )
        return _Turns(batches, self.first_views)

    def prepare(self, batches: Batches) -> None:
        assert isinstance(batches, _Turns)
        self.base.prepare(batches.anywhere)
        for density, rows in zip(self.each()[1:], batches.placed, strict=True):
            density.prepare(rows)

    def held_out(self, rows: Tensor) -> list[Tensor | None]:
        return [rows, *(None for _ in PLACES)]

    def unaveraged(self, x: Tensor) -> Tensor:
        """log p of the mixture without flips, of what `base` trains as: [B, 63] -> [B] nats."""
        base = self.base
        while base.trains_as_base:
            base = next(base.inner_densities())
        terms = [base(x) + math.log(self.own_weight)]
        for view, density in zip(self.first_views, self.each()[1:], strict=True):
            terms.append(density(view.tensor(x)) + view.log_det + math.log(view.weight * self.repeats))
        return torch.stack(terms).logsumexp(0)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        if plan.closed_form:
            raise InputError(
                f"{self.base.name} is fitted in closed form, so nothing says how long +jpeg trains; leave out +jpeg."
            )
        steps = plan.steps / (EVERY * len(PLACES))
        plans = [plan, *[PLAN.stretched(steps / PLAN.steps)] * len(PLACES)]
        own = zip(self.each(), plans, strict=True)
        return _GridLearner(self, [density.learner(each, device, precision, compiler) for density, each in own])


def _turn(step: int) -> tuple[int, int]:
    """Whose step it is (0: patches from anywhere, then the places), and how many it has had before."""
    if step % EVERY != EVERY - 1:
        return 0, step - step // EVERY
    rounds, which = divmod(step // EVERY, len(PLACES))
    return 1 + which, rounds


class _Turns:
    """The batches of whose step it is, those of a place in its coordinates."""

    of_any_thread = True

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
    """The learners of all places, one at a time; the score is that of the mixture without its averages."""

    last = 0

    def __init__(self, density: JpegGrid, inner: list[Learner]) -> None:
        super().__init__(density, inner)
        self.scored = density.unaveraged
        self.log_dets = [0.0, *(view.log_det for view in density.first_views)]

    @property
    def was_clipped(self) -> bool:  # type: ignore[override] # of the one whose step it was
        return self.inner[self.last].was_clipped

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        self.last, own = _turn(step)
        return self.inner[self.last].step(batch, own, progress) - self.log_dets[self.last]
