"""What a user expects to be one kernel: softmax, losses, norms, activations, embedding, dropout and attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .case import Case, both_ways, call, floats, integers, jax_forward, normal

_ROWS = (4096, 1024)
_N = 4096 * 1024


def _softmax_numpy(np_: Any, x: Any) -> Any:
    e = np_.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _log_softmax_numpy(np_: Any, x: Any) -> Any:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np_.log(np_.exp(shifted).sum(-1, keepdims=True))


def _softmax() -> Iterator[Case]:
    yield Case("softmax 4096x1024", {"*": call(lambda np_, a: np_.softmax(a, -1), _ROWS),
                                     "jax": jax_forward(lambda jax, a: jax.nn.softmax(a, -1), floats(*_ROWS)),
                                     "numpy": call(_softmax_numpy, _ROWS)}, 8.0 * _N, "B")
    yield both_ways("softmax 4096x1024", lambda F, x: F.softmax(x, -1), (normal(*_ROWS),), 8.0 * _N, 20.0 * _N,
                    jax=lambda jax, x: jax.nn.softmax(x, -1))[1]
    yield from both_ways("log_softmax 4096x1024", lambda F, x: F.log_softmax(x, -1), (normal(*_ROWS),), 8.0 * _N,
                         20.0 * _N, jax=lambda jax, x: jax.nn.log_softmax(x, -1), numpy=_log_softmax_numpy)

    def loss(jax: Any, x: Any, y: Any) -> Any:
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(x, -1), y[:, None], 1).mean()

    yield from both_ways("cross_entropy 4096x1024", lambda F, x, y: F.cross_entropy(x, y),
                         (normal(*_ROWS), integers(1024, 4096)), 4.0 * _N, 12.0 * _N, jax=loss)


def _norms() -> Iterator[Case]:
    """Forward reads x and writes the result; backward reads x and the gradient and writes one."""
    size, weights = 1024, (floats(1024), floats(1024))

    def layer(np_: Any, x: Any, w: Any, b: Any) -> Any:
        return (x - x.mean(-1, keepdims=True)) / np_.sqrt(x.var(-1, keepdims=True) + np.float32(1e-5)) * w + b

    def rms(np_: Any, x: Any, w: Any) -> Any:
        return x / np_.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5)) * w

    yield from both_ways("layer_norm 4096x1024", lambda F, x, w, b: F.layer_norm(x, (size,), w, b),
                         (normal(*_ROWS), *weights), 8.0 * _N, 20.0 * _N,
                         jax=lambda jax, x, w, b: layer(jax.numpy, x, w, b), numpy=layer)
    yield from both_ways("rms_norm 4096x1024", lambda F, x, w: F.rms_norm(x, (size,), w, 1e-5),
                         (normal(*_ROWS), weights[0]), 8.0 * _N, 20.0 * _N,
                         jax=lambda jax, x, w: rms(jax.numpy, x, w), numpy=rms)
    yield from both_ways("group_norm 4096x1024, 32 groups", lambda F, x, w, b: F.group_norm(x, 32, w, b),
                         (normal(*_ROWS), *weights), 8.0 * _N, 20.0 * _N)
    n = 16 * 64 * 32 * 32
    yield from both_ways("batch_norm 16x64x32x32", lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True),
                         (normal(16, 64, 32, 32), floats(64), floats(64)), 8.0 * n, 20.0 * n)


def _activations() -> Iterator[Case]:
    """Forward reads x and writes the result; backward reads the gradient and x and writes one."""
    yield from both_ways("gelu 4096x1024", lambda F, x: F.gelu(x), (normal(*_ROWS),), 8.0 * _N, 20.0 * _N,
                         jax=lambda jax, x: jax.nn.gelu(x, approximate=False))
    yield from both_ways("silu 4096x1024", lambda F, x: F.silu(x), (normal(*_ROWS),), 8.0 * _N, 20.0 * _N,
                         jax=lambda jax, x: jax.nn.silu(x), numpy=lambda np_, x: x / (1 + np_.exp(-x)))
    yield both_ways("dropout 4096x1024", lambda F, x: F.dropout(x, 0.1, True), (normal(*_ROWS),), 8.0 * _N,
                    16.0 * _N)[1]


def _embedding() -> Iterator[Case]:
    """Rows taken from a table, and a dense gradient of it to which repeated rows add up."""
    rows, width, taken = 10000, 256, (64, 128)
    moved = 4.0 * taken[0] * taken[1] * width
    yield from both_ways("embedding 64x128 of 10000x256", lambda F, i, w: F.embedding(i, w),
                         (integers(rows, *taken), floats(rows, width)), 2 * moved, 3 * moved + 4.0 * rows * width,
                         jax=lambda jax, i, w: w[i], numpy=lambda np_, i, w: w[i])


def _attention() -> Iterator[Case]:
    """Two products of T x T x D forward, four more backward; half of each where the mask is causal."""
    for shape, causal in (((8, 4, 128, 64), False), ((1, 8, 1024, 64), True)):
        b, h, t, d = shape
        flops = 4.0 * b * h * t * t * d / (2 if causal else 1)

        def of_jax(jax: Any, q: Any, k: Any, v: Any, causal: bool = causal) -> Any:
            q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
            return jax.nn.dot_product_attention(q, k, v, is_causal=causal).swapaxes(1, 2)

        yield from both_ways(
            f"attention {b}x{h}x{t}x{d}{' causal' if causal else ''}",
            lambda F, q, k, v, causal=causal: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
            (normal(*shape),) * 3, flops, 3 * flops, "FLOP", jax=of_jax)


CASES = (*_softmax(), *_norms(), *_activations(), *_embedding(), *_attention())
