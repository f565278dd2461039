"""An autoencoder and the density of its codes: `ae+lde` and `iae+lde` of Yoo, Lee, Kwak 2020 (arXiv 1902.04294).

The autoencoder is trained first and frozen; then the density is fitted to the codes of the training images and chosen
on those of the validation images; a sample is the decoding of a sample of the density.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.densities.base import Density
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.generators.base import Coder
from lde_bench.generators.decoder_model import DecoderModel
from lde_bench.generators.staged import Stage, StagedGenerator
from lde_bench.training.model import Model
from lde_bench.training.plan import Budget, Plan

#: Numbers of a patch, which `Plan.reference_seconds` of a density are measured on.
REFERENCE_FEATURES = 63


class LatentDensity(StagedGenerator):
    """Images whose codes follow an explicit density.

    Args:
        autoencoder: gives codes [n, Z].
        density: of Z features.
    """

    def __init__(self, autoencoder: Autoencoder, density: Density) -> None:
        super().__init__(autoencoder.image_shape)
        self.name = f"{autoencoder.name}+{density.name}"  # type: ignore[misc]  # no class of its own for each pair
        self.autoencoder = autoencoder
        self.density = density

    def parts(self) -> dict[str, Model]:
        return {"autoencoder": self.autoencoder, "density": self.density}

    def check_needs(self) -> None:
        self.autoencoder.check_needs()

    def stages(self, train: Rows, validation: Rows | None) -> Iterator[Stage]:
        yield Stage("autoencoder", train, validation)
        held_out = None if validation is None else self.autoencoder.codes(validation)
        yield Stage("density", self.autoencoder.codes(train), held_out)

    def part_plan(self, part: Model, budget: Budget) -> Plan:
        return self.density.code_plan(budget) if part is self.density else super().part_plan(part, budget)

    def part_seconds(self, budget: Budget, rows: int | None) -> dict[str, float]:
        # Those of a density are of 63 features: one for each conditional of an autoregressive one.
        seconds = super().part_seconds(budget, rows)
        return seconds | {"density": seconds["density"] * self.density.features / REFERENCE_FEATURES}

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.autoencoder.decode(self._draw_codes(n, generator))

    def _draw_codes(self, n: int, generator: torch.Generator) -> Tensor:
        # Seeded by the generator: a density may draw without torch.
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        return torch.from_numpy(self.density.sample(n, seed=seed)).to(self.autoencoder.device, self.autoencoder.dtype)

    @property
    def decoder_models(self) -> tuple[DecoderModel, ...]:
        if {"gradients", "samples"} & self.density.lacks:
            return ()
        decoder = self.autoencoder
        draw, log_prior = self._draw_codes, self.density.log_prob
        return (DecoderModel(draw, log_prior, decoder.decode, decoder.device, decoder.encode),)

    @property
    def coder(self) -> Coder:
        return self.autoencoder

    @property
    def code_density(self) -> Density:
        return self.density

    @property
    def code_log_prob(self) -> Callable[[Rows], np.ndarray]:
        return lambda x: self.density.log_prob(self.autoencoder.codes(x))

    @property
    def reconstructs(self) -> Callable[[Rows], np.ndarray]:
        return self.autoencoder.reconstructs
