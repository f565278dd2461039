"""A small classifier of MNIST's digits, which is shipped: its last hidden layer is a space of features of digits.

Three convolutions and two linear layers in the manner of LeNet-5 (Y. LeCun, L. Bottou, Y. Bengio, P. Haffner,
"Gradient-based learning applied to document recognition", Proceedings of the IEEE, 1998), 61,130 numbers.
`lde_bench.features.mnist_training` is how it was trained; the header of its file says so in numbers.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from lde_bench.errors import InputError

#: Channels, height and width of an image.
IMAGE_SHAPE = (1, 28, 28)

#: Numbers in the last hidden layer, and digits.
FEATURES, CLASSES = 64, 10

#: The shipped weights, and the SHA-256 of the file.
WEIGHTS = Path(__file__).with_name("data") / "mnist_classifier.safetensors"
WEIGHTS_SHA256 = "c642410ae28069e1f415a02eb49fc9e2d8bd08aa3440a352d246e53adcf0e6c8"

REMEDY = "install lde-bench again, or compare in --features pixels."


class MnistClassifier(nn.Module):
    """Images [B, 1, 28, 28] in [0, 1] to the logits of the ten digits [B, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, stride=2)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.conv3 = nn.Conv2d(32, 64, 3)
        self.hidden = nn.Linear(64 * 3 * 3, FEATURES)
        self.digit = nn.Linear(FEATURES, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer behind its ReLU: [B, 64]."""
        x = self.conv1(images).relu()  # [B, 16, 12, 12]
        x = F.max_pool2d(self.conv2(x).relu(), 2)  # [B, 32, 5, 5]
        x = self.conv3(x).relu()  # [B, 64, 3, 3]
        return self.hidden(x.flatten(1)).relu()

    def forward(self, images: Tensor) -> Tensor:
        return self.digit(self.features(images))


@functools.cache
def mnist_classifier(device: str = "cpu") -> MnistClassifier:
    """The shipped classifier, read once for each device; it cannot be trained further.

    Raises:
        InputError: its file is missing or is not the one that this version was released with.
    """
    with torch.device("meta"):  # which draws no initial weights, and so changes no random numbers of a training
        classifier = MnistClassifier()
    classifier.load_state_dict(load(_shipped_bytes()), assign=True)
    return classifier.requires_grad_(False).to(device)


def _shipped_bytes() -> bytes:
    try:
        content = WEIGHTS.read_bytes()
    except OSError as error:
        raise InputError(f"{WEIGHTS}: cannot be read ({error}); {REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise InputError(f"{WEIGHTS}: is not the classifier of this version (another SHA-256); {REMEDY}")
    return content
