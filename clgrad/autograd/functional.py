"""Products with Jacobians and Hessians of functions, and these matrices whole: torch.autograd.functional's names.

``func`` takes the ``inputs`` (a Variable or a tuple of them) as its arguments and returns a Variable or a tuple. What
is returned mirrors these: a Variable where one was given, a tuple where several were. The results are constants unless
``create_graph``; then they are recorded as functions of ``inputs``. A derivative by an input on which a result does not
depend is zero, or raises GraphError where ``strict``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import DTypeError, GraphError, ShapeError, bad
from ..ndarray import full
from .engine import grad
from .function import Function
from .mode import enable_grad
from .variable import Variable


class _Stack(Function):
    """Rows of equal shape as one Variable, along a new first axis."""

    @staticmethod
    def forward(ctx: Any, *rows: Variable) -> Variable:
        out = Variable(full((len(rows), *rows[0].shape), 0, rows[0].dtype, rows[0].device))
        for i, row in enumerate(rows):
            out[i] = row
        return out

    @staticmethod
    def backward(ctx: Any, g: Variable) -> tuple[Variable, ...]:
        return tuple(g[i] for i in range(g.shape[0]))


def stack(rows: Sequence[Variable]) -> Variable:
    """Gradients of equal shape along a new first axis; recorded if they are."""
    return _Stack.apply(*rows)


def _tuple(name: str, values: Any, what: str) -> tuple[Variable, ...]:
    found = tuple(values) if isinstance(values, (tuple, list)) else (values,)
    for v in found:
        if not isinstance(v, Variable):
            raise DTypeError(bad(name, f"{what} of type {type(v).__name__}", "a Variable or a tuple of them",
                                 "Use clgrad.tensor(...)."))
    return found


def _zeros(like: Variable) -> Variable:
    return Variable(full(like.shape, 0, like.dtype, like.device))


class _Traced:
    """A function run on inputs that a graph leads back to."""

    def __init__(self, name: str, func: Callable, inputs: Any, create_graph: bool, strict: bool) -> None:
        self.name, self.create_graph, self.strict = name, create_graph, strict
        self.several_inputs = isinstance(inputs, (tuple, list))
        given = _tuple(name, inputs, "an input")
        with enable_grad():
            # Recorded inputs keep their history, others are leaves of this run alone.
            self.inputs = tuple(x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()
                                for x in given)
            result = func(*self.inputs)
        self.several_outputs = isinstance(result, (tuple, list))
        self.outputs = _tuple(name, result, "a result")

    def output(self) -> Any:
        """What the function returned, outside of the graph unless asked for."""
        return self.like_outputs(self.outputs if self.create_graph else tuple(y.detach() for y in self.outputs))

    def like_inputs(self, values: tuple) -> Any:
        return values if self.several_inputs else values[0]

    def like_outputs(self, values: tuple) -> Any:
        return values if self.several_outputs else values[0]

    def vector(self, v: Any, like: tuple[Variable, ...], what: str) -> tuple[Variable, ...]:
        """``v`` checked against what it multiplies; ones where that has a single element."""
        if v is None:
            if len(like) != 1 or like[0].numel() != 1:
                raise GraphError(bad(self.name, f"no v for {what} of shapes {[tuple(x.shape) for x in like]}",
                                     "one element", f"Pass v= of the shapes of the {what}."))
            return (Variable(full(like[0].shape, 1, like[0].dtype, like[0].device)),)
        found = _tuple(self.name, v, "v")
        if [x.shape for x in found] != [x.shape for x in like]:
            raise ShapeError(bad(self.name, f"v of shapes {[tuple(x.shape) for x in found]}",
                                 f"{[tuple(x.shape) for x in like]}", f"Give v the shapes of the {what}."))
        return found

    def scalar(self) -> Variable:
        """The single result of a function whose Hessian is asked for."""
        if self.several_outputs or self.outputs[0].numel() != 1:
            raise ShapeError(bad(self.name, f"results of shapes {[tuple(y.shape) for y in self.outputs]}",
                                 "a single element", "Reduce it (.sum(), .mean())."))
        return self.outputs[0]

    def pull(self, outputs: Sequence[Variable], v: Sequence[Variable], by: Sequence[Variable], keep: bool = False,
             record: bool | None = None) -> tuple[Variable, ...]:
        """Sum of v * d(outputs)/d(by), zero where nothing leads back."""
        record = self.create_graph if record is None else record
        pairs = [(y, g) for y, g in zip(outputs, v) if y.requires_grad]
        found: tuple[Variable | None, ...] = (None,) * len(by)
        if pairs:
            found = grad([y for y, _ in pairs], by, [g for _, g in pairs], keep or record, record, allow_unused=True)
        if self.strict and None in found:
            raise GraphError(bad(self.name, f"results that do not depend on input {found.index(None)}",
                                 "results of every input", "Pass strict=False to get zeros for it."))
        return tuple(_zeros(x) if g is None else g for x, g in zip(by, found))


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """``(func(*inputs), v @ Jacobian)``; ``v`` has the results' shapes, and may be left out for a single element."""
    run = _Traced("vjp", func, inputs, create_graph, strict)
    v = run.vector(v, run.outputs, "results")
    return run.output(), run.like_inputs(run.pull(run.outputs, v, run.inputs))


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """``(func(*inputs), Jacobian @ v)``; ``v`` has the inputs' shapes, and may be left out for a single element.

    The derivative of u @ Jacobian by u, in the direction v: two walks back, as there are no forward rules.
    """
    run = _Traced("jvp", func, inputs, create_graph, strict)
    v = run.vector(v, run.inputs, "inputs")
    u = tuple(_zeros(y).requires_grad_() for y in run.outputs)
    pulled = run.pull(run.outputs, u, run.inputs, record=True)
    return run.output(), run.like_outputs(run.pull(pulled, v, u))


def _hessian_product(name: str, func: Callable, inputs: Any, v: Any, create_graph: bool, strict: bool) -> tuple:
    run = _Traced(name, func, inputs, create_graph, strict)
    value = run.scalar()
    v = run.vector(v, run.inputs, "inputs")
    slope = run.pull((value,), (Variable(full(value.shape, 1, value.dtype, value.device)),), run.inputs, record=True)
    return run.output(), run.like_inputs(run.pull(slope, v, run.inputs))


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """``(func(*inputs), v @ Hessian)`` of a function with one element; ``v`` has the inputs' shapes."""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """``(func(*inputs), Hessian @ v)``: the same as :func:`vhp`, since second derivatives do not depend on order."""
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _rows(run: _Traced, y: Variable) -> tuple[Variable, ...]:
    """The Jacobian of one result, by input: result's shape, then the input's."""
    rows = []
    for i in range(y.numel()):
        one = _zeros(y)
        one.view(-1)[i] = 1
        rows.append(run.pull((y,), (one,), run.inputs, keep=True))
    return tuple(stack([r[j] for r in rows]).view(*y.shape, *x.shape) if rows else
                 Variable(full((*y.shape, *x.shape), 0, x.dtype, x.device)) for j, x in enumerate(run.inputs))


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:
    """Every derivative of every result by every input.

    With one result and one input a Variable of shape ``result.shape + input.shape``; else tuples, results outermost.
    One walk back for each element of the results; ``vectorize`` and ``strategy`` ask PyTorch for other ways to the
    same values, and change nothing here.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(bad("jacobian", f"strategy {strategy!r}", "reverse-mode or forward-mode", "Leave it out."))
    run = _Traced("jacobian", func, inputs, create_graph, strict)
    return run.like_outputs(tuple(run.like_inputs(_rows(run, y)) for y in run.outputs))


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """Every second derivative of a function with one element.

    With one input a Variable of shape ``input.shape + input.shape``; else a tuple of tuples of such blocks.
    """
    several = isinstance(inputs, (tuple, list))

    def slope(*xs: Variable) -> tuple[Variable, ...]:
        run = _Traced("hessian", func, xs, True, strict)
        value = run.scalar()
        return run.pull((value,), (Variable(full(value.shape, 1, value.dtype, value.device)),), run.inputs)

    found = jacobian(slope, tuple(inputs) if several else (inputs,), create_graph, strict, vectorize,
                     outer_jacobian_strategy)
    return found if several else found[0][0]
