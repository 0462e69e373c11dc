"""Memory for time: values that backward needs are computed again instead of kept (Chen et al. 2016)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..autograd import enable_grad, is_grad_enabled
from ..autograd.engine import Node, mark, recompute
from ..autograd.variable import Variable
from ..core.errors import GraphError, bad
from ..nn.container import Sequential
from ..random import fork_rng, get_rng_state, set_rng_state


def _leaves(tree: Any) -> Iterator[Variable]:
    """The Variables of nested tuples, lists and dicts."""
    if isinstance(tree, Variable):
        yield tree
    elif isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (tuple, list)):
        for branch in tree:
            yield from _leaves(branch)


def _nodes(result: Any, since: int) -> list[Node]:
    """The nodes that lead to a result and are newer than ``since``, oldest first."""
    todo = [v.grad_fn for v in _leaves(result) if v.grad_fn is not None]
    found: set[Node] = set()
    while todo:
        node = todo.pop()
        if node.number > since and node not in found:
            found.add(node)
            todo += [edge[0] for edge in node.edges if edge is not None and isinstance(edge[0], Node)]
    return sorted(found, key=lambda n: n.number)


class _Segment:
    """A part of a graph whose saved values were let go, and how to get them again."""

    def __init__(self, run: Callable[[], Any], nodes: Sequence[Node], rng: Any) -> None:
        self._run = run
        self._rng = rng
        self._nodes = [weakref.ref(n) for n in nodes]
        self._names = [n.name for n in nodes]
        self._versions = [[(weakref.ref(a.storage), a.storage.version) for a in n.saved_arrays()] for n in nodes]
        for node in nodes:
            node.release()
            recompute[node] = self.restore

    def restore(self) -> None:
        """Run the function again and give each of its nodes that are left what it saved."""
        since = mark()
        with fork_rng(self._rng is not None), enable_grad():
            if self._rng is not None:
                set_rng_state(self._rng)
            fresh = _nodes(self._run(), since)
        names = [n.name for n in fresh]
        if names != self._names:
            raise GraphError(bad("checkpoint", f"other ops in the second run ({len(names)} for {len(self._names)})",
                                 "a function that does the same each time",
                                 "Leave outside state as it was, or do not checkpoint it."))
        for ref, new, versions in zip(self._nodes, fresh, self._versions):
            self._check(new, versions)
            old = ref()
            if old is None:
                continue
            recompute.pop(old, None)
            if new in recompute:  # of a checkpoint inside of this one: once more, when its turn comes
                recompute[old] = _later(old, new)
            elif hasattr(new, "saved"):
                old.saved = new.saved

    @staticmethod
    def _check(node: Node, versions: Sequence[tuple]) -> None:
        for array, (storage, version) in zip(node.saved_arrays(), versions):
            if array.storage is storage() and array.storage.version != version:
                raise GraphError(f"{node.name}: a value of shape {array.shape}, needed to compute the checkpoint "
                                 f"again, was changed in place (version {array.storage.version}, expected {version}). "
                                 "Run backward before it changes, or change a .clone().")


def _later(old: Node, new: Node) -> Callable[[], None]:
    def restore() -> None:
        inner = recompute.pop(new, None)
        if inner is not None:
            inner()
        old.saved = new.saved

    return restore


def checkpoint(function: Callable, *args: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True,
               determinism_check: str = "default", debug: bool = False, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, keeping none of the values that its derivative needs: backward runs it again.

    The result, a Variable or nested tuples, lists and dicts of them, is as differentiable as without, to any order.
    Random numbers are drawn again as they were, unless ``preserve_rng_state`` is False. GraphError in backward where
    the second run does not do the same ops, or where something it reads was changed in place since.
    ``use_reentrant``, ``determinism_check`` and ``debug`` are PyTorch's and change nothing here.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    rng = get_rng_state() if preserve_rng_state else None
    since = mark()
    result = function(*args, **kwargs)
    _Segment(lambda: function(*args, **kwargs), _nodes(result, since), rng)
    return result


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
                          preserve_rng_state: bool = True) -> Any:
    """The functions (a Sequential or a list) one after the other, in ``segments`` checkpoints of equal length; the last
    one keeps its values, which backward needs at once."""
    functions = list(functions.children() if isinstance(functions, Sequential) else functions)
    if not 1 <= segments <= len(functions):
        raise ValueError(bad("checkpoint_sequential", f"{segments} segments", f"1 to {len(functions)}",
                             "Ask for at most one for each function."))
    size = len(functions) // segments

    def chain(part: Sequence[Callable]) -> Callable:
        def run(x: Any) -> Any:
            for f in part:
                x = f(x)
            return x

        return run

    for i in range(segments - 1):
        input = checkpoint(chain(functions[i * size:(i + 1) * size]), input, preserve_rng_state=preserve_rng_state)
    return chain(functions[(segments - 1) * size:])(input)
