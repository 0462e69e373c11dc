"""Dtypes and their promotion: NumPy 2's table for pairs of arrays, weak Python scalars, never by value.

Where NumPy would reach for its default float because a value has no float dtype of its own (int / int, sqrt of
an int, int array * 0.5), clgrad takes its own default, float32, as PyTorch does; see :func:`set_default_dtype`.
bfloat16, which NumPy lacks, promotes as float16 does with integers, and to float32 with float16.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .errors import DTypeError, bad, missing


@dataclass(frozen=True, eq=False)
class DType:
    """An element type. ``kind`` is NumPy's letter: b bool, i signed, u unsigned, f float, c complex.

    ``c`` is the C type in device memory and ``compute`` the one arithmetic runs in: float16 and bfloat16 are storage
    types, loaded to float and rounded on store; bool lies in memory as one byte, 0 or 1; a complex number is a vector
    of its two parts.
    """

    name: str
    kind: str
    itemsize: int
    c: str
    compute: str

    @cached_property
    def np(self) -> np.dtype:
        """NumPy's dtype of the same elements; bfloat16's is ml_dtypes'."""
        if self.name != "bfloat16":
            return np.dtype(self.name)
        try:
            import ml_dtypes
        except ImportError:
            raise missing("bfloat16 on the host", "ml_dtypes", "bfloat16") from None
        return np.dtype(ml_dtypes.bfloat16)

    @property
    def is_floating_point(self) -> bool:
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        return self.kind == "c"

    @property
    def is_signed(self) -> bool:
        return self.kind in "ifc"

    @property
    def real(self) -> DType:
        """The dtype of a complex dtype's parts; itself where it is not complex."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    @property
    def accumulator(self) -> DType:
        """What sums of this dtype are kept in: float32 for the storage types."""
        return float32 if self.compute == "float" else self

    @property
    def complex(self) -> DType:
        """The complex dtype that holds a float dtype's values; itself where it is complex."""
        return self if self.kind == "c" else complex128 if self is float64 else complex64

    def __repr__(self) -> str:
        return f"clgrad.{self.name}"

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> tuple:
        return dtype, (self.name,)


def _make(name: str, kind: str, itemsize: int, c: str, compute: str | None = None) -> DType:
    return DType(name, kind, itemsize, c, compute or c)


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
bfloat16 = _make("bfloat16", "f", 2, "bf16", "float")
float32 = _make("float32", "f", 4, "float")
float64 = _make("float64", "f", 8, "double")
complex64 = _make("complex64", "c", 8, "float2")
complex128 = _make("complex128", "c", 16, "double2")

ALL = (bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, bfloat16, float32, float64,
       complex64, complex128)
FLOAT = tuple(d for d in ALL if d.kind == "f")
COMPLEX = tuple(d for d in ALL if d.kind == "c")
INTEGER = tuple(d for d in ALL if d.kind in "iu")
NUMERIC = INTEGER + FLOAT + COMPLEX
ALIASES = {"half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
           "bool_": bool_, "cfloat": complex64, "cdouble": complex128}  # PyTorch's second names
TENSOR_TYPES = {"FloatTensor": float32, "DoubleTensor": float64, "HalfTensor": float16, "BFloat16Tensor": bfloat16,
                "ByteTensor": uint8, "CharTensor": int8, "ShortTensor": int16, "IntTensor": int32, "LongTensor": int64,
                "BoolTensor": bool_}  # and its older ones, of a dtype with a place

_BY_NAME = {d.name: d for d in ALL} | ALIASES
NAMES = frozenset(_BY_NAME)
_BY_NUMPY = {d.np: d for d in ALL if d is not bfloat16}


def _promoted(a: DType, b: DType) -> DType:
    if a is b:
        return a
    if bfloat16 in (a, b):
        other = b if a is bfloat16 else a
        if other is float16:
            return float32
        joint = _promoted(float16, other)
        return bfloat16 if joint is float16 else joint
    return _BY_NUMPY[np.promote_types(a.np, b.np)]


_PROMOTED: dict[tuple[DType, DType], DType] = {(a, b): _promoted(a, b) for a in ALL for b in ALL}
_default_float = float32


def dtype(spec: Any) -> DType:
    """The :class:`DType` meant by a DType, a name, a NumPy dtype, or Python's bool, int, float, complex.

    ``int`` means int64, ``float`` the default float and ``complex`` the complex dtype of two of these. Raises
    DTypeError for anything else.
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
    if spec is complex:
        return _default_float.complex
    try:
        given = np.dtype(spec)
        found = bfloat16 if given.name == "bfloat16" else _BY_NUMPY.get(given)
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"dtype: got {spec!r}; expected one of {', '.join(d.name for d in ALL)}. "
                         "Convert the data to one of these first.")
    return found


when_default_changes: list[Callable[[], None]] = []  # what depends on the default float without asking again


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
    for forget in when_default_changes:
        forget()


def promote(a: DType, b: DType) -> DType:
    """NumPy 2's ``result_type`` of two dtypes."""
    return _PROMOTED[a, b]


def of_scalar(value: Any) -> DType:
    """The dtype a Python scalar gets when it becomes an array by itself: bool, int64, the default float, or the
    complex dtype of it."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64
    if isinstance(value, float):
        return _default_float
    if isinstance(value, complex):
        return _default_float.complex
    raise DTypeError(f"got a {type(value).__name__}; expected bool, int, float or complex. Convert it first.")


_SCALAR_KIND = {bool: 0, int: 1, float: 2, complex: 3}
_KIND = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def weak(d: DType, scalar_type: type) -> DType:
    """Dtype of an array of ``d`` with a Python scalar: the scalar's kind may raise it, its value never does."""
    if _SCALAR_KIND[scalar_type] <= _KIND[d.kind]:
        return d
    if scalar_type is complex:
        return d.complex if d.kind == "f" else _default_float.complex
    return int64 if scalar_type is int else _default_float


def result_type(*operands: Any) -> DType:
    """Promoted dtype of DTypes and Python scalar *types or values*, as ``numpy.result_type``."""
    strong = [o for o in operands if isinstance(o, DType)]
    scalars = [o if isinstance(o, type) else type(o) for o in operands if not isinstance(o, DType)]
    if not strong:
        return (bool_, int64, _default_float, _default_float.complex)[max(_SCALAR_KIND[s] for s in scalars)]
    result = strong[0]
    for d in strong[1:]:
        result = _PROMOTED[result, d]
    for s in scalars:
        result = weak(result, s)
    return result


def floating(d: DType) -> DType:
    """``d`` where it is float or complex already, else the default float: what sqrt, exp, mean and division give."""
    return d if d.kind in "fc" else _default_float


def summing(d: DType) -> DType:
    """Dtype of sum and prod, as NumPy: integers widen to 64 bits, bool counts in int64."""
    return {"b": int64, "i": int64, "u": uint64}.get(d.kind, d)


FloatInfo = namedtuple("finfo", ["bits", "eps", "max", "min", "smallest_normal", "tiny", "resolution", "dtype"])
IntInfo = namedtuple("iinfo", ["bits", "max", "min", "dtype"])
_BFLOAT16 = FloatInfo(16, 2.0**-7, 2.0**127 * (2 - 2.0**-7), -(2.0**127) * (2 - 2.0**-7), 2.0**-126, 2.0**-126, 0.01,
                      bfloat16)


def finfo(spec: Any = None) -> FloatInfo:
    """Limits of a float dtype (default: the default float), or of the parts of a complex one, as Python floats.

    Raises DTypeError for other dtypes.
    """
    d = _default_float if spec is None else dtype(spec)
    if d.kind not in "fc":
        raise DTypeError(bad("finfo", d, "a float or complex dtype", "Use iinfo for integers."))
    if d is bfloat16:
        return _BFLOAT16
    info = np.finfo(d.np)
    numbers = (info.eps, info.max, info.min, info.smallest_normal, info.tiny, info.resolution)
    return FloatInfo(info.bits, *map(float, numbers), d.real)


def iinfo(spec: Any) -> IntInfo:
    """Limits of an integer dtype, as Python ints. Raises DTypeError for other dtypes."""
    d = dtype(spec)
    if d.kind not in "iu":
        raise DTypeError(bad("iinfo", d, "an integer dtype", "Use finfo for floats."))
    info = np.iinfo(d.np)
    return IntInfo(info.bits, int(info.max), int(info.min), d)


def check_kind(op: str, kinds: str, *given: DType) -> None:
    """DTypeError where a dtype's kind is not among ``kinds``."""
    words = {"b": "bool", "i": "signed integer", "u": "unsigned integer", "f": "float", "c": "complex"}
    for d in given:
        if d.kind not in kinds:
            raise DTypeError(f"{op}: got {d.name}; expected {', '.join(words[k] for k in kinds)}. "
                             "Convert with .to(dtype).")
