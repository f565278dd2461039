# ruff: noqa: RUF001  (the dash of a missing value is an en dash)
"""The script of the page sorts its tables, in a real browser where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lde_bench.report.document import Document, Grid, Strong
from lde_bench.report.render.html import to_html

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

GRID = Grid(
    ["method", "parameters", "nats", "difference", "published"],
    [
        ["b K=30", "1,515,618", "132.48 ± –", "-24.59 ± 0.81", "–"],
        ["gaussian", "2,079", "96.35 (96.35, 96.35)", "-60.73 ± 2.55", "96.67 ± 0.25"],
        [Strong("b K=4"), Strong("416,000"), Strong("157.07 ± –"), Strong("best"), Strong("–")],
        ["kmeans", "–", "158.00 ± 0.30", "+0.93 ± –", "152.8 (unverified)"],
        ["real images", "–", "–", "–", "–"],
    ],
    footer=1,
)

#: What a click on each column leaves, first by the numbers, then the other way round.
ORDERS = {
    "method": [["b K=4", "b K=30", "gaussian", "kmeans"], ["kmeans", "gaussian", "b K=30", "b K=4"]],
    "parameters": [["gaussian", "b K=4", "b K=30", "kmeans"], ["b K=30", "b K=4", "gaussian", "kmeans"]],
    "nats": [["gaussian", "b K=30", "b K=4", "kmeans"], ["kmeans", "b K=4", "b K=30", "gaussian"]],
    "difference": [["gaussian", "b K=30", "b K=4", "kmeans"], ["kmeans", "b K=4", "b K=30", "gaussian"]],
    # Rows that are alike, such as those without a figure, keep the order in which they stood.
    "published": [["gaussian", "kmeans", "b K=4", "b K=30"], ["kmeans", "gaussian", "b K=4", "b K=30"]],
}

#: Clicks every head twice and notes the first column, the mark of the head, and the rows that stay below.
CLICKS = """
const notes = {};
const cells = (rows) => [...rows].map((row) => row.cells[0].textContent);
for (const head of document.querySelectorAll("th")) {
  const name = head.textContent;
  const table = head.closest("table");
  notes[name] = [1, 2].map(() => {
    head.querySelector("button").click();
    const sorted = [...table.querySelectorAll("[aria-sort]")].map((each) => each.getAttribute("aria-sort"));
    return { order: cells(table.tBodies[0].rows), sorted, below: cells(table.tFoot.rows) };
  });
}
const strong = [...document.querySelectorAll("tr")].find((row) => row.querySelector("strong")).textContent;
document.body.innerHTML = "<pre></pre>";
document.querySelector("pre").textContent = JSON.stringify({ notes, strong });
"""


def browse(page: str, folder: Path) -> str:
    """The document of a page once its scripts have run."""
    assert BROWSER is not None
    (folder / "page.html").write_text(page, encoding="utf-8")
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={folder / 'profile'}"]
    address = (folder / "page.html").as_uri()
    done = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_a_click_on_a_head_sorts_by_its_numbers_and_a_second_one_the_other_way_round(tmp_path):
    page = to_html(Document("a table", [GRID]))
    shown = browse(page.replace("</body>", f"<script>{CLICKS}</script></body>"), tmp_path)
    found = re.search(r"<pre>(.*)</pre>", shown, flags=re.DOTALL)
    assert found
    told = json.loads(html.unescape(found[1]))
    assert {name: [each["order"] for each in both] for name, both in told["notes"].items()} == ORDERS
    for both in told["notes"].values():
        assert [each["sorted"] for each in both] == [["ascending"], ["descending"]]
        assert all(each["below"] == ["real images"] for each in both)
    assert " ".join(told["strong"].split()) == "b K=4 416,000 157.07 ± – best –"


def test_the_page_has_the_script_once_and_stands_whole_without_it():
    page = to_html(Document("two tables", [GRID, GRID]))
    before, script = page.split("<script>")
    assert "aria-sort" in script
    assert "<button" not in before
    assert before.count("<tfoot>") == 2
    assert re.findall(r"<td[^>]*>(?:<strong>)?([\w =]+)(?:</strong>)?</td>\s*<td>(?:<strong>)?[\d,]+", before) == [
        "b K=30", "gaussian", "b K=4",
    ] * 2  # fmt: skip
    assert 'class="words">method' in before  # what is sorted as words
