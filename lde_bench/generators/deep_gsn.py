"""Deep GSN: generative stochastic networks (Bengio, Laufer, Alain, Yosinski 2014, arXiv 1306.1091).

Sizes and settings are those of the authors' public repository (yaoli/GSN, run_gsn.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from lde_bench.generators.base import Generator
from lde_bench.training.batches import Batches
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: Steps of one epoch of MNIST, 55,000 images in batches of 100.
EPOCH = 550

#: Share of the pixels that salt and pepper replace.
SALT_AND_PEPPER = 0.4

#: Standard deviation of the noise before and after the activation of a hidden unit above the first layer.
HIDDEN_NOISE = 2.0

#: Of the initial weights between hidden layers: at 1, as published, the first layer hears nothing but the noise of the
#: second for the first epochs, which is all of a short run.
UPPER_GAIN = 0.1

#: Bounds of the mean pixels that the image's probabilities start from.
LEAST_MEAN = 1e-3

#: Training images that the mean pixels are taken from.
MEAN_ROWS = 50_000


class DeepGSN(Generator):
    """A Markov chain of images and hidden layers, trained to come back to an image from a few noisy steps away.

    One step of the chain updates the odd layers given the even ones, then the even ones given the odd: layer i is
    tanh(W_i h_{i-1} + W_{i+1}^T h_{i+1} + b_i) with Gaussian noise before and after tanh, but for the first, which has
    none; the image is drawn from its Bernoulli probabilities, and salt and pepper are strewn over it. The weights
    upwards and downwards are the same.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        hidden: units of each hidden layer.
        layers: hidden layers.
        walkback: steps of the chain away from a training image, each of which is trained to give it back.
        burn_in: steps of the chain that a sample is away from noise; after 10 of them samples are not stationary yet.
    """

    name = "deep-gsn"
    place = 30
    card = Card(
        summary="generative stochastic network, a Markov chain trained by walkback",
        source="Bengio et al. 2014, arXiv 1306.1091",
        sample_cost="a Markov chain of its own: burn_in passes through all layers, up and down",
        differences=(
            "every profile: two hidden layers, as in the authors' code; weights between hidden layers start ten times "
            "smaller, and the images at their mean; a chain of its own from noise for each sample, where the "
            "published 10,000 are the successive steps of one chain, the first of them the test image it starts at; "
            "55,000 training images of MNIST, where the published model has 60,000; quick and standard: Adam, a cosine "
            "rate, fewer steps"
        ),
        bibtex=("bengio2014deep",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=60, batch_size=50, rate=1e-3, warmup=10, reference_seconds=15.0),
        "standard": Plan(steps=830, batch_size=250, rate=1e-3, warmup=50, reference_seconds=165.0),
        # The published momentum weighs the gradient by 1 - 0.5, at a rate of 0.25.
        "paper": Plan(
            steps=1000 * EPOCH,
            rows=100 * EPOCH,
            batch_size=100,
            rate=0.125,
            optimizer="sgd",
            momentum=0.5,
            schedule="exponential",
            decay=0.995 ** (1 / EPOCH),
            bf16=False,
            reference_seconds=200_000.0,
        ),
    }

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden: int = 1500,
        layers: int = 2,
        walkback: int = 4,
        burn_in: int = 30,
    ) -> None:
        super().__init__(image_shape)
        self.walkback = positive_integer("walkback", walkback)
        self.burn_in = positive_integer("burn_in", burn_in)
        hidden = positive_integer("hidden", hidden)
        self.sizes = [self.features, *[hidden] * positive_integer("layers", layers)]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(above, below)) for below, above in zip(self.sizes, self.sizes[1:], strict=False)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in self.sizes)

    def reset_parameters(self) -> None:
        for index, weight in enumerate(self.weights):
            nn.init.xavier_uniform_(weight, 1.0 if index == 0 else UPPER_GAIN)
        for bias in self.biases:
            nn.init.zeros_(bias)

    @torch.no_grad()
    def prepare(self, batches: Batches) -> None:
        """The chain starts with images around the mean image."""
        self.biases[0].copy_(torch.logit(torch.from_numpy(batches.take(MEAN_ROWS).mean(0)), eps=LEAST_MEAN))

    def loss(self, x: Tensor, progress: float) -> Tensor:
        """Cross-entropy of the image and its reconstruction, nats a pixel, summed over the steps of the walkback."""
        state = self.start(self.salt_and_pepper(x))
        total = x.new_zeros(())
        for _ in range(self.walkback):
            logits, state = self.update(state)
            total = total + binary_cross_entropy_with_logits(logits.to(x.dtype), x)
        return total

    def start(self, image: Tensor) -> list[Tensor]:
        """The chain's state at an image [B, D]: the hidden layers are zero."""
        return [image, *(image.new_zeros(len(image), size) for size in self.sizes[1:])]

    def update(self, state: list[Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, list[Tensor]]:
        """One step of the chain: logits [B, D] of the image's probabilities, and the state [[B, D], [B, H], ...]."""
        state = list(state)
        for i in (*range(1, len(state), 2), *range(2, len(state), 2)):
            state[i] = self._hidden(state, i, generator)
        logits = linear(state[1], self.weights[0].T, self.biases[0])
        state[0] = self.salt_and_pepper(torch.bernoulli(torch.sigmoid(logits), generator=generator), generator)
        return logits, state

    def _hidden(self, state: list[Tensor], i: int, generator: torch.Generator | None) -> Tensor:
        total = linear(state[i - 1], self.weights[i - 1], self.biases[i])  # [B, H]
        if i + 1 < len(state):
            total = total + linear(state[i + 1], self.weights[i].T)
        if i == 1:
            return torch.tanh(total)
        return self.gaussian(torch.tanh(self.gaussian(total, generator)), generator)

    def gaussian(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Gaussian noise added."""
        noise = torch.randn(h.shape, generator=generator, dtype=h.dtype, device=h.device)
        return torch.add(h, noise, alpha=HIDDEN_NOISE)

    def salt_and_pepper(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A share of the pixels, drawn anew for each image, replaced by 0 or 1, as likely either."""
        chance = torch.rand(image.shape, generator=generator, device=image.device)
        half = SALT_AND_PEPPER / 2
        return torch.where(chance < half, 0.0, torch.where(chance < 2 * half, 1.0, image))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.rand(n, self.features, generator=generator, dtype=self.dtype, device=self.device)
        state = self.start(torch.bernoulli(noise, generator=generator))
        for _ in range(self.burn_in):
            logits, state = self.update(state, generator)
        return torch.sigmoid(logits)
