"""Trials of the paper's Figure 2: what a prior costs an autoencoder, and a density fitted to the codes in its place.

The codes of held-out images are compared with what codes are drawn from when images are sampled, the *code law*: the
prior N(0, I) of a VAE, the fitted density of an autoencoder without a prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from lde_bench.densities import create
from lde_bench.densities.base import Density
from lde_bench.errors import TrainingDiverged
from lde_bench.evaluation.mmd import median_distance, mmd2_with_null
from lde_bench.evaluation.sample_measures import Figure, Measure, mean_and_error, measure_samples, sample_figures
from lde_bench.generators import generator_class
from lde_bench.generators.base import Generator
from lde_bench.generators.latent_density import LatentDensity
from lde_bench.generators.vae import VAE
from lde_bench.runs import Result, RunPaths
from lde_bench.seeds import derive_seed
from lde_bench.trials.images import KEPT_SAMPLES, ImageTrial, Measured, as_bytes, draw_samples

#: Held-out images whose codes are compared with the code law, and drawn.
CODED = 2_000

#: Draws of the code law that tell where most of its mass lies.
DRAWS = 5_000

#: Points of the plane, to a side, at which the law is evaluated.
GRID = 120

#: Shares of the mass of the law that the drawn regions of highest density hold.
REGIONS = (0.5, 0.9)

#: Images of one class that are shown with their reconstructions.
PAIRS = 6

#: Everything that a trial measures, by name and in the order of the table.
FIGURES: dict[str, Figure] = {
    "reconstruction_mse": sample_figures()["reconstruction_mse"],
    "kl_nats": Figure(
        "KL (nats)",
        "",
        2,
        "KL(q(z|x) || N(0, I)), exact: what a code says about its image; near 0 it says nothing",
    ),
    "elbo_nats": Figure("ELBO (nats)", "higher", 2, "log p(x|z) at codes of the image less the KL, whatever beta was"),
    "iwae_nats": Figure(
        "IWAE (nats)",
        "higher",
        2,
        "importance-weighted bound on log p(x) (Burda, Grosse, Salakhutdinov 2016, arXiv 1509.00519), above the ELBO",
    ),
    "code_nats": sample_figures()["code_nats"],
    "code_mmd2": Figure(
        "MMD^2 of codes",
        "null",
        4,
        "unbiased, between codes of held-out images (one draw from each posterior) and draws of what codes are sampled "
        "from, N(0, I) or the fitted density; Gaussian kernel, bandwidth the median distance between the codes",
    ),
}


@dataclass(frozen=True, eq=False)
class Plane:
    """Codes of two numbers, and the code law over the plane.

    Attributes:
        codes: of held-out images, one draw from each posterior, float32 [n, 2].
        labels: what these images show, int16 [n]; empty where that is not known.
        axes: the values of the first and of the second number at the points of the grid, float32 [2, G].
        log_density: of the law in nats, float32 [G, G], rows over the second number.
        levels: nats above which the law has the shares `REGIONS` of its mass, float32 [2], falling (Hyndman 1996,
            "Computing and graphing highest density regions").
    """

    codes: np.ndarray
    labels: np.ndarray
    axes: np.ndarray
    log_density: np.ndarray
    levels: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, labels: np.ndarray | None, law: Density, seed: int) -> Self:
        """What is to be drawn of codes [n, 2] and their law."""
        draws = law.sample(DRAWS, seed=seed)
        # Square, so that a circle is drawn as one; the outermost draws of a heavy-tailed law would squeeze the rest.
        seen = np.concatenate([codes, np.quantile(draws, [0.01, 0.99], axis=0)])
        low, high = seen.min(0), seen.max(0)
        half = 0.55 * float((high - low).max())
        axes = np.linspace((low + high) / 2 - half, (low + high) / 2 + half, GRID, dtype=np.float32).T  # [2, G]
        points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)  # [G * G, 2]
        return cls(
            codes=codes.astype(np.float32),
            labels=np.empty(0, np.int16) if labels is None else labels.astype(np.int16),
            axes=axes,
            log_density=np.asarray(law.log_prob(points), np.float32).reshape(GRID, GRID),
            levels=np.quantile(law.log_prob(draws), [1 - share for share in REGIONS]).astype(np.float32),
        )


@dataclass(frozen=True, eq=False)
class LatentPicture:
    """What the panel of a model is drawn from.

    Attributes:
        targets: held-out images, uint8 [p, D]; None where they were not kept.
        reconstructions: the same through the autoencoder, uint8 [p, D].
        plane: None where a code is not of two numbers.
    """

    targets: np.ndarray | None
    reconstructions: np.ndarray
    plane: Plane | None

    def save(self, paths: RunPaths) -> None:
        """Write it beside the record."""
        made = {"reconstructions": self.reconstructions, **(vars(self.plane) if self.plane else {})}
        paths.save_picture(made, {} if self.targets is None else {"targets": self.targets})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Out of the files beside the record."""
        images = ("targets", "reconstructions")
        plane = {name: value for name, value in arrays.items() if name not in images}
        return cls(arrays.get("targets"), arrays["reconstructions"], Plane(**plane) if plane else None)


@dataclass(frozen=True)
class BetaTrial(ImageTrial):
    """One training run of a VAE at one beta, or of an autoencoder and the density of its codes.

    Attributes:
        label: what the images show that are drawn with their reconstructions; None takes the first ones of all.
        images: held-out images whose bounds on log p(x) are taken.
        codes: of each of them.
    """

    label: int | None = None
    images: int = 1_000
    codes: int = 500

    #: Decides the images and the draws, the same for every row.
    _draws: ClassVar[str] = "beta"

    @property
    def has_prior(self) -> bool:
        """Whether it is a VAE, of which there are bounds on log p(x)."""
        return issubclass(generator_class(self.spec.name), VAE)

    def evaluation(self) -> dict[str, Any]:
        bounds = {"images": self.images, "codes": self.codes} if self.has_prior else {}
        return {"label": self.label, **bounds}

    def measure(self, model: Generator, paths: RunPaths) -> Measured:
        """Measure reconstructions, codes and bounds, and keep some samples and what the picture is drawn from."""
        seed = derive_seed(self.base_seed, self._draws)
        chosen = np.random.default_rng(seed).permutation(len(self.dataset.test))
        samples = draw_samples(model, KEPT_SAMPLES, derive_seed(self.seed, "samples"))
        measures = measure_samples(self.sample_sets(model, samples), ["reconstruction", "code-likelihood"])
        if isinstance(model, VAE):
            measures |= bound_measures(model, self.dataset.test[chosen[: self.images]], self.codes, seed)
        coded = chosen[:CODED]
        codes, law = codes_of(model, self.dataset.test[coded], seed), code_law(model)
        measures["code_mmd2"] = code_mmd2(codes, law, seed)
        plane = None
        if codes.shape[1] == 2:
            labels = self.dataset.test_labels
            plane = Plane.of(codes, None if labels is None else labels[coded], law, seed)
        paths.save_samples(samples)
        LatentPicture(*self._pairs(model), plane).save(paths)
        ordered = {name: measures[name] for name in FIGURES if name in measures}
        return Measured(Result(measures=ordered), self.evaluation())

    def _pairs(self, model: Generator) -> tuple[np.ndarray, np.ndarray]:
        """The first images of the class and their reconstructions: uint8 [p, D] each."""
        dataset = self.dataset
        assert model.reconstructs is not None
        shown = np.arange(len(dataset.test))
        if self.label is not None and dataset.test_labels is not None:
            shown = np.flatnonzero(dataset.test_labels == self.label)
        targets = dataset.test[shown[:PAIRS]]
        return as_bytes(targets), as_bytes(model.reconstructs(targets))


def code_law(model: Generator) -> Density:
    """What codes are drawn from where images are sampled: the density of the codes, or the prior N(0, I) of a VAE."""
    if isinstance(model, LatentDensity):
        return model.density
    assert isinstance(model, VAE)
    return create("gaussian", features=model.latent)  # the standard normal before it is fitted


def codes_of(model: Generator, x: np.ndarray, seed: int) -> np.ndarray:
    """One code of each image, drawn from its posterior where it has one: [n, D] -> [n, Z].

    Raises:
        TrainingDiverged: some are NaN or infinite; they are counted.
    """
    if isinstance(model, VAE):
        codes = model.posterior_codes(x, seed)
    else:
        assert model.coder is not None
        codes = model.coder.codes(x)
    if bad := int((~np.isfinite(codes)).any(1).sum()):
        raise TrainingDiverged(f"{bad} of {len(codes)} codes hold NaN or infinity; try a lower rate.")
    return codes


def bound_measures(model: VAE, x: np.ndarray, codes: int, seed: int) -> dict[str, Measure]:
    """KL, evidence lower bound and importance-weighted bound of images [n, D] in nats, by so many codes of each.

    Raises:
        TrainingDiverged: some are NaN or infinite; they are counted.
    """
    bounds = model.bounds(x, codes, seed)
    if bad := int((~np.isfinite(bounds)).any(0).sum()):
        raise TrainingDiverged(f"the bounds of {bad} of {len(x)} images are NaN or infinite; try a lower rate.")
    images = f"{len(x):,} held-out images"
    drawn = f"{images}, {codes:,} codes of each"
    return {
        "kl_nats": Measure(*mean_and_error(bounds.kl), detail=images),
        "elbo_nats": Measure(*mean_and_error(bounds.evidence), detail=drawn),
        "iwae_nats": Measure(*mean_and_error(bounds.importance_weighted), detail=drawn),
    }


def code_mmd2(codes: np.ndarray, law: Density, seed: int) -> Measure:
    """MMD^2 between codes [n, Z] and as many draws of their law, with its null.

    Raises:
        TrainingDiverged: the encoder has collapsed: there is no distance between codes to measure by.
    """
    if median_distance(codes) == 0:
        raise TrainingDiverged("more than half of the codes of held-out images are one and the same; try a lower rate.")
    draws = law.sample(len(codes), seed=derive_seed(seed, "law"))
    measure = mmd2_with_null(real=codes, generated=draws, generator=np.random.default_rng(seed))
    return replace(measure, detail=measure.detail.replace("items", "codes").replace("samples", "draws"))
