from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import lde_bench
from lde_bench.runs.provenance import code_version, describe_command, provenance, utc_now

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/opt/x/bin/lde-bench", "bsds300", "--K", "1", "10"], "lde-bench bsds300 --K 1 10"),
        (["/x/lde_bench/__main__.py", "bsds300"], "lde-bench bsds300"),
        (
            ["lde-bench", "--data-dir", "/home/me/data", "--trials", "2"],
            "lde-bench --data-dir data --trials 2",
        ),
        (["lde-bench", "--data-dir=/home/me/data/"], "lde-bench --data-dir=data"),
        (["lde-bench", "--results-dir", "../me/out"], "lde-bench --results-dir out"),
        (["lde-bench", "--results-dir", "me/out"], "lde-bench --results-dir out"),
        (["lde-bench", "--cache-dir", "."], "lde-bench --cache-dir ."),
        (["lde-bench", "~me/x", "~me"], "lde-bench x '~'"),
        (["lde-bench", "a:weights=/home/me/w,k=/home/me/v"], "lde-bench a:weights=w,k=v"),
        (["lde-bench", "pkg.mod:Class", "gmm:components=200"], "lde-bench pkg.mod:Class gmm:components=200"),
        (["lde-bench", "table", "--data", "joe/secret/x.npz"], "lde-bench table --data x.npz"),
        (["lde-bench", "merge", "../a/b", "--into=joe/c"], "lde-bench merge b --into=c"),
        (["lde-bench", "two words"], "lde-bench 'two words'"),
        (["lde-bench", "no-utf8-\udcff"], "lde-bench 'no-utf8-\\udcff'"),
        ([], "python"),
    ],
)
def test_the_command_keeps_its_meaning_and_loses_its_folders(argv, said):
    assert describe_command(argv) == said


def test_a_path_without_an_option_is_cut_where_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "joe" / "secret").mkdir(parents=True)
    told = describe_command(["lde-bench", "merge", "joe/secret", "--only", "1/2"])
    assert told == "lde-bench merge secret --only 1/2"


def test_a_home_folder_as_value_does_not_name_its_user():
    assert describe_command(["lde-bench", "--data-dir", str(Path.home())]) == "lde-bench --data-dir '~'"


def test_provenance_is_complete_and_plain_json():
    told = provenance(utc_now(), utc_now(), ["lde-bench"])
    assert json.loads(json.dumps(told)) == told
    assert told["lde_bench"] == lde_bench.__version__
    assert told["packages"]["numpy"] == np.__version__
    assert told["packages"]["torch"]
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["cpu"]
    assert datetime.fromisoformat(told["started"]).tzinfo == UTC


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A package inside a fresh repository that does not track it yet."""
    git(tmp_path, "init", "-q")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "results").mkdir()
    return tmp_path / "package"


@needs_git
def test_a_package_in_somebody_elses_repository_has_no_commit(package):
    git(package, "commit", "-q", "--allow-empty", "-m", "start")
    assert code_version(package) == (None, None)


@needs_git
def test_the_commit_and_the_dirty_flag_are_those_of_the_package(package, monkeypatch):
    git(package, "add", ".")
    git(package, "commit", "-q", "-m", "start")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as a git hook of another repository would
    commit = git_head(package)
    assert code_version.__wrapped__(package) == (commit, False)
    (package.parent / "results" / "record.json").write_text("{}")
    assert code_version.__wrapped__(package) == (commit, False)
    (package / "model.py").write_text("")
    assert code_version.__wrapped__(package) == (commit, True)


def git_head(package: Path) -> str:
    return (package.parent / ".git" / "refs" / "heads").glob("*").__next__().read_text().strip()


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version.__wrapped__(tmp_path) == (None, None)
