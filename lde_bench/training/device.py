"""Which device and which number format a run uses, and whether it can be compiled."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import nn

from lde_bench.errors import InputError
from lde_bench.process import random_states, set_random_states

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")

_Result = TypeVar("_Result")


def resolve_device(choice: str) -> torch.device:
    """`auto` takes CUDA where there is one.

    Raises:
        InputError: unknown choice, or `cuda` without a usable GPU.
    """
    if choice not in DEVICES:
        raise InputError(f"device '{choice}' is unknown; choose one of {', '.join(DEVICES)}.")
    if choice == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' is not available on this machine; use --device cpu or auto.")
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(choice)


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 matrices in hardware (emulated bfloat16 is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve_precision(choice: str, device: torch.device, bf16_wanted: bool) -> str:
    """`fp32` or `bf16`; `auto` takes bf16 training steps where the plan wants them and the hardware has them.

    Raises:
        InputError: unknown choice.
    """
    if choice not in PRECISIONS:
        raise InputError(f"precision '{choice}' is unknown; choose one of {', '.join(PRECISIONS)}.")
    if choice == "auto":
        return "bf16" if bf16_wanted and has_bf16(device) else "fp32"
    return choice


@contextlib.contextmanager
def whole_float32() -> Iterator[None]:
    """Products and convolutions of float32 in float32, and not in TF32 or bfloat16 inside, as evaluation has them.

    torch's own choice is TF32 for the convolutions of a GPU: 10 bits of the 23.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context in which a training step runs."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


class Compiler:
    """`torch.compile` that falls back to eager, with one notice, where it cannot work.

    Args:
        wanted: False gives every function back as it is.
    """

    def __init__(self, device: torch.device, wanted: bool, notify: Callable[[str], None]) -> None:
        self.notify = notify
        #: Whether the functions really run compiled; stands in the run record.
        self.compiled = wanted
        if wanted and device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            self._give_up("it needs a C++ compiler and none is installed")

    def _give_up(self, reason: str) -> None:
        self.compiled = False
        self.notify(f"torch.compile is not used: {reason}; training runs uncompiled, only slower.")

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The compiled twin of `function`, a module or a method of one."""
        if not self.compiled:
            return function
        module = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
        twins: list[Callable[..., Any]] = []

        def run(*arguments: Any) -> Any:
            if not self.compiled:
                return function(*arguments)
            if not twins:  # here, where a failure is caught
                twins.append(torch.compile(function))
            return twins[0](*arguments)

        return lambda *arguments: self.attempt(lambda: run(*arguments), module)

    def attempt(self, work: Callable[[], _Result], module: nn.Module | None = None) -> _Result:
        """The result of `work`, which runs compiled functions of `module`: again and uncompiled where it failed.

        A backward pass is compiled when it first runs, so whoever runs one does it in here. Buffers of `module`, such
        as the statistics of BatchNorm, and torch's random state are then as they were before; weights are not touched.

        Raises:
            Exception: `work` fails uncompiled too: the error is its own.
        """
        if not self.compiled:
            return work()
        buffers = [] if module is None else [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
        states = random_states()
        try:
            return work()
        except Exception as error:  # the compilers of every version and machine raise what they like
            failure = error
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        set_random_states(states)
        self.compiled = False
        try:
            result = work()
        except Exception:
            self.compiled = True
            raise
        self._give_up(f"it failed with {type(failure).__name__}")
        return result
