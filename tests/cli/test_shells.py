"""Shells as they come: a full disk, closed streams, ASCII alone, a notebook's backend, narrow and dumb terminals."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from lde_bench.cli import main
from lde_bench.cli.streams import Forgiving

MAIN = f"{sys.executable} -m lde_bench"
#: Prints what ASCII cannot say, and enough of it to fill any buffer.
PRINTS = "print('1.5 \\u00b1 0.2, 3\\u2013 5, B\\u00f6hm, \\u4e2d', 'x' * 100_000)"
PROGRAM = f"""
import sys
from lde_bench.cli import main
from lde_bench.cli.app import app

@app.command
def shout() -> int:
    {PRINTS}
    return 0

code = main(["shout"])
open("written", "w").write("file")  # gets no standard descriptor
sys.exit(code)
"""


def shell(redirections: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `PROGRAM` in this folder under a shell's `redirections`."""
    Path("program.py").write_text(PROGRAM)
    done = subprocess.run(
        f"{sys.executable} program.py {redirections}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert Path("written").read_text() == "file"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_sentence(here: Path) -> None:
    done = shell(">/dev/full")
    assert done.returncode == 2
    assert done.stderr == (
        "lde-bench: stdout cannot be written (No space left on device), so what was printed is lost; "
        "send it elsewhere.\n"
    )


@pytest.mark.parametrize("redirections", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_cost_nothing_but_what_is_printed(here: Path, redirections: str) -> None:
    done = shell(redirections)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_goes_to_a_closed_stderr_does_not_come_out_of_stdout(here: Path) -> None:
    done = subprocess.run(f"{MAIN} nonsense 2>&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_pipe_that_nobody_reads_to_its_end_is_no_fault(here: Path) -> None:
    done = shell("| head -c 3; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.5", "")


def test_a_stdout_that_does_not_block_is_waited_for() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, bytes(1 << 16))
    reader = threading.Timer(0.3, os.read, (read, 1 << 20))
    reader.start()
    with Forgiving(write, "wb") as stream:
        assert stream.write(b"last") == 4
    reader.join()
    os.close(read)


def test_ascii_alone_is_told_in_ascii(here: Path) -> None:
    done = shell("", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0
    assert done.stdout.startswith("1.5 +- 0.2, 3- 5, Bohm, ? x")


@pytest.mark.parametrize(
    "environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"COLUMNS": "20"}, {"COLUMNS": "0"}, {"COLUMNS": "wide"}]
)
def test_a_poor_terminal_shows_help(environment: dict[str, str]) -> None:
    done = subprocess.run([*MAIN.split(), "--help"], capture_output=True, text=True, env={**os.environ, **environment})
    assert (done.returncode, done.stderr) == (0, "")
    assert "bsds300" in done.stdout


@pytest.mark.slow
def test_figures_need_no_backend_of_the_users(here: Path) -> None:
    program = (
        "from lde_bench.cli import main; main(['--version'])\n"
        "from matplotlib.figure import Figure; Figure().savefig('a.png')"
    )
    environment = {**os.environ, "MPLBACKEND": "module://a_notebook_that_is_not_installed"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("a.png").is_file()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(13, "Permission denied", "a.npz"),
            "a.npz: the system refuses (Permission denied); check",
        ),
        (OSError(28, "No space left on device", "a.npz"), "(No space left on device); free some space."),
    ],
)
def test_what_the_system_refuses_is_one_sentence(error, said, monkeypatch, capsys) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("lde_bench.catalogue.print_catalogue", fail)
    assert main(["list"]) == 2
    assert said in capsys.readouterr().err


def test_a_fault_of_the_system_that_is_of_no_path_is_not_hidden(monkeypatch) -> None:
    def fail() -> None:
        raise OSError("could not get source code")

    monkeypatch.setattr("lde_bench.catalogue.print_catalogue", fail)
    with pytest.raises(OSError, match="source code"):
        main(["list"])


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), None]
)
def test_memory_that_runs_out_is_one_sentence(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        if error is None:
            torch.empty(10**14)
        else:
            raise error

    monkeypatch.setattr("lde_bench.catalogue.print_catalogue", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == (
        "lde-bench: there is not enough memory for this; ask for fewer components, rows or samples.\n"
    )
