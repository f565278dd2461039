"""The gradients of a step as a CUDA graph: its kernels are recorded once and replayed at every step.

A step of a small network is hundreds of small kernels, of a recurrent one thousands, and a GPU is done with each before
the processor has launched the next. A graph is launched as a whole (NVIDIA, CUDA programming guide, "CUDA Graphs").
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lde_bench.errors import InputError
from lde_bench.process import random_states, set_random_states

#: Steps before the recording: libraries choose their kernels in the first.
WARM_UP = 3

#: Set to 0, it has every step launched kernel by kernel.
SWITCH = "LDE_BENCH_CUDA_GRAPHS"


def is_replayed(module: nn.Module, device: torch.device) -> bool:
    """Whether steps of `module` are replayed there: its very class says that they can be (`replayable`), and `SWITCH`
    does not say no. A class that inherits from such a one may compute otherwise, and has to say so anew.
    """
    own = vars(type(module)).get("replayable", False)
    return device.type == "cuda" and bool(own) and os.environ.get(SWITCH, "1") != "0"


class Replayed:
    """The gradients of a module, recorded when they are first asked for and replayed from then on.

    What is recorded is what runs on the GPU: Python is not run again, so that all batches must ask for the same kernels
    in the same order, and none may wait for a number to come back.

    Args:
        module: its buffers, and torch's random state, are after the recording as they were before.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._recorded: tuple[torch.cuda.CUDAGraph, Tensor, Tensor] | None = None
        self._gradients: list[tuple[nn.Parameter, Tensor | None]] = []

    def __call__(self, batch: Tensor, gradients: Callable[[Tensor], Tensor]) -> Tensor:
        """The loss of a batch: [B, D] -> scalar, which the next call overwrites; its gradients are in the parameters.

        Args:
            batch: always of the same shape.
            gradients: the same of any batch, to be recorded; it first takes away what gradients there are. (It is given
                at every call and not kept, so that no learner refers to itself and its memory is freed with it.)

        Raises:
            InputError: the batch has another shape than the first one.
            RuntimeError: the step cannot be recorded.
        """
        if self._recorded is None:
            self._recorded = self._record(batch, gradients)
        graph, rows, loss = self._recorded
        if batch.shape != rows.shape:
            raise InputError(
                f"a training batch is {list(batch.shape)} and the first was {list(rows.shape)}, but a GPU replays "
                f"steps of one shape; let all batches have as many rows, or set {SWITCH}=0."
            )
        rows.copy_(batch)
        graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient  # whoever took it away
        return loss

    def _record(
        self, batch: Tensor, gradients: Callable[[Tensor], Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """The graph, the rows that it reads and the loss that it writes."""
        rows = batch.clone()
        buffers = [(buffer, buffer.detach().clone()) for buffer in self.module.buffers()]
        states = random_states()
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        graph = torch.cuda.CUDAGraph()
        try:
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    gradients(rows)
            here.wait_stream(aside)
            loss = _capture(graph, rows, gradients)
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            set_random_states(states)
        self._gradients = [(parameter, parameter.grad) for parameter in self.module.parameters()]
        return graph, rows, loss


def _capture(graph: torch.cuda.CUDAGraph, rows: Tensor, gradients: Callable[[Tensor], Tensor]) -> Tensor:
    """Record the gradients of `rows`; the loss that a replay writes.

    Raises:
        RuntimeError: they cannot be recorded; stream and random numbers are usable as before.
    """
    here = torch.cuda.current_stream()  # a recording that fails leaves its own as the current one
    try:
        # Other threads may use the GPU meanwhile.
        with torch.cuda.stream(here), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            return gradients(rows).detach()
    except RuntimeError:
        # The state of the generator takes itself for one of a recording still, and refuses to draw: a copy of it does
        # not. Graphs recorded before are bound to the old one; they fail at their next replay, and are launched.
        generator = torch.cuda.default_generators[rows.device.index]
        generator.graphsafe_set_state(generator.clone_state())
        raise
