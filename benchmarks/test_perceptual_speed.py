"""What the perceptual term costs a training step, and what makes it cheaper without changing its value.

Images of 64x64 in colour. The weights of VGG19 are random ones of its shape: the arithmetic is the same, and nothing
has to be at hand.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from races import Timing

from lde_bench.features import vgg19 as vgg19_module
from lde_bench.features.vgg19 import Vgg19, perceptual_distance
from lde_bench.features.vgg19_weights import LAYERS
from lde_bench.generators import create_generator
from lde_bench.training.device import Compiler
from lde_bench.training.plan import Budget

SHAPE = (3, 64, 64)
BATCH = 16


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Vgg19:
    generator = np.random.default_rng(0)
    weights = {}
    for layer, (deep, wide) in zip(LAYERS, itertools.pairwise([3, 64, 64, 128, 128, 256]), strict=True):
        weights[f"{layer}.weight"] = generator.normal(0, 0.05, (wide, deep, 3, 3)).astype(np.float32)
        weights[f"{layer}.bias"] = generator.normal(0, 0.05, wide).astype(np.float32)
    made = Vgg19(weights)
    monkeypatch.setattr(vgg19_module, "vgg19", lambda device="cpu": made)
    return made


def test_training_step(timing: Timing, network: Vgg19) -> None:
    """A step with the term against one without; not asserted alike, as they are not."""
    x = torch.rand(BATCH, 3 * 64 * 64, generator=torch.Generator().manual_seed(0))
    learners = []
    for weight in (0.0, 0.1):
        model = create_generator("ae", SHAPE, latent=100, perceptual=weight)
        plan = model.plan(Budget.of("standard"))
        compiler = Compiler(torch.device("cpu"), False, lambda message: None)
        learners.append(model.learner(plan, torch.device("cpu"), "fp32", compiler))
    without, with_it = (partial(learner.step, x, 0, 0.0) for learner in learners)
    timing.race("AE 64x64, a step with the perceptual term, against one without", without, with_it, BATCH, rounds=5)


def test_gradients_of_the_target(timing: Timing, network: Vgg19) -> None:
    """The term as it is, the target's features without gradients, against the same with them; the values agree."""
    decoded, target = torch.rand(2, BATCH, *SHAPE, generator=torch.Generator().manual_seed(1))

    def ours() -> torch.Tensor:
        return torch.autograd.grad(perceptual_distance(x := decoded.clone().requires_grad_(), target), x)[0]

    def plain() -> torch.Tensor:
        x, y = decoded.clone().requires_grad_(), target.clone().requires_grad_()
        terms = [torch.nn.functional.mse_loss(a, b) for a, b in zip(network(x), network(y), strict=True)]
        return torch.autograd.grad(0.5 * torch.stack(terms).sum(), (x, y))[0]

    torch.testing.assert_close(ours(), plain())
    timing.race("perceptual term, forward and backward, target without gradients", plain, ours, BATCH, rounds=5)
