"""How much memory there is to be had, and that what tensors leave is kept for the next ones."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lde_bench import memory
from lde_bench.errors import InputError

PROGRAM = """
import resource
import sys

import numpy as np

from lde_bench.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(5):
    np.ones(1 << 17)  # 1 MiB, too few for the huge pages that NumPy asks for
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(1 << 17)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(choice: str) -> int:
    """Page faults of twenty arrays, one after the other, in a process that is started as Dask starts a worker."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PROGRAM, choice]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_kept_where_dask_has_it_given_back():
    assert faults("leave") > 20 * 100  # of 256 pages each
    assert faults("keep") < 20


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/job/step\n", {"job/step/memory.max": "max", "job/memory.max": "500"}, [500]),
        ("0::/job\n", {"memory.max": "700", "memory/memory.limit_in_bytes": "1"}, [700]),
        ("5:cpu:/a\n4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "300", "memory.max": "400"}, [300, 400]),
        # In a container the path may be that of the machine, which is not there.
        ("4:hugetlb,memory:/docker/1f\n", {"memory/memory.limit_in_bytes": "300"}, [300]),
        ("0::/\n", {}, []),
        (None, {"memory.max": "9"}, []),
    ],
)
def test_the_limits_of_control_groups_are_found(
    groups: str | None, limits: dict[str, str], expected: list[int], tmp_path: Path
) -> None:
    for name, text in limits.items():
        path = tmp_path / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    if groups is not None:
        (tmp_path / "cgroup").write_text(groups)
    assert list(memory.group_limits(tmp_path / "cgroup", tmp_path / "mounted")) == expected


def test_what_a_job_may_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "physical_memory", lambda: 8 * 10**9)
    memory.check_memory("9 rows", 5 * 10**9, "ask for fewer.")
    monkeypatch.setattr(memory, "group_limits", lambda: iter([4 * 10**9, 6 * 10**9]))
    with pytest.raises(InputError, match=r"^9 rows take 5 GB, and there are 4 GB; ask for fewer\.$"):
        memory.check_memory("9 rows", 5 * 10**9, "ask for fewer.")
    monkeypatch.setattr(memory, "physical_memory", lambda: None)
    monkeypatch.setattr(memory, "group_limits", lambda: iter([]))
    memory.check_memory("9 rows", 5 * 10**9, "ask for fewer.")
