"""The published BSDS300 figures, from `data/published_bsds300.csv`: the one place where they are written down."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

#: What stands behind a +-, as far as its source tells: never mixed (DESIGN rule 4).
PlusMinus = Literal["", "2 SE over test patches", "2 SD over 5 trials", "over runs", "as printed"]


@dataclass(frozen=True)
class PublishedFigure:
    """One figure of a paper on the 63-number 8x8 patches of BSDS300.

    Attributes:
        model: name as published.
        method: how this package spells that model (`maf-mog`, `mcgsm+sym`); empty where it has none.
        components: K, None where the model has none.
        test_nats: mean test log-likelihood in nats.
        text: the same with the digits that were printed.
        plus_minus: the printed +-, nats; None where none was printed.
        plus_minus_is: what that +- is over; empty where none was printed.
        source: authors, year, arXiv number or repository.
        checked: False where the number was not seen in a source by the keepers of the file: wherever it is
            printed it is marked as unverified.
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


@cache
def load_published() -> tuple[PublishedFigure, ...]:
    """Every published figure, lowest first."""
    text = files("lde_bench.report").joinpath("data/published_bsds300.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedFigure(
            model=line["model"],
            method=line["method"],
            components=int(line["components"]) if line["components"] else None,
            test_nats=float(line["test_nats"]),
            text=line["test_nats"],
            plus_minus=float(line["plus_minus"]) if line["plus_minus"] else None,
            plus_minus_is=line["plus_minus_is"],  # type: ignore[arg-type]  # a test holds the file to the names
            source=line["source"],
            checked=line["checked"] == "yes",
        )
        for line in csv.DictReader(text.splitlines())
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
