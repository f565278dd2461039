"""`data_prep/images.py`: the image datasets as a file of arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lde_bench as lb
from lde_bench.data.base import SPLITS

REPOSITORY = Path(__file__).parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "data_prep/images.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


def test_the_file_holds_the_images_that_the_package_loads(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    done = run("digits8x8", "--out", path)
    assert (done.returncode, done.stderr) == (0, "")
    data = lb.load_dataset("digits8x8")
    assert data.content_hash[:16] in done.stdout
    with np.load(path, allow_pickle=False) as stored:
        assert set(stored) == set(SPLITS)
        for split in SPLITS:
            np.testing.assert_array_equal(stored[split], getattr(data, split))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("ring",), "ring is no set of images"),
        (("digit8x8",), "did you mean 'digits8x8'?"),
        (("digits8x8", "--out", "/proc/x.npz"), "/proc"),
        (("mnist", "--data-dir", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(arguments: tuple[str, ...], part: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert part in line
