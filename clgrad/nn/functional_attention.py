"""Attention as a function: PyTorch's name, argument order and broadcasting."""

from __future__ import annotations

from math import prod
from typing import Any

from ..autograd.mode import is_grad_enabled
from ..core import shapes
from ..core.errors import DTypeError, ShapeError, bad
from ..families.attention import DEEPEST, Options
from ..families.generator import default_generator
from ..ops.attention import attention, formula
from ..ops.elementwise import astype
from ..ops.shape import expand, reshape


def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False) -> Any:
    """softmax(query @ key.T * scale + attn_mask) @ value for (..., L, E), (..., S, E) and (..., S, F).

    ``attn_mask`` broadcasts against (..., L, S): bool, True where a key is seen, or a float that is added.
    ``is_causal`` lets query i see the keys up to i. ``scale`` is 1/sqrt(E) unless given. ``dropout_p`` zeroes weights,
    always: pass 0 outside training. With ``enable_gqa`` key and value may have fewer heads (the third axis from the
    end), each shared by a group of query heads. A query that sees no key gives zeros. The matrix of weights is not
    formed, unless ``attn_mask`` itself requires grad or a head has more than 256 elements.
    """
    op = "scaled_dot_product_attention"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(bad(op, f"query {query.shape}, key {key.shape}, value {value.shape}",
                             "two dimensions or more", "The last two are sequence and features."))
    if not query.dtype is key.dtype is value.dtype:
        raise DTypeError(bad(op, f"{query.dtype}, {key.dtype} and {value.dtype}", "one dtype", "Convert them first."))
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(bad(op, f"query {query.shape}, key {key.shape}, value {value.shape}",
                             "(..., L, E), (..., S, E) and (..., S, F)", "Check the last two axes."))
    if not 0 <= dropout_p <= 1:
        raise ValueError(bad(op, f"dropout_p={dropout_p}", "0 <= dropout_p <= 1", "It is the probability of a zero."))
    if attn_mask is not None and is_causal:
        raise ValueError(bad(op, "attn_mask and is_causal", "one of them", "Put the causal mask into attn_mask."))
    lead, heads = _lead(op, query.shape, key.shape, value.shape, enable_gqa)
    q, k, v = (_four(x, lead, n) for x, n in ((query, lead[-1]), (key, heads), (value, heads)))
    mask = None if attn_mask is None else _mask(op, attn_mask, lead, query, key)
    seed = 0
    if dropout_p:
        first, offset = default_generator.advance(1)
        seed = (first ^ (offset * 0x9E3779B97F4A7C15)) % 2**64
    scale = query.shape[-1] ** -0.5 if scale is None and query.shape[-1] else scale or 0.0
    options = Options(bool(is_causal), float(scale), float(dropout_p), seed)
    wide_head = max(query.shape[-1], value.shape[-1]) > DEEPEST
    if wide_head or (getattr(mask, "requires_grad", False) and is_grad_enabled()):
        out = formula(q, k, v, mask, options)
    else:
        out = attention(q, k, v, mask, options)[0]
    return reshape(out, (*_shape_of(query, lead), query.shape[-2], value.shape[-1]))


def _shape_of(query: Any, lead: tuple[int, ...]) -> tuple[int, ...]:
    """The lead axes that the result has: two were added where the inputs had none."""
    return lead[2 - (query.ndim - 2):] if query.ndim < 4 and len(lead) == 2 else lead


def _lead(op: str, q: tuple, k: tuple, v: tuple, grouped: bool) -> tuple[tuple[int, ...], int]:
    """The common shape before the last two axes, at least (batch, heads), and how many heads the keys have."""
    if grouped:
        if min(len(q), len(k), len(v)) < 3 or k[-3] != v[-3] or not k[-3] or q[-3] % k[-3]:
            raise ShapeError(bad(op, f"query {q}, key {k}, value {v} with enable_gqa",
                                 "query heads that are a multiple of key and value heads (axis -3)",
                                 "Check the number of heads."))
        batch = shapes.broadcast(op, q[:-3], k[:-3], v[:-3])
        return ((1,) * (1 - len(batch)) + batch + (q[-3],)), k[-3]
    lead = shapes.broadcast(op, q[:-2], k[:-2], v[:-2])
    lead = (1,) * (2 - len(lead)) + lead
    return lead, lead[-1]


def _four(x: Any, lead: tuple[int, ...], heads: int) -> Any:
    """(batch, heads, rows, features); a view where memory allows."""
    full = (*lead[:-1], heads, *x.shape[-2:])
    x = x if x.shape == full else expand(x, full)
    return x if x.ndim == 4 else reshape(x, (prod(lead[:-1]), heads, *x.shape[-2:]))


def _mask(op: str, mask: Any, lead: tuple[int, ...], query: Any, key: Any) -> Any:
    L, S = query.shape[-2], key.shape[-2]
    if mask.dtype.kind not in "bf":
        raise DTypeError(bad(op, f"attn_mask of {mask.dtype}", "bool or a float dtype", "Convert it."))
    if shapes.broadcast(op, mask.shape, (*lead, L, S)) != (*lead, L, S):
        raise ShapeError(bad(op, f"attn_mask of shape {mask.shape}", f"one that broadcasts to {(*lead, L, S)}",
                             "Its last axes are queries and keys."))
    if mask.dtype.kind == "f" and mask.dtype is not query.dtype:
        mask = astype(mask, query.dtype)
    if len(lead) == 2:
        return mask
    return reshape(expand(mask, (*lead, L, S)), (prod(lead[:-1]), lead[-1], L, S))
