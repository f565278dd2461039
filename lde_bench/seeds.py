"""Seeds derived by hashing names, so that adding a model or a dataset changes nobody else's seed."""

from __future__ import annotations

import hashlib
from numbers import Integral

import numpy as np

from lde_bench.errors import InputError

#: What the random generators of torch take.
LOWEST, HIGHEST = -(2**63), 2**64 - 1


def derive_seed(*names: str | int) -> int:
    """A 63-bit seed from the SHA-256 of the names, e.g. `derive_seed("lde+w", 10, "trial", 0)`."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_generator(*names: str | int) -> np.random.Generator:
    """Random numbers of the seed derived from the names.

    NumPy promises the bits of Philox, and not what its generator makes of them, for ever: tests hold the datasets that
    are made of these to their hashes.
    """
    return np.random.Generator(np.random.Philox(derive_seed(*names)))


def as_seed(owner: str, seed: object) -> int:
    """`seed` as a Python int, so that one of NumPy's gives the same random numbers; `owner` says who asks.

    Raises:
        InputError: it is no whole number, or one that no random generator takes.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not LOWEST <= int(seed) <= HIGHEST:
        raise InputError(
            f"{owner}: seed = {seed!r} is not a whole number from -2^63 to 2^64 - 1; give for example seed=0."
        )
    return int(seed)
