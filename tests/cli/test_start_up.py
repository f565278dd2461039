"""Start-up: nothing heavy is imported before a command computes."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lde_bench
from lde_bench.cli import main

HEAVY = {"torch", "numpy", "scipy", "pandas", "matplotlib", "h5py", "sklearn", "skimage", "zuko", "PIL"}


@pytest.mark.parametrize(
    "statement",
    [
        "import lde_bench",
        "import lde_bench.cli",
        "from lde_bench.cli import main; main(['--help'])",
        "from lde_bench.cli import main; main(['bsds300', '--help'])",
        "from lde_bench.cli import main; main(['--version'])",
        "from lde_bench.cli import main; main(['bsds300', '--K', '0'])",
    ],
)
def test_nothing_heavy_is_imported_before_a_command_computes(statement):
    code = f"{statement}; import sys; print('HEAVY', sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["bsds300", "--help"]])
def test_help_names_the_commands_and_exits_with_0(cli, arguments):
    outcome = cli(*arguments)
    assert outcome.code == 0
    assert outcome.err == ""
    for word in ("--methods", "--data-dir") if "bsds300" in arguments else ("bsds300", "prepare", "regress"):
        assert word in outcome.out


def test_version_is_that_of_the_package(cli):
    assert cli("--version").out.strip() == lde_bench.__version__


def test_the_module_runs_as_the_command_does(here):
    command = [sys.executable, "-m", "lde_bench", "bsds300", "--K", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "K = 0" in done.stderr


@pytest.mark.slow
def test_a_closed_stdout_is_no_traceback():
    command = f"{sys.executable} -m lde_bench list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Methods" in done.stdout
    assert done.stderr == ""


def test_ctrl_c_says_how_to_continue(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lde_bench.catalogue.print_catalogue", interrupt)
    assert main(["list"]) == 130
    assert "same command again" in capsys.readouterr().err
