"""Keywords beyond a record's own arguments: synonyms (``axis``), options (``alpha``) and ``out``.

The public function of a record comes here only when it was called with one of them, or without a required argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.mode import is_grad_enabled
from ..autograd.variable import Variable, unwrap
from ..core import shapes
from ..core.dtypes import DType
from ..core.errors import DTypeError, GraphError, ShapeError, bad
from ..ndarray import Array
from ..table import REQUIRED, Op

_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}  # results may be stored in a kind of their rank or above


def by_keyword(function: Callable, values: dict[str, Any], named: dict[str, Any]) -> Any:
    """Call a record's function with the values of its signature (by the record's names) and further keywords."""
    op: Op = function.op
    out = named.pop("out", None)
    options = {name: named.pop(name) for name in op.options if name in named}
    for name, value in named.items():
        target = op.synonyms.get(name)
        if target is None:
            raise TypeError(f"{op.public_name}() got an unexpected keyword argument {name!r}; it takes "
                            f"{', '.join(function.__signature__.parameters)}")
        if values[target] is not _default(op, target):
            raise TypeError(f"{op.public_name}() got both {op.keywords[target]!r} and {name!r}, which mean the same")
        values[target] = value
    missing = [repr(op.keywords[n]) for n, value in values.items() if value is REQUIRED]
    if op.fewer is not None and len(missing) == len(values) - 1:
        return op.fewer(next(iter(values.values())))
    if missing:
        raise TypeError(f"{op.public_name}() missing {len(missing)} required argument(s): {', '.join(missing)}")
    if out is not None:
        refuse_out(op.public_name, out, values.values())
        if _straight(op, values, out, options):
            op.inplace(unwrap(out), *map(unwrap, values.values()))
            return out
    result = _computed(function, values, options)
    return result if out is None else store(op.public_name, out, result)


def _default(op: Op, name: str) -> Any:
    default = op.signature.parameters[name].default
    return REQUIRED if default is op.signature.empty else default


def _computed(function: Callable, values: dict[str, Any], options: dict[str, Any]) -> Any:
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise TypeError(f"{function.op.public_name}() got {' and '.join(map(repr, given))}; expected one of them")
    if given:
        return function.op.options[given[0]](options[given[0]], *values.values())
    positional: list[Any] = []
    keyword: dict[str, Any] = {}
    for name, p in function.op.signature.parameters.items():
        if p.kind is p.VAR_POSITIONAL:
            positional += values[name]
        elif p.kind is p.KEYWORD_ONLY:
            keyword[function.op.keywords[name]] = values[name]
        else:
            positional.append(values[name])
    return function(*positional, **keyword)


def refuse_out(name: str, out: Any, inputs: Any) -> None:
    """``out`` is for what the graph does not record."""
    for array in out if isinstance(out, (tuple, list)) else (out,):
        if not isinstance(array, (Array, Variable)):
            raise DTypeError(bad(name, f"out of type {type(array).__name__}", "an array, or a tuple of them",
                                 "Make one with clgrad.empty(...)."))
    flat = [v for i in inputs for v in (i if isinstance(i, (tuple, list)) else (i,))]
    outs = out if isinstance(out, (tuple, list)) else (out,)
    if is_grad_enabled() and any(isinstance(v, Variable) and v.requires_grad for v in (*flat, *outs)):
        raise GraphError(bad(name, "out=... and an array that requires grad", "arrays outside the graph",
                             "Leave out= away, or call it under clgrad.no_grad()."))


def _straight(op: Op, values: dict[str, Any], out: Any, options: dict[str, Any]) -> bool:
    """Whether the kernel can write into ``out`` itself: an elementwise record, and a result that fits."""
    if op.c is None or op.inplace is None or isinstance(out, (tuple, list)) or any(
            v is not None for v in options.values()):
        return False
    given = [unwrap(v) for v in values.values()]
    result = op.run.expression.rule(op.name, [a.dtype if isinstance(a, Array) else type(a) for a in given])[1]
    shape = shapes.broadcast(op.name, *(a.shape for a in given if isinstance(a, Array)))
    return tuple(out.shape) == shape and result is out.dtype


def fits(result: DType, target: DType) -> bool:
    """Whether numbers of one dtype may be stored in another without losing their kind, as in PyTorch."""
    return _RANK[result.kind] <= _RANK[target.kind]


def store(name: str, out: Any, result: Any) -> Any:
    """Write a result, or several, into ``out``; one without elements takes the result's shape."""
    from .elementwise import assign, astype

    if isinstance(out, (tuple, list)):
        if not isinstance(result, tuple) or len(out) != len(result):
            raise ShapeError(bad(name, f"out of {len(out)} arrays", "as many as there are results", "Check it."))
        written = [store(name, o, r) for o, r in zip(out, result)]
        return result._make(written) if hasattr(result, "_make") else tuple(written)
    target, value = unwrap(out), unwrap(result)
    if not isinstance(value, Array):
        raise TypeError(f"{name}() got an unexpected keyword argument 'out': its result is no array")
    if not fits(value.dtype, target.dtype):
        raise DTypeError(bad(name, f"a {value.dtype.name} result for out of {target.dtype.name}",
                             "an out that can hold it", "Convert the result, or make out in its dtype."))
    if target.shape == value.shape:
        assign(target, value)
    elif target.size == 0 and isinstance(out, Variable):
        out.data = astype(value, target.dtype)
    else:
        raise ShapeError(bad(name, f"out of shape {target.shape}", f"the result's shape {value.shape}",
                             "Make it with clgrad.empty(...), or leave out= away."))
    return out


def overwrite(name: str, target: Any, result: Any) -> Any:
    """Write a result over the array it was computed from, whose shape and dtype stay."""
    from .elementwise import assign

    array, value = unwrap(target), unwrap(result)
    if value.shape != array.shape:
        raise ShapeError(bad(f"{name}_", f"shape {value.shape} to store in {array.shape}",
                             "a result of the target's shape", "Use the op that returns a new array."))
    if not fits(value.dtype, array.dtype):
        raise DTypeError(bad(f"{name}_", f"a {value.dtype.name} result", f"one that {array.dtype.name} can hold",
                             "Use the op that returns a new array, or convert first."))
    assign(array, value)
    return target
