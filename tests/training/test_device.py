from __future__ import annotations

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.errors import InputError
from lde_bench.process import seeded
from lde_bench.training import device
from lde_bench.training.device import Compiler, autocast, resolve_device, resolve_precision
from lde_bench.training.learner import GradientLearner
from lde_bench.training.plan import Plan

CPU = torch.device("cpu")


def test_unknown_choices_are_input_errors():
    with pytest.raises(InputError, match="device 'gpu' is unknown"):
        resolve_device("gpu")
    with pytest.raises(InputError, match="precision 'fp8' is unknown"):
        resolve_precision("fp8", CPU, True)


def test_cuda_without_a_gpu_is_an_input_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device 'cuda' is not available"):
        resolve_device("cuda")
    assert resolve_device("auto") == CPU


@pytest.mark.parametrize(
    ("choice", "hardware", "wanted", "expected"),
    [
        ("auto", True, True, "bf16"),
        ("auto", False, True, "fp32"),
        ("auto", True, False, "fp32"),
        ("fp32", True, True, "fp32"),
        ("bf16", False, False, "bf16"),
    ],
)
def test_bf16_is_taken_where_the_plan_wants_it_and_the_processor_has_it(
    monkeypatch, choice, hardware, wanted, expected
):
    monkeypatch.setattr(device, "has_bf16", lambda place: hardware)
    assert resolve_precision(choice, CPU, wanted) == expected


def test_autocast_is_on_for_bf16_alone():
    with autocast(CPU, "fp32"):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(CPU, "bf16"):
        assert torch.is_autocast_enabled("cpu")


def test_without_a_compiler_there_is_one_notice_and_training_runs_uncompiled(monkeypatch):
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    notices: list[str] = []
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    density = lb.create("made-mog", 3, hidden=8)
    density.fit(rows, steps=3, compile=True, device="cpu", precision="fp32", notify=notices.append)
    assert len(notices) == 1
    assert "C++ compiler" in notices[0]
    assert density.training_setup["compile"] is False
    uncompiled = lb.create("made-mog", 3, hidden=8).fit(rows, steps=3, compile=False, device="cpu", precision="fp32")
    np.testing.assert_array_equal(density.log_prob(rows), uncompiled.log_prob(rows))


def test_a_failing_compilation_falls_back_with_one_notice(monkeypatch):
    def broken(function):
        def call(*arguments):
            raise torch._dynamo.exc.InternalTorchDynamoError("the compiler failed")

        return call

    monkeypatch.setattr(device.shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setattr(torch, "compile", broken)
    notices: list[str] = []
    compiler = Compiler(CPU, True, notices.append)
    function = compiler(lambda x: x + 1)
    assert [function(1), function(2), function(3)] == [2, 3, 4]
    assert compiler.compiled is False
    assert len(notices) == 1


class Statistics(torch.nn.Module):
    """Counts its calls in a buffer, as BatchNorm does, and draws, as dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return -((x + torch.randn(3) - self.weight) ** 2).sum(-1)


class _FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("C++ compile error")


def steps_of(monkeypatch, compile, compiled):
    """Two training steps: the learner, the notices and whether it ran compiled to the end."""
    monkeypatch.setattr(device.shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setattr(torch, "compile", compile)
    notices: list[str] = []
    compiler = Compiler(CPU, compiled, notices.append)
    module = Statistics()
    learner = GradientLearner(module, Plan(steps=2, rate=0.1), CPU, "fp32", compiler(module), compiler)
    rows = torch.ones(4, 3)
    with seeded(0):
        losses = [learner.step(rows, step, 0.5) for step in range(2)]
    return losses, module, notices, compiler.compiled


@pytest.mark.parametrize("where", ["wrapping", "forward", "backward"])
def test_wherever_compiling_fails_the_steps_are_the_eager_ones(monkeypatch, where):
    def broken(function):
        if where == "wrapping":
            raise PermissionError("the home folder is read-only")

        def call(x):
            value = function(x)
            if where == "forward":
                raise RuntimeError("C++ compile error")
            return _FailsBackward.apply(value)

        return call

    losses, module, notices, compiled = steps_of(monkeypatch, broken, True)
    expected, eager, _, _ = steps_of(monkeypatch, broken, False)
    assert losses == expected
    assert module.calls == 2
    assert torch.equal(module.weight, eager.weight)
    assert not compiled
    assert len(notices) == 1
    assert "torch.compile is not used: it failed with" in notices[0]


def test_a_step_that_fails_uncompiled_too_blames_no_compiler(monkeypatch):
    def out_of_memory(*arguments):
        raise MemoryError("no more of it")

    monkeypatch.setattr(Statistics, "forward", out_of_memory)
    with pytest.raises(MemoryError, match="no more of it"):
        steps_of(monkeypatch, lambda function: function, True)


def test_errors_of_the_function_itself_are_not_taken_for_a_failed_compilation(monkeypatch):
    monkeypatch.setattr(device.shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setattr(torch, "compile", lambda function: function)

    def faulty(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Compiler(CPU, True, lambda message: None)(faulty)(1)


def test_what_is_not_to_be_compiled_is_given_back_as_it_is():
    def function(x):
        return x

    assert Compiler(CPU, False, lambda message: None)(function) is function


def test_evaluation_is_in_whole_float32_and_puts_back_what_was_set():
    density = lb.create("gaussian", 2).fit(np.random.default_rng(0).normal(size=(9, 2)))
    seen = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return x.sum(1)

    density.forward = forward
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        density.log_prob(np.zeros((1, 2)))
        assert seen == [("highest", False)]
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
