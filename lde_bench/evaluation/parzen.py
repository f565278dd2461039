"""The Parzen window: the log-likelihood of test items under Gaussians around a model's samples.

Parzen 1962; as a measure of generators Breuleux, Bengio, Vincent 2011 and Goodfellow et al. 2014, arXiv 1406.2661.
It is the log-likelihood of the samples' kernel density, not of the model: Theis, van den Oord, Bethge 2016, arXiv
1511.01844.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy.spatial.distance import cdist

from lde_bench.errors import InputError

#: Test items and samples whose distances are held at once: 16 MiB, whatever the sizes of the sets.
TEST_ROWS, SAMPLE_ROWS = 256, 8192


def parzen_log_prob(test: np.ndarray, samples: np.ndarray, sigma: float) -> np.ndarray:
    """Log of the mean over all samples of N(test; sample, sigma^2 I), exact.

    Distances are sums of squared differences in float64 (no |x|^2 - 2xy + |y|^2, which cancels for close points), and
    the mean is a log-sum-exp.

    Args:
        test: [n, D].
        samples: [m, D].
        sigma: standard deviation of the window, above 0.

    Returns:
        float64 [n], nats.

    Raises:
        InputError: sigma is not a positive number, the widths differ, an array is empty or not [n, D], or holds NaN.
    """
    return _log_prob(*_rows(test, samples), _sigmas([sigma]))[0]


def select_sigma(validation: np.ndarray, samples: np.ndarray, grid: np.ndarray) -> tuple[float, np.ndarray]:
    """The sigma of the highest mean validation log-likelihood, and the curve over the grid.

    Warns (`UserWarning`) when the best sigma is at an edge of the grid: a wider grid would have a better one.

    Args:
        validation: [n, D].
        samples: [m, D].
        grid: sigmas, [s].

    Returns:
        The best sigma, and the mean log-likelihood in nats for each sigma of the grid, float64 [s].

    Raises:
        InputError: as `parzen_log_prob`, or an empty grid.
    """
    sigmas = _sigmas(grid)
    curve = _log_prob(*_rows(validation, samples), sigmas).mean(1)
    best = int(curve.argmax())
    if len(sigmas) > 1 and sigmas[best] in (sigmas.min(), sigmas.max()):
        warnings.warn(
            f"the best sigma {sigmas[best]:g} is at the edge of the grid [{sigmas.min():g}, {sigmas.max():g}]; "
            "widen the grid.",
            stacklevel=2,
        )
    return float(sigmas[best]), curve


def _log_prob(test: np.ndarray, samples: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """[s, n] nats; every distance is computed once for all sigmas."""
    total = np.full((len(sigmas), len(test)), -np.inf)
    for start in range(0, len(test), TEST_ROWS):
        rows = slice(start, start + TEST_ROWS)
        for first in range(0, len(samples), SAMPLE_ROWS):
            squares = cdist(test[rows], samples[first : first + SAMPLE_ROWS], "sqeuclidean")
            for s, sigma in enumerate(sigmas):
                total[s, rows] = np.logaddexp(total[s, rows], _log_sum_exp(-0.5 * squares / sigma**2))
    constants = math.log(len(samples)) + test.shape[1] * (np.log(sigmas) + 0.5 * math.log(2 * math.pi))
    return total - constants[:, None]


def _log_sum_exp(terms: np.ndarray) -> np.ndarray:
    """Over the last axis; the terms are finite."""
    top = terms.max(1)
    return top + np.log(np.exp(terms - top[:, None]).sum(1))


def _sigmas(grid: object) -> np.ndarray:
    sigmas = np.atleast_1d(np.asarray(grid, dtype=np.float64))
    if sigmas.ndim != 1 or len(sigmas) == 0:
        raise InputError("parzen: the grid of sigmas is empty or not a list; give at least one sigma.")
    # sigma^2 must be a float above 0 too.
    bad = sigmas[~(np.isfinite(sigmas) & (sigmas > 0) & (sigmas**2 > 0))]
    if len(bad):
        raise InputError(f"parzen: sigma = {bad[0]:g} is not a positive number; give for example sigma=0.2.")
    return sigmas


def _rows(test: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    arrays = []
    for what, given in (("test", test), ("samples", samples)):
        array = np.asarray(given, dtype=np.float64)
        if array.ndim != 2 or array.size == 0:
            raise InputError(f"parzen: the {what} array should be [n, D] with n, D > 0, got {list(array.shape)}.")
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).any(1).sum())
            raise InputError(f"parzen: {bad} rows of the {what} array hold NaN or infinity; remove them.")
        arrays.append(array)
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise InputError(
            f"parzen: the test items have {arrays[0].shape[1]} features and the samples {arrays[1].shape[1]}; "
            "give arrays of one width."
        )
    return arrays[0], arrays[1]
