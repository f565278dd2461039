"""Log-likelihood of the codes of held-out items under the density that an autoencoder is sampled by.

Unlike that of a window around samples, it is exact. But scaling the codes shifts it, so that it compares only over one
and the same trained encoder.
"""

from __future__ import annotations

from typing import ClassVar

from lde_bench.evaluation.likelihood import summarise
from lde_bench.evaluation.sample_measures import Figure, Measure, SampleMetric, SampleSets


class CodeLikelihood(SampleMetric):
    """`code_nats` on all held-out items; nothing for a model without a density of codes."""

    name = "code-likelihood"
    summary = "mean log-likelihood of the codes of held-out items under the density of codes, over one encoder only"
    source = "textbook"
    in_space = False
    place = 70
    figures: ClassVar[dict[str, Figure]] = {
        "code_nats": Figure(
            "code log-likelihood (nats)",
            "higher",
            2,
            "exact, of the codes of held-out items; scaling the codes shifts it, so that it compares only between rows "
            "that have one and the same trained autoencoder",
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        if sets.code_log_prob is None:
            return {}
        codes = summarise(sets.code_log_prob(sets.test), None, "code")
        detail = f"nats of the codes of test images, over the autoencoder {sets.encoder}; compares with no other"
        return {"code_nats": Measure(codes.mean, codes.standard_error, detail=detail)}
