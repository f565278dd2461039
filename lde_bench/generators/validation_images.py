"""Validation images handed out as if they were samples: what a perfect model would score."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.errors import InputError
from lde_bench.generators.stored import CLOSED_FORM, MOST_IMAGES, StoredImages
from lde_bench.training.batches import Batches
from lde_bench.training.model import Card, as_array
from lde_bench.training.plan import Plan

#: Of the validation images a third: against a null of n out of 2 n others, most are then compared.
SHARE = 3


class ValidationImages(StoredImages):
    """The last third of the validation images, or the last 10,000: real, and neither trained on nor tested on.

    What is chosen on validation images, and nulls of measures, leave it the others: it is measured as a model is.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
    """

    name = "validation-images"
    place = 11
    card = Card(
        summary="reference: new real images as samples",
        source="Theis, van den Oord, Bethge 2016, arXiv 1511.01844",
        sample_cost="none",
        differences="a third of the validation images, so that sigma and nulls are found on the others",
        bibtex=("theis2016note",),
    )
    plans: ClassVar[dict[str, Plan]] = dict.fromkeys(("quick", "standard", "paper"), CLOSED_FORM)

    def fit(self, train_rows: Rows | Tensor | Batches, validation: Rows | Tensor | None = None, **options: Any) -> Self:
        """As `Model.fit`; of the training rows nothing is taken.

        Raises:
            InputError: see `Model.fit`; or fewer than three validation images.
        """
        if validation is None or len(validation) < SHARE:
            raise InputError(f"{self.name}: it hands out a third of the validation images; give {SHARE} or more.")
        held_out = as_array(self._readable("validation", validation))
        taken = held_out[len(held_out) - min(MOST_IMAGES, len(held_out) // SHARE) :]
        self.images = torch.as_tensor(taken, dtype=self.dtype, device=self.device)
        return super().fit(train_rows, validation, **options)

    @property
    def used_validation(self) -> int:
        return len(self.images)
