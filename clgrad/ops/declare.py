"""Helpers that declare a record and yield its public function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.engine import apply
from ..core import dtypes
from ..core.dtypes import DType, check_kind
from ..families.elementwise import Elementwise, Expression
from ..table import Case, Op, make_function
from .keywords import by_keyword

FLOAT, SAME, TRUTH = "float", "same", "truth"  # dtype rules: see rule_of


def rule_of(result: str, kinds: str) -> Callable:
    """Dtype computed in and dtype stored. ``same``: the promoted dtype; ``float``: it, or the default float where it
    is none; ``truth``: computed in the promoted dtype, stored as bool."""
    def rule(op: str, operands: Sequence[Any]) -> tuple[DType, DType]:
        check_kind(op, kinds, *(d for d in operands if isinstance(d, DType)))
        compute = dtypes.result_type(*operands)
        check_kind(op, kinds, compute)
        if result == FLOAT:
            compute = dtypes.floating(compute)
        return compute, (dtypes.bool_ if result == TRUTH else compute)

    return rule


_SHAPES = {
    1: (Case(((3, 5),)), Case(((),)), Case(((0, 4),)), Case(((130,),))),
    2: (Case(((3, 5), (3, 5))), Case(((3, 1), (5,))), Case(((), (2, 3))), Case(((2, 0), (1,))), Case(((130,), (1,)))),
    3: (Case(((3, 5), (3, 5), (3, 5))), Case(((3, 1), (5,), ())), Case(((2, 0), (1,), (2, 1))),
        Case(((130,), (1,), (130,)))),
}


def elementwise(name: str, args: str, *, c: Any, grad: Any, ref: Callable, doc: str, dtype: Any = SAME,
                kinds: str = "biuf", mask: bool | None = None, vector: bool = True, header: Any = "",
                **fields: Any) -> Callable:
    """Declare an op of one C expression over broadcast arguments. ``dtype`` is a rule's name, or a rule."""
    names = tuple(args.replace(" ", "").split(","))
    rule = rule_of(dtype, kinds) if isinstance(dtype, str) else dtype
    mask = (dtype == TRUTH) if mask is None else mask
    kernel = Elementwise(Expression(name, names, c, rule, mask, vector, header))
    fields = {"cases": _SHAPES.get(len(names), ()), **fields}
    op = Op(name, args, "elementwise", names, kernel.evaluate, grad, ref, doc, kinds=kinds,
            c=c if isinstance(c, str) else "; ".join(f"{k}: {v}" for k, v in c.items()), inplace=kernel.into, **fields)
    return _function(op)


def _function(op: Op) -> Callable:
    return make_function(op, apply, by_keyword if op.public else None)


def driver(name: str, args: str, family: str, *, tensors: Sequence[str] = ("x",), run: Callable, grad: Any,
           ref: Callable, doc: str, **fields: Any) -> Callable:
    """Declare an op whose host side launches the kernels itself."""
    return _function(Op(name, args, family, tuple(tensors), run, grad, ref, doc, **fields))


def composite(name: str, args: str, family: str, *, tensors: Sequence[str] = ("x",), run: Callable, ref: Callable,
              doc: str, **fields: Any) -> Callable:
    """Declare an op made of other ops, whose derivatives it inherits."""
    return _function(Op(name, args, family, tuple(tensors), run, None, ref, doc, composite=True, **fields))
