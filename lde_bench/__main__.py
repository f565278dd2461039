"""`python -m lde_bench` is `lde-bench`."""

import sys

from lde_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
