"""What costs the host most: tiny ops and loading of data."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Builder, Case, Step, random
from .libraries import OTHERS


class Images:
    """Samples that cost host work: a random crop, a flip and a normalisation of a 3x72x72 image."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (64, 3, 72, 72)).astype(np.uint8)

    def __len__(self) -> int:
        return 1024

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        top, left, flip = index % 8, index // 8 % 8, index % 2
        crop = self.images[index % 64, :, top:top + 64, left:left + 64].astype(np.float32)
        return np.ascontiguousarray((crop[:, :, ::-1] if flip else crop) / 127.5 - 1), index % 10


def _loading(**options: Any) -> Builder:
    """A batch of 64 and a step that uses it: how much of the loading hides behind the computation."""
    def build(lib: Any) -> Step:
        data = lib.module("utils.data")
        loader = data.DataLoader(Images(), 64, shuffle=True, drop_last=True, **options)
        w = lib.put(random(3 * 64 * 64, 512))
        batches = iter(loader)

        def step() -> Any:
            nonlocal batches
            batch = next(batches, None)
            if batch is None:
                batches = iter(loader)
                batch = next(batches)
            return (batch[0].to(w.device).reshape(64, -1) @ w).sum()

        return step

    return build


def _overhead(lib: Any) -> Step:
    """A hundred additions of sixteen elements: what an op costs before it computes anything."""
    a, b = lib.put(random(16)), lib.put(random(16))

    def step() -> Any:
        for _ in range(100):
            c = a + b
        return c

    return step


def _backward_overhead(lib: Any) -> Step:
    """The same with a graph: a chain of fifty multiplications, and back."""
    x, y = lib.put(random(16)), lib.put(np.ones(16, np.float32))
    x.requires_grad_()

    def step() -> Any:
        out = x
        for _ in range(50):
            out = out * y
        out.sum().backward()
        x.grad = None
        return out

    return step


CASES = (
    Case("loading, batch 64 of 3x64x64, in the process", {"*": _loading()}, 64.0, "samples", skip=OTHERS),
    Case("loading, the same, ahead in a thread", {"clgrad": _loading(prefetch=2)}, 64.0, "samples"),
    Case("loading, the same, 2 workers", {"*": _loading(num_workers=2, persistent_workers=True)}, 64.0, "samples",
         skip=OTHERS),
    Case("overhead: add of 16 elements", {"*": _overhead}, 100.0, "ops", skip=("tinygrad",)),  # it is lazy
    Case("overhead: mul and its backward", {"*": _backward_overhead}, 50.0, "ops", skip=OTHERS),
)
