"""The gradients of a step as a CUDA graph: its kernels are recorded once and replayed at every step.

A step of a small network is hundreds of small kernels, of a recurrent one thousands, and a GPU is done with each before
the processor has launched the next. A graph is launched as a whole (NVIDIA, CUDA programming guide, "CUDA Graphs").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lde_bench.process import random_states, set_random_states

#: Steps before the recording: libraries choose their kernels in the first.
WARM_UP = 3


class Replayed:
    """`gradients`, recorded when it is first called and replayed from then on.

    What is recorded is what runs on the GPU: Python is not run again, so that all batches must ask for the same kernels
    in the same order, and none may wait for a number to come back.

    Args:
        gradients: the loss of a batch [B, D]; it leaves the gradients in the parameters of `module`, of which there
            are none before. Nobody else may take them away.
        module: its buffers, and torch's random state, are after the recording as they were before.
    """

    def __init__(self, gradients: Callable[[Tensor], Tensor], module: nn.Module) -> None:
        self.gradients = gradients
        self.module = module
        self._recorded: tuple[torch.cuda.CUDAGraph, Tensor, Tensor] | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        """The loss of a batch of always the same shape: [B, D] -> scalar, which the next call overwrites."""
        if self._recorded is None:
            self._recorded = self._record(batch)
        graph, rows, loss = self._recorded
        rows.copy_(batch)
        graph.replay()
        return loss

    def _record(self, batch: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """The graph, the rows that it reads and the loss that it writes."""
        rows = batch.clone()
        buffers = [(buffer, buffer.detach().clone()) for buffer in self.module.buffers()]
        states = random_states()
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.gradients(rows)
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self.gradients(rows).detach()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        set_random_states(states)
        return graph, rows, loss
