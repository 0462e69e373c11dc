"""Multi-head attention (Vaswani et al. 2017)."""

from __future__ import annotations

from typing import Any

from .. import factories
from ..core.errors import DTypeError, ShapeError, bad
from ..ops.elementwise import astype, logical_not, logical_or, where
from ..ops.matmul import linear, matmul
from ..ops.reduce import mean
from ..ops.shape import cat, chunk, expand, narrow, permute, reshape, squeeze, transpose, unsqueeze
from ..ops.softmax import softmax
from . import functional as F
from . import init
from .linear import NonDynamicallyQuantizableLinear
from .module import Module, Parameter


def _full(shape: tuple[int, ...], value: Any, like: Any, dtype: Any = None) -> Any:
    return factories.full(shape, value, dtype=dtype or like.dtype, device=like.device)


class MultiheadAttention(Module):
    """Attention in ``num_heads`` heads between products: queries, keys and values of (L, N, E), (S, N, kdim) and
    (S, N, vdim), with ``batch_first`` (N, L, E) and so on, or without the axis of the batch.

    ``in_proj_weight`` (3E, E) (or ``q_proj_weight``, ``k_proj_weight``, ``v_proj_weight``, if kdim or vdim differ) and
    ``out_proj.weight`` as in PyTorch; xavier_uniform at first, biases zero. ``add_bias_kv`` appends a learned key and
    value, ``add_zero_attn`` ones of zeros. ``dropout`` zeroes attention weights in training.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ValueError(bad("MultiheadAttention", f"embed_dim={embed_dim}, num_heads={num_heads}",
                                 "positive sizes, embed_dim a multiple of num_heads", "Choose others."))
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim

        def parameter(name: str, shape: tuple[int, ...] | None) -> None:
            self.register_parameter(name, None if shape is None else Parameter(
                factories.empty(shape, device=device, dtype=dtype)))

        E, joint = embed_dim, self._qkv_same_embed_dim
        for name, width in (("q_proj_weight", E), ("k_proj_weight", self.kdim), ("v_proj_weight", self.vdim)):
            parameter(name, None if joint else (E, width))
        parameter("in_proj_weight", (3 * E, E) if joint else None)
        parameter("in_proj_bias", (3 * E,) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(E, E, bias, device, dtype)
        parameter("bias_k", (1, 1, E) if add_bias_kv else None)
        parameter("bias_v", (1, 1, E) if add_bias_kv else None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(self, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
                attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False) -> tuple[Any, Any]:
        """The attention's output, and its weights (N, L, S), or (N, heads, L, S) without ``average_attn_weights``;
        None without ``need_weights``, and then the matrix of weights is not formed.

        ``key_padding_mask`` (N, S) and ``attn_mask`` (L, S) or (N * heads, L, S): bool, True for what is *not* seen, or
        a float that is added. ``is_causal`` says that ``attn_mask`` is the causal one.
        """
        single = query.ndim == 2
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            raise ShapeError(bad("MultiheadAttention", f"query {query.shape}, key {key.shape}, value {value.shape}",
                                 "2 or 3 dimensions each", "Sequence, batch, features; or without the batch."))
        if is_causal and attn_mask is None:
            raise ValueError(bad("MultiheadAttention", "is_causal without attn_mask", "the causal mask as attn_mask",
                                 "Pass Transformer.generate_square_subsequent_mask(L)."))
        same, kv = query is key is value, key is value
        query, key, value = ((unsqueeze(x, 0) if single else x if self.batch_first else transpose(x, 0, 1))
                             for x in (query, key, value))
        if query.shape[2] != self.embed_dim or key.shape[2] != self.kdim or value.shape[2] != self.vdim or (
                key.shape[:2] != value.shape[:2] or query.shape[0] != key.shape[0]):
            raise ShapeError(bad("MultiheadAttention", f"query {query.shape}, key {key.shape}, value {value.shape} "
                                 "(batch first)", f"(N, L, {self.embed_dim}), (N, S, {self.kdim}), (N, S, {self.vdim})",
                                 "Check batch_first, kdim and vdim."))
        q, k, v = self._products(query, key, value, same, kv)
        N, L, S = q.shape[0], q.shape[1], k.shape[1]
        if self.bias_k is not None:
            k, v = (cat([x, expand(b, (N, 1, self.embed_dim))], 1) for x, b in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = (cat([x, _full((N, 1, self.embed_dim), 0.0, x)], 1) for x in (k, v))
        q, k, v = (transpose(reshape(x, (*x.shape[:2], self.num_heads, self.head_dim)), 1, 2) for x in (q, k, v))
        p = self.dropout if self.training else 0.0
        extra = k.shape[2] - S
        if is_causal and key_padding_mask is None and not need_weights and not extra:
            out, weights = F.scaled_dot_product_attention(q, k, v, None, p, True), None
        else:
            seen = self._mask(attn_mask, key_padding_mask, (N, L, S), extra, q)
            if need_weights:
                out, weights = self._with_weights(q, k, v, seen, p)
            else:
                out, weights = F.scaled_dot_product_attention(q, k, v, seen, p), None
        out = self.out_proj(reshape(transpose(out, 1, 2), (N, L, self.embed_dim)))
        if weights is not None and average_attn_weights:
            weights = mean(weights, 1)
        if single:
            return squeeze(out, 0), None if weights is None else squeeze(weights, 0)
        return (out if self.batch_first else transpose(out, 0, 1)), weights

    def _products(self, query: Any, key: Any, value: Any, same: bool, kv: bool) -> tuple[Any, Any, Any]:
        """Queries, keys and values behind their products: one product where the input is one."""
        E, W, b = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        biases = (None, None, None) if b is None else chunk(b, 3, 0)
        if W is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        elif same:
            return tuple(chunk(linear(query, W, b), 3, -1))
        elif kv:
            q = linear(query, narrow(W, 0, 0, E), biases[0])
            joint = linear(key, narrow(W, 0, E, 2 * E), None if b is None else narrow(b, 0, E, 2 * E))
            return (q, *chunk(joint, 2, -1))
        else:
            weights = chunk(W, 3, 0)
        return tuple(linear(x, w, bias) for x, w, bias in zip((query, key, value), weights, biases))

    def _mask(self, attn_mask: Any, padding: Any, sizes: tuple[int, int, int], extra: int, q: Any) -> Any:
        """Both masks as one for scaled_dot_product_attention: bool (True is seen) if both are, else added."""
        N, L, S = sizes
        masks = []
        for mask, shapes, wanted in ((attn_mask, ((L, S), (N * self.num_heads, L, S)), "(L, S) or (N * heads, L, S)"),
                                     (padding, ((N, S), (S,) if N == 1 else (N, S)), "(N, S)")):
            if mask is None:
                continue
            if mask.shape not in shapes:
                raise ShapeError(bad("MultiheadAttention", f"a mask of shape {mask.shape}", f"{wanted}: {shapes[0]}",
                                     "Check the batch and the sequence lengths."))
            if mask.dtype.kind not in "bf":
                raise DTypeError(bad("MultiheadAttention", f"a mask of {mask.dtype}", "bool or a float dtype",
                                     "Convert it."))
            if mask is padding:
                mask = reshape(mask, (N, 1, 1, S))
            elif mask.ndim == 3:
                mask = reshape(mask, (N, self.num_heads, L, S))
            else:
                mask = reshape(mask, (1, 1, L, S))
            masks.append(mask)
        if not masks:
            return None
        if all(m.dtype.kind == "b" for m in masks):
            hidden = masks[0] if len(masks) == 1 else logical_or(*masks)
            result = logical_not(hidden)
        else:
            floats = [where(m, _full((), -float("inf"), q), 0.0) if m.dtype.kind == "b" else astype(m, q.dtype)
                      for m in masks]
            result = floats[0] if len(floats) == 1 else floats[0] + floats[1]
        if extra:
            seen = _full((*result.shape[:3], extra), result.dtype.kind == "b", q, result.dtype)
            result = cat([result, seen], 3)
        return result

    def _with_weights(self, q: Any, k: Any, v: Any, mask: Any, p: float) -> tuple[Any, Any]:
        scores = matmul(q, permute(k, (0, 1, 3, 2))) * (self.head_dim ** -0.5)
        if mask is not None:
            scores = where(mask, scores, -float("inf")) if mask.dtype.kind == "b" else scores + mask
        weights = softmax(scores, -1)
        if p:
            weights = F.dropout(weights, p)
        return matmul(weights, v), weights
