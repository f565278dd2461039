"""Where a training began, and what its clip did: what tells a plan in the wrong unit. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """Says how the training of a model, or of one of its parts, began.

    Attributes:
        steps: that were taken.
        first_loss: mean training loss per sample before the first step, of densities in nats: far off where the model
            starts in the wrong unit. None in what was kept before it was told.
        clip: the length that gradients are cut to; None: they are not.
        clipped_share: of the steps, those whose gradient was cut, in [0, 1]. Where it is nearly 1, the clip and not
            the rate sets the length of steps.
    """

    steps: int
    first_loss: float | None
    clip: float | None = None
    clipped_share: float | None = None
