"""Training images handed out as if they were samples: what perfect memory and no generalisation scores."""

from __future__ import annotations

from typing import ClassVar

import torch

from lde_bench.generators.stored import CLOSED_FORM, MOST_IMAGES, StoredImages
from lde_bench.training.batches import Batches
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan


class TrainSamples(StoredImages):
    """min(10,000, n) of the n training images, drawn without replacement.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
    """

    name = "train-samples"
    place = 10
    card = Card(
        summary="reference: training images as samples",
        source="Theis, van den Oord, Bethge 2016, arXiv 1511.01844; Bengio et al. 2013, arXiv 1306.1091",
        sample_cost="none",
        bibtex=("theis2016note",),
    )
    plans: ClassVar[dict[str, Plan]] = dict.fromkeys(("quick", "standard", "paper"), CLOSED_FORM)

    def prepare(self, batches: Batches) -> None:
        self.images = torch.as_tensor(batches.take(MOST_IMAGES), dtype=self.dtype, device=self.device)
