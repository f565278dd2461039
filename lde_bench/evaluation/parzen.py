"""The Parzen window: the log-likelihood of test items under Gaussians around a model's samples.

Parzen 1962; as a measure of generators Breuleux, Bengio, Vincent 2011 and Goodfellow et al. 2014, arXiv 1406.2661.
It is the log-likelihood of the samples' kernel density, not of the model: Theis, van den Oord, Bethge 2016, arXiv
1511.01844.

How it is exact and fast at once. Nearly all of the n x m terms are below the rounding of the sum for every sigma of the
grid. One float32 matrix product per block finds a superset of those that are not, by a proven bound on its own error
(`_product_error`); only the distances of these pairs are computed again, as sums of squared differences in float64,
and enter the sums, for all sigmas at once. The product decides what to leave out, and nothing else.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lde_bench.arrays import Rows, as_rows, row_blocks
from lde_bench.errors import InputError
from lde_bench.training.device import resolve_device, whole_float32

#: Test items and samples whose distances are held at once: 32 MiB, whatever the sizes of the sets.
TEST_ROWS, SAMPLE_ROWS = 1024, 8192

#: Numbers of samples, and twice those of test items, that are held in float64 at once: 160 MB and 80 MB.
HELD_NUMBERS = 20_000_000

#: Numbers gathered at once for the distances in float64: 8 MiB each way.
GATHERED = 1 << 20

#: Beyond this share of surviving pairs a row's distances are computed whole.
DENSE = 0.05

#: All that is left out of a sum is together below its rounding in float64.
NEGLIGIBLE = 2.0**-53


def parzen_log_prob(test: Rows, samples: Rows, sigma: float, *, device: str = "cpu") -> np.ndarray:
    """Log of the mean over all samples of N(test; sample, sigma^2 I), exact to the rounding of float64.

    Args:
        test: [n, D].
        samples: [m, D]; either is an array, or anything that is sliced like one (`np.memmap`, an h5py dataset, pixels):
            it is read in blocks, so that neither n nor m is bounded by the memory.
        sigma: standard deviation of the window, above 0.
        device: `cpu`, `cuda` or `auto`.

    Returns:
        float64 [n], nats.

    Raises:
        InputError: sigma is not a positive number, the widths differ, an array is empty or not [n, D], or holds NaN.
    """
    return parzen_curve(test, samples, [sigma], device=device)[0]


def select_sigma(validation: Rows, samples: Rows, grid: np.ndarray, *, device: str = "cpu") -> tuple[float, np.ndarray]:
    """The sigma of the highest mean validation log-likelihood, and the curve over the grid.

    Warns (`UserWarning`) when the best sigma is at an edge of the grid: a wider grid would have a better one.

    Args:
        validation: [n, D].
        samples: [m, D], as in `parzen_log_prob`.
        grid: sigmas, [s].
        device: `cpu`, `cuda` or `auto`.

    Returns:
        The best sigma, and the mean log-likelihood in nats for each sigma of the grid, float64 [s].

    Raises:
        InputError: as `parzen_log_prob`, or an empty grid.
    """
    sigmas = _sigmas(grid)
    curve = parzen_curve(validation, samples, sigmas, device=device).mean(1)
    best = int(curve.argmax())
    if len(sigmas) > 1 and sigmas[best] in (sigmas.min(), sigmas.max()):
        warnings.warn(
            f"the best sigma {sigmas[best]:g} is at the edge of the grid [{sigmas.min():g}, {sigmas.max():g}]; "
            "widen the grid.",
            stacklevel=2,
        )
    return float(sigmas[best]), curve


def parzen_curve(test: Rows, samples: Rows, grid: np.ndarray | Sequence[float], *, device: str = "cpu") -> np.ndarray:
    """`parzen_log_prob` for every sigma of the grid in one pass over the distances: float64 [s, n], nats.

    Raises:
        InputError: as `parzen_log_prob`, or an empty grid.
    """
    return parzen_sums(test, samples, grid, device=device).log_prob()


@dataclass(frozen=True, eq=False)
class WindowSums:
    """What some of the samples add to a Parzen window; the sums over blocks of samples, wherever they were computed,
    are joined to that over all.

    Attributes:
        sigmas: float64 [s].
        total: log sum_j exp(-|x_i - y_j|^2 / 2 sigma^2) over these samples, float64 [s, n].
        samples: how many they are.
        features: D.
    """

    sigmas: np.ndarray
    total: np.ndarray
    samples: int
    features: int

    def join(self, other: WindowSums) -> WindowSums:
        """The sums over the samples of both.

        Raises:
            InputError: they are not of the same test items and sigmas.
        """
        if self.features != other.features or self.total.shape != other.total.shape:
            raise InputError("parzen: sums of different test items cannot be joined; give all parts the same.")
        if not np.array_equal(self.sigmas, other.sigmas):
            raise InputError("parzen: sums at different sigmas cannot be joined; give all parts the same grid.")
        return replace(self, total=np.logaddexp(self.total, other.total), samples=self.samples + other.samples)

    def log_prob(self) -> np.ndarray:
        """The log-likelihoods under the window of these samples, float64 [s, n], nats."""
        constants = math.log(self.samples) + self.features * (np.log(self.sigmas) + 0.5 * math.log(2 * math.pi))
        return self.total - constants[:, None]


def parzen_sums(test: Rows, samples: Rows, grid: np.ndarray | Sequence[float], *, device: str = "cpu") -> WindowSums:
    """The part of a Parzen window that these samples are, so that several processes can share a window of millions:
    `functools.reduce(WindowSums.join, parts).log_prob()` is that of all samples, to the rounding of float64.

    Args:
        test: [n, D], the same in all parts; `grid` too.
        samples: [m, D], those of this part; see `parzen_log_prob`.
        grid: sigmas, [s].
        device: `cpu`, `cuda` or `auto`.

    Raises:
        InputError: as `parzen_log_prob`, or an empty grid.
    """
    sigmas = _sigmas(grid)
    place = resolve_device(device)
    rows, source = _matrix("test", test), _matrix("samples", samples)
    if rows.shape[1] != source.shape[1]:
        raise InputError(
            f"parzen: the test items have {rows.shape[1]} features and the samples {source.shape[1]}; "
            "give arrays of one width."
        )
    blocks = list(row_blocks(source, HELD_NUMBERS, SAMPLE_ROWS))
    # A common shift changes no distance; around the origin norms, and with them the error of the product, are small.
    centre = _block("samples", source[blocks[0]], place).mean(0)
    totals = []
    # TF32 or bfloat16 inside would void the bound.
    with whole_float32(), torch.no_grad():
        for held in row_blocks(rows, HELD_NUMBERS // 2):
            x = _block("test", rows[held], place).sub_(centre)
            sums = _Sums(x, torch.from_numpy(sigmas).to(place), source.shape[0])
            for block in blocks:
                sums.add(_block("samples", source[block], place).sub_(centre))
            totals.append(sums.total.cpu().numpy())
    return WindowSums(sigmas, np.concatenate(totals, 1), source.shape[0], source.shape[1])


class _Sums:
    """log sum_j exp(-|x_i - y_j|^2 / 2 sigma^2) of the samples seen so far, for every sigma and test item: [s, n]."""

    def __init__(self, x: torch.Tensor, sigmas: torch.Tensor, samples: int) -> None:
        self.x = x
        self.x_squares = x.square().sum(1)
        self.half_precisions = 0.5 / sigmas.square()  # [s]
        # A sample this much further away (squared) than the nearest adds less than NEGLIGIBLE / m to the sum at the
        # widest sigma, where it adds most; all m together less than NEGLIGIBLE.
        self.reach = math.log(samples / NEGLIGIBLE) / self.half_precisions.min().item()
        self.nearest = x.new_full((len(x),), math.inf)  # squared distance
        self.total = x.new_full((len(sigmas), len(x)), -math.inf)

    def add(self, y: torch.Tensor) -> None:
        y_single, y_squares = y.float(), y.square().sum(1)
        widest = y_squares.max().sqrt()
        for first in range(0, len(self.x), TEST_ROWS):
            rows = slice(first, first + TEST_ROWS)
            x, x_squares = self.x[rows], self.x_squares[rows]
            error = _product_error(x.shape[1], x_squares.sqrt() + widest)  # [B]
            # |y|^2 - 2 x y: squared distances up to the row's own |x|^2, which joins the limits instead.
            partial = y_squares.float().addmm(x.float(), y_single.T, alpha=-2)  # [B, M]
            nearest = torch.minimum(self.nearest[rows], partial.amin(1).double() + x_squares + error)
            limit = nearest + error + self.reach - x_squares
            # Rounded up, so that the comparison in float32 keeps whatever float64 would keep.
            limit = torch.nextafter(limit.float(), limit.new_tensor(math.inf).float())
            self.nearest[rows] = nearest
            # Not `<=`: a product that overflowed to NaN tells nothing, and its pair is kept.
            i, j = (partial > limit[:, None]).logical_not_().nonzero(as_tuple=True)
            dense = torch.bincount(i, minlength=len(x)) > DENSE * len(y)
            if dense.any():
                self._add_whole(first + dense.nonzero()[:, 0], y)
                i, j = i[~dense[i]], j[~dense[i]]
            self._add_pairs(rows, x, y, i, j)

    def _add_whole(self, rows: torch.Tensor, y: torch.Tensor) -> None:
        """All samples y [M, D] for these test items [R]."""
        squares = torch.cdist(self.x[rows], y, compute_mode="donot_use_mm_for_euclid_dist").square()
        for s, half_precision in enumerate(self.half_precisions):
            self._join(s, rows, torch.logsumexp(squares * -half_precision, 1))

    def _add_pairs(self, rows: slice, x: torch.Tensor, y: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> None:
        """The pairs x_i, y_j, with i and j of shape [P]."""
        step = max(1, GATHERED // x.shape[1])
        parts = zip(i.split(step), j.split(step), strict=True)
        squares = torch.cat([(x[a] - y[b]).square().sum(1) for a, b in parts])  # [P]
        nearest = x.new_full((len(x),), math.inf).scatter_reduce(0, i, squares, "amin")
        beyond = squares - nearest[i]
        for s, half_precision in enumerate(self.half_precisions):
            sums = x.new_zeros(len(x)).index_add(0, i, torch.exp(beyond * -half_precision))
            # A row that kept nothing has an infinite nearest distance: it adds log 0.
            self._join(s, rows, sums.log() - nearest * half_precision)

    def _join(self, s: int, rows: slice | torch.Tensor, more: torch.Tensor) -> None:
        self.total[s, rows] = torch.logaddexp(self.total[s, rows], more)


def _product_error(features: int, reach: torch.Tensor) -> torch.Tensor:
    """A bound on |float32 squared distance - true one| where |x| + |y| is at most `reach` [B].

    With u = 2^-24: rounding x and y to float32 changes x y by at most (2u + u^2) |x||y|; the product, summed in any
    order, errs by at most D u / (1 - D u) |x||y| (Higham 2002, section 3.1); -2 x y, |y|^2 and their sum are rounded
    once each, |x|^2 + |y|^2 + 2 |x||y| = (|x| + |y|)^2 bounding all of them. Together below (D + 8) u (|x| + |y|)^2 as
    long as D u < 1/100, and 1/50 more for the terms of higher order.
    """
    return 1.02 * (features + 8) * 2.0**-24 * reach.square()


def _sigmas(grid: object) -> np.ndarray:
    try:
        sigmas = np.atleast_1d(np.asarray(grid, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError("parzen: a sigma is no real number; give for example sigma=0.2.") from error
    if sigmas.ndim != 1 or len(sigmas) == 0:
        raise InputError("parzen: the grid of sigmas is empty or not a list; give at least one sigma.")
    # sigma^2 must be a float above 0 too, and so must its inverse.
    bad = sigmas[~((sigmas > 1e-150) & (sigmas < 1e150))]
    if len(bad):
        raise InputError(
            f"parzen: sigma = {bad[0]:g} is not a positive number, or one too small or large to be squared; give for "
            "example sigma=0.2."
        )
    return sigmas


def _matrix(what: str, given: Rows) -> Rows:
    """`given` as something with two dimensions that slices; what lies on disk stays there."""
    if not (hasattr(given, "shape") and hasattr(given, "dtype")):
        return as_rows("parzen", f"the {what} array", given, least=1)
    array = given
    if len(array.shape) != 2 or 0 in array.shape:
        raise InputError(f"parzen: the {what} array should be [n, D] with n, D > 0, got {list(array.shape)}.")
    return array


def _block(what: str, block: np.ndarray, device: torch.device) -> torch.Tensor:
    """A copy of a block in float64, in the device's memory."""
    rows = as_rows("parzen", f"the {what} array", block, finite=True)
    return torch.tensor(rows, dtype=torch.float64, device=device)
