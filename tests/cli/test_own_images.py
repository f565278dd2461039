"""Commands on folders of image files of one's own, and on two sorts of images at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def holidays(here: Path) -> Path:
    folder = here / "holidays"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "--methods", "ae", "--features", "pixels"),
        ("parzen", "--methods", "ae"),
        ("beta",),
        # Of the two domains the folder alone has a side.
        ("interpolate", "--dataset", "digits32", "--side", "32", "--features", "pixels"),
    ],
    ids=lambda command: command[0],
)
def test_a_folder_of_ones_own_is_taken_by_every_command_of_images(cli, holidays, command):
    outcome = cli(*command, "--images", holidays, "--plan")
    assert outcome.code == 0, outcome.err
    assert "to run" in outcome.out


@pytest.mark.parametrize("command", ["generate", "parzen", "beta"])
def test_too_few_images_to_be_measured_are_told_of_before_any_training(cli, holidays, command):
    for picture in sorted(holidays.iterdir())[60:]:
        picture.unlink()
    outcome = cli(command, "--images", holidays, "--plan")
    assert outcome.code == 2
    assert "test images are too few for the measures of samples; give 20 or more" in outcome.err


def test_of_two_folders_neither_takes_a_folder_of_data(cli, holidays):
    outcome = cli("interpolate", "--images", holidays, holidays, "--data-dir", "there", "--plan")
    assert outcome.code == 2
    assert "neither domain takes --data-dir" in outcome.err
