"""Bounds on the log-likelihood of decoder-based models: by annealed importance sampling for all of them alike, and by
importance-weighted codes for those with a random encoder.

The better-founded twin of the Parzen window: it asks the model itself, and not 10,000 of its samples.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from lde_bench.evaluation.ais import Annealing, Estimator, sigma_ladder
from lde_bench.evaluation.likelihood import summarise
from lde_bench.evaluation.sample_measures import (
    BoundedModel,
    Figure,
    Measure,
    SampleMetric,
    SampleSets,
    mean_and_error,
    subset,
)

#: Validation images that the observation noise is chosen on.
SIGMA_IMAGES = 100

#: Images of the model's own that show how far apart the upper and the lower bound are.
SIMULATED_IMAGES = 50

#: How long the chains are: about 60 CPU seconds for 500 images of MNIST and a perceptron.
ANNEALING = Annealing()

#: Codes of an image, as of Burda et al. 2016 and Wu et al. 2017 alike.
CODES = 1_000


class LikelihoodBounds(SampleMetric):
    """`ais_nats` and `ais_gap` of decoder-based models, `iwae_nats` of those with a random encoder; nothing for others,
    and where no images are set aside for it.
    """

    name = "likelihood-bounds"
    summary = "bounds on the log-likelihood of decoder-based models: annealed importance sampling, importance weighting"
    source = (
        "Wu, Burda, Salakhutdinov, Grosse 2017, arXiv 1611.04273; Neal 2001; Grosse et al. 2015, arXiv 1511.02543; "
        "Burda, Grosse, Salakhutdinov 2016, arXiv 1509.00519"
    )
    bibtex = ("wu2017quantitative", "neal2001annealed", "grosse2015sandwiching", "burda2016importance")
    in_space = False
    place = 2
    figures: ClassVar[dict[str, Figure]] = {
        "ais_nats": Figure(
            "AIS log-likelihood (nats)",
            "higher",
            1,
            "lower bound, in expectation, of the log-likelihood of test images under the decoder with Gaussian pixels, "
            "whose one sigma is chosen on validation images, the same way for every row",
        ),
        "ais_gap": Figure(
            "AIS gap (nats)",
            "lower",
            1,
            "upper minus lower bound on images of the model's own: how far from converged its AIS log-likelihood is; "
            "differences below it say nothing; how well the search for a code does on other images it does not tell",
        ),
        "ais_sigma": Figure("AIS sigma", "", 3, "standard deviation of the pixels of that decoder"),
        "iwae_nats": Figure(
            "IWAE bound (nats)",
            "",
            1,
            "importance-weighted lower bound under the model's own pixels; where these are Bernoulli it is no density "
            "of real-valued pixels, and compares with no Gaussian one",
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        bounded = sets.bounded
        if bounded is None:
            return {}
        generator = sets.generator(self.name)
        # The same for every row of a table.
        images = subset(sets.test, bounded.images, generator)
        choosing = subset(bounded.validation, SIGMA_IMAGES, generator)
        seed = int(generator.integers(2**62))
        return {
            **_annealed(bounded, images, choosing, seed),
            **_importance_weighted(bounded, images, seed),
        }


def _annealed(bounded: BoundedModel, images: np.ndarray, choosing: np.ndarray, seed: int) -> dict[str, Measure]:
    if not bounded.models:
        return {}
    estimator = Estimator(bounded.models, ANNEALING, seed)
    like = bounded.models[0].draw(1, torch.Generator(bounded.models[0].device))
    x, chosen_on = (torch.from_numpy(rows).to(like) for rows in (images, choosing))
    sigma = estimator.choose_sigma(chosen_on)
    bounds = estimator.lower_bounds(x, sigma)
    nats = summarise(bounds.nats.cpu().numpy(), None, "AIS")
    gaps = estimator.gaps(SIMULATED_IMAGES, sigma).cpu().numpy()
    gap, gap_error = mean_and_error(gaps)
    detail = (
        f"{len(images)} test images, {estimator.chains * len(bounded.models)} chains each, "
        f"{ANNEALING.distributions} distributions, leapfrog steps {ANNEALING.leapfrog}, acceptance "
        f"{bounds.acceptance:.2f}, sigma {sigma:.3f} chosen on {len(choosing)} validation images, gap {gap:.1f} nats"
    )
    widest, *_, least = sigma_ladder()
    edges = {
        least: "; the least that is looked at, and a smaller one may be better",
        widest: "; the widest that is looked at",
    }
    edge = edges.get(sigma, "")
    told = f"{len(gaps)} images that the model made, at sigma {sigma:.3f}"
    return {
        "ais_nats": Measure(nats.mean, nats.standard_error, detail=detail),
        "ais_gap": Measure(gap, gap_error, detail=told),
        "ais_sigma": Measure(sigma, detail=f"chosen on {len(choosing)} validation images{edge}"),
    }


def _importance_weighted(bounded: BoundedModel, images: np.ndarray, seed: int) -> dict[str, Measure]:
    if bounded.importance_weighted is None:
        return {}
    nats = summarise(bounded.importance_weighted(images, CODES, seed), None, "IWAE")
    detail = f"{len(images)} test images, {CODES:,} codes each, {bounded.pixels} pixels"
    return {"iwae_nats": Measure(nats.mean, nats.standard_error, detail=detail)}
