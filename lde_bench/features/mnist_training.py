"""How the classifier of digits behind the `mnist` space is trained; `data_prep/mnist_classifier.py` runs it.

The same images, recipe and number of threads give the same bytes on one kind of machine with one version of torch;
another rounds its sums otherwise, which is why the weights are shipped and not trained anew by every user.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from lde_bench.features.mnist_network import IMAGE_SHAPE, MnistClassifier


@dataclass(frozen=True)
class Recipe:
    """Everything beside the images that decides the weights.

    Attributes:
        seed: of the initial weights, the order of the images, their distortions and the dropout.
        epochs: passes over the training images.
        batch: images a step.
        rate: highest learning rate of Adam, on the one-cycle schedule (Smith and Topin 2017, arXiv 1708.07120).
        dropout: share of the last hidden layer that a step leaves out.
        turn: of an image, at most, in degrees.
        zoom: of an image, at most, as a share of its size.
        shift: of an image along either axis, at most, in pixels.
    """

    seed: int = 0
    epochs: int = 12
    batch: int = 128
    rate: float = 4e-3
    dropout: float = 0.3
    turn: float = 10.0
    zoom: float = 0.1
    shift: float = 2.0


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    told: Callable[[int, float], None] = lambda epoch, loss: None,
) -> MnistClassifier:
    """A classifier that was trained on these images from the start, on the CPU.

    Args:
        images: float32 [n, 784] in [0, 1].
        labels: the digits that they show, int64 [n].
        recipe: how.
        told: is called after each epoch with its number, from 1, and its mean cross entropy in nats.
    """
    x, y = torch.from_numpy(images).view(-1, *IMAGE_SHAPE), torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        classifier = MnistClassifier()
        optimiser = torch.optim.Adam(classifier.parameters(), recipe.rate)
        steps = -(-len(x) // recipe.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.epochs * steps)
        for epoch in range(1, recipe.epochs + 1):
            total = 0.0
            for chosen in torch.randperm(len(x)).split(recipe.batch):
                hidden = F.dropout(classifier.features(_distorted(x[chosen], recipe)), recipe.dropout)
                loss = F.cross_entropy(classifier.digit(hidden), y[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(chosen)
            told(epoch, total / len(x))
    return classifier


def _distorted(images: Tensor, recipe: Recipe) -> Tensor:
    """The images [B, 1, H, W], each turned, zoomed and shifted by random amounts."""
    turn, zoom, *shift = 2 * torch.rand(4, len(images)) - 1  # [B] each, in [-1, 1]
    angle = turn * recipe.turn * torch.pi / 180
    scale = 1 + zoom * recipe.zoom
    cos, sin = scale * angle.cos(), scale * angle.sin()
    half = images.shape[-1] / 2  # coordinates of `affine_grid` run from -1 to 1
    right, down = (each * recipe.shift / half for each in shift)
    maps = torch.stack([cos, -sin, right, sin, cos, down], 1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def accuracy(classifier: MnistClassifier, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images [n, 784] that the classifier names as the labels [n] do."""
    with torch.no_grad():
        blocks = torch.from_numpy(images).view(-1, *IMAGE_SHAPE).split(500)
        named = torch.cat([classifier(block).argmax(1) for block in blocks])
    return float((named.numpy() == labels).mean())


def packed(classifier: MnistClassifier, header: dict[str, Any]) -> bytes:
    """The weights as a safetensors file with the header as JSON in its metadata, under `lde_bench`."""
    return save(dict(classifier.state_dict()), {"lde_bench": json.dumps(header)})
