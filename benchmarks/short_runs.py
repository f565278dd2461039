"""Short trainings on patches, scored on validation patches: what scripts that look into a row share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import torch

from lde_bench.data import load_dataset
from lde_bench.densities.base import Density
from lde_bench.errors import LdeBenchError
from lde_bench.experiments.bsds300 import PROFILES
from lde_bench.progress import say
from lde_bench.training.plan import Budget

BUDGET, BUDGET_SECONDS = Budget.of("standard"), 600


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """The type of an option that is a positive number, for `argparse`."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value

    return number


def patches(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Training patches, so many, and the validation patches of `standard`: float32 [count, 63], [m, 63]."""
    data = load_dataset("bsds300", validation=PROFILES[BUDGET.profile].validation, progress=True)
    train, validation = (np.asarray(rows, dtype=np.float32) for rows in (data.train[:count], data.validation))
    return train, validation


def nats(density: Density, train: np.ndarray, validation: np.ndarray, seed: int, seconds: float) -> float:
    """The validation log-likelihood after so many CPU seconds of training by the `standard` plan, made shorter."""
    plan = density.plan(BUDGET).stretched(seconds / BUDGET_SECONDS)
    density.fit(train, validation, seed=seed, profile=BUDGET.profile, seconds=seconds, clock="cpu", plan=plan)
    state = density.training_state
    assert state is not None
    assert state.best_score is not None
    return state.best_score


def main(told: str, measure: Callable[[int, float], None]) -> int:
    """Call `measure` with the seed and the CPU seconds of a run that the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive(float), default=120.0, help="CPU seconds of training a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive(int), default=1)
    asked = parser.parse_args()
    return exit_code(asked.threads, lambda: measure(asked.seed, asked.seconds))


def exit_code(threads: int, work: Callable[[], None]) -> int:
    """Do the work on so many threads; the exit code, after one sentence where it is not 0."""
    torch.set_num_threads(threads)
    try:
        work()
    except LdeBenchError as error:
        say(str(error))
        return error.exit_code
    return 0
