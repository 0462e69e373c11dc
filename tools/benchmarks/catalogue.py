"""All cases, by subject."""

from __future__ import annotations

from . import fused, host, images, memory, products, training
from .case import Case

CASES: tuple[Case, ...] = (*products.CASES, *memory.CASES, *fused.CASES, *images.CASES, *training.CASES, *host.CASES)
BY_NAME = {case.name: case for case in CASES}
