"""Reference rows: "generators" that hold a fixed set of images and hand them out. They model nothing, and their figures
say what a measure of samples is worth (Theis, van den Oord, Bethge 2016, arXiv 1511.01844, section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import row_blocks
from lde_bench.errors import InputError
from lde_bench.generators.base import Generator
from lde_bench.seeds import as_seed
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, ModuleLearner
from lde_bench.training.plan import Plan

#: As many as the Parzen window takes.
MOST_IMAGES = 10_000

#: There is nothing to learn by steps.
CLOSED_FORM = Plan(steps=1, batch_size=1, bf16=False, closed_form=True, reference_seconds=1.0)


class StoredImages(Generator):
    """Hands out the images of its `images` [n, D], which a subclass sets in `prepare`, each at most once a sample."""

    is_reference = True

    images: Tensor

    def __init__(self, image_shape: Sequence[int]) -> None:
        super().__init__(image_shape)
        self.register_buffer("images", torch.zeros(0, self.features))

    @property
    def most_samples(self) -> int:
        return len(self.images)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return _NothingToLearn(self)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """`n` different ones of the images [n, D], in an order drawn with the seed.

        Raises:
            InputError: there are fewer, or `seed` is no whole number.
        """
        seed = as_seed(self.name, seed)
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise InputError(f"{self.name}: cannot give {n} samples; ask for a whole number from 0 up.")
        if not 0 <= n <= len(self.images):
            raise InputError(
                f"{self.name}: cannot give {n} samples, it holds {len(self.images):,} images; ask for fewer."
            )
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))
        return self.images[order[:n].to(self.device)].cpu().numpy()

    def sample_blocks(self, n: int, seed: int = 0) -> Iterator[tuple[slice, Tensor]]:
        images = torch.from_numpy(self.sample(n, seed))
        return ((block, images[block]) for block in row_blocks(images))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # How many there are is known from the file alone.
        self.images = torch.empty_like(state_dict[f"{prefix}images"], device=self.images.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _NothingToLearn(ModuleLearner):
    """The images are there already."""

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        return 0.0
