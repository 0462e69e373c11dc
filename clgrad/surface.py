"""What PyTorch has beside ops, factories and modules: questions about tensors, settings, and small helpers."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import factories
from .autograd.variable import Variable, unwrap
from .core import dtypes, shapes
from .core.dtypes import DType
from .core.errors import DTypeError, ShapeError, bad
from .core.shapes import Size
from .families.ramp import ramp
from .ndarray import Array
from .nn import functional as F
from .ops.convert import typed
from .ops.count import nonzero
from .ops.elementwise import assign, pow
from .ops.keywords import overwrite
from .ops.methods import refuse_recorded
from .ops.special import polygamma
from .random import bernoulli, multinomial
from .runtime.device import Device, default_device
from .runtime.device import device as find_device

e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None
dtype = DType


class layout:
    """How a tensor's elements lie in memory: ``clgrad.strided`` is the only layout."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"clgrad.{self._name}"


class memory_format(layout):
    """A hint of PyTorch's about the order of axes in memory; accepted everywhere, and without effect."""


strided = layout("strided")
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")

# Questions -----------------------------------------------------------------------------------------------------------


def is_tensor(obj: Any) -> bool:
    """Whether it is a Variable."""
    return isinstance(obj, Variable)


def is_floating_point(input: Any) -> bool:
    """Whether the dtype is a float."""
    return input.dtype.kind == "f"


def is_complex(input: Any) -> bool:
    """Whether the dtype is complex."""
    return input.dtype.kind == "c"


def is_signed(input: Any) -> bool:
    """Whether the dtype has negative numbers."""
    return input.dtype.kind in "ifc"


def is_nonzero(input: Any) -> bool:
    """Whether the only element is not zero; ShapeError unless there is exactly one. Waits for it."""
    if math.prod(input.shape) != 1:
        raise ShapeError(bad("is_nonzero", f"shape {tuple(input.shape)}", "one element", "Use any() or all()."))
    return bool(input.item())


def is_same_size(input: Any, other: Any) -> bool:
    """Whether the shapes are equal."""
    return tuple(input.shape) == tuple(other.shape)


def is_conj(input: Any) -> bool:
    """False: conjugates are computed at once, never lazily."""
    return False


is_neg = is_inference = is_conj


def numel(input: Any) -> int:
    """Number of elements."""
    return math.prod(input.shape)


def get_device(input: Any) -> int:
    """The device's number among its platform's, -1 on a CPU."""
    return -1 if input.device.type == "cpu" else input.device.index


def detach(input: Variable) -> Variable:
    """The same memory outside the graph."""
    return input.detach()


def detach_(input: Variable) -> Variable:
    """Take the Variable out of the graph."""
    return input.detach_()


def fill(input: Any, value: Any) -> Any:
    """An array of the same shape and dtype, of one value."""
    return input.clone().fill_(value)


def fill_(input: Any, value: Any) -> Any:
    """Write one value over the array; returns it."""
    return input.fill_(value)


def zero_(input: Any) -> Any:
    """Write zeros over the array; returns it."""
    return input.fill_(0)


def index_put_(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """input[indices] = values, or += with ``accumulate``, in the array itself."""
    return input.index_put_(indices, values, accumulate)


def typename(obj: Any) -> str:
    """The type of a tensor as PyTorch names it, or of any object."""
    return obj.type() if isinstance(obj, Variable) else f"{type(obj).__module__}.{type(obj).__qualname__}"


# Dtypes and shapes ---------------------------------------------------------------------------------------------------

_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def promote_types(type1: Any, type2: Any) -> DType:
    """The smallest dtype that both convert to, as results have it."""
    return dtypes.promote(dtypes.dtype(type1), dtypes.dtype(type2))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether results of one dtype may be stored in another: its kind (bool, int, float, complex) is not lost."""
    return _RANK[dtypes.dtype(from_).kind] <= _RANK[dtypes.dtype(to).kind]


def broadcast_shapes(*shapes_: Any) -> Size:
    """The shape that arrays of these shapes broadcast to."""
    given = [(s,) if isinstance(s, int) else tuple(s) for s in shapes_]
    return Size(shapes.broadcast("broadcast_shapes", *given) if given else ())


# Settings ------------------------------------------------------------------------------------------------------------

_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted for PyTorch's sake: float32 products are always of float32 numbers, summed in float32."""
    global _precision
    if precision not in ("highest", "high", "medium"):
        raise ValueError(bad("set_float32_matmul_precision", repr(precision), "'highest', 'high' or 'medium'",
                             "Pass one of these."))
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What was set last; without effect."""
    return _precision


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted for PyTorch's sake: every op here is deterministic, whatever ``mode`` says."""


def are_deterministic_algorithms_enabled() -> bool:
    """True: every op is deterministic."""
    return True


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """False: there is nothing to warn of."""
    return False


def get_num_threads() -> int:
    """Compute units of the default device: what PyTorch's threads are to a CPU."""
    return default_device().facts.compute_units


def set_num_threads(num: int) -> None:
    """Accepted for PyTorch's sake: the OpenCL driver owns the threads (PoCL: ``POCL_MAX_PTHREAD_COUNT``)."""


get_num_interop_threads, set_num_interop_threads = get_num_threads, set_num_threads


def get_default_device() -> Device:
    """The device that new arrays are made on."""
    return default_device()


def set_default_tensor_type(t: Any) -> None:
    """Make a float dtype, or the dtype of a typed tensor, the default one."""
    dtypes.set_default_dtype(typed(t)[0])


# Factories -----------------------------------------------------------------------------------------------------------


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool = False) -> Variable:
    """A Variable of ``obj``: without a copy where it is on the device already, unless ``copy``; ValueError for
    ``copy=False`` where one is needed."""
    array = factories.as_array(obj, dtype, device, copy=copy is True)
    if copy is False and array is not getattr(obj, "data", obj):
        raise ValueError(bad("asarray", "copy=False for data that must be copied", "an array of this dtype and device",
                             "Leave copy out."))
    return Variable(array, requires_grad)


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, layout: Any = None,
                  requires_grad: bool = False) -> Variable:
    """A 0-d Variable of a number, in the default float unless said otherwise."""
    return factories.full((), s, dtype=dtype or dtypes.get_default_dtype(), device=device, requires_grad=requires_grad)


def range(start: float = 0, end: float | None = None, step: float = 1, **named: Any) -> Variable:
    """start, start + step, ... up to ``end``, which is included; the default float unless said otherwise. arange is
    the usual one."""
    if end is None:
        start, end = 0, start
    if not step or (end - start) / step < 0:
        raise ValueError(bad("range", f"start={start}, end={end}, step={step}", "a step towards the end", "Check it."))
    count = math.floor((end - start) / step) + 1
    named["dtype"] = named.get("dtype") or dtypes.get_default_dtype()
    return factories.arange(0, count, dtype=named.pop("dtype"), **named) * step + start


def logspace(start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Variable:
    """``steps`` values from base**start to base**end, evenly spaced in the exponent."""
    wanted = dtypes.dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    powers = pow(float(base), factories.linspace(start, end, steps, dtype=wanted, device=device))
    return powers.requires_grad_() if requires_grad else powers


def _triangle_indices(name: str, row: int, col: int, offset: int, upper: bool, dtype: Any, device: Any) -> Variable:
    if row < 0 or col < 0:
        raise ShapeError(bad(name, f"row={row}, col={col}", "0 or more", "Give the matrix's sizes."))
    place = find_device(device)
    rows = ramp(row, 0, 1, dtypes.int64, place).reshape((-1, 1))
    columns = ramp(col, 0, 1, dtypes.int64, place)
    kept = columns - rows >= offset if upper else columns - rows <= offset
    found = nonzero(Variable(kept)).T.contiguous()
    return found.to(dtypes.int64 if dtype is None else dtype)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Variable:
    """Rows and columns, as two lines of int64, of the lower triangle of a matrix."""
    return _triangle_indices("tril_indices", row, col, offset, False, dtype, device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Variable:
    """Rows and columns, as two lines of int64, of the upper triangle of a matrix."""
    return _triangle_indices("triu_indices", row, col, offset, True, dtype, device)


def unravel_index(indices: Any, shape: Any) -> tuple:
    """The place along each axis of flat positions in an array of ``shape``: a tuple of arrays."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if indices.dtype.kind not in "iu" or any(n < 0 for n in shape):
        raise DTypeError(bad("unravel_index", f"indices of {indices.dtype}, shape {shape}", "ints, sizes of 0 or more",
                             "Convert them."))
    found = []
    for n in reversed(shape):
        found.append(indices % n)
        indices = indices // n
    return tuple(reversed(found))


def empty_strided(size: Sequence[int], stride: Sequence[int], *, dtype: Any = None, device: Any = None,
                  layout: Any = None, requires_grad: bool = False) -> Variable:
    """Uninitialised, with strides in elements."""
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    last = sum((n - 1) * s for n, s in zip(size, stride)) if math.prod(size) else -1
    block = factories.empty(last + 1, dtype=dtype, device=device)
    view = Variable(block.data.view(size, stride, 0))
    return view.requires_grad_() if requires_grad else view


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Variable:
    """A vector of what a buffer of bytes holds, copied to the device."""
    host = np.frombuffer(buffer, dtypes.dtype(dtype).np, count, offset)
    return factories.tensor(host, requires_grad=requires_grad)


# Functions of nn.functional that PyTorch has here too, some with their arguments in another order ---------------------

_SAME = ("alpha_dropout", "bilinear", "binary_cross_entropy_with_logits", "celu", "celu_", "cosine_embedding_loss",
         "cosine_similarity", "feature_alpha_dropout", "group_norm", "hardshrink", "hinge_embedding_loss", "kl_div",
         "layer_norm", "margin_ranking_loss", "pairwise_distance", "poisson_nll_loss", "prelu", "rms_norm", "rrelu",
         "rrelu_", "selu", "selu_", "threshold", "threshold_", "triplet_margin_loss")
globals().update({name: getattr(F, name) for name in _SAME})


def dropout(input: Any, p: float, train: bool) -> Any:
    """nn.functional.dropout."""
    return F.dropout(input, p, train)


def embedding(weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False,
              sparse: bool = False) -> Any:
    """Rows of ``weight`` at the indices: nn.functional.embedding with the table first."""
    return F.embedding(indices, weight, None if padding_idx == -1 else padding_idx,
                       scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def batch_norm(input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float,
               eps: float, cudnn_enabled: bool = False) -> Any:
    """nn.functional.batch_norm with the weights in front of the statistics."""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool,
                  momentum: float, eps: float, cudnn_enabled: bool = False) -> Any:
    """nn.functional.instance_norm with the weights in front of the statistics."""
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


# Methods of tensors made of the above --------------------------------------------------------------------------------


def _made(factory: Any) -> Any:
    """``x.new_zeros(...)``: a factory in x's dtype, on x's device."""
    def new(self: Any, *args: Any, dtype: Any = None, device: Any = None, **named: Any) -> Any:
        made = factory(*args, dtype=self.dtype if dtype is None else dtype,
                       device=self.device if device is None else device, **named)
        return made.data if isinstance(self, Array) else made

    new.__doc__ = f"``clgrad.{factory.__name__}`` with this array's dtype and device unless said otherwise."
    return new


def _fill_diagonal(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Write one value over the main diagonal of a matrix (or of equal axes); of a tall matrix with ``wrap`` again and
    again, with a row between. Returns it."""
    if self.ndim < 2 or (self.ndim > 2 and len(set(self.shape)) > 1):
        raise ShapeError(bad("fill_diagonal_", f"shape {tuple(self.shape)}", "a matrix, or equal axes", "Reshape it."))
    refuse_recorded("fill_diagonal", self)
    x = unwrap(self)
    n = min(x.shape)
    assign(x.view((n,), (sum(x.strides),), x.offset), fill_value)
    if wrap and x.ndim == 2:
        step = x.shape[1] + 1
        for start in builtins.range(step, x.shape[0], step):
            rest = min(x.shape[0] - start, x.shape[1])
            assign(x.view((rest,), (sum(x.strides),), x.offset + start * x.strides[0]), fill_value)
    return self


def _refused(name: str, why: str) -> Any:
    def method(self: Any, *args: Any, **named: Any) -> Any:
        raise NotImplementedError(f"{name}: {why}")

    method.__doc__ = f"Raises NotImplementedError: {why}"
    return method


def _attach() -> None:
    questions = {f.__name__: f for f in (is_signed, is_nonzero, is_same_size, get_device)}
    methods = {**questions, "new_tensor": _made(factories.tensor), "new_zeros": _made(factories.zeros),
               "new_ones": _made(factories.ones), "new_empty": _made(factories.empty),
               "new_full": _made(factories.full),
               "fill_diagonal_": _fill_diagonal, "polygamma": lambda self, n: polygamma(n, self),
               "is_conj": is_conj, "is_neg": is_conj, "is_inference": is_conj,
               "multinomial": lambda self, *args, **named: multinomial(self, *args, **named),
               "bernoulli": lambda self, *args, **named: bernoulli(self, *args, **named),
               "prelu": lambda self, weight: F.prelu(self, weight),
               "hardshrink": lambda self, lambd=0.5: F.hardshrink(self, lambd),
               "pin_memory": lambda self, device=None: self, "is_pinned": lambda self, device=None: False,
               "share_memory_": lambda self: self, "is_shared": lambda self: False,
               "resolve_neg": lambda self: self}
    for kind in (Array, Variable):
        for name, method in methods.items():
            setattr(kind, name, method)
        kind.is_cuda = property(lambda self: self.device.type == "gpu", doc="Whether it lies on a GPU.")
        kind.is_cpu = property(lambda self: self.device.type == "cpu", doc="Whether it lies on a CPU device.")
        kind.layout = property(lambda self: strided, doc="``clgrad.strided``.")
        kind.polygamma_ = lambda self, n: _overwrite("polygamma", self, polygamma(n, self))
    for name in ("is_sparse", "is_quantized", "is_meta", "is_mps", "is_xpu", "is_nested", "is_mkldnn"):
        setattr(Variable, name, False)
    Variable.ndimension = Variable.dim
    Variable.retains_grad = property(lambda self: self.node is not None and (self.node.retained or {}).get(
        self.index) is not None, doc="Whether ``.grad`` of this result will be kept.")
    Variable.data_ptr = _refused("data_ptr", "an OpenCL buffer has no address that the host can use. Hand memory on by "
                                             "DLPack or clgrad.interop.")


def _overwrite(name: str, target: Any, result: Any) -> Any:
    refuse_recorded(name, target)
    return overwrite(name, target, result)


_attach()
__all__ = [name for name, value in globals().items() if not name.startswith("_") and (
    name in (*_SAME, "e", "inf", "nan", "pi", "newaxis", "dtype", "layout", "memory_format", "strided",
             "contiguous_format", "preserve_format", "channels_last", "channels_last_3d") or
    (getattr(value, "__module__", "") == __name__ and callable(value)))]
