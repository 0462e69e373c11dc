"""Clipping gradients by their norm or by value, in place, one launch a device and dtype and no wait."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable
from typing import Any

from ...autograd.variable import Variable, unwrap
from ...core import dtypes
from ...core.errors import bad
from ...families.optimize import Update, compute_dtype, update_each
from ...ndarray import Array, full, move
from ...ops.distance import vector_norm
from ...ops.elementwise import isfinite, minimum
from ...ops.shape import stack
from ...runtime.device import default_device

_SCALE = Update("scale", (), (), (("", "p *= factor;"),), reads=("factor",))
# A NaN stays one: it is neither above nor below the bound.
_BOUND = Update("bound", ("bound",), (), (
    ("", "p = p > bound ? (REAL)(bound) : (p < -bound ? (REAL)(-bound) : p);"),))


def _listed(tensors: Any) -> list[Any]:
    return [tensors] if isinstance(tensors, (Variable, Array)) else list(tensors)


def _gradients(parameters: Any) -> list[Array]:
    return [unwrap(p.grad) for p in _listed(parameters) if p.grad is not None]


def get_total_norm(tensors: Iterable[Any] | Variable, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Variable:
    """Norm of order ``norm_type`` (``inf`` too) of all elements of ``tensors`` together, a 0-d Variable.

    Its dtype is the widest of theirs, at least float32. ``error_if_nonfinite`` reads it, which waits for the device,
    and raises RuntimeError for an infinity or a NaN. ``foreach`` is taken and changes nothing.
    """
    arrays = [unwrap(t) for t in _listed(tensors)]
    if not arrays:
        return Variable(full((), 0, dtypes.get_default_dtype(), default_device()))
    order, home = float(norm_type), arrays[0].device
    dtype = dtypes.result_type(*{compute_dtype(a.dtype) for a in arrays})
    norms = [move(vector_norm(a.astype(compute_dtype(a.dtype)), order), home).astype(dtype) for a in arrays if a.size]
    total = vector_norm(stack(norms), order) if norms else full((), 0, dtype, home)
    if error_if_nonfinite and not isfinite(total).item():
        raise RuntimeError(bad("clip_grad_norm_", f"gradients whose norm of order {order} is {total.item()}",
                               "a finite norm", "Look for infinities and NaNs (CLGRAD_CHECK=1), or pass "
                               "error_if_nonfinite=False."))
    return Variable(total)


def clip_grads_with_norm_(parameters: Iterable[Variable] | Variable, max_norm: float, total_norm: Any,
                          foreach: bool | None = None) -> None:
    """Multiply the gradients in place by ``max_norm / (total_norm + 1e-6)``, if that is below 1."""
    grads = _gradients(parameters)
    if grads:
        factor = minimum(float(max_norm) / (unwrap(total_norm) + 1e-6), 1.0)
        update_each(_SCALE, grads, grads, reads=(factor,))


def clip_grad_norm_(parameters: Iterable[Variable] | Variable, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False, foreach: bool | None = None) -> Variable:
    """Scale the gradients of ``parameters`` in place so that their norm, as of one vector, is at most ``max_norm``.

    Returns the norm before, as :func:`get_total_norm`. Nothing waits for the device unless ``error_if_nonfinite``.
    """
    listed = _listed(parameters)
    if isinstance(parameters, types.GeneratorType) and not listed:
        warnings.warn("clip_grad_norm_: the generator of parameters is empty, nothing is clipped. Was it used up?",
                      UserWarning, stacklevel=2)
    total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(listed, max_norm, total, foreach)
    return total


def clip_grad_value_(parameters: Iterable[Variable] | Variable, clip_value: float,
                     foreach: bool | None = None) -> None:
    """Clip each element of the gradients in place to [-``clip_value``, ``clip_value``]."""
    grads = _gradients(parameters)
    update_each(_BOUND, grads, grads, (float(clip_value),))
