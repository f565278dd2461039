"""The LDE against its plain transcription: the same numbers first, then how much faster."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plain_lde import PlainLDE
from races import Timing
from torch import Tensor

from lde_bench.densities.lde import LDE
from lde_bench.densities.mixture import AutoregressiveMixture
from lde_bench.training.device import Compiler, has_bf16
from lde_bench.training.learner import GradientLearner

FEATURES = 63
COMPONENTS = 10
BATCHES = (128, 256, 512)
STEP_TARGET = 3.5
SAMPLING_TARGET = 20.0
SAMPLES = 1000
CPU = torch.device("cpu")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}

ONE_THREAD_AND_ALL = pytest.mark.parametrize(
    "threads", sorted({1, torch.get_num_threads()}), ids="threads{}".format, indirect=True
)
bf16 = pytest.param(
    "bf16", marks=pytest.mark.skipif(not has_bf16(CPU), reason="this processor has no bfloat16 instructions")
)


def network(dtype: torch.dtype = torch.float32) -> LDE:
    """An LDE of the paper's shape whose every weight and running statistic matters to its output."""
    torch.manual_seed(0)
    lde = LDE(FEATURES, COMPONENTS).to(dtype)
    with torch.no_grad():
        for parameter in lde.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for _ in range(20):
            lde(rows(64, dtype))
    return lde


def rows(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return 0.3 + torch.randn(n, FEATURES, dtype=dtype)


def step_of(
    density: AutoregressiveMixture, precision: str, batch: Tensor, compiled: bool = False
) -> Callable[[], float]:
    """One training step, forward, backward and Adam, as `fit` does it under the paper's plan."""
    compiler = Compiler(CPU, compiled, pytest.skip)
    learner = GradientLearner(density, LDE.plans["paper"], CPU, precision, compiler(density), compiler)
    return lambda: learner.step(batch, step=0, progress=0.0)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_the_plain_transcription_gives_the_same_log_likelihoods(dtype: torch.dtype, training: bool) -> None:
    lde = network(dtype).train(training)
    plain = PlainLDE(lde)
    x = rows(128, dtype)
    with torch.no_grad():
        torch.testing.assert_close(lde(x), plain(x), rtol=TOLERANCE[dtype], atol=0)


def test_rerunning_the_network_draws_the_same_samples() -> None:
    lde = network(torch.float64).eval()
    with torch.no_grad():
        rerun = PlainLDE(lde).draw(32, torch.Generator().manual_seed(5))
    torch.testing.assert_close(torch.from_numpy(lde.sample(32, seed=5)), rerun, rtol=1e-9, atol=1e-9)


@ONE_THREAD_AND_ALL
@pytest.mark.parametrize("precision", ["fp32", bf16])
@pytest.mark.parametrize("batch_size", BATCHES)
def test_training_step(timing: Timing, batch_size: int, precision: str) -> None:
    _race_steps(timing, batch_size, precision, compiled=False)


@ONE_THREAD_AND_ALL
@pytest.mark.parametrize("precision", ["fp32", bf16])
@pytest.mark.parametrize("batch_size", BATCHES)
def test_compiled_training_step(
    timing: Timing, request: pytest.FixtureRequest, batch_size: int, precision: str
) -> None:
    if not request.config.getoption("--compiled"):
        pytest.skip("compiling takes half a minute each; ask for it with --compiled")
    _race_steps(timing, batch_size, precision, compiled=True)


def _race_steps(timing: Timing, batch_size: int, precision: str, compiled: bool) -> None:
    lde = network()
    batch = rows(batch_size)
    best = "bf16" if has_bf16(CPU) else "fp32"
    plain, ours = step_of(PlainLDE(lde), "fp32", batch), step_of(lde, precision, batch, compiled)
    # A race between different sums is none: both first steps, from the same weights, have the same loss.
    assert ours() == pytest.approx(plain(), rel=1e-5 if precision == "fp32" else 1e-2)
    timing.race(
        f"training step, batch {batch_size}, {precision}{', compiled' if compiled else ''}",
        plain,
        ours,
        batch_size,
        rounds=3840 // batch_size,
        target=STEP_TARGET if precision == best and batch_size == min(BATCHES) and not compiled else None,
    )


@ONE_THREAD_AND_ALL
@pytest.mark.parametrize("reference", ["our layout", "plain layout"])
def test_sampling(timing: Timing, reference: str) -> None:
    lde = network().eval()
    rerun = PlainLDE(lde) if reference == "plain layout" else lde

    @torch.no_grad()
    def rerunning() -> Tensor:
        return AutoregressiveMixture.draw(rerun, SAMPLES, torch.Generator().manual_seed(0))

    timing.race(
        f"sampling {SAMPLES}, against rerunning {reference}",
        rerunning,
        lambda: lde.sample(SAMPLES, seed=0),
        SAMPLES,
        rounds=2,
        target=SAMPLING_TARGET,
    )
