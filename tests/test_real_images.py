"""What is published under `results/` holds no real image of data whose terms do not allow it."""

from __future__ import annotations

from pathlib import Path

from lde_bench.generators import is_reference
from lde_bench.report.earlier import FINISHED, data_shown, sheets_in
from lde_bench.report.page import PICTURES
from lde_bench.runs import ResultStore

RESULTS = Path(__file__).parents[1] / "results"

#: Digits under CC BY-SA 3.0, and 64 patches of 8x8 pixels.
SHOWN = {"mnist", "bsds300"}

#: Rows whose samples are real images, or means of so few that some are.
REAL = {"train-samples", "validation-images", "kmeans"}


def test_real_images_lie_beside_records_of_digits_alone():
    found = {path.relative_to(RESULTS).parts[:2] for path in RESULTS.rglob("*.originals.npz")}
    assert found == {("beta", "mnist-v1")}


def test_no_sheet_shows_real_images_of_other_data():
    records = {record.run_id: record for record in ResultStore(RESULTS).load()}
    allowed = {data_shown(record.dataset) for record in records.values() if record.dataset.name in SHOWN}
    sheets = sheets_in(RESULTS / PICTURES)
    assert len(sheets) > 90
    of_data = {sheet.shows for sheet in sheets.values() if FINISHED not in sheet.shows}
    assert of_data
    assert of_data <= allowed
    for sheet in sheets.values():
        run_id, finished, _ = sheet.shows.partition(FINISHED)
        if finished:
            record = records[run_id]
            assert record.dataset.name in SHOWN or record.method not in REAL, sheet.shows
    assert {record.method for record in records.values() if is_reference(record.method)} <= REAL
