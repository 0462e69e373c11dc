"""Convolutions and pooling, forward and with their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .case import Case, Step, both_ways, call, floats, joined, random
from .libraries import OTHERS

_CONVOLUTIONS = (((16, 64, 32, 32), (64, 64, 3, 3)), ((16, 128, 16, 16), (128, 128, 3, 3)),
                 ((16, 256, 8, 8), (256, 256, 3, 3)), ((16, 512, 4, 4), (512, 512, 3, 3)),
                 ((16, 64, 32, 32), (256, 64, 1, 1)), ((16, 64, 32, 32), (64, 1, 3, 3)))


def _conv(label: str, x: tuple[int, ...], w: tuple[int, ...], backward: bool = False) -> Case:
    """A convolution that keeps the size; with ``backward`` also both gradients, three times the work."""
    margin, groups = w[2] // 2, x[1] // w[1]
    flops = 2 * float(np.prod(w)) * x[0] * x[2] * x[3]

    def eager(lib: Any) -> Step:
        F = lib.module("nn.functional")
        a, b = lib.put(random(*x)), lib.put(random(*w))
        if not backward:
            return lambda: F.conv2d(a, b, None, 1, margin, 1, groups)
        a.requires_grad_()
        b.requires_grad_()
        g = lib.put(random(x[0], w[0], *x[2:]))

        def step() -> Any:
            F.conv2d(a, b, None, 1, margin, 1, groups).backward(g)
            a.grad, gradient, b.grad = None, b.grad, None
            return gradient

        return step

    def with_jax(lib: Any) -> Step:
        def run(np_: Any, a: Any, b: Any) -> Any:
            return lib.jax.lax.conv_general_dilated(a, b, (1, 1), "SAME", feature_group_count=groups)

        return call(run, x, w)(lib)

    builders = {"*": eager} if backward else {"*": eager, "jax": with_jax}
    return Case(f"conv {label}", builders, flops * (3 if backward else 1),
                skip=tuple(n for n in OTHERS if n not in builders))


def _pools() -> Iterator[Case]:
    """The result is a quarter of the input; backward reads its gradient and writes the input's."""
    n = 16 * 64 * 64 * 64
    yield from both_ways("max_pool2d 16x64x64x64", lambda F, x: F.max_pool2d(x, 2), (floats(16, 64, 64, 64),),
                         5.0 * n, 10.0 * n)


CASES = (
    *(_conv(f"{joined(x)} with {joined(w)}{' and back' if back else ''}", x, w, back)
      for x, w in _CONVOLUTIONS for back in (False, True)),
    *_pools(),
)
