"""Function: an op of the user's own, with a forward and a backward written in Python."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from ..core.errors import GraphError, bad
from ..ndarray import Array, full
from .engine import Node, checked, edge_of, keep, placed
from .mode import _state, no_grad
from .variable import Variable, unwrap


class Context:
    """What forward leaves for backward. Set any attribute on it; tensors go through :meth:`save_for_backward`."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._to_save: tuple = ()
        self._node: FunctionNode | None = None
        self._untracked: set[int] = set()
        self.create_graph = False

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep inputs or results for backward; a change in place before then is noticed."""
        self._to_save = tensors

    def mark_non_differentiable(self, *tensors: Variable) -> None:
        """These results get no gradient."""
        self._untracked = {id(t) for t in tensors}

    @property
    def saved_tensors(self) -> tuple:
        """What :meth:`save_for_backward` kept, as Variables."""
        if self._node is None:
            return self._to_save
        return self._node.unpack(self.create_graph)

    @property
    def saved_variables(self) -> tuple:
        """PyTorch's older name of :attr:`saved_tensors`."""
        return self.saved_tensors


class FunctionNode(Node):
    """The node of a user's Function."""

    __slots__ = ("context", "function", "outputs")

    def __init__(self, function: Any, context: Context, inputs: Sequence[Any], outputs: Sequence[Variable]) -> None:
        super().__init__(inputs, [t._data if isinstance(t, Variable) else t for t in inputs], len(outputs))
        self.outputs = tuple((o.shape, o.dtype, o.device) for o in outputs)
        self.function = function
        self.context = context
        places = {id(v): i for i, v in enumerate(outputs)}
        self.saved = tuple(None if t is None else (keep(unwrap(t)), edge_of(t), places.get(id(t)))
                           for t in context._to_save)
        context._to_save = ()
        context._node = None  # the node holds the context; the way back exists only while backward runs

    @property
    def name(self) -> str:
        return self.function.__name__ + "Backward"

    def unpack(self, create_graph: bool) -> tuple:
        result = []
        for entry in self.saved or ():
            if entry is None:
                result.append(None)
                continue
            kept, edge, place = entry
            value = checked(kept, self.name, "saved tensor")
            if type(value) is Array:
                edge = edge if place is None else (self, place)
                value = placed(value, edge) if create_graph else Variable(value)
            result.append(value)
        return tuple(result)

    def gradients(self, gs: list, create_graph: bool) -> Sequence[Any]:
        filled = []
        for g, (shape, dtype, device) in zip(gs, self.outputs):
            if g is None:
                g = full(shape, 0, dtype, device)
            filled.append(g if isinstance(g, Variable) else Variable(g))
        self.context._node = self
        self.context.create_graph = create_graph
        try:
            result = self.function.backward(self.context, *filled)
        finally:
            self.context._node = None
        result = result if isinstance(result, tuple) else (result,)
        if len(result) > len(self.edges) and all(g is None for g in result[len(self.edges):]):
            result = result[:len(self.edges)]
        if len(result) != len(self.edges):
            raise GraphError(bad(self.name, f"{len(result)} gradients", f"{len(self.edges)}, one an input of forward",
                                 "Return None where there is none."))
        # A user's rule may hand back memory that someone else holds; only a copy is certainly the leaf's own.
        plain = [g if g is None or create_graph else (g._data if isinstance(g, Variable) else g) for g in result]
        return [g.clone() if isinstance(g, Array) and isinstance(e and e[0], Variable) else g
                for g, e in zip(plain, self.edges)]

    def saved_arrays(self) -> Sequence[Array]:
        return [e[0][0] for e in self.saved or () if e is not None and type(e[0][0]) is Array]

    def release(self) -> None:
        self.saved = None


class _Called:
    """An instance whose methods are forward and backward, in the place of a class whose static methods are."""

    def __init__(self, instance: Function) -> None:
        self.instance = instance
        self.__name__ = type(instance).__name__

    def forward(self, context: Context, *inputs: Any) -> Any:
        self.instance._context = context
        return self.instance.forward(*inputs)

    def backward(self, context: Context, *grad_outputs: Any) -> Any:
        self.instance._context = context
        return self.instance.backward(*grad_outputs)


class Function:
    """Base of user-defined ops.

    Subclass it with static methods ``forward(ctx, *inputs)`` and ``backward(ctx, *grad_outputs)``, and call
    ``Sub.apply(*inputs)``. Forward is not recorded; backward is, under ``create_graph``, so that a second order
    follows from the ops it uses. Backward returns one gradient (or None) an input.

    PyTorch's older style works too: methods ``forward(self, *inputs)`` and ``backward(self, *grad_outputs)`` that
    save by ``self.save_for_backward(...)``, and an instance that is called.
    """

    _context: Context | None = None

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        raise NotImplementedError("a Function needs a static forward(ctx, *inputs)")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError("a Function needs a static backward(ctx, *grad_outputs)")

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Run forward on ``inputs`` and record one node."""
        return _recorded(cls, inputs)

    def __call__(self, *inputs: Any) -> Any:
        """Run the instance's own forward and record one node: the older style."""
        kind = type(self)
        if any(isinstance(inspect.getattr_static(kind, name), staticmethod) for name in ("forward", "backward")):
            raise TypeError(bad(kind.__name__, "a call of an instance whose forward or backward is static",
                                f"{kind.__name__}.apply(...)", "Or make both plain methods of self."))
        return _recorded(_Called(self), inputs)

    def __getattr__(self, name: str) -> Any:
        # what an instance of the older style uses of its context
        if name in ("save_for_backward", "mark_non_differentiable", "saved_tensors", "saved_variables",
                    "needs_input_grad") and self._context is not None:
            return getattr(self._context, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


def _recorded(function: Any, inputs: Sequence[Any]) -> Any:
    context = Context(tuple(isinstance(t, Variable) and t.requires_grad for t in inputs))
    with no_grad():
        results = function.forward(context, *inputs)
    several = isinstance(results, tuple)
    outputs = []
    for r in results if several else (results,):
        if not isinstance(r, (Variable, Array)):
            raise GraphError(bad(function.__name__, f"a {type(r).__name__} from forward", "Variables",
                                 "Return Variables from forward."))
        # an input handed back as it is must not be turned into the node's result
        outputs.append(Variable(r._data if isinstance(r, Variable) else r) if any(r is t for t in inputs) or
                       isinstance(r, Array) else r)
    if _state.enabled and any(context.needs_input_grad):
        node = FunctionNode(function, context, inputs, outputs)
        for place, o in enumerate(outputs):
            if o.dtype.kind in "fc" and id(o) not in context._untracked:
                o.node, o.index, o._requires_grad = node, place, True
    return tuple(outputs) if several else outputs[0]
