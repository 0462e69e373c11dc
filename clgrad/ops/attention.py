"""Scaled dot-product attention: one record that never forms the matrix of scores, and its formula in public ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..families import attention as family
from ..families.attention import Options
from ..table import Case
from .declare import driver
from .elementwise import where
from .matmul import matmul
from .reduce import all, sum
from .second import through
from .shape import expand, reshape, transpose, unsqueeze
from .softmax import softmax


def shared_heads(x: Any, heads: int) -> Any:
    """Keys or values (B, Hk, S, E), each head repeated so that there are as many as queries have."""
    B, Hk, S, E = x.shape
    return x if Hk == heads else reshape(expand(unsqueeze(x, 2), (B, Hk, heads // Hk, S, E)), (B, heads, S, E))


def _weights(q: Any, k: Any, mask: Any, causal: bool, scale: float) -> Any:
    """softmax of the scores; rows that see no key are zero."""
    s = matmul(q, transpose(k, -1, -2)) * scale
    seen = None
    if causal:
        seen = _lower(q, k)
    if mask is not None and mask.dtype.kind == "b":
        seen = mask if seen is None else seen & mask
    elif mask is not None:
        s = s + mask
    if seen is not None:
        s = where(seen, s, -float("inf"))
    blind = all((s if not hasattr(s, "detach") else s.detach()) == -float("inf"), -1, True)
    return where(blind, 0.0, softmax(where(blind, 0.0, s), -1))


def _lower(q: Any, k: Any) -> Any:
    from ..core.dtypes import int64
    from ..families.ramp import ramp

    rows, columns = (ramp(n, 0, 1, int64, q.device) for n in (q.shape[-2], k.shape[-2]))
    return unsqueeze(rows, 1) >= columns


def formula(q: Any, k: Any, v: Any, mask: Any, options: Options) -> Any:
    """Attention with its matrix of scores formed, from ops that have derivatives of any order, the mask's included."""
    k, v = shared_heads(k, q.shape[1]), shared_heads(v, q.shape[1])
    p = _weights(q, k, mask, options.causal, options.scale)
    if options.dropout:
        p = p * family.keep_factors(p.shape, getattr(q, "data", q), options)
    return matmul(p, v)


def _slopes(dy: Any, q: Any, k: Any, v: Any, mask: Any, options: Options) -> tuple:
    """attention_backward in public ops, from scratch."""
    heads, shapes = q.shape[1], (k.shape, v.shape)
    k, v = shared_heads(k, heads), shared_heads(v, heads)
    p = _weights(q, k, mask, options.causal, options.scale)
    kept = p
    dp = matmul(dy, transpose(v, -1, -2))
    if options.dropout:
        keep = family.keep_factors(p.shape, getattr(q, "data", q), options)
        kept, dp = p * keep, dp * keep
    e = p * (dp - sum(dp * p, -1, True)) * options.scale

    def joined(g: Any, shape: tuple[int, ...]) -> Any:
        B, Hk, S, E = shape
        return g if Hk == heads else sum(reshape(g, (B, Hk, heads // Hk, S, E)), 2)

    return (matmul(e, k), joined(matmul(transpose(e, -1, -2), q), shapes[0]),
            joined(matmul(transpose(kept, -1, -2), dy), shapes[1]))


def _gradient(g: Any, q: Any, k: Any, v: Any, mask: Any, out: Any, options: Options) -> tuple:
    if g[0] is None:
        return None, None, None, None
    return (*attention_backward(g[0], q, k, v, mask, out[0], out[1], options), None)


def _backward_gradient(g: Any, dy: Any, q: Any, k: Any, v: Any, mask: Any, options: Options) -> tuple:
    plain = getattr(mask, "data", mask)
    found = through(lambda *xs: _slopes(*xs, plain, options), (dy, q, k, v), g)
    return (*found, None, None, None)


def _ref_scores(q: Any, k: Any, mask: Any, options: Options) -> Any:
    s = q.astype(np.float64) @ np.swapaxes(k.astype(np.float64), -1, -2) * options.scale
    seen = np.ones(s.shape, bool)
    if options.causal:
        seen &= np.tri(*s.shape[-2:], dtype=bool)
    if mask is not None and mask.dtype.kind == "b":
        seen &= mask
    elif mask is not None:
        s = s + mask
    return np.where(seen, s, -np.inf)


def _ref(q: Any, k: Any, v: Any, mask: Any = None, options: Any = None) -> tuple:
    k, v = (np.repeat(a, q.shape[1] // max(a.shape[1], 1), 1) for a in (k, v))
    s = _ref_scores(q, k, mask, options)
    top = s.max(-1, keepdims=True, initial=-np.inf)
    p = np.exp(s - np.where(np.isinf(top), 0, top))
    total = p.sum(-1, keepdims=True)
    lse = np.where(total == 0, np.inf, np.log(np.where(total == 0, 1, total)) + top)[..., 0]
    kept = np.float64 if q.dtype == np.float64 else np.float32
    return (p / np.where(total == 0, 1, total) @ v.astype(np.float64)).astype(q.dtype), lse.astype(kept)


def _backward_ref(dy: Any, q: Any, k: Any, v: Any, mask: Any, y: Any, lse: Any, options: Any) -> tuple:
    heads, shapes, dtype = q.shape[1], (k.shape, v.shape), q.dtype
    dy, q, k, v, y, lse = (a.astype(np.float64) for a in (dy, q, k, v, y, lse))
    wide = [np.repeat(a, heads // a.shape[1], 1) for a in (k, v)]
    p = np.exp(_ref_scores(q, wide[0], mask, options) - lse[..., None])
    e = p * (dy @ np.swapaxes(wide[1], -1, -2) - (dy * y).sum(-1, keepdims=True)) * options.scale

    def joined(g: Any, shape: tuple[int, ...]) -> Any:
        return g.reshape(*shape[:2], -1, *shape[2:]).sum(2)

    return tuple(a.astype(dtype) for a in (e @ wide[0], joined(np.swapaxes(e, -1, -2) @ q, shapes[0]),
                                           joined(np.swapaxes(p, -1, -2) @ dy, shapes[1])))


_PLAIN, _CAUSAL = Options(False, 0.5, 0.0, 0), Options(True, 0.3, 0.0, 0)
_BOOL = np.random.default_rng(3).random((1, 1, 5, 7)) < 0.6
_BOOL[..., 2, :] = False
CASES = (Case(((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)), {"options": _PLAIN}),
         Case(((2, 4, 5, 4), (2, 2, 7, 4), (2, 2, 7, 3)), {"options": _CAUSAL}),
         Case(((1, 2, 5, 4), (1, 2, 7, 4), (1, 2, 7, 4), _BOOL), {"options": _PLAIN}),
         Case(((2, 2, 5, 4), (2, 2, 7, 4), (2, 2, 7, 4), (2, 1, 1, 7)), {"options": _PLAIN}),
         Case(((1, 1, 70, 17), (1, 1, 40, 17), (1, 1, 40, 3)), {"options": _CAUSAL}))
_BACK = tuple(Case((c.shapes[0][:3] + c.shapes[2][3:], *c.shapes[:3], c.shapes[3] if len(c.shapes) > 3 else
                    np.ones((1, 1, 1, 1), bool), c.shapes[0][:3] + c.shapes[2][3:], c.shapes[0][:3]), c.attrs)
              for c in CASES[:2])

attention = driver("attention", "q, k, v, mask=None, options=None", "attention", tensors=("q", "k", "v", "mask"),
                   run=family.attention, grad=_gradient, ref=_ref, kinds="f", cases=CASES[:3], several=True,
                   public=False, method=False,
                   doc="softmax(scale * q @ k.T + mask) @ v, by tiles, and the rows' logsumexp.")
attention_backward = driver(
    "attention_backward", "dy, q, k, v, mask, y, lse, options", "attention",
    tensors=("dy", "q", "k", "v", "mask", "y", "lse"), run=family.attention_backward, grad=_backward_gradient,
    ref=_backward_ref, kinds="f", cases=_BACK, domain=((-3, 3),) * 4 + ((0, 1), (-3, 3), (9, 12)),
    several=True, public=False, method=False,
    doc="Gradients of attention: of q, k and v, by tiles.")
