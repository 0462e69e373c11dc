"""Tuning on the spot, for ``CLGRAD_TUNE=auto`` alone: each new problem once, when it is first planned."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from ..core.config import config
from ..core.errors import ClgradError
from ..runtime.tuned import Problem

SECONDS = 5.0  # of one problem
_tried: set[tuple] = set()


def tune_missing(device: Any, problem: Problem) -> None:
    """Tune a problem that has no row of this device. What goes wrong is a warning: the defaults serve as ever."""
    from . import space
    from .problems import TUNABLES
    from .tuner import Options, Tuner

    family = next((t for t in TUNABLES if t.family == problem.family), None)
    key = (device, problem.family, problem.dtype, problem.layout, problem.bucket)
    if family is None or not family.knows(problem.layout) or key in _tried or not all(problem.sizes):
        return
    _tried.add(key)
    form = "wide" if device.wide_core else "many"
    if len(space.points(problem.family, form, problem.dtype, device.facts)) < 2:
        return
    if config.progress:
        print(f"clgrad: tuning {problem} on {device} (CLGRAD_TUNE=auto)", file=sys.stderr, flush=True)
    try:
        with Tuner(device, Options(seconds=SECONDS)) as tuner:
            result = tuner.tune(problem)
    except (ClgradError, OSError, ValueError) as error:
        warnings.warn(f"tuning: {problem} could not be tuned: {error}", stacklevel=2)
        return
    if result.row is None:
        warnings.warn(f"tuning: {problem} could not be tuned: {result.why}", stacklevel=2)
