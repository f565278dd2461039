"""A report that is made again where nothing is left to draw samples from."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lde_bench.experiments import experiment_of
from lde_bench.files import write_bytes_atomic
from lde_bench.report.earlier import Sheet, earlier_sheets, run_shown
from lde_bench.report.page import PICTURES, write_page
from lde_bench.report.plots import draw_sheet, grey_range
from lde_bench.runs.store import RunPaths


def write(place, records, earlier=(), here="here") -> str:
    """The Markdown of the report of these records."""
    runs = [(place / "results" / f"{record.run_id}.json", record) for record in records]
    for path, record in runs:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(record.to_json())
    _, twin = write_page(runs, place / here, experiment_of, cache_dir=place / "no-cache", earlier=earlier)
    return twin.read_text(encoding="utf-8")


def shown(place, text, title, here="here") -> bytes:
    """The picture of a title."""
    (name,) = re.findall(rf"!\[{re.escape(title)}\]\({PICTURES}/(\S+?)\)", text)
    return (place / here / PICTURES / name).read_bytes()


@pytest.fixture
def patches(make, tmp_path):
    """Two records of patches, with samples beside them."""
    records = [make("a", 1), make("b", 2)]
    random = np.random.default_rng(0)
    for number, record in enumerate(records):
        place = RunPaths(tmp_path / "results", record.run_id)
        place.samples.parent.mkdir(exist_ok=True, parents=True)
        place.save_samples(random.normal(0, 0.1 * (1 + number), (64, 63)))
    return records


def forget(place, record) -> None:
    RunPaths(place / "results", record.run_id).samples.unlink()


def test_samples_are_shown_again_when_they_are_gone_as_they_were(patches, tmp_path):
    before = write(tmp_path, patches)
    sheets = {name: shown(tmp_path, before, f"64 patches: {name}") for name in ("a K=1", "b K=2")}
    for record in patches:
        forget(tmp_path, record)
    assert write(tmp_path, patches) == before
    # Rows change their places and their names, and sheets go with their runs.
    another = replace(patches[0], method="zz")
    after = write(tmp_path, [another, patches[1]])
    assert shown(tmp_path, after, "64 patches: zz K=1") == sheets["a K=1"]
    assert shown(tmp_path, after, "64 patches: b K=2") == sheets["b K=2"]
    # A report elsewhere shows them where it is told of this one.
    assert "64 patches" not in write(tmp_path, patches, here="there")
    elsewhere = write(tmp_path, patches, [tmp_path / "here"], here="there")
    assert shown(tmp_path, elsewhere, "64 patches: a K=1", "there") == sheets["a K=1"]


def test_new_samples_stand_beside_earlier_ones_on_their_scale(patches, make, tmp_path):
    write(tmp_path, patches[:1])
    (first,) = earlier_sheets([tmp_path / "here" / PICTURES]).values()
    forget(tmp_path, patches[0])
    text = write(tmp_path, patches)
    assert shown(tmp_path, text, "64 patches: a K=1") == first.data
    assert Sheet.read(shown(tmp_path, text, "64 patches: b K=2")).scale == first.scale
    wide = np.load(RunPaths(tmp_path / "results", patches[1].run_id).samples)
    assert first.scale < 0.7 * grey_range(wide)


def test_another_training_of_the_same_name_has_other_samples(patches, tmp_path):
    write(tmp_path, patches)
    forget(tmp_path, patches[0])
    again = replace(patches[0], provenance={**patches[0].provenance, "finished": "2031-01-01T00:00:00+00:00"})
    text = write(tmp_path, [again, patches[1]])
    assert "64 patches: a K=1" not in text
    assert "Neither samples nor weights were kept of a K=1." in text
    assert "64 patches: b K=2" in text


def test_pictures_that_say_nothing_or_are_broken_are_passed_over(patches, tmp_path):
    folder = tmp_path / "here" / PICTURES
    folder.mkdir(parents=True)
    plain = draw_sheet(np.zeros((4, 8, 8), np.uint8))
    labelled = Sheet.of(plain, run_shown(patches[0]), 0.25).data
    (folder / "0-plain.png").write_bytes(plain)
    (folder / "1-cut.png").write_bytes(labelled[:30])
    (folder / "2-empty.png").write_bytes(b"")
    (folder / "3-no-number.png").write_bytes(labelled.replace(b"0.25", b"grey"))
    assert earlier_sheets([folder, tmp_path / "absent"]) == {}
    (folder / "4-whole.png").write_bytes(labelled)
    (found,) = earlier_sheets([folder, folder]).values()
    assert (found.scale, found.width, found.data) == (0.25, Image.open(io.BytesIO(plain)).width, labelled)


def test_images_are_shown_again_too(make_samples, tmp_path):
    record = make_samples("gan", None)
    place = RunPaths(tmp_path / "results", record.run_id)
    place.samples.parent.mkdir(parents=True)
    place.save_samples(np.random.default_rng(0).random((100, 784)))
    before = write(tmp_path, [record])
    forget(tmp_path, record)
    assert write(tmp_path, [record]) == before
    assert "100 images: gan" in before


def test_a_report_of_other_records_and_one_that_is_cut_off_lose_no_sheet(patches, make, tmp_path, monkeypatch):
    before = write(tmp_path, patches)
    for record in patches:
        forget(tmp_path, record)
    assert "64 patches" not in write(tmp_path, [make("c", 3)])
    assert write(tmp_path, patches) == before
    # A new row comes first, and the report is cut off before its first sheet of the others is written.
    written = []

    def cut_off(path, data):
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        write_bytes_atomic(path, data)

    monkeypatch.setattr("lde_bench.report.page.write_bytes_atomic", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, [make("0", 1), *patches])
    monkeypatch.undo()
    assert write(tmp_path, patches) == before


def test_the_sheet_of_a_run_that_was_trained_again_is_removed(patches, tmp_path):
    write(tmp_path, patches)
    again = replace(patches[0], provenance={**patches[0].provenance, "finished": "2031-01-01T00:00:00+00:00"})
    write(tmp_path, [again, patches[1]])
    shows = set(earlier_sheets([tmp_path / "here" / PICTURES]))
    assert shows == {run_shown(again), run_shown(patches[1])}
