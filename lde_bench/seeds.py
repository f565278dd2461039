"""Seeds derived by hashing names, so that adding a model or a dataset changes nobody else's seed."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*names: str | int) -> int:
    """A 63-bit seed from the SHA-256 of the names, e.g. `derive_seed("lde+w", 10, "trial", 0)`."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_generator(*names: str | int) -> np.random.Generator:
    """Random numbers of the seed derived from the names, the same in every version of NumPy (Philox)."""
    return np.random.Generator(np.random.Philox(derive_seed(*names)))
