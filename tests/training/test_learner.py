"""What a step is: its rate, its optimiser, and the rows of a score."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lde_bench.training.learner import GradientLearner, make_optimizer, spread_rows
from lde_bench.training.plan import Plan

CPU = torch.device("cpu")


@pytest.mark.parametrize("schedule", [{"warmup": 4}, {"schedule": "halving", "halve_at": (0.5,)}])
def test_a_step_is_taken_at_the_rate_of_its_step_and_of_its_share_of_the_budget(schedule):
    module, x = nn.Linear(2, 1), torch.randn(20, 2)
    plan = Plan(steps=10, rate=0.5, optimizer="sgd", **schedule)
    learner = GradientLearner(module, plan, CPU, "fp32", lambda rows: module(rows).squeeze(-1))
    for step, share in ((0, 0.0), (1, 0.25), (7, 0.5), (9, 0.9)):
        before = module.weight.detach().clone()
        learner.step(x, step, share)
        expected = plan.rate_at(step, share) * x.mean(0) / 2  # the slope of the mean of w x + b, over 2 features
        torch.testing.assert_close((module.weight.detach() - before)[0], expected)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_the_plans_with_its_betas_and_decay(name, kind):
    ours, theirs = (nn.Parameter(torch.ones(3)) for _ in range(2))
    plan = Plan(steps=1, rate=0.1, optimizer=name, betas=(0.5, 0.7), weight_decay=0.3)
    pair = [(ours, make_optimizer([ours], plan)), (theirs, kind([theirs], 0.1, (0.5, 0.7), weight_decay=0.3))]
    for gradient in torch.randn(4, 3):
        for parameter, optimizer in pair:
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_the_rows_of_a_score_are_spread_over_all():
    rows = torch.arange(105.0)[:, None]
    assert spread_rows(rows, 10)[:, 0].tolist() == [10.0 * number for number in range(10)]
    assert spread_rows(rows, None) is rows
