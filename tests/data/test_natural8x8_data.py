from __future__ import annotations

import hashlib
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lde_bench.data import load_dataset, natural8x8
from lde_bench.data.base import SPLITS
from lde_bench.data.patches import FEATURES
from lde_bench.errors import InputError

pytestmark = pytest.mark.usefixtures("few_patches")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_it_loads_with_no_files_and_no_network():
    data = load_dataset("natural8x8")
    assert (data.name, data.is_patch, data.features) == ("natural8x8", True, FEATURES)
    assert data.sizes == natural8x8.COUNTS
    assert set(data.train_groups) == set(range(8))
    assert set(data.validation_groups) == {8, 9}
    assert set(data.test_groups) == {10, 11, 12, 13}
    assert data.fresh.draw(5, np.random.default_rng(0)).shape == (5, FEATURES)


@pytest.mark.slow
def test_the_full_sizes_are_prepared_whole(monkeypatch):
    monkeypatch.setattr(natural8x8, "COUNTS", {"train": 200_000, "validation": 10_000, "test": 50_000})
    data = load_dataset("natural8x8")
    assert np.isfinite(data.train).all()
    assert data.test_groups is not None
    assert np.unique(data.test_groups, return_counts=True)[1].tolist() == [12_500] * 4


def test_source_embedded_is_how_the_main_job_names_it(small_photographs, monkeypatch):
    monkeypatch.setenv("LDE_BENCH_DATA", str(small_photographs))
    assert load_dataset("bsds300", source="embedded", train=5).name == "natural8x8"
    assert load_dataset("bsds300", train=5).name == "bsds300"
    with pytest.raises(InputError, match="source='embedded' has no 'ring'"):
        load_dataset("ring", source="embedded")
    with pytest.raises(InputError, match="source='web' is unknown"):
        load_dataset("bsds300", source="web")


def test_no_photograph_is_in_two_splits():
    names = [name for split in SPLITS for name in natural8x8.PHOTOGRAPHS[split]]
    contents = [hashlib.sha256(data).hexdigest() for data in natural8x8.read().values()]
    assert len(set(names)) == len(set(contents)) == len(names) == 14


def test_the_same_photographs_give_the_same_bytes_on_every_machine():
    contents = "".join(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in natural8x8.read().items())
    if hashlib.sha256(contents.encode()).hexdigest() != PHOTOGRAPHS_SHA256:
        pytest.skip("these wheels carry other photographs than the ones the expected hash was made from")
    assert load_dataset("natural8x8").content_hash == CONTENT_HASH


def test_a_wheel_without_its_photographs_is_named(monkeypatch):
    wanted = {**natural8x8.PHOTOGRAPHS, "validation": ("skimage/data/gone.png",)}
    monkeypatch.setattr(natural8x8, "PHOTOGRAPHS", wanted)
    with pytest.raises(InputError, match=r"gone\.png: the photograph is missing; reinstall skimage"):
        load_dataset("natural8x8")


@pytest.mark.slow
def test_loading_imports_no_torch():
    program = "import sys, lde_bench; lde_bench.load_dataset('natural8x8', train=9); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_shows_on_a_terminal_only(terminal, tmp_path):
    program = f"import lde_bench; lde_bench.load_dataset('natural8x8', cache_dir={str(tmp_path)!r}, progress=True)"
    ours, theirs = pty.openpty() if terminal else os.pipe()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.Popen(
        [sys.executable, "-c", program], stderr=theirs, stdout=subprocess.PIPE, env=environment,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # a pty says so when the other end is closed
        pass
    os.close(ours)
    assert done.communicate()[0] == b""
    assert done.returncode == 0, shown
    assert (b"Preparing natural8x8" in shown) is terminal
    assert terminal or shown == b""


#: Of the photographs in scikit-image 0.26 and scikit-learn 1.9, as `natural8x8.read` gives them, and of the patches.
PHOTOGRAPHS_SHA256 = "dd654e26cbfb891407d61ef2e961d64c72a100627cee75e0625485a9d2cc1d36"
CONTENT_HASH = "792f7210244cb384e4e3c9771dcd73734280ff14067dcc9edcd852c367fcb552"
