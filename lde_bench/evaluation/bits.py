"""Bits per dimension: a log-likelihood as a number that does not grow with the number of features.

Of numbers that are grey levels divided by their count L, as those of the patches are (L = 256), it is that of the
levels themselves, p(L x) = p(x) / L^D: with noise of the width of a level added before, an upper bound of the bits that
a lossless code needs for each (Theis, van den Oord, Bethge 2016, arXiv 1511.01844, section 3.1).
"""

from __future__ import annotations

import math


def bits_per_dim(nats: float, features: int, levels: int = 1) -> float:
    """log2 L - nats / (D ln 2).

    Args:
        nats: log-likelihood of a row.
        features: D, from 1 up.
        levels: L; 1 leaves the numbers in the units they have.
    """
    return math.log2(levels) - nats / (features * math.log(2))
