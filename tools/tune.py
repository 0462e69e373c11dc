"""The autotuner: find the fastest parameters of the kernels on a device. The same as ``python -m clgrad tune``."""

from __future__ import annotations

import sys

from clgrad.tuning.cli import main

if __name__ == "__main__":
    sys.exit(main())
