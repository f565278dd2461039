"""Run records as a table with one row a record: what figures and analyses of one's own start from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lde_bench.evaluation.sample_measures import Measure, measured_everywhere
from lde_bench.runs.record import Record, Result
from lde_bench.runs.rows import bits_per_dim, input_of
from lde_bench.runs.store import ResultStore

if TYPE_CHECKING:
    import pandas as pd

#: Columns of `load_results` that are always there, in order; those of the measures stand behind them.
COLUMNS = (
    "experiment",
    "run_id",
    "status",
    "reason",
    "method",
    "components",
    "trial",
    "parameters",
    "features",
    "input",
    "dataset",
    "dataset_version",
    "content_hash",
    "dataset_seed",
    "train_size",
    "validation_size",
    "test_size",
    "profile",
    "steps",
    "seconds",
    "clock",
    "machine_dependent",
    "test_nats",
    "bits_per_dim",
    "validation_nats",
    "test_standard_error_naive",
    "test_standard_error_clustered",
    "true_test_nats",
    "true_gap",
    "true_gap_standard_error",
    "best_step",
    "wall_seconds",
    "cpu_seconds",
    "training_cpu_seconds",
    "sample_cost",
    "patches",
    "augment",
    "batch_size",
    "rate",
    "training_precision",
    "device",
    "threads",
    "encoder",
    "laws_passed",
    "parzen.samples",
    "parzen.sigma",
    "parzen.at_edge",
    "window.grid",
    "window.grid_nats",
    "window.counts",
    "window.count_nats",
    "groups.ids",
    "groups.counts",
    "groups.mean_nats",
    "curve.step",
    "curve.cpu_seconds",
    "curve.wall_seconds",
    "curve.validation_nats",
    "benchmark_version",
    "lde_bench",
    "commit",
    "dirty",
    "path",
)

#: Whole numbers, which stay whole beside a missing value.
_WHOLE = (
    "components",
    "trial",
    "parameters",
    "features",
    "steps",
    "best_step",
    "train_size",
    "validation_size",
    "test_size",
    "batch_size",
    "threads",
    "parzen.samples",
)

#: Yes, no or missing: as objects, `~` would turn True into -2.
_FLAGS = ("machine_dependent", "laws_passed", "parzen.at_edge", "dirty")

#: Of a Parzen window, the numbers; what else it holds are curves.
_PARZEN = ("samples", "sigma", "at_edge")

#: Of a measure, what is a number.
_FIGURES = tuple(each.name for each in fields(Measure) if each.name != "detail")


def load_results(folder: str | Path) -> pd.DataFrame:
    """Run records under `folder` as a pandas DataFrame, one row a record, log-likelihoods in nats.

    The columns are `COLUMNS`, present also when there is no record, and `measure.<name>.<figure>` for every figure
    (`value`, `standard_error`, `null`, `null_low`, `null_high`) of a measure of samples that some record has; those of
    a further feature space are `measure.<name>@<space>.<figure>`. What does not apply is missing (None or NaN).

    * `parzen.samples`, `parzen.sigma` and `parzen.at_edge` are the numbers of the Parzen window of a model of images,
      whose log-likelihoods are those in `test_nats` and `validation_nats`; `window.*` are the curves it was chosen by,
      as lists: mean validation nats `window.grid_nats` at each sigma of `window.grid`, and at the chosen sigma
      `window.count_nats` with the first `window.counts` samples alone.
    * `groups.*` are lists with one entry a photograph (or person) of the test set, `curve.*` lists with one entry a
      look at the validation set during training.
    * `training_precision`, `batch_size`, `rate`, `device` and `threads` say how the model was trained; the batch size
      and the rate of a model that is trained in parts, each with its own, are missing. `encoder` names the trained
      autoencoder under a density of codes: the nats of codes of one encoder compare, of two they do not.
    * `input` is what a density does to its rows first: `raw` is nothing, `scalar unit` a division by one number,
      `standardised` each feature by its own mean and deviation, `Cholesky` whitening; `any`: the fit is the same under
      each. In records of before it is told by the method's name.
    * `bits_per_dim` are those of `test_nats`: of 8x8 patches, which are brightness / 256, those of the 256 grey levels,
      8 - nats / (D ln 2); of other rows -nats / (D ln 2), in the units that the rows have. D is `features`, missing in
      records of before, whose patches have 63. There are none of a Parzen window, which is no density of the model.
    * `path` is relative to `folder`.

    Raises:
        InputError: the folder does not exist.
    """
    import pandas as pd  # half a second that `lde-bench --help` must not wait for

    store = ResultStore(folder)
    rows = [
        _cells(record) | {"path": path.relative_to(store.folder).as_posix()} for path, record in store.load_with_paths()
    ]
    found = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *found])
    return frame.astype(dict.fromkeys(_WHOLE, "Int64") | dict.fromkeys(_FLAGS, "boolean"))


def _cells(record: Record) -> dict[str, Any]:
    """The cells of one record that are not missing, by their columns."""
    row: dict[str, Any] = {"training_precision": record.training.get("precision")}
    for part in (record.training, record.provenance):
        row |= {name: value for name, value in part.items() if name in COLUMNS}
    for block in (record, record.result, record.cost, record.budget):
        if block is not None:
            values = {each.name: getattr(block, each.name) for each in fields(block)}
            row |= {name: value for name, value in values.items() if name in COLUMNS and value is not None}
    if record.budget.seconds is not None:
        row.pop("steps", None)  # the plan's, which the budget in seconds replaced
    else:
        row.pop("clock", None)
    data = record.dataset
    row |= {
        "dataset": data.name,
        "dataset_version": data.version,
        "content_hash": data.content_hash,
        "dataset_seed": data.seed,
        "train_size": data.sizes.train,
        "validation_size": data.sizes.validation,
        "test_size": data.sizes.test,
        "input": input_of(record),
        "bits_per_dim": bits_per_dim(record),
        "laws_passed": all(law.passed for law in record.laws.values()) if record.laws else None,
    }
    if record.curve:
        points = record.curve
        row |= {f"curve.{each.name}": [getattr(point, each.name) for point in points] for each in fields(points[0])}
    if record.result is not None:
        row |= _result_cells(record.result)
    return {name: value for name, value in row.items() if value is not None}


def _result_cells(result: Result) -> dict[str, Any]:
    """What the parts of a result say, under the name of the part."""
    row: dict[str, Any] = {"true_gap": result.true_gap}
    if (window := result.parzen) is not None:
        for each in fields(window):
            part = "parzen" if each.name in _PARZEN else "window"
            row[f"{part}.{each.name}"] = getattr(window, each.name)
    if (groups := result.groups) is not None:
        row |= {f"groups.{each.name}": getattr(groups, each.name) for each in fields(groups)}
    for name, measure in measured_everywhere(result.measures, result.beside).items():
        row |= {f"measure.{name}.{figure}": getattr(measure, figure) for figure in _FIGURES}
    return row
