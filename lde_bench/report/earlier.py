"""Sheets of samples that an earlier report shows. Each says in its file of what it is, so that a report that is made
again where neither the samples nor the weights of a run are left, as in a clone of published records, shows them still.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lde_bench.runs.record import DatasetInfo, Record

log = logging.getLogger(__name__)

#: Keywords of the texts in a PNG file: what is shown, and the deviation from grey that is drawn as black or white.
SHOWS, SCALE = "lde-bench-shows", "lde-bench-scale"


#: Between a run and the time it ended.
FINISHED = ", finished "


@dataclass(frozen=True)
class Sheet:
    """A sheet of samples, PNG.

    Attributes:
        data: the file.
        shows: of what it is: `run_shown` or `data_shown`; empty where it does not say.
        scale: the deviation from the patch mean that is drawn as black or white; None of images, which have no such.
    """

    data: bytes
    shows: str
    scale: float | None = None

    @classmethod
    def of(cls, png: bytes, shows: str, scale: float | None = None) -> Sheet:
        """A sheet that says in its file what it shows."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        words = PngInfo()
        words.add_text(SHOWS, shows)
        if scale is not None:
            words.add_text(SCALE, f"{scale:.9g}")
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(png)) as picture:
            picture.save(buffer, "png", optimize=True, pnginfo=words)
        return cls(buffer.getvalue(), shows, scale)

    @classmethod
    def read(cls, data: bytes) -> Sheet:
        """From the bytes of a file.

        Raises:
            OSError: they are no PNG.
            ValueError: its scale is no number.
        """
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=["png"]) as picture:
            scale = picture.info.get(SCALE)
            return cls(data, str(picture.info.get(SHOWS, "")), None if scale is None else float(scale))

    @property
    def name(self) -> str:
        """Name what it shows in eight hex digits: sheets keep their files when rows come or go."""
        return hashlib.sha256(self.shows.encode()).hexdigest()[:8]

    @property
    def width(self) -> int:
        """In pixels."""
        from PIL import Image

        with Image.open(io.BytesIO(self.data)) as picture:
            return picture.width


def run_shown(record: Record) -> str:
    """What a sheet of the samples of a run says: the run, and when it ended, as another training has other samples."""
    return f"{record.run_id}{FINISHED}{record.provenance.get('finished') or 'at no time that is known'}"


def data_shown(data: DatasetInfo) -> str:
    """What a sheet of test items says."""
    return f"test items of {data.name} {data.version}, seed {data.seed}, content {data.content_hash}"


def sheets_in(folder: Path) -> dict[Path, Sheet]:
    """The sheets in a folder of pictures that say what they show; none where there is no folder."""
    found = {}
    for path in sorted(folder.glob("*.png")):
        try:
            sheet = Sheet.read(path.read_bytes())
        except (OSError, ValueError, SyntaxError) as error:  # Pillow calls a broken PNG a SyntaxError
            log.info("The report does without the earlier picture %s: %s", path, error)
            continue
        if sheet.shows:
            found[path] = sheet
    return found


def earlier_sheets(folders: Iterable[Path]) -> dict[str, Sheet]:
    """The sheets in folders of pictures by what they show; of several that show the same, that of the first folder."""
    found: dict[str, Sheet] = {}
    for folder in folders:
        for sheet in sheets_in(folder).values():
            found.setdefault(sheet.shows, sheet)
    return found


def superseded(sheets: Iterable[Sheet], shown: Iterable[Sheet]) -> set[str]:
    """Tell which sheets, by what they show, are of a run of which another training is `shown`: any other may be the
    last that is left of its samples.
    """
    now = {sheet.shows for sheet in shown}
    runs = {shows.partition(FINISHED)[0] for shows in now if FINISHED in shows}
    return {each.shows for each in sheets if each.shows not in now and each.shows.partition(FINISHED)[0] in runs}
