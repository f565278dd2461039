"""The published figures, from `data/published_*.csv`: the one place where they are written down."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from lde_bench.data import user_file
from lde_bench.report.numbers import DASH
from lde_bench.runs.record import DatasetInfo

#: What stands behind a +-, as far as its source tells: never mixed.
PlusMinus = Literal[
    "", "2 SE over test patches", "2 SD over 5 trials", "over runs", "as printed", "SE over test images", "over folds"
]


@dataclass(frozen=True)
class PublishedFigure:
    """One figure of a paper, on the 63-number 8x8 patches of BSDS300 or, by a Parzen window, on whole images.

    Attributes:
        model: name as published.
        method: how this package spells that model (`maf-mog`, `mcgsm+sym`); empty where it has none.
        components: K, None where the model has none.
        test_nats: mean log-likelihood of the test items in nats.
        text: the same with the digits that were printed.
        plus_minus: the printed +-, nats; None where none was printed.
        plus_minus_is: what that +- is over; empty where none was printed.
        source: authors, year, arXiv number or repository.
        checked: False where the number was not seen in a source by the keepers of the file: wherever it is
            printed it is marked as unverified.
        note: what else is to be known of it, as of an estimated normaliser; printed behind its source.
    """

    model: str
    method: str
    components: int | None
    test_nats: float
    text: str
    plus_minus: float | None
    plus_minus_is: PlusMinus
    source: str
    checked: bool
    note: str = ""

    @property
    def value(self) -> str:
        """The figure and its +- with the digits that were printed, and a mark where it was not seen in a source."""
        digits = len(self.text.partition(".")[2])
        text = self.text if self.plus_minus is None else f"{self.text} ± {self.plus_minus:.{digits}f}"
        return text if self.checked else f"{text} (unverified)"


@cache
def load_published() -> tuple[PublishedFigure, ...]:
    """Every published figure on BSDS300, lowest first."""
    return tuple(map(_figure, _lines("published_bsds300.csv")))


@cache
def load_published_parzen(dataset: str) -> tuple[PublishedFigure, ...]:
    """Every published Parzen-window figure on `mnist` or `tfd`, lowest first; none on others, stand-ins too."""
    return tuple(_figure(line) for line in _lines("published_parzen.csv") if line["dataset"] == dataset)


def is_official(data: DatasetInfo) -> bool:
    """Whether a dataset is what its name says, and no file or folder of a user's own that is called so."""
    return not data.version.endswith("unofficial") and not data.version.startswith(user_file.VERSION)


def published_text(nats: float | None, plus_minus: float | None) -> str:
    """A published figure with its printed +-, where there are any."""
    if nats is None:
        return DASH
    return f"{nats:g}" if plus_minus is None else f"{nats:g} ± {plus_minus:g}"


def _lines(name: str) -> list[dict[str, str]]:
    text = files("lde_bench.report").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _figure(line: dict[str, str]) -> PublishedFigure:
    return PublishedFigure(
        model=line["model"],
        method=line["method"],
        components=int(line["components"]) if line["components"] else None,
        test_nats=float(line["test_nats"]),
        text=line["test_nats"],
        plus_minus=float(line["plus_minus"]) if line["plus_minus"] else None,
        plus_minus_is=line["plus_minus_is"],  # type: ignore[arg-type]  # a test holds the file to the names
        source=line["source"],
        checked=line["checked"] == "yes",
        note=line.get("note", ""),
    )


def paper_lde() -> dict[int, tuple[float, float]]:
    """Yoo, Lee, Kwak 2020 (arXiv 1902.04294), Table 1: K -> test log-likelihood (nats), 2 standard deviations of 5
    trials.
    """
    figures = sorted(
        (figure.components, figure.test_nats, figure.plus_minus)
        for figure in load_published()
        if figure.method == "lde" and figure.components and figure.plus_minus
    )
    return {components: (nats, spread) for components, nats, spread in figures}
