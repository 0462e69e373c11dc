"""All cases, by subject."""

from __future__ import annotations

from . import fused, growth, host, images, memory, products, training
from .case import Case

SUBJECTS: dict[str, tuple[Case, ...]] = {
    "Matrix products": products.CASES,
    "Moving, reducing, indexing, ordering, scanning": memory.CASES,
    "Fused operations": fused.CASES,
    "Images": images.CASES,
    "Training and inference": training.CASES,
    "Host": host.CASES,
}
CASES: tuple[Case, ...] = tuple(case for cases in SUBJECTS.values() for case in cases)
BY_NAME = {case.name: case for case in (*CASES, *growth.CASES)}
