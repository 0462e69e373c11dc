"""Dtypes and their promotion: NumPy 2's table for pairs of arrays, weak Python scalars, never by value.

Where NumPy would reach for its default float because a value has no float dtype of its own (int / int, sqrt of
an int, int array * 0.5), clgrad takes its own default, float32, as PyTorch does; see :func:`set_default_dtype`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import DTypeError


@dataclass(frozen=True, eq=False)
class DType:
    """An element type. ``kind`` is NumPy's letter: b bool, i signed, u unsigned, f float.

    ``c`` is the C type in device memory and ``compute`` the one arithmetic runs in: float16 is a storage type,
    loaded to float and rounded on store; bool lies in memory as one byte, 0 or 1.
    """

    name: str
    kind: str
    itemsize: int
    c: str
    compute: str
    np: np.dtype

    @property
    def is_floating_point(self) -> bool:
        return self.kind == "f"

    @property
    def is_signed(self) -> bool:
        return self.kind in "if"

    def __repr__(self) -> str:
        return f"clgrad.{self.name}"

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> tuple:
        return dtype, (self.name,)


def _make(name: str, kind: str, itemsize: int, c: str, compute: str | None = None) -> DType:
    return DType(name, kind, itemsize, c, compute or c, np.dtype(name))


bool_ = _make("bool", "b", 1, "uchar")
int8 = _make("int8", "i", 1, "char")
int16 = _make("int16", "i", 2, "short")
int32 = _make("int32", "i", 4, "int")
int64 = _make("int64", "i", 8, "long")
uint8 = _make("uint8", "u", 1, "uchar")
uint16 = _make("uint16", "u", 2, "ushort")
uint32 = _make("uint32", "u", 4, "uint")
uint64 = _make("uint64", "u", 8, "ulong")
float16 = _make("float16", "f", 2, "half", "float")
float32 = _make("float32", "f", 4, "float")
float64 = _make("float64", "f", 8, "double")

ALL = (bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, float32, float64)
FLOAT = tuple(d for d in ALL if d.kind == "f")
INTEGER = tuple(d for d in ALL if d.kind in "iu")
NUMERIC = INTEGER + FLOAT
ALIASES = {"half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
           "bool_": bool_}  # PyTorch's second names

_BY_NAME = {d.name: d for d in ALL} | ALIASES
NAMES = frozenset(_BY_NAME)
_BY_NUMPY = {d.np: d for d in ALL}
_PROMOTED: dict[tuple[DType, DType], DType] = {
    (a, b): _BY_NUMPY[np.promote_types(a.np, b.np)] for a in ALL for b in ALL
}
_default_float = float32


def dtype(spec: Any) -> DType:
    """The :class:`DType` meant by a DType, a name, a NumPy dtype, or Python's bool, int, float.

    ``int`` means int64 and ``float`` the default float. Raises DTypeError for anything else.
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, str) and spec in _BY_NAME:
        return _BY_NAME[spec]
    if spec is bool:
        return bool_
    if spec is int:
        return int64
    if spec is float:
        return _default_float
    try:
        found = _BY_NUMPY.get(np.dtype(spec))
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"dtype: got {spec!r}; expected one of {', '.join(d.name for d in ALL)}. "
                         "Convert the data to one of these first.")
    return found


def get_default_dtype() -> DType:
    """The float dtype that Python floats and integer divisions get: float32 unless set otherwise."""
    return _default_float


def set_default_dtype(d: Any) -> None:
    """Make ``d`` (a float dtype) the default float of factories, Python floats and integer divisions."""
    global _default_float
    d = dtype(d)
    if d.kind != "f":
        raise DTypeError(f"set_default_dtype: got {d.name}; expected a float dtype. Use float32, float64 or float16.")
    _default_float = d


def promote(a: DType, b: DType) -> DType:
    """NumPy 2's ``result_type`` of two dtypes."""
    return _PROMOTED[a, b]


def of_scalar(value: Any) -> DType:
    """The dtype a Python scalar gets when it becomes an array by itself: bool, int64 or the default float."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64
    if isinstance(value, float):
        return _default_float
    raise DTypeError(f"got a {type(value).__name__}; expected bool, int or float. Convert it first.")


_SCALAR_KIND = {bool: 0, int: 1, float: 2}
_KIND = {"b": 0, "i": 1, "u": 1, "f": 2}


def weak(d: DType, scalar_type: type) -> DType:
    """Dtype of an array of ``d`` with a Python scalar: the scalar's kind may raise it, its value never does."""
    if _SCALAR_KIND[scalar_type] <= _KIND[d.kind]:
        return d
    return int64 if scalar_type is int else _default_float


def result_type(*operands: Any) -> DType:
    """Promoted dtype of DTypes and Python scalar *types or values*, as ``numpy.result_type``."""
    strong = [o for o in operands if isinstance(o, DType)]
    scalars = [o if isinstance(o, type) else type(o) for o in operands if not isinstance(o, DType)]
    if not strong:
        return (bool_, int64, _default_float)[max(_SCALAR_KIND[s] for s in scalars)]
    result = strong[0]
    for d in strong[1:]:
        result = _PROMOTED[result, d]
    for s in scalars:
        result = weak(result, s)
    return result


def floating(d: DType) -> DType:
    """``d`` where it is a float already, else the default float: what sqrt, exp, mean and division give."""
    return d if d.kind == "f" else _default_float


def summing(d: DType) -> DType:
    """Dtype of sum and prod, as NumPy: integers widen to 64 bits, bool counts in int64."""
    return {"b": int64, "i": int64, "u": uint64, "f": d}[d.kind]


def check_kind(op: str, kinds: str, *given: DType) -> None:
    """DTypeError where a dtype's kind is not among ``kinds``."""
    words = {"b": "bool", "i": "signed integer", "u": "unsigned integer", "f": "float"}
    for d in given:
        if d.kind not in kinds:
            raise DTypeError(f"{op}: got {d.name}; expected {', '.join(words[k] for k in kinds)}. "
                             "Convert with .to(dtype).")
