"""The graph: recording an op, and walking back through it. Knows records, names no op.

Saved values are Arrays, never Variables: a result that its own node saved would be a cycle, and nothing would be
freed without the garbage collector. They are wrapped again, with their place in the graph, only for a second order.
Nodes are numbered as they are made, so newest-first is a topological order and needs no recursion.
"""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.config import config
from ..core.errors import DTypeError, GraphError, ShapeError, bad
from ..ndarray import Array, Layout, full, layout_of
from ..table import Op
from .mode import _state, set_grad_enabled
from .variable import Variable, wrap

_numbers = itertools.count()
# Nodes whose saved values were let go, and what to call to have them again before their gradients are asked for.
recompute: weakref.WeakKeyDictionary[Node, Callable[[], None]] = weakref.WeakKeyDictionary()


def mark() -> int:
    """A number between those of the nodes made before and after."""
    return next(_numbers)


def apply(op: Op, tensors: Sequence[Any], attrs: tuple) -> Any:
    """Run a record on Arrays, Variables and Python scalars. Any Variable makes the result one; it is recorded when
    one of them requires a gradient and recording is on."""
    arrays = []
    plain, tracked = True, False
    for t in tensors:
        if isinstance(t, Variable):
            plain = False
            arrays.append(t._data)
            if t._requires_grad:
                tracked = True
        else:
            arrays.append(t)
    out = op.run(arrays, *attrs) if op.sequence else op.run(*arrays, *attrs) if attrs else op.run(*arrays)
    if type(out) is not Array:
        return _apply_several(op, tensors, arrays, attrs, out, plain, tracked)
    if config.check:
        _check(op.name, arrays, out)
    if plain:
        return out
    if tracked and _state.enabled and op.differentiable and out.dtype.kind in "fc":
        return wrap(out, OpNode(op, tensors, arrays, attrs, out))
    return wrap(out)


def _apply_several(op: Op, tensors: Sequence[Any], arrays: Sequence[Any], attrs: tuple, outs: tuple, plain: bool,
                   tracked: bool) -> tuple:
    """What ``apply`` does with the results of a record that has several: one node for all of them. Results that are
    not floats (pivots, counts) stay outside the graph."""
    if config.check:
        for out in outs:
            _check(op.name, arrays, out)
    if plain:
        return outs
    node = OpNode(op, tensors, arrays, attrs, outs) if tracked and _state.enabled and op.differentiable else None
    results = [wrap(out, node if out.dtype.kind in "fc" else None, i) for i, out in enumerate(outs)]
    return outs._make(results) if hasattr(outs, "_make") else tuple(results)


def _check(name: str, arrays: Sequence[Any], out: Array) -> None:
    """CLGRAD_CHECK=1: name the op that made a NaN out of none."""
    def has_nan(a: Any) -> bool:
        return isinstance(a, Array) and a.dtype.kind in "fc" and bool(np.isnan(a.numpy()).any())

    if has_nan(out) and not any(map(has_nan, arrays)):
        raise FloatingPointError(f"{name}: made a NaN from inputs without one (CLGRAD_CHECK=1). "
                                 "The traceback shows where it was called; look at its inputs there.")


def edge_of(value: Any) -> tuple[Any, int] | None:
    """Where a gradient for ``value`` goes: a node and its result's number, a leaf, or nowhere."""
    if not isinstance(value, Variable) or not value._requires_grad:
        return None
    return (value, 0) if value.node is None else (value.node, value.index)


class Node:
    """One recorded step: where gradients of its inputs go (``edges``), and the layouts of the inputs, whose shapes and
    dtypes they must have. What it ``saved`` is None once it was let go."""

    __slots__ = ("__weakref__", "edges", "hooks", "layouts", "number", "results", "retained", "saved")
    name = "Node"

    def __init__(self, inputs: Sequence[Any], arrays: Sequence[Any], results: int) -> None:
        edges: list[tuple[Any, int] | None] = []
        layouts: list[Layout | None] = []
        for t, a in zip(inputs, arrays):
            tracked = isinstance(t, Variable) and t._requires_grad
            edges.append(None if not tracked else (t, 0) if t.node is None else (t.node, t.index))
            layouts.append((a._layout or layout_of(a)) if type(a) is Array else None)
        self.edges = edges
        self.layouts = layouts
        self.results = results
        self.saved: Any = ()
        self.number = next(_numbers)
        self.retained: dict[int, weakref.ref] | None = None
        self.hooks: dict[int, OrderedDict] | None = None  # by result: functions of its gradient

    def retain(self, variable: Variable) -> None:
        """Remember, weakly, that a result wants its ``.grad`` filled."""
        self.retained = {**(self.retained or {}), variable.index: weakref.ref(variable)}

    def gradients(self, gs: list, create_graph: bool) -> Sequence[Any]:
        """Gradients of the inputs, in order, from those of the results."""
        raise NotImplementedError

    def saved_arrays(self) -> Sequence[Array]:
        """Arrays that :meth:`gradients` may hand back as they are: no leaf may take their memory for its own."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of the saved values."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.name}>"


class PassNode(Node):
    """Values that go through unchanged, and a function of their gradients on the way back."""

    __slots__ = ("function",)
    name = "PassBackward"

    def __init__(self, inputs: Sequence[Any], function: Callable) -> None:
        super().__init__(inputs, [x._data for x in inputs], len(inputs))
        self.function = function

    def gradients(self, gs: list, create_graph: bool) -> Sequence[Any]:
        found = self.function([None if g is None else g if isinstance(g, Variable) else Variable(g) for g in gs])
        return [g if g is None or create_graph else g._data for g in found]

    def saved_arrays(self) -> Sequence[Array]:
        return ()

    def release(self) -> None:
        pass


def passing(values: Sequence[Variable], function: Callable) -> list[Variable]:
    """The Variables again; ``function`` maps the list of their gradients (Variables or None) in backward."""
    node = PassNode(values, function)
    return [wrap(v._data, node, i) if v._data.dtype.kind in "fc" else v for i, v in enumerate(values)]


def keep(array: Any) -> tuple[Any, int]:
    """A value as a node saves it: with the version of its memory, which from now on is not a leaf's alone."""
    if type(array) is not Array:
        return array, 0
    array.storage.shared = True
    return array, array.storage.version


def checked(kept: tuple[Any, int], op: str, name: str) -> Any:
    """A saved value (a scalar is itself), if nobody has changed it since."""
    array, version = kept
    if type(array) is Array and array.storage.version != version:
        raise GraphError(f"{op}: its {name} of shape {array.shape}, needed for backward, was changed in place "
                         f"(version {array.storage.version}, expected {version}). Write x = x + y instead of "
                         "x += y, or change a .clone().")
    return array


def placed(array: Any, edge: tuple[Any, int] | None) -> Any:
    """A saved value as a Variable in its place of the graph, for derivatives that are recorded."""
    if type(array) is not Array:
        return array
    if edge is None:
        return Variable(array)
    target, index = edge
    if isinstance(target, Variable) and target._data is array:
        return target
    return Variable(array, node=target if array.dtype.kind in "fc" else None, index=index)


class OpNode(Node):
    """The node of a record. ``saved`` follows the record's ``saves``; of several tensors or results an entry is a
    list, and None what only gradients that nobody wants would need."""

    __slots__ = ("attrs", "op")

    def __init__(self, op: Op, tensors: Sequence[Any], arrays: Sequence[Any], attrs: tuple,
                 out: Array | tuple[Array, ...]) -> None:
        Node.__init__(self, tensors, arrays, 1 if type(out) is Array else len(out))
        self.op = op
        self.attrs = attrs
        self.saved = op.saving(self.edges, arrays, out, keep)

    @property
    def name(self) -> str:
        return self.op.name.title().replace("_", "") + "Backward"

    # What rules are called with (:class:`clgrad.table.Rule`) ---------------------------------------------------------

    def kept(self, at: int, create_graph: bool) -> Any:
        """A saved value, or the list of several."""
        kept = self.saved[at]
        if not create_graph and type(kept) is tuple:
            array, version = kept
            if type(array) is not Array or array.storage.version == version:
                return array
        if type(kept) is list:
            return [self._again(at, i, k, create_graph) for i, k in enumerate(kept)]
        return self._again(at, None, kept, create_graph)

    def _again(self, at: int, i: int | None, kept: tuple[Any, int], create_graph: bool) -> Any:
        array = checked(kept, self.op.name, self.op.saves[at])
        if not create_graph:
            return array
        tensor = self.op.saved_tensors[at]
        return placed(array, (self, i or 0) if tensor is None else self.edges[tensor if i is None else i])

    def needs(self) -> tuple[bool, ...]:
        """Which inputs want a gradient."""
        return tuple([e is not None for e in self.edges])

    def meta(self, what: str, at: int) -> Any:
        """The shape, dtype or device of an input."""
        if self.op.sequence:
            return [getattr(known, what) for known in self.layouts]
        layout = self.layouts[at]
        return getattr(layout, what) if layout is not None else () if what == "shape" else None

    def gradients(self, gs: list, create_graph: bool) -> Sequence[Any]:
        op = self.op
        if op.several:
            return op.gradients(self, gs, create_graph)
        g = gs[0]
        if g.dtype.kind == "c" and op.holomorphic:
            # With the convention dL/dRe + i dL/dIm, the gradient of f is conj(f') g = conj(f' conj(g)).
            return [r if r is None or r.dtype.kind != "c" else r.conj()
                    for r in op.gradients(self, g.conj(), create_graph)]
        return op.gradients(self, g, create_graph)

    def saved_arrays(self) -> Sequence[Array]:
        kept = []
        for s in self.saved or ():
            kept += s if type(s) is list else (s,) if s is not None else ()
        return [array for array, _ in kept if type(array) is Array]

    def release(self) -> None:
        self.saved = None


def _fit(g: Any, layout: Layout, node: Node) -> Any:
    """Undo broadcasting and casting: a gradient has its input's shape and dtype."""
    shape, dtype = layout.shape, layout.dtype
    if g.shape != shape:
        lead = len(g.shape) - len(shape)
        axes = tuple(range(lead)) + tuple(
            lead + a for a, n in enumerate(shape) if n == 1 and g.shape[lead + a] != 1)
        if lead < 0 or tuple(n for a, n in enumerate(g.shape) if a not in axes) != tuple(
                n for a, n in enumerate(shape) if lead + a not in axes):
            raise ShapeError(bad(f"{node.name} backward", f"a gradient of shape {g.shape}", f"{shape}",
                                 "The derivative rule must give its input's shape."))
        g = g.sum(axes).reshape(shape)
    if g.dtype.kind == "c" and dtype.kind != "c":
        g = g.real
    return g if g.dtype is dtype else g.to(dtype)


def _hooked(hooks: OrderedDict, g: Any) -> Any:
    """A gradient after the hooks of its Variable: each sees it and may give another."""
    recorded = isinstance(g, Variable)
    for hook in list(hooks.values()):
        if hook is None:
            continue
        new = hook(g if isinstance(g, Variable) else Variable(g))
        if new is not None:
            if new.shape != g.shape:
                raise ShapeError(bad("hook", f"a gradient of shape {new.shape}", f"{g.shape}", "Keep its shape."))
            g = new if recorded else new._data if isinstance(new, Variable) else new
    return g


class _Pass:
    """One walk back through a graph."""

    def __init__(self, create_graph: bool, retain_graph: bool, targets: dict | None) -> None:
        self.create_graph = create_graph
        self.retain_graph = retain_graph
        self.targets = targets  # (node or leaf, index) -> gradient, for grad(); None: fill leaves' .grad
        self.pending: dict[Node, list] = {}
        self.heap: list[tuple[int, Node]] = []  # newest first
        self.waiting: dict[Variable, Any] = {}  # gradients of leaves with hooks, which see the sum

    def start(self, root: Variable, g: Any) -> None:
        g.storage.shared = True
        self.deliver(edge_of(root), g)

    def deliver(self, edge: tuple[Any, int], g: Any) -> None:
        target, index = edge
        gs = self.pending.get(target)
        if gs is not None:
            gs[index] = g if gs[index] is None else gs[index] + g
        elif isinstance(target, Variable):
            self.leaf(target, g)
        else:
            self.pending[target] = gs = [None] * target.results
            gs[index] = g
            heapq.heappush(self.heap, (-target.number, target))

    def leaf(self, leaf: Variable, g: Any) -> None:
        if leaf.hooks:
            self.waiting[leaf] = self.waiting[leaf] + g if leaf in self.waiting else g
        else:
            self.arrive(leaf, g)

    def arrive(self, leaf: Variable, g: Any) -> None:
        if self.targets is not None:
            key = (leaf, 0)
            if key in self.targets:
                old = self.targets[key]
                self.targets[key] = g if old is None else old + g
            return
        self.accumulate(leaf, g)

    def accumulate(self, leaf: Variable, g: Any) -> None:
        """``leaf.grad`` += g, in memory of its own."""
        if leaf.grad is not None:
            total = (leaf.grad if self.create_graph else leaf.grad.data) + g
        elif g.storage.shared or not g.is_contiguous():
            total = g.clone()
        else:
            total = g
        total.storage.shared = True
        leaf.grad = total if isinstance(total, Variable) else wrap(total)

    def run(self) -> None:
        heap, step = self.heap, self.step
        with set_grad_enabled(self.create_graph):
            while heap:
                step(heapq.heappop(heap)[1])
            for leaf, g in self.waiting.items():
                self.arrive(leaf, _hooked(leaf.hooks, g))
                if self.targets is None:
                    for hook in list((leaf.post_hooks or {}).values()):
                        hook(leaf)

    def observe(self, node: Node, gs: list) -> None:
        """Show the gradients of a node's results to who asked for them."""
        for index, hooks in (node.hooks or {}).items():
            if gs[index] is not None:
                gs[index] = _hooked(hooks, gs[index])
        for index, ref in (node.retained or {}).items():
            if ref() is not None and gs[index] is not None and self.targets is None:
                gs[index].storage.shared = True
                self.accumulate(ref(), gs[index])
        if self.targets is not None:
            for index, g in enumerate(gs):
                if (node, index) in self.targets and g is not None:
                    self.targets[node, index] = g

    def step(self, node: Node) -> None:
        gs = self.pending.pop(node)
        if node.saved is None:
            _restore(node)
        if node.hooks or node.retained or self.targets is not None:
            self.observe(node, gs)
        for edge, layout, g in zip(node.edges, node.layouts, node.gradients(gs, self.create_graph)):
            if edge is not None and g is not None:
                self.deliver(edge, g if g._layout is layout else _fit(g, layout, node))
        if not self.retain_graph:
            node.release()


def _restore(node: Node) -> None:
    """Have the saved values of a node again, which were let go."""
    while (again := recompute.pop(node, None)) is not None:
        again()
    if node.saved is None:
        raise GraphError(f"{node.name}: backward a second time through a graph whose saved values were freed. "
                         "Call the first backward with retain_graph=True, or run the forward pass again.")


def _seed(root: Variable, gradient: Any, create_graph: bool) -> Any:
    """The gradient a walk starts from: ones for one element, else what the caller gives."""
    if not isinstance(root, Variable) or not root._requires_grad:
        raise GraphError(bad("backward", "a value that does not require grad", "the result of ops on one that does",
                             "Set requires_grad=True on its inputs, outside no_grad."))
    data = root._data
    if gradient is None:
        if data.dtype.kind == "c":
            raise GraphError(bad("backward", f"{data.dtype} without a gradient", "a real value",
                                 "Take .real, abs() or another real function of it, or pass gradient=."))
        if data.size != 1:
            raise GraphError(bad("backward", f"shape {data.shape} without a gradient", "one element",
                                 "Reduce it (.sum(), .mean()), or pass gradient= of the same shape."))
        seed = full(data.shape, 1, data.dtype, data.device)
        return Variable(seed) if create_graph else seed
    if not isinstance(gradient, (Array, Variable)):
        raise DTypeError(bad("backward", f"gradient of type {type(gradient).__name__}", "an Array or Variable",
                             "Use clgrad.tensor(...)."))
    if gradient.shape != data.shape:
        raise ShapeError(bad("backward", f"gradient of shape {gradient.shape}", f"{data.shape}", "Give it that shape."))
    gradient = gradient if gradient.dtype is data.dtype else gradient.to(data.dtype)
    if create_graph:
        return gradient if isinstance(gradient, Variable) else Variable(gradient)
    return gradient._data if isinstance(gradient, Variable) else gradient


def _retained(retain_graph: bool | None, create_graph: bool) -> bool:
    return create_graph if retain_graph is None else retain_graph


def _each(name: str, given: Any, count: int) -> list:
    """A starting gradient for each of ``count`` outputs."""
    if given is None:
        return [None] * count
    found = list(given) if isinstance(given, (tuple, list)) else [given]
    if len(found) != count:
        raise GraphError(bad(name, f"{len(found)} gradients for {count} outputs", "one for each",
                             "Pass None for an output of one element."))
    return found


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Any = None) -> None:
    """Add the derivatives of ``tensors`` (one Variable or several, summed) to the leaves' ``.grad``.

    ``grad_tensors`` starts the walk at each of them and may be None for one element (``grad_variables`` is its older
    name). With ``inputs`` only these receive gradients, be they leaves or not. Otherwise as :meth:`Variable.backward`.
    """
    roots = [tensors] if isinstance(tensors, Variable) else list(tensors)
    seeds = _each("backward", grad_variables if grad_tensors is None else grad_tensors, len(roots))
    starts = [(root, _seed(root, g, create_graph)) for root, g in zip(roots, seeds)]
    wanted = None if inputs is None else [inputs] if isinstance(inputs, Variable) else list(inputs)
    edges = None if wanted is None else _edges("backward", wanted)
    walk = _Pass(create_graph, _retained(retain_graph, create_graph), None if edges is None else dict.fromkeys(edges))
    for root, g in starts:
        walk.start(root, g)
    walk.run()
    for x, edge in zip(wanted or (), edges or ()):
        if walk.targets[edge] is not None:
            walk.accumulate(x, walk.targets[edge])


def _edges(name: str, inputs: Sequence[Any]) -> list:
    if not inputs:
        raise GraphError(bad(name, "no inputs", "at least one", "Leave inputs out for all leaves."))
    edges = [edge_of(x) for x in inputs]
    if None in edges:
        raise GraphError(bad(name, f"input {edges.index(None)}, which does not require grad",
                             "inputs that do", "Set requires_grad=True before the ops run."))
    return edges


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Variable | None, ...]:
    """Gradients of ``outputs`` (one Variable or several, summed) with respect to ``inputs``, in their order.

    ``.grad`` of no leaf is touched. An input that outputs do not depend on raises, gives None with ``allow_unused``,
    or zeros with ``materialize_grads``. With ``is_grads_batched`` each of ``grad_outputs`` has a further first axis,
    and so have the gradients: one walk for each of its entries.
    """
    if not only_inputs:
        raise GraphError(bad("grad", "only_inputs=False", "True", "Use backward() to fill the leaves' .grad."))
    if materialize_grads and allow_unused is False:
        raise GraphError(bad("grad", "materialize_grads with allow_unused=False", "either of them",
                             "Leave allow_unused out."))
    outputs = [outputs] if isinstance(outputs, Variable) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Variable) else list(inputs)
    seeds = _each("grad", grad_outputs, len(outputs))
    edges = _edges("grad", inputs)
    keep = _retained(retain_graph, create_graph)
    if is_grads_batched:
        found = _batched(outputs, edges, seeds, keep, create_graph)
    else:
        found = _gradients(outputs, edges, seeds, keep, create_graph)
    if None in found and materialize_grads:
        found = [Variable(full(x.shape, 0, x.dtype, x.device)) if g is None else g for x, g in zip(inputs, found)]
    elif None in found and not allow_unused:
        raise GraphError(bad("grad", f"input {found.index(None)}, which the outputs do not depend on",
                             "inputs used by the outputs", "Pass allow_unused=True to get None for it."))
    return tuple(found)


def _gradients(outputs: list, edges: list, seeds: list, keep: bool, create_graph: bool) -> list:
    starts = [(root, _seed(root, g, create_graph)) for root, g in zip(outputs, seeds)]
    walk = _Pass(create_graph, keep, dict.fromkeys(edges))
    for root, g in starts:
        walk.start(root, g)
    walk.run()
    found = (walk.targets[e] for e in edges)
    return [g if g is None or isinstance(g, Variable) else Variable(g) for g in found]


def _batched(outputs: list, edges: list, seeds: list, keep: bool, create_graph: bool) -> list:
    from .functional import stack

    sizes = {g.shape[0] if isinstance(g, (Array, Variable)) and g.ndim else None for g in seeds}
    size = sizes.pop()
    if sizes or size is None or size == 0:
        raise ShapeError(bad("grad", "grad_outputs that are not batched alike",
                             "one for each output, all with the same first axis, not empty",
                             "Leave is_grads_batched out for a single gradient."))
    rows = [_gradients(outputs, edges, [g[i] for g in seeds], keep or i + 1 < size, create_graph) for i in range(size)]
    return [None if column[0] is None else stack(column) for column in zip(*rows)]
