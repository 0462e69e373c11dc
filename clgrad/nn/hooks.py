"""Calling a module that has hooks: before and after forward, and around its part of the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.engine import passing
from ..autograd.mode import is_grad_enabled
from ..autograd.variable import Variable


def call(module: Any, args: tuple, kwargs: dict) -> Any:
    """The module's output, its hooks called."""
    hooks = module._hooks
    after = hooks.get("forward", {})
    output, done = None, set()
    try:
        for hook, with_kwargs in list(hooks.get("forward_pre", {}).values()):
            new = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if new is not None and with_kwargs:
                if not (isinstance(new, tuple) and len(new) == 2):
                    raise TypeError(f"{type(module).__name__}: a forward pre hook with kwargs gave a "
                                    f"{type(new).__name__}; expected None or a pair (args, kwargs). Return both.")
                args, kwargs = new
            elif new is not None:
                args = new if isinstance(new, tuple) else (new,)
        watched = _Watched.of(module, hooks)
        output = module.forward(*(watched.inputs(args) if watched else args), **kwargs)
        for key, (hook, with_kwargs, _) in list(after.items()):
            done.add(key)
            new = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            output = output if new is None else new
        return watched.outputs(output) if watched else output
    except Exception:
        for key, (hook, with_kwargs, always) in list(after.items()):
            if always and key not in done:
                new = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
                output = output if new is None else new
        raise


class _Watched:
    """One call of a module with backward hooks: nodes before and behind it that see the gradients."""

    def __init__(self, module: Any, before: list, after: list) -> None:
        self.module = module
        self.before = before
        self.after = after
        self.count = 0
        self.places: list[int] = []
        self.grad_output: tuple = ()

    @staticmethod
    def of(module: Any, hooks: dict) -> _Watched | None:
        before, after = (list(hooks.get(kind, {}).values()) for kind in ("backward_pre", "backward"))
        return _Watched(module, before, after) if (before or after) and is_grad_enabled() else None

    def inputs(self, args: tuple) -> tuple:
        self.count = len(args)
        self.places = [i for i, a in enumerate(args) if isinstance(a, Variable) and a.requires_grad]
        if not self.places:
            return args
        new = list(args)
        for i, v in zip(self.places, passing([args[i] for i in self.places], self._arrived)):
            new[i] = v
        return tuple(new)

    def outputs(self, output: Any) -> Any:
        several = isinstance(output, (tuple, list))
        values = list(output) if several else [output]
        places = [i for i, v in enumerate(values) if isinstance(v, Variable) and v.requires_grad]
        if not places:
            return output

        def left(gs: list) -> list:
            filled: list = [None] * len(values)
            for i, g in zip(places, gs):
                filled[i] = g
            self.grad_output = _changed(self.module, self.before, (tuple(filled),))
            if not self.places:  # no input wants a gradient: nothing will arrive
                self._call_after(tuple([None] * self.count))
            return [self.grad_output[i] for i in places]

        for i, v in zip(places, passing([values[i] for i in places], left)):
            values[i] = v
        if not several:
            return values[0]
        return output._make(values) if hasattr(output, "_make") else type(output)(values)

    def _arrived(self, gs: list) -> list:
        filled: list = [None] * self.count
        for i, g in zip(self.places, gs):
            filled[i] = g
        result = self._call_after(tuple(filled))
        return [result[i] for i in self.places]

    def _call_after(self, grad_input: tuple) -> tuple:
        for hook in self.after:
            new = hook(self.module, grad_input, self.grad_output)
            if new is not None:
                grad_input = _tuple(self.module, new, grad_input)
        return grad_input


def _changed(module: Any, hooks: Sequence, values: tuple) -> tuple:
    current = values[0]
    for hook in hooks:
        new = hook(module, current)
        if new is not None:
            current = _tuple(module, new, current)
    return current


def _tuple(module: Any, new: Any, old: tuple) -> tuple:
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise TypeError(f"{type(module).__name__}: a backward hook gave {len(new)} gradients; expected {len(old)}. "
                        "Return one for each, None where there is none.")
    return new
