"""The doctor: probe every OpenCL driver in a child process of its own, so that a crash or a hang costs one driver.

The same as ``python -m clgrad doctor``.
"""

from __future__ import annotations

import sys

from clgrad.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
