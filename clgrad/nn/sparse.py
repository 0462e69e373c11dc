"""Embeddings: rows of a table by index. Their gradients are sums in the index's order, the same on every run."""

from __future__ import annotations

from typing import Any

from .. import factories
from ..core.errors import ShapeError, bad
from . import functional_sparse as F
from . import init
from .module import Module, Parameter


def _padding(op: str, index: int | None, rows: int) -> int | None:
    if index is None:
        return None
    if not -rows <= index < rows:
        raise ShapeError(bad(op, f"padding_idx={index}", f"-{rows} <= padding_idx < {rows}", "It is a row."))
    return index % rows


class _Table(Module):
    """A table ``weight`` (num_embeddings, embedding_dim), standard normal at first, with zeros in the padding's row."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None, max_norm: float | None,
                 norm_type: float, scale_grad_by_freq: bool, sparse: bool, weight: Any, frozen: bool, device: Any,
                 dtype: Any) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = _padding(type(self).__name__, padding_idx, num_embeddings)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if weight is None:
            self.weight = Parameter(factories.empty(num_embeddings, embedding_dim, device=device, dtype=dtype),
                                    requires_grad=not frozen)
            self.reset_parameters()
        else:
            if tuple(weight.shape) != (num_embeddings, embedding_dim):
                raise ShapeError(bad(type(self).__name__, f"_weight {weight.shape}",
                                     f"{(num_embeddings, embedding_dim)}", "Give it the table's shape."))
            self.weight = Parameter(weight, requires_grad=not frozen)

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(self.weight.data[self.padding_idx])

    @classmethod
    def _pretrained(cls, embeddings: Any, freeze: bool, **options: Any) -> Any:
        if embeddings.ndim != 2:
            raise ShapeError(bad(f"{cls.__name__}.from_pretrained", f"shape {embeddings.shape}", "two dimensions",
                                 "Rows are the embeddings."))
        return cls(*embeddings.shape, _weight=embeddings, _freeze=freeze, **options)


class Embedding(_Table):
    """Rows of a table by index: an integer array of any shape to that shape and embedding_dim.

    The row ``padding_idx`` gets no gradient. ``max_norm`` scales rows longer than it down, in the table itself, before
    they are read. ``scale_grad_by_freq`` divides a row's gradient by how often it was read. ``sparse`` is PyTorch's
    layout of the gradient; here it is dense either way.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                 sparse: bool = False, _weight: Any = None, _freeze: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                         _weight, _freeze, device, dtype)

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None,
                        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                        sparse: bool = False) -> Embedding:
        """An Embedding of a given table, which learns only with ``freeze=False``."""
        return cls._pretrained(embeddings, freeze, padding_idx=padding_idx, max_norm=max_norm, norm_type=norm_type,
                               scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq, self.sparse)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        defaults = {"padding_idx": None, "max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False}
        text += "".join(f", {n}={getattr(self, n)}" for n, d in defaults.items() if getattr(self, n) != d)
        return text + ", sparse=True" * self.sparse


class EmbeddingBag(_Table):
    """Sums, means or maxima of bags of rows: (B, N) indices, or a flat array and where each bag begins.

    Options are Embedding's; rows of ``padding_idx`` count for nothing. ``include_last_offset`` says that offsets end
    with the number of indices.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, _weight: Any = None,
                 include_last_offset: bool = False, padding_idx: int | None = None, device: Any = None,
                 dtype: Any = None, _freeze: bool = False) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                         _weight, _freeze, device, dtype)
        self.mode = F.check_mode(mode)
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None,
                        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                        sparse: bool = False, include_last_offset: bool = False,
                        padding_idx: int | None = None) -> EmbeddingBag:
        """An EmbeddingBag of a given table, which learns only with ``freeze=False``."""
        return cls._pretrained(embeddings, freeze, padding_idx=padding_idx, max_norm=max_norm, norm_type=norm_type,
                               scale_grad_by_freq=scale_grad_by_freq, mode=mode, sparse=sparse,
                               include_last_offset=include_last_offset)

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        return F.embedding_bag(input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
                               self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        defaults = {"max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False}
        text += "".join(f", {n}={getattr(self, n)}" for n, d in defaults.items() if getattr(self, n) != d)
        text += f", mode={self.mode!r}"
        return text + (f", padding_idx={self.padding_idx}" if self.padding_idx is not None else "")
