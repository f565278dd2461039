"""What the documents show runs: Python as printed but for its sizes, and command lines as far as they are parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from lde_bench.cli.app import app
from lde_bench.data import natural8x8

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "results/README.md"]
LINKED = [*DOCUMENTS, ROOT / "benchmarks/README.md"]


def _blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def _command_lines() -> list[str]:
    """Each `lde-bench ...` of the shell blocks, and each that stands alone in backticks."""
    found = []
    for document in DOCUMENTS:
        for line in "\n".join(_blocks(document, "bash")).replace("\\\n", " ").splitlines():
            found += [part.strip() for part in line.split("&&") if re.match(r"(\.venv/bin/)?lde-bench ", part.strip())]
        found += re.findall(r"`(lde-bench [^`]+)`", document.read_text(encoding="utf-8"))
    return sorted(set(found))


@pytest.mark.parametrize("line", _command_lines())
def test_a_command_line_of_the_documents_is_understood(line: str) -> None:
    arguments = [argument for argument in shlex.split(line, comments=True)[1:] if argument != "..."]
    app.parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = _blocks(ROOT / "README.md", "python")
    assert blocks
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LDE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(natural8x8, "COUNTS", {"train": 3000, "validation": 200, "test": 400})
    names: dict[str, object] = {}
    for block in blocks:
        small = re.sub(r"\b\d+_000\b", "200", re.sub(r"\bsteps=\d+", "steps=3", block))
        exec(compile(small, "README.md", "exec"), names)
    assert (tmp_path / "lde.safetensors").is_file()


def test_the_figure_of_ones_own_is_of_the_published_records_of_one_budget_and_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = _blocks(ROOT / "docs/own_figure.md", "python")
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "own_figure.md", "exec"), names)
    assert (tmp_path / "parzen-against-recall.png").is_file()
    assert len(names["frame"][["profile", "seconds", "parzen.samples"]].drop_duplicates()) == 1
    assert set(names["rows"].index) >= {"vae", "gan", "ae+lde", "kmeans"}
    # What the text says of it.
    models = names["rows"].drop(["train-samples", "kmeans"])
    assert models["measure.recall.value"].idxmax() == models["test_nats"].idxmin() == "gan"


@pytest.mark.parametrize("document", LINKED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_document_links_to_in_the_repository_is_there(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []
