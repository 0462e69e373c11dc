"""Matrix products: square, skinny, transposed, batched, by a vector, in other dtypes, and with a bias."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .case import Case, call, floats, forward, jax_forward, moving
from .libraries import OTHERS


def _matmul(label: str, a: tuple[int, ...], b: tuple[int, ...]) -> Case:
    flops = 2 * float(np.prod(a)) * b[-1]
    return Case(f"matmul {label}", {"*": call(lambda np_, x, y: x @ y, a, b)}, flops)


def _gradient_matmul(label: str, a: tuple[int, int], b: tuple[int, int], which: str) -> Case:
    """Products with a transposed operand, as the backward pass of x @ w makes them."""
    f = (lambda np_, x, y: x.T @ y) if which == "left" else (lambda np_, x, y: x @ y.T)
    inner = a[0] if which == "left" else a[1]
    outer = a[1] * b[1] if which == "left" else a[0] * b[0]
    return Case(f"matmul {label}", {"*": call(f, a, b)}, 2.0 * inner * outer)


def _dtypes(n: int) -> Iterator[Case]:
    for dtype in ("float64", "float16", "bfloat16"):
        skip = ("numpy",) if dtype == "bfloat16" else ()
        yield Case(f"matmul {n}x{n}x{n} {dtype}", {"*": call(lambda np_, x, y: x @ y, (n, n), (n, n), dtype=dtype)},
                   2.0 * n ** 3, skip=skip, dtype="float64" if dtype == "float64" else "float32")


def _by_vector(n: int) -> Iterator[Case]:
    """Each element of the matrix is used once: the work is reading it."""
    matrix, vector = floats(n, n), floats(n)
    yield moving(f"matrix-vector {n}x{n} by {n}", 4.0 * n * n, (matrix, vector), lambda np_, a, x: a @ x)
    yield moving(f"vector-matrix {n} by {n}x{n}", 4.0 * n * n, (vector, matrix), lambda np_, x, a: x @ a)


def _linear(n: int, inside: int, outside: int) -> Iterator[Case]:
    arrays = (floats(n, inside), floats(outside, inside), floats(outside))
    flops = 2.0 * n * inside * outside
    functions: tuple[tuple[str, Any, Any, Any], ...] = (
        ("with bias", lambda F, x, w, b: F.linear(x, w, b), lambda jax, x, w, b: x @ w.T + b,
         lambda np_, x, w, b: x @ w.T + b),
        ("with bias and relu", lambda F, x, w, b: F.relu(F.linear(x, w, b)),
         lambda jax, x, w, b: jax.nn.relu(x @ w.T + b), lambda np_, x, w, b: np_.maximum(x @ w.T + b, 0)))
    for label, f, of_jax, of_numpy in functions:
        yield Case(f"linear {n}x{inside}x{outside} {label}",
                   {"*": forward(f, *arrays), "jax": jax_forward(of_jax, *arrays),
                    "numpy": call(of_numpy, (n, inside), (outside, inside), (outside,))}, flops,
                   skip=tuple(o for o in OTHERS if o not in ("jax", "numpy")))


CASES = (
    *(_matmul(f"{n}x{n}x{n}", (n, n), (n, n)) for n in (64, 128, 256, 512, 1024, 2048)),
    *_dtypes(512),
    _matmul("64x1000x100", (64, 1000), (1000, 100)),
    _gradient_matmul("1000x64x100 (left transposed)", (64, 1000), (64, 100), "left"),
    _gradient_matmul("64x100x1000 (right transposed)", (64, 100), (1000, 100), "right"),
    _matmul("batch 32 of 64x64x64", (32, 64, 64), (32, 64, 64)),
    _matmul("batch 32 of 128x64x128", (32, 128, 64), (32, 64, 128)),
    _matmul("batch 256 of 16x16x16", (256, 16, 16), (256, 16, 16)),
    *_by_vector(4096),
    *_linear(512, 1024, 1024),
)
