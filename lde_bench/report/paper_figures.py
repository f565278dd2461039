"""What the paper's figures share: a picture, no one figure that ranks their rows, and every measure a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lde_bench.generators import place_of
from lde_bench.report import parts
from lde_bench.report.document import Block
from lde_bench.report.experiment import Experiment
from lde_bench.report.measures import figure_notes, measure_columns
from lde_bench.report.rows import Row
from lde_bench.report.section import Section
from lde_bench.report.table import Column, Table, cost_column, model_columns
from lde_bench.trials.images import PERCEPTUAL


class PaperFigure(Experiment):
    """A figure of models of images, whose subclass says what is measured and drawn."""

    score = ""
    #: What the picture shows, in a line, and beside it.
    alt: ClassVar[str]
    caption: ClassVar[str]

    def headline(self, section: Section) -> list[Block]:
        return parts.headline(section, self.picture(section.table, section.places), self.alt, self.caption)

    def panels(self, rows: Sequence[Row]) -> list[Block]:
        return []  # every measure has its column

    def details(self, section: Section, pair: tuple[str, str] | None) -> list[Block]:
        return []


class FigureInColour(PaperFigure):
    """A figure of autoencoders in colour."""

    def order(self, methods: Sequence[str]) -> list[str]:
        return sorted(methods, key=place_of)

    def columns(self, table: Table) -> list[Column]:
        return [*model_columns(), *measure_columns(table), cost_column()]

    def first_notes(self, table: Table) -> list[str]:
        return [loss_note(table), *figure_notes(table.rows, table.figures)]

    def last_notes(self, table: Table) -> list[str]:
        return [
            "Errors and nulls take images and walks as independent: of crops of one photograph, images of one person "
            "or walks that share an end they are rather too narrow."
        ]


def loss_note(table: Table) -> str:
    """What autoencoders in colour were trained on."""
    profile = table.budget.partition("-")[0]
    weight = PERCEPTUAL[profile]
    term = f" plus {weight:g} times the distance in features of VGG19 (eq. 5)" if weight else ""
    return f"Reconstruction loss: squared error{term}, where a row does not say otherwise."
