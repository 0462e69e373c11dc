"""Host side of elementwise kernels: one expression over broadcast operands of any memory order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, prod
from typing import Any

import numpy as np

from .. import kernels
from ..core import shapes
from ..core.dtypes import DType
from ..core.errors import DTypeError, bad
from ..ndarray import Array, Layout, fresh, layout_of, same_device
from ..runtime.device import Device
from ..runtime.launch import Launch
from ..runtime.program import Kernel, kernel
from .plans import Plans, by_kind, check_device, form, index_type, letter, parameters, workers

_LEAST_ITEMS = 4096
_LEAST_ACROSS = 16  # elements along both dimensions of a tile, from which on it pays
_SCALAR_LETTER = {"float": "f", "double": "d", "ulong": "L", "float2": "ff", "double2": "dd"}
_SCALARS = (bool, int, float, complex)
_RANK = {"b": 0, "u": 1, "i": 2, "f": 3, "c": 4}  # a kind can be written into one of its rank or above


@dataclass(frozen=True, eq=False)
class Expression:
    """What an elementwise record says to its kernel.

    ``c`` is the C expression over ``names``, one for all dtype kinds, or by kinds; ``mask`` says that it yields a
    truth value; ``vector`` that it holds for vector types too; ``rule(op, operands)`` gives the dtype computed in
    and the dtype stored; ``header`` is C text the expression needs (then scalar only), by kinds as well.
    """

    name: str
    names: tuple[str, ...]
    c: str | dict[str, str]
    rule: Callable[[str, Sequence[Any]], tuple[DType, DType]]
    mask: bool = False
    vector: bool = True
    header: str | dict[str, str] = ""

    def text(self, compute: DType) -> str:
        return by_kind(self.c, compute)

    def helpers(self, compute: DType) -> str:
        return by_kind(self.header, compute, "")


@dataclass(frozen=True, eq=False)
class _Plan:
    result: Layout
    compute: DType
    launch: Launch | None  # None: the result has no elements
    scalars: bool  # among the operands


class Elementwise:
    """An Expression's evaluation on Arrays and Python scalars; ``out`` names the array to write into.

    ``evaluate`` is the same as a call of the object, without the way there: a record's ``run``.
    """

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self._plans = Plans()
        self.evaluate = _evaluation(len(expression.names))(self, self._plans)
        self.evaluate.expression = expression

    def __call__(self, *operands: Any, out: Array | None = None) -> Array:
        return self.evaluate(*operands, out=out)

    def into(self, target: Array, *operands: Any, any_cast: bool = False) -> Array:
        """Write the result over ``target``, whose shape and dtype stay; operands may overlap it in any way.

        The result's kind must fit the target's (no floats into ints) unless ``any_cast``.
        """
        name = self.expression.name
        operands = tuple(map(self._operand, operands))
        shape = shapes.broadcast(name, target.shape, *(x.shape for x in operands if type(x) is Array))
        if shape != target.shape:
            raise shapes.ShapeError(bad(f"{name}_", f"shape {shape} to store in {target.shape}",
                                        "a result of the target's shape", "Use the op that returns a new array."))
        safe = [x.clone() if type(x) is Array and x.storage is target.storage and
                (x.shape, x.strides, x.offset) != (target.shape, target.strides, target.offset) else x
                for x in operands]
        if target.dtype.kind != "c" and not any_cast:
            _, result = self.expression.rule(name, [x.dtype if type(x) is Array else type(x) for x in safe])
            if _RANK[result.kind] > _RANK[target.dtype.kind]:
                raise DTypeError(bad(f"{name}_", f"a {result.name} result", f"one that {target.dtype.name} can hold",
                                     "Use the op that returns a new array, or convert first."))
        if target.size:
            self(*safe, out=target)
            target.storage.version += 1
        return target

    def converted(self, operands: tuple) -> tuple | None:
        """NumPy's scalars among the operands as Python's; None where there are none."""
        taken = tuple(map(self._operand, operands))
        return None if all(x is y for x, y in zip(taken, operands)) else taken

    def mixed(self, plan: _Plan, operands: tuple) -> Iterator[Any]:
        """The launch's arguments for operands some of which are Python scalars."""
        for x in operands:
            if type(x) is Array:
                yield x.storage.buffer
                yield x.offset
            elif plan.compute.kind == "c":
                yield _real(x.real, plan.compute.real)
                yield _real(x.imag, plan.compute.real)
            else:
                yield self._scalar(x, plan.compute)

    def _operand(self, x: Any) -> Any:
        if type(x) is Array or type(x) in _SCALARS:
            return x
        if isinstance(x, np.generic) and x.dtype.kind in "biufc":
            return x.item()
        raise DTypeError(bad(self.expression.name, f"an operand of type {type(x).__module__}.{type(x).__name__}",
                             "an Array, a Variable or a Python number",
                             "Host data reaches the device by clgrad.tensor() or clgrad.from_numpy()."))

    def _scalar(self, value: Any, compute: DType) -> Any:
        """A Python scalar as the kernel's argument; the dtype does not depend on it, so it must fit."""
        if compute.kind == "f":
            return _real(value, compute)
        if compute.kind == "b":
            return int(bool(value))
        info = np.iinfo(compute.np)
        if not info.min <= value <= info.max:
            raise OverflowError(bad(self.expression.name, f"the Python integer {value}",
                                    f"{info.min} to {info.max} for {compute.name}", "Convert the array first."))
        return int(value)

    def plan(self, operands: Sequence[Any], out: Array | None) -> _Plan:
        e = self.expression
        arrays = [x for x in operands if type(x) is Array]
        if not arrays and out is None:
            raise DTypeError(bad(e.name, "only Python scalars", "at least one array",
                                 "Wrap one with clgrad.tensor()."))
        device = same_device(e.name, arrays if out is None else [*arrays, out])
        compute, result = e.rule(e.name, [x.dtype if type(x) is Array else type(x) for x in operands])
        result = result if out is None else out.dtype
        # A number alone has no dtype that its target could not hold better; reals into complex memory need complex C.
        if not arrays or (result.kind == "c" and compute.kind != "c"):
            compute = result
        check_device(device, compute, result)
        shape = shapes.broadcast(e.name, *(a.shape for a in arrays)) if out is None else out.shape
        size = prod(shape)
        varying = [a for a in arrays if a.size != 1 or size == 1]
        strides = _result_strides(shape, varying) if out is None else out.strides
        out_bytes = size * result.itemsize
        written = out_bytes if out is None else max(size, out.storage.nbytes)
        index = index_type(written, *(a.storage.nbytes for a in arrays))
        flat = all(_same_order(shape, strides, a) for a in varying) and (
            out is None or shapes.dense_order(shape, strides) is not None)
        values: dict[str, Any] = {
            "form": form(device), "index": index, "T": compute.compute, "out": result.c, "out_bool": result.kind == "b",
            "expr": e.text(compute), "names": e.names, "mask": e.mask, "header": e.helpers(compute),
            "vector": e.vector and not e.helpers(compute), "layout": "flat" if flat else "strided"}
        i = letter(index)
        signature = "P" + i
        layout = layout_of(out) if out is not None else Layout.dense(shape, result, device, strides)
        scalars = len(arrays) < len(operands)
        if size == 0:
            return _Plan(layout, compute, None, scalars)
        params = parameters(device, "elementwise", compute.name, values["layout"], (size,))
        streams = (device.wide_core and values["vector"] and not e.mask and
                   result.c == compute.compute in ("int", "uint", "long", "ulong", "float", "double") and
                   out_bytes >= params["stream"])
        values["stream"] = flat and streams
        if flat:
            modes = ["k" if type(x) is not Array else "v" if x.size != 1 or size == 1 else "b" for x in operands]
            tail: tuple[int, ...] = (size,)
            values |= {"rank": 1, "out_mode": "v"}
        else:
            reading = [shapes.expand_strides(a.shape, a.strides, shape) for a in varying]
            sizes, steps = shapes.collapse(shape, strides, *reading)
            across = _across(sizes, steps) if device.wide_core else None
            if across is not None:
                values["layout"], values["stream"] = "tiled", streams
                sizes, *steps = (_second_last(t, across) for t in (sizes, *steps))
            inner = iter(steps[1:])
            modes = ["k" if type(x) is not Array else "b" if x.size == 1 and size != 1 else
                     _mode(next(inner), across is not None) for x in operands]
            tail, units = _cut(device, sizes, steps, across is not None, params)
            values |= {"rank": len(sizes), "out_mode": _mode(steps[0], False)}
            size = units if device.wide_core else size
        values["ins"] = tuple((x.dtype.c if type(x) is Array else "", m) for x, m in zip(operands, modes))
        for m in modes:
            signature += _SCALAR_LETTER.get(compute.compute, "l") if m == "k" else "P" + i
        signature += i * len(tail)
        k = kernel(device, "elementwise", "elementwise", signature, e.name, **values)
        gsize, lsize = _sizes(device, k, prod(shape), size, params)
        traffic = out_bytes + sum(a.nbytes for a in varying)
        filled = map(str, range(len(signature) - len(tail)))
        return _Plan(layout, compute, Launch(k, gsize, lsize, (*filled, *tail), traffic), scalars)


@lru_cache(16)
def _evaluation(count: int) -> Callable[[Elementwise, Plans], Callable[..., Array]]:
    """What makes ``evaluate`` for so many operands: written out, because loops over them took as long as a launch."""
    xs = [f"x{i}" for i in range(count)]
    keys = ", ".join(f"({x}._layout or layout_of({x})) if type({x}) is Array else type({x})" for x in xs)
    buffers = "".join(f", {x}.storage.buffer, {x}.offset" for x in xs)
    operands = f"({', '.join(xs)},)"
    lines = ["def evaluation(self, plans):",
             f" def evaluate({', '.join(xs)}, out=None):",
             f"  key = ({keys}, None if out is None else out._layout or layout_of(out))",
             "  plan = plans.get(key)",
             "  if plan is None:",
             f"   taken = self.converted({operands})",
             "   if taken: return evaluate(*taken, out=out)",
             f"   plan = plans.put(key, self.plan({operands}, out))",
             "  if out is None: out = fresh(plan.result)",
             "  launch = plan.launch",
             "  if launch is None: return out",
             "  try: fire = launch.local.fire",
             "  except AttributeError: fire = launch.bind()",
             f"  if plan.scalars: fire(out.storage.buffer, out.offset, *self.mixed(plan, {operands}))",
             f"  else: fire(out.storage.buffer, out.offset{buffers})",
             "  return out",
             " return evaluate"]
    scope: dict[str, Any] = {"Array": Array, "fresh": fresh, "layout_of": layout_of}
    exec("\n".join(lines), scope)
    return scope["evaluation"]


def _real(value: float, d: DType) -> float:
    """A Python number as a float kernel argument: what a float32 cannot hold is infinite."""
    if d.itemsize < 8 and not isnan(value) and abs(value) > 3.4028235e38:
        return float("inf") if value > 0 else float("-inf")
    return value


def _mode(steps: tuple[int, ...], tiled: bool) -> str:
    """How an operand is read along a row; in tiles, t where its memory runs across."""
    if tiled and steps[-1] not in (0, 1) and abs(steps[-2]) == 1:
        return "t"
    return {1: "v", 0: "z"}.get(steps[-1], "g")


def _same_order(shape: tuple[int, ...], strides: tuple[int, ...], a: Array) -> bool:
    return a.shape == shape and (a.strides == strides or all(
        n == 1 or s == t for n, s, t in zip(shape, a.strides, strides)))


def _result_strides(shape: tuple[int, ...], varying: Sequence[Array]) -> tuple[int, ...]:
    """The operands' common memory order where they have one without gaps, else row-major."""
    first = varying[0] if varying else None
    if first is not None and first.shape == shape and shapes.dense_order(shape, first.strides) is not None and all(
            _same_order(shape, first.strides, a) for a in varying):
        return first.strides
    return shapes.contiguous_strides(shape)


def _across(sizes: tuple[int, ...], steps: Sequence[tuple[int, ...]]) -> int | None:
    """The dimension along which an operand that strides over memory in the innermost one lies side by side; None
    where there is none worth tiling for."""
    if sizes[-1] < _LEAST_ACROSS:
        return None
    return next((r for step in steps if step[-1] not in (0, 1) for r in range(len(sizes) - 1)
                 if abs(step[r]) == 1 and sizes[r] >= _LEAST_ACROSS), None)


def _second_last(values: tuple[int, ...], r: int) -> tuple[int, ...]:
    return (*values[:r], *values[r + 1:-1], values[r], values[-1])


def _cut(device: Device, sizes: tuple[int, ...], steps: Sequence, tiled: bool,
         params: dict[str, int]) -> tuple[tuple[int, ...], int]:
    """The strided kernel's integers: sizes, strides, and rows cut into segments; and the number of units."""
    rows, inner = prod(sizes[:-1]), sizes[-1]
    if tiled:
        module = kernels.template("elementwise").module
        segment = min(inner, module.ACROSS)
        segments = -(-inner // segment)
        units = prod(sizes[:-2]) * -(-sizes[-2] // module.DOWN) * segments
    elif device.wide_core:
        wanted = workers(device, rows * inner, params["groups_per_unit"], _LEAST_ITEMS)
        pieces = 1 if rows >= wanted else -(-wanted // rows)
        segment = min(inner, -(-(-(-inner // pieces)) // 16) * 16)
        segments = -(-inner // segment)
        units = rows * segments
    else:
        segment, segments, units = inner, 1, rows * inner
    return (*sizes, *(s for operand in steps for s in operand), segment, segments, units), units


def _sizes(device: Device, k: Kernel, items: int, units: int,
           params: dict[str, int]) -> tuple[tuple[int], tuple[int]]:
    if device.wide_core:
        return (min(units, workers(device, items, params["groups_per_unit"], _LEAST_ITEMS)),), (1,)
    local = min(params["local"], k.max_local)
    groups = max(1, min(-(-items // local), device.facts.compute_units * params["groups_per_unit"]))
    return (groups * local,), (local,)


