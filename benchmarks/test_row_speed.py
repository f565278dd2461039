"""What a training step of each row of Table 1 costs, and what share of the processor it uses; masked networks against
zuko's.

A share is that of a bare matrix product, timed in turn, at the arithmetic that a step does in products (counted by
torch; EM, triangular solves and elementwise work count as nothing).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import zuko
from races import Timing
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lde_bench.densities import create, density_class
from lde_bench.densities.masked import MaskedLinear, hidden_degrees, input_degrees
from lde_bench.densities.spec import parse_method
from lde_bench.experiments.bsds300 import table_rows
from lde_bench.process import seeded
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.device import Compiler
from lde_bench.training.model import TrainingRequest
from lde_bench.training.plan import Budget

FEATURES = 63
STANDARD = Budget.of("standard")
CPU = torch.device("cpu")
#: Of the bare product: large enough to show the most that a core does, small enough for its caches.
PRODUCT = 1024
#: Of the masked networks: those of `made-mog`.
HIDDEN, BATCH = (512, 512), 512

LEARNT = [row for row in table_rows() if not density_class(parse_method(row).name).plans["standard"].closed_form]


def rows(n: int) -> np.ndarray:
    """As wide as patches are."""
    return np.random.default_rng(0).normal(0.0, 0.1, (n, FEATURES)).astype(np.float32)


def step_of(row: str, blocks: bool = True) -> tuple[Callable[[], float], int, str]:
    """One training step of a row by its `standard` plan, how many patches it takes, and its precision.

    Without `blocks`, masked layers multiply the zeros of their masks too.
    """
    density = create(row, FEATURES)
    for layer in density.modules():
        if isinstance(layer, MaskedLinear) and not blocks:
            layer.blocks = [(layer.out_features, layer.in_features)]
    plan = density.plan(STANDARD)
    batches = ArrayBatches(rows(max(4_000, plan.batch_size)), 0)
    precision = density.training_precision("auto", CPU, plan)
    with seeded(0):
        density.reset_parameters()
        density.prepare(batches)
        density.request(TrainingRequest(0, STANDARD, torch.from_numpy(rows(2_000))))
        learner = density.learner(plan, CPU, precision, Compiler(CPU, False, pytest.skip))
    batch = torch.from_numpy(batches.batch(0, plan.batch_size))
    return lambda: learner.step(batch, step=300, progress=0.1), plan.batch_size, precision


def product_of(precision: str) -> Callable[[], Tensor]:
    """A bare matrix product."""
    left, right = torch.randn(2, PRODUCT, PRODUCT).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    return lambda: left @ right


def arithmetic(function: Callable[[], object]) -> int:
    """Multiplications and additions in the products of one call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("row", LEARNT)
def test_a_training_step(timing: Timing, row: str) -> None:
    step, size, precision = step_of(row)
    product = product_of(precision)
    scale = arithmetic(step) / arithmetic(product)
    timing.race(f"{row}, {precision}, share of a bare product", product, step, size, rounds=12, scale=scale)


@pytest.mark.parametrize("row", ["made-mog:components=10", "resmade-mog+w", "maf-ddsf"])
def test_masked_products_in_blocks(timing: Timing, row: str) -> None:
    whole, size, precision = step_of(row, blocks=False)
    step, *_ = step_of(row)
    timing.race(f"{row}, {precision}, step in blocks", whole, step, size, rounds=20)


class Masked(nn.Sequential):
    """Our masked layers, as `made-mog` stacks them, of one output a dimension."""

    def __init__(self) -> None:
        degrees = [input_degrees(FEATURES), *(hidden_degrees(FEATURES, width) for width in HIDDEN)]
        layers: list[nn.Module] = []
        for sources, targets in pairwise(degrees):
            layers += [MaskedLinear(sources, targets), nn.ReLU()]
        super().__init__(*layers, MaskedLinear(degrees[-1], input_degrees(FEATURES), strict=True))


def their_masked() -> nn.Module:
    """zuko's network of the same shape, output i from the inputs before i alone."""
    before = torch.ones(FEATURES, FEATURES, dtype=torch.bool).tril(-1)
    return zuko.nn.MaskedMLP(before, hidden_features=HIDDEN, activation=nn.ReLU)


def training_step(network: nn.Module) -> Callable[[], None]:
    """Forward, backward and Adam."""
    x = torch.from_numpy(rows(BATCH))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(x).square().mean().backward()
        optimizer.step()

    return step


def test_both_masked_networks_have_one_shape_and_see_the_past_alone() -> None:
    ours, theirs = Masked(), their_masked()
    assert [tuple(each.shape) for each in ours.parameters()] == [tuple(each.shape) for each in theirs.parameters()]
    for network in (ours, theirs):
        slopes = torch.autograd.functional.jacobian(network, torch.randn(FEATURES))
        assert not slopes.triu().any()
        assert slopes.tril(-1).any()


def test_masked_networks_against_those_of_zuko(timing: Timing) -> None:
    with seeded(0):
        theirs, ours = training_step(their_masked()), training_step(Masked())
    timing.race("masked network, step, against zuko's", theirs, ours, BATCH, rounds=40)
