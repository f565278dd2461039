"""The version of the package, and that of the benchmark's protocols."""

from __future__ import annotations

__version__ = "0.1.0"

#: Records of another benchmark version are *not comparable*, never *regressed*.
BENCHMARK_VERSION = "1"
