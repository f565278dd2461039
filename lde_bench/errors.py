"""The errors a user can meet, each with the exit code of the command line (README, "Exit codes").

Every message is one sentence that names the thing, the fault and the remedy.
"""

from __future__ import annotations


class LdeBenchError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class InputError(LdeBenchError, ValueError):
    """Bad usage or bad input: a missing folder, a corrupt file, an unknown method, K = 0."""

    exit_code = 2


class UnknownMethod(InputError):
    """There is no method, and no module or class of a user's own, of that name."""


class StorageError(InputError):
    """A folder or disk that refuses to be written to: it concerns every trial of a sweep, not one."""


class LawBroken(LdeBenchError):
    """A density breaks one of the laws that make it a density (`lde_bench.evaluation.laws`)."""

    exit_code = 1


class CalledExit(LdeBenchError):
    """A class of a user's own called `sys.exit`."""

    exit_code = 1


class NothingMeasured(LdeBenchError):
    """No trial finished, so there is no number to report."""

    exit_code = 3


class SweepStopped(LdeBenchError):
    """A sweep stopped at its first failed trial, as it was asked to."""

    exit_code = 3


class TrainingDiverged(LdeBenchError):
    """The training loss or a log-likelihood stopped being finite."""

    exit_code = 3
