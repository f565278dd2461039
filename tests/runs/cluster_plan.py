"""Plans that the tests of workers have made again in processes of their own."""

from __future__ import annotations

from lde_bench.data import Dataset
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.runs import Plan, workers
from lde_bench.training import loop
from lde_bench.training.plan import Budget
from lde_bench.trials import density as density_trials
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import plan_trials

METHODS = ("made-mog:components=2,hidden=8", "made-mog+sym:components=2,hidden=8", "gaussian")


def small_plan(steps: int = 3) -> Plan:
    """Two densities and an average over one, with a checkpoint at every step and without the laws, which take long."""
    loop.CHECKPOINT_SECONDS = workers.TELL_SECONDS = 0.0
    density_trials.trial_laws = lambda *_, **__: {}
    rows = skewed_rows(360, 63, 0)
    arrays = {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]}
    data = Dataset.of("made-up", "1", 0, arrays, is_patch=True)
    options = TrainingOptions(device="cpu", precision="fp32")
    return Plan.of(plan_trials("tests", data, METHODS, [2], 1, Budget.of(steps=steps), options))
