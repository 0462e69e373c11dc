"""Methods and Python operators of Array and Variable, attached from the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.engine import apply
from ..autograd.mode import is_grad_enabled
from ..autograd.variable import Variable, unwrap
from ..core.errors import GraphError, bad
from ..ndarray import Array
from ..table import Op
from .keywords import overwrite

_REFLECTED = {"add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift",
              "rshift"}
_OPERANDS = (Array, Variable, int, float, complex, np.generic, np.ndarray)


def attach(op: Op, function: Callable) -> None:
    """Give Array and Variable the method ``op.name`` (and its aliases), its operator, and their writing forms."""
    names = op.top_names
    if op.variadic:
        function = _variadic(op, function)
    for kind in (Array, Variable):
        if op.method and not op.sequence:
            for name in names:
                if name not in kind.__dict__:
                    setattr(kind, name, function)
                if op.inplace is not None and not hasattr(kind, name + "_") and (
                        kind is Variable or op.inplace != "view"):
                    setattr(kind, name + "_", writing(op, function))
        if op.operator is not None:
            _attach_operator(kind, op, function)


def _variadic(op: Op, function: Callable) -> Callable:
    """The method form ``x.reshape(2, 3)`` of ``reshape(x, (2, 3))``."""
    name = op.attrs[-1]

    def method(self: Any, *values: Any, **named: Any) -> Any:
        if named:
            return function(self, *values, **named)
        return function(self, values[0] if len(values) == 1 and not isinstance(values[0], int) else values)

    method.__name__ = op.name
    method.__doc__ = f"{op.doc} ``{name}`` may be given as separate ints."
    return method


def _attach_operator(kind: type, op: Op, function: Callable) -> None:
    if len(op.tensors) == 1:
        setattr(kind, f"__{op.operator}__", function)
        return

    if not op.composite and not op.attrs:  # straight to what the function does, in every step of every loop
        def forward(self: Any, other: Any) -> Any:
            return apply(op, (self, other), ()) if isinstance(other, _OPERANDS) else NotImplemented
    else:
        def forward(self: Any, other: Any) -> Any:
            return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    setattr(kind, f"__{op.operator}__", forward)
    if op.operator in _REFLECTED:
        setattr(kind, f"__r{op.operator}__", reflected)
        if op.inplace is not None:
            setattr(kind, f"__i{op.operator}__", writing(op, function))


def writing(op: Op, function: Callable) -> Callable:
    """The form that writes over its first operand: ``x.add_(y)``, ``x += y``."""
    if op.inplace == "view":
        write = _viewing(op, function)
    elif op.inplace is True:
        write = _overwriting(op, function)
    else:
        write = _straight(op, function)
    write.__name__ = write.__qualname__ = op.name + "_"
    write.__doc__ = f"{op.doc} Writes over the array itself, whose dtype and shape stay."
    if op.inplace == "view":
        write.__doc__ = f"{op.doc} The Variable itself becomes that view."
    write.op = op
    return write


def _straight(op: Op, function: Callable) -> Callable:
    """By a kernel that writes where it reads."""
    inplace, computed = op.inplace, _overwriting(op, function)

    def write(self: Any, *others: Any, **named: Any) -> Any:
        if named or len(others) != len(op.tensors) - 1:
            return computed(self, *others, **named)
        if isinstance(self, Variable):
            refuse_recorded(op.name, self, others)
        inplace(unwrap(self), unwrap(self), *map(unwrap, others))
        return self

    return write


def _overwriting(op: Op, function: Callable) -> Callable:
    """By computing the result, and then writing it over the array."""
    def write(self: Any, *others: Any, **named: Any) -> Any:
        refuse_recorded(op.name, self, (*others, *named.values()))
        return overwrite(op.name, self, function(self, *others, **named))

    return write


def _viewing(op: Op, function: Callable) -> Callable:
    """By giving the Variable another view of its memory."""
    def write(self: Variable, *args: Any, **named: Any) -> Variable:
        refuse_recorded(op.name, self)
        self.data = function(self.data, *args, **named)
        return self

    return write


def is_recorded(x: Any) -> bool:
    """Whether what is computed of x enters the graph."""
    return isinstance(x, Variable) and x.requires_grad and is_grad_enabled()


def refuse_recorded(name: str, target: Any, others: tuple = ()) -> None:
    """In-place writes are for what the graph does not record: raise on the rest."""
    if not isinstance(target, Variable) or not is_grad_enabled():
        return
    if target.requires_grad:
        what = "a leaf that requires grad" if target.is_leaf else "the result of a recorded op"
        raise GraphError(bad(f"{name}_", f"an in-place write to {what}", "a Variable outside the graph",
                             f"Update parameters under clgrad.no_grad(), or use the op that returns a new array "
                             f"(x = x.{name}(...))."))
    if any(isinstance(o, Variable) and o.requires_grad for o in others):
        raise GraphError(bad(f"{name}_", "an operand that requires grad, written into a Variable that does not",
                             "operands outside the graph", "Use the op that returns a new array, or .detach()."))


def attach_indexing(getitem: Callable, assign: Callable, advanced: Any) -> None:
    """``x[key]`` and ``x[key] = value``; ``advanced`` does what needs index arrays or masks, the rest is views."""
    def read(self: Any, key: Any) -> Any:
        return advanced.read(self, key) if advanced.is_advanced(key) else getitem(self, key)

    def write(self: Any, key: Any, value: Any) -> None:
        refuse_recorded("setitem", self, (value,))
        target, value = unwrap(self), unwrap(value)
        if advanced.is_advanced(key):
            advanced.write(target, key, value)
        else:
            assign(getitem(target, key), value)

    for kind in (Array, Variable):
        kind.__getitem__ = read
        kind.__setitem__ = write
        for name, method in advanced.writing_methods().items():
            setattr(kind, name, method)
