"""Every op, as a record with its function; methods and operators of Array and Variable follow from the records."""

from __future__ import annotations

from collections.abc import Callable

from ..autograd.variable import Variable
from ..ndarray import Array
from ..table import OPS
from . import (
    activation,
    arithmetic,
    attention,
    cell,
    complex,
    conv,
    convert,
    count,
    decompose,
    distance,
    elementwise,
    fancy,
    fft,
    index,
    linalg,
    loss,
    manipulate,
    matmul,
    matrix,
    norm,
    pool,
    products,
    rearrange,
    reduce,
    resample,
    scan,
    shape,
    softmax,
    sort,
    special,
    stft,
)
from .methods import attach, attach_indexing

_FAMILIES = (elementwise, complex, reduce, shape, index, fancy, matmul, softmax, scan, sort, count, manipulate,
             products, distance, linalg, decompose, matrix, fft, stft, conv, pool, resample, norm, attention,
             activation, loss, cell, convert, special, arithmetic, rearrange)


def _functions() -> dict[str, Callable]:
    """Public functions by name, aliases included."""
    found: dict[str, Callable] = {}
    for module in _FAMILIES:
        for value in vars(module).values():
            op = getattr(value, "op", None)
            if op is not None and op.name not in found:
                found.update(dict.fromkeys((op.name, *op.aliases), value))
    return found


ALL = _functions()
FUNCTIONS = {name: f for name, f in ALL.items() if f.op.public and not f.op.method_only and name in f.op.top_names}
LINALG = {f.op.public_name: f for f in ALL.values() if f.op.namespace == "linalg"}
for _f in {f.op.name: f for f in ALL.values()}.values():
    attach(_f.op, _f)
# relu_(x), exp_(x): every writing form is a function too
FUNCTIONS |= {f"{name}_": getattr(Variable, f"{name}_") for name, f in list(FUNCTIONS.items())
              if f.op.inplace is not None and f.op.method}

missing = OPS.keys() - ALL.keys()
if missing:
    raise TypeError(f"records without a function in their family's module: {sorted(missing)}")
convert.attach_conversions()
complex.attach_parts(Array, Variable)
attach_indexing(shape.getitem, elementwise.assign, fancy)
