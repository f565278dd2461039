"""Races: two ways of doing the same work, run in turn, with the ratio of their times as the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Line:
    """One line of the summary table."""

    what: str
    rate: float
    reference_rate: float | None = None
    threads: int | None = None
    ratio: str = ""
    cpu_ratio: str = ""
    target: str = ""

    def __str__(self) -> str:
        reference = "" if self.reference_rate is None else f"{self.reference_rate:,.0f}"
        return (
            f"{self.what:<44}{self.threads or '':>3}{reference:>12}{self.rate:>12,.0f}"
            f"{self.ratio:>24}{self.cpu_ratio:>24}  {self.target}"
        ).rstrip()


HEADING = f"{'':<44}{'thr':>3}{'reference/s':>12}{'ours/s':>12}{'ratio [quartiles]':>24}{'in CPU time':>24}  target"


@dataclass
class Stopwatch:
    """Calls a function and keeps the wall and the CPU seconds of each call."""

    function: Callable[[], Any]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.function()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def _quartiles(slow: list[float], fast: list[float], rounds: int) -> tuple[float, str]:
    """The median of the ratios of neighbours, and how it is printed."""
    low, middle, high = np.quantile(np.divide(slow[-rounds:], fast[-rounds:]), [0.25, 0.5, 0.75])
    return float(middle), f"{middle:.2f} [{low:.2f}-{high:.2f}]"


@dataclass(frozen=True)
class Timing:
    """What the `timing` fixture gives: `rate` times one function, `race` two of them against each other."""

    benchmark: Any
    lines: list[Line]

    def rate(
        self, what: str, function: Callable[[], Any], items: int, *, rounds: int, target: float | None = None
    ) -> None:
        """Time `function`, which makes `items` patches; `target` is in patches a second."""
        watch = Stopwatch(function)
        self.benchmark.pedantic(watch, rounds=rounds, warmup_rounds=int(rounds > 1))
        if self.benchmark.stats is not None:
            rate = items / float(np.median(watch.wall[-rounds:]))
            self.lines.append(Line(what, rate, target=_verdict(rate, target, "{:,.0f}/s")))

    def race(
        self,
        what: str,
        reference: Callable[[], Any],
        contender: Callable[[], Any],
        items: int,
        *,
        rounds: int,
        target: float | None = None,
        scale: float = 1.0,
    ) -> None:
        """Time both, reference, contender, reference, contender, ...; `target` is a ratio.

        The reference does 1/`scale` of the work, to which its time is proportional.

        Neighbours see the same load of the machine, so the median of their ratios holds on a busy one too.
        """
        slow, fast = Stopwatch(reference), Stopwatch(contender)
        # The set-up of a round is not part of its time.
        self.benchmark.pedantic(fast, setup=slow, rounds=rounds, warmup_rounds=1)
        if self.benchmark.stats is None:
            return
        slow.wall, slow.cpu = ([scale * seconds for seconds in each] for each in (slow.wall, slow.cpu))
        ratio, printed = _quartiles(slow.wall, fast.wall, rounds)
        _, cpu_printed = _quartiles(slow.cpu, fast.cpu, rounds)
        rate, reference_rate = (items / float(np.median(watch.wall[-rounds:])) for watch in (fast, slow))
        verdict = _verdict(ratio, target, "{:g}x")
        self.lines.append(Line(what, rate, reference_rate, torch.get_num_threads(), printed, cpu_printed, verdict))
        self.benchmark.extra_info["ratio"] = ratio


def _verdict(value: float, target: float | None, form: str) -> str:
    return "" if target is None else f"{form.format(target)} {'PASS' if value >= target else 'miss'}"
