"""What belongs to the whole process: random generators, and settings that a class of a user's own may change.

What one class sets must not change what the next is measured on, so code of a user's own runs in `process_unchanged`.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from lde_bench.errors import CalledExit

# -- random generators -------------------------------------------------------------------------------------------------


def random_states() -> list[Tensor]:
    """The states of torch's global generators: dropout and the like draw from them."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


def set_random_states(states: list[Tensor]) -> None:
    """Put back what `random_states` gave."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])


def generator_states() -> dict[str, Any]:
    """The states of the global generators of Python, NumPy and torch, as numbers, tuples and tensors."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (others draw from it)
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": random_states(),
    }


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Put back what `generator_states` gave."""
    kind, keys, *rest = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    set_random_states(states["torch"])


@contextmanager
def generators_unchanged() -> Iterator[None]:
    """Give the global generators of Python, NumPy and torch back as they were."""
    states = generator_states()
    try:
        yield
    finally:
        set_generator_states(states)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch inside, and give them back as they were."""
    with generators_unchanged():
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        yield


# -- settings ----------------------------------------------------------------------------------------------------------


def _device() -> torch.device:
    return torch.empty(0).device  # torch.get_default_device of torch 2.6 fails once a default was taken away


def _set_device(device: torch.device) -> None:
    # None takes away what an explicit "cpu" would leave in the way of every call of torch.
    torch.set_default_device(None if device.type == "cpu" else device)


def _folder() -> Path | None:
    with suppress(OSError):  # it may have been deleted
        return Path.cwd()
    return None


def _enter(folder: Path | None) -> None:
    if folder is not None:
        with suppress(OSError):
            os.chdir(folder)


def _set_environment(values: dict[str, str]) -> None:
    for key in os.environ.keys() - values.keys():
        del os.environ[key]
    os.environ.update(values)


def _set_warnings(filters: list[Any]) -> None:
    warnings.resetwarnings()  # forgets, too, which warnings were shown under the other filters
    warnings.filters[:] = filters  # type: ignore[index]


def _handler(number: signal.Signals) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    def put_back(handler: Any) -> None:
        # Only the main thread may set one; None is one that was not set from Python.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)

    return lambda: signal.getsignal(number), put_back


def _logging() -> tuple[int, list[logging.Handler], int]:
    return logging.root.level, list(logging.root.handlers), logging.root.manager.disable


def _set_logging(state: tuple[int, list[logging.Handler], int]) -> None:
    logging.root.setLevel(state[0])
    logging.root.handlers[:] = state[1]
    logging.disable(state[2])


#: How each setting is read and put back. Not among them are `sys.path`, by which a class may find its own modules
#: later, and whatever is set by changing an object of a library.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (_device, _set_device),
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "threads": (torch.get_num_threads, torch.set_num_threads),
    "matrix products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "deterministic algorithms": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda state: torch.use_deterministic_algorithms(state[0], warn_only=state[1]),
    ),
    "cudnn.benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda on: setattr(torch.backends.cudnn, "benchmark", on),
    ),
    "cudnn.deterministic": (
        lambda: torch.backends.cudnn.deterministic,
        lambda on: setattr(torch.backends.cudnn, "deterministic", on),
    ),
    "validation of distributions": (
        lambda: Distribution._validate_args,
        Distribution.set_default_validate_args,
    ),
    "floating-point errors": (np.geterr, lambda state: np.seterr(**state)),
    "printing of arrays": (np.get_printoptions, lambda state: np.set_printoptions(**state)),
    "working folder": (_folder, _enter),
    "environment": (lambda: dict(os.environ), _set_environment),
    "warnings": (lambda: list(warnings.filters), _set_warnings),
    "SIGINT": _handler(signal.SIGINT),
    "SIGTERM": _handler(signal.SIGTERM),
    "logging": (_logging, _set_logging),
}


def _apply(values: Mapping[str, Any]) -> dict[str, Any]:
    """Set these settings; what those that differed were."""
    found = {name: SETTINGS[name][0]() for name in values}
    changed = {name: value for name, value in found.items() if value != values[name]}
    for name in changed:
        SETTINGS[name][1](values[name])
    return changed


@contextmanager
def process_unchanged(
    settings: Mapping[str, Any] | None = None, *, generators: bool = True
) -> Iterator[dict[str, Any]]:
    """Run code of a user's own: what it sets for the whole process is put back, what it prints goes to stderr.

    The dictionary that it gives holds, at the end, the `SETTINGS` that the code changed.

    Args:
        settings: those that hold inside, such as what the file of a class set when it was imported.
        generators: False leaves the random generators where the code brought them, as training with dropout must.

    Raises:
        CalledExit: the code called `sys.exit`, which would have ended the program in the middle of a sweep.
    """
    before = {name: get() for name, (get, _) in SETTINGS.items()}
    changed: dict[str, Any] = {}
    stderr = sys.stderr
    with generators_unchanged() if generators else nullcontext(), _stdout_to_stderr():
        try:
            _apply(settings or {})
            yield changed
        except SystemExit as error:
            raise CalledExit(f"sys.exit({error.code!r}) was called, which would end the whole program") from error
        finally:
            changed |= _apply(before)
            sys.stderr = stderr


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What is printed inside goes to stderr, by Python or by a library below it, so that stdout stays what it is."""
    with redirect_stdout(sys.stderr):
        kept = None
        with suppress(OSError, ValueError, AttributeError):  # closed, or none, as in some notebooks
            sys.__stdout__.flush()  # type: ignore[union-attr]
            kept = os.dup(1)
            os.dup2(2, 1)
        try:
            yield
        finally:
            if kept is not None:
                _flush_c()
                os.dup2(kept, 1)
                os.close(kept)


def _flush_c() -> None:
    """Write out what C code printed and its library still holds."""
    with suppress(OSError, AttributeError):
        _c_library().fflush(None)


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
