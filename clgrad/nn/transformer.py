"""Transformer layers (Vaswani et al. 2017), in PyTorch's names and order of operations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .. import factories
from ..core.errors import ShapeError, bad
from ..ops.manipulate import triu
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear, plus_dropout, then_plus, then_relu_dropout, untouched
from .module import Module
from .norm import LayerNorm


def _activation(activation: Any) -> Callable:
    if isinstance(activation, str):
        if activation not in ("relu", "gelu"):
            raise ValueError(bad("Transformer", f"activation={activation!r}", "'relu', 'gelu' or a function",
                                 "Pass one of these."))
        return {"relu": F.relu, "gelu": F.gelu}[activation]
    return activation


def _feed(layer: Any, x: Any, residual: Any, last: Dropout) -> Any:
    """residual + last(linear2(dropout(activation(linear1(x))))) of a layer, fused where dropout allows."""
    if layer.activation is F.relu:
        h = then_relu_dropout(layer.linear1, x, layer.dropout)
    else:
        h = layer.dropout(layer.activation(layer.linear1(x)))
    if untouched(last, Dropout) and not (last.training and last.p):
        return then_plus(layer.linear2, h, residual)
    return plus_dropout(residual, layer.linear2(h), last)


def _copies(module: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(count)])


class TransformerEncoderLayer(Module):
    """Self-attention and two products, each with a residual and a LayerNorm: behind (the paper's), or before it with
    ``norm_first``. Inputs are (L, N, d_model), (N, L, d_model) with ``batch_first``, or (L, d_model)."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Any = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **where)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **where)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **where)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **where)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **where)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        x = src
        if self.norm_first:
            x = self._attend(self.norm1(x), x, src_mask, src_key_padding_mask, is_causal)
            return _feed(self, self.norm2(x), x, self.dropout2)
        x = self.norm1(self._attend(x, x, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(_feed(self, x, x, self.dropout2))

    def _attend(self, x: Any, residual: Any, mask: Any, padding: Any, is_causal: bool) -> Any:
        seen, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        return plus_dropout(residual, seen, self.dropout1)


class TransformerEncoder(Module):
    """``num_layers`` copies of a layer, and a last ``norm``. ``enable_nested_tensor`` and ``mask_check`` are PyTorch's
    and change nothing here."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool | None = None) -> Any:
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoderLayer(Module):
    """Self-attention, attention to the encoder's output, and two products, each with a residual and a LayerNorm."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Any = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **where)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **where)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **where)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **where)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **where)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **where)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, **where)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Any:
        def attend(x: Any, residual: Any) -> Any:
            seen, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)
            return plus_dropout(residual, seen, self.dropout1)

        def look_up(x: Any, residual: Any) -> Any:
            seen, _ = self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask,
                                          is_causal=memory_is_causal)
            return plus_dropout(residual, seen, self.dropout2)

        x = tgt
        for block, norm in ((attend, self.norm1), (look_up, self.norm2)):
            x = block(norm(x), x) if self.norm_first else norm(block(x, x))
        if self.norm_first:
            return _feed(self, self.norm3(x), x, self.dropout3)
        return self.norm3(_feed(self, x, x, self.dropout3))


class TransformerDecoder(Module):
    """``num_layers`` copies of a layer, and a last ``norm``."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Any:
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                        bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder; ``custom_encoder`` and ``custom_decoder`` take their places. Matrices begin
    xavier_uniform."""

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
                 dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = F.relu,
                 custom_encoder: Any = None, custom_decoder: Any = None, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        where = {"device": device, "dtype": dtype}
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, **where)

        self.encoder = custom_encoder if custom_encoder is not None else TransformerEncoder(
            TransformerEncoderLayer(*options, **where), num_encoder_layers, norm())
        self.decoder = custom_decoder if custom_decoder is not None else TransformerDecoder(
            TransformerDecoderLayer(*options, **where), num_decoder_layers, norm())
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
                src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None,
                memory_key_padding_mask: Any = None, src_is_causal: bool | None = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Any:
        axis = 0 if self.batch_first else 1
        if src.ndim != tgt.ndim or src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model or (
                src.ndim == 3 and src.shape[axis] != tgt.shape[axis]):
            raise ShapeError(bad("Transformer", f"src {src.shape} and tgt {tgt.shape}",
                                 f"one batch size, and {self.d_model} features", "Check batch_first and d_model."))
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                            tgt_is_causal, memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """The causal mask (sz, sz): 0 up to each row's own place, -inf behind it."""
        return triu(factories.full((sz, sz), -float("inf"), dtype=dtype, device=device), 1)
