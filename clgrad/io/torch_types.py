"""PyTorch's names: of element types, of the classes of typed storages, and of the globals in its checkpoints."""

from __future__ import annotations

from ..core import dtypes
from ..core.dtypes import DType

STORAGES: dict[str, DType] = {
    "FloatStorage": dtypes.float32, "DoubleStorage": dtypes.float64, "HalfStorage": dtypes.float16,
    "BFloat16Storage": dtypes.bfloat16, "LongStorage": dtypes.int64, "IntStorage": dtypes.int32,
    "ShortStorage": dtypes.int16, "CharStorage": dtypes.int8, "ByteStorage": dtypes.uint8, "BoolStorage": dtypes.bool_,
    "ComplexFloatStorage": dtypes.complex64, "ComplexDoubleStorage": dtypes.complex128,
}
STORAGE_OF = {d: name for name, d in STORAGES.items()}  # unsigned integers above 8 bits have none

# Types that PyTorch has and clgrad has not: named when a file holds one.
FOREIGN = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage", "complex32",
           "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
           "qint8", "quint8", "qint32", "quint4x2", "quint2x4")

DTYPES: dict[str, DType] = {d.name: d for d in dtypes.ALL} | {
    name: d for name, d in dtypes.ALIASES.items() if not name.endswith("_")}
