"""A document as one HTML page."""

from __future__ import annotations

from lde_bench.report.document import Document, Link, Strong, inlines


def to_html(document: Document) -> str:
    """One page that needs no other file and no network; a script in it sorts the tables, which are whole without it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lde_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inlines"] = inlines
    environment.tests["link"] = lambda value: isinstance(value, Link)
    environment.tests["strong"] = lambda value: isinstance(value, Strong)
    return environment.get_template("report.html").render(
        document=document, kind=lambda block: type(block).__name__.lower()
    )
