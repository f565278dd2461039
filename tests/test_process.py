"""What code of a user's own may do to the process, put back."""

from __future__ import annotations

import ctypes
import logging
import os
import random
import signal
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.distributions import Distribution

from lde_bench.errors import CalledExit
from lde_bench.process import SETTINGS, process_unchanged, seeded

CHANGES = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn.deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "validation of distributions": lambda: Distribution.set_default_validate_args(not Distribution._validate_args),
    "floating-point errors": lambda: np.seterr(all="raise"),
    "printing of arrays": lambda: np.set_printoptions(precision=1),
    "working folder": lambda: os.chdir("/"),
    "environment": lambda: (os.environ.update(LDE_BENCH_MADE_UP="1"), os.environ.pop("PATH")),
    "warnings": lambda: warnings.simplefilter("error"),
    "SIGINT": lambda: signal.signal(signal.SIGINT, lambda *_: None),
    "SIGTERM": lambda: signal.signal(signal.SIGTERM, lambda *_: None),
    "logging": lambda: (logging.root.addHandler(logging.NullHandler()), logging.disable(logging.ERROR)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_put_back_and_can_hold_again_inside(name):
    get = SETTINGS[name][0]
    before = get()
    with process_unchanged() as changed:
        CHANGES[name]()
        inside = get()
        assert inside != before
    assert get() == before
    assert changed[name] == inside
    with process_unchanged(changed):
        assert get() == inside
    assert get() == before


def test_settings_are_put_back_after_an_error_too():
    def fails():
        with process_unchanged():
            torch.set_default_dtype(torch.float64)
            raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        fails()
    assert torch.get_default_dtype() == torch.float32


def draws():
    return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002 (the global one is meant)


def test_random_generators_are_put_back_unless_they_are_to_run_on():
    with seeded(3):
        with process_unchanged():
            inside = draws()
        again = draws()
    assert again == inside
    with seeded(3):
        with process_unchanged(generators=False):
            first = draws()
        second = draws()
    assert first == inside
    assert not set(first) & set(second)


def test_prints_go_to_stderr_whoever_prints(capfd):
    with process_unchanged():
        print("by Python")
        os.write(1, b"by the system\n")
        ctypes.CDLL(None).puts(b"by C")
    print("after")
    out, err = capfd.readouterr()
    assert out == "after\n"
    assert set(err.splitlines()) == {"by Python", "by the system", "by C"}


@pytest.mark.parametrize("code", [0, 3, None, "words"])
def test_sys_exit_is_an_error_and_an_interruption_stays_one(code):
    with pytest.raises(CalledExit, match=r"sys\.exit"), process_unchanged():
        sys.exit(code)
    with pytest.raises(KeyboardInterrupt), process_unchanged():
        raise KeyboardInterrupt
