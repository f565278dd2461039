"""k-means centroids handed out as if they were samples: the Parzen window prefers them to real images."""

from __future__ import annotations

from typing import ClassVar

import torch
from sklearn.cluster import MiniBatchKMeans

from lde_bench.generators.stored import CLOSED_FORM, MOST_IMAGES, StoredImages
from lde_bench.training.batches import Batches
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

#: Images of a minibatch, and passes over the training images.
BATCH, PASSES = 4096, 10


class KMeans(StoredImages):
    """Centroids of minibatch k-means (Sculley 2010) from a random start: 10,000, or half of the n training images if
    there are fewer than 20,000, since n centroids of n images are those images.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
    """

    name = "kmeans"
    place = 20
    card = Card(
        summary="reference: k-means centroids as samples",
        source="Theis, van den Oord, Bethge 2016, arXiv 1511.01844, section 3.3; scikit-learn MiniBatchKMeans",
        sample_cost="none",
        differences="at most half as many centroids as there are training images",
        bibtex=("theis2016note",),
    )
    plans: ClassVar[dict[str, Plan]] = dict.fromkeys(("quick", "standard", "paper"), CLOSED_FORM)

    def prepare(self, batches: Batches) -> None:
        rows = batches.take(batches.size or 2 * MOST_IMAGES)
        fitted = MiniBatchKMeans(
            n_clusters=max(1, min(MOST_IMAGES, len(rows) // 2)),
            init="random",
            n_init=1,
            batch_size=BATCH,
            max_iter=PASSES,
            # As many images of a minibatch as centroids fall to one each: none is starved on purpose.
            reassignment_ratio=0.0,
            random_state=int(torch.randint(2**31 - 1, ())),  # of the generator that `fit` seeded
        ).fit(rows)
        self.images = torch.as_tensor(fitted.cluster_centers_, dtype=self.dtype, device=self.device)
