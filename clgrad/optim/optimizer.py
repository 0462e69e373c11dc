"""Optimizer: parameter groups, hooks, and state_dicts in PyTorch's layout."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from math import inf
from typing import Any

from ..autograd.variable import Variable
from ..core.errors import bad
from ..core.hooks import RemovableHandle
from ..factories import as_array
from ..families.optimize import compute_dtype
from ..ndarray import Array, move
from ..nn.module import clear_gradient

_PARAMS, _NAMES = "params", "param_names"


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()  # a default that every group must override

_before_every_step: OrderedDict[int, Callable] = OrderedDict()
_after_every_step: OrderedDict[int, Callable] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before each step of every optimiser."""
    return RemovableHandle.add(_before_every_step, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after each step of every optimiser."""
    return RemovableHandle.add(_after_every_step, hook)


def _hooked(step: Callable) -> Callable:
    """A class's ``step`` with the hooks around it; a step that calls its parent's runs them once."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:
            return step(self, *args, **kwargs)
        arguments: tuple = (self, *args)
        for hook in chain(_before_every_step.values(), self._hooks["step_pre"].values()):
            changed = hook(self, arguments, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(bad(f"{self._name}.step", f"{changed!r} from a pre-hook",
                                           "None or a pair of arguments and keywords", "Return (args, kwargs)."))
                arguments, kwargs = changed
        self._stepping = True
        try:
            result = step(*arguments, **kwargs)
        finally:
            self._stepping = False
        if self._opt_called is not None:
            self._opt_called = True
        for hook in chain(self._hooks["step_post"].values(), _after_every_step.values()):
            hook(self, arguments, kwargs)
        return result

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


class Optimizer:
    """Base of the optimisers: ``Optimizer(params, defaults)``; a subclass writes ``step(closure=None)``.

    ``params`` is an iterable of leaf Variables, of (name, Variable) pairs, or of dicts, one a group, with ``"params"``
    and hyper-parameters that override ``defaults``. ``param_groups`` may be changed between steps, as learning-rate
    schedules do. ``state[p]`` is a dict of what the optimiser keeps about a parameter.
    """

    _opt_called: bool | None = None  # whether a step followed the first scheduler; None while there is none
    _stepping = False

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, (Variable, Array)):
            raise TypeError(bad(self._name, "one Variable", "an iterable of Variables or dicts",
                                "Put it in a list: [parameter]."))
        groups = list(params)
        if not groups:
            raise ValueError(bad(self._name, "an empty parameter list", "at least one parameter",
                                 "Pass model.parameters() of a model that has some."))
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Variable, dict[str, Any]] = defaultdict(dict)
        self._hooks: dict[str, OrderedDict[int, Callable]] = defaultdict(OrderedDict)
        for group in groups if isinstance(groups[0], dict) else [{_PARAMS: groups}]:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.step)  # type: ignore[method-assign]

    @property
    def _name(self) -> str:
        return type(self).__name__

    # What a subclass says ------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient. ``closure`` computes the loss again, which is returned."""
        raise NotImplementedError(f"{self._name} needs step(closure=None)")

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError where a hyper-parameter of a group is out of range."""

    def require(self, group: dict[str, Any], *keys: str, low: float = 0.0, below: float = inf) -> None:
        """ValueError unless hyper-parameters, or each number of a pair of them, lie in [low, below)."""
        for key in keys:
            value = group[key]
            for v in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(v, (Variable, Array)) or not low <= v < below:
                    what = f"a {type(v).__name__}" if isinstance(v, (Variable, Array)) else v
                    raise ValueError(bad(self._name, f"{key}={what}", f"Python numbers, {low} <= {key} < {below}",
                                         f"Change {key}."))

    # Groups --------------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict of ``"params"`` (one leaf Variable, or an iterable of them or of (name, Variable) pairs) and
        hyper-parameters of their own."""
        op = f"{self._name}.add_param_group"
        if not isinstance(param_group, dict):
            raise TypeError(bad(op, f"a {type(param_group).__name__}", "a dict", "Pass {'params': [...], 'lr': ...}."))
        if _PARAMS not in param_group:
            raise KeyError(bad(op, f"the keys {list(param_group)}", "'params' among them",
                               "Pass {'params': [...], 'lr': ...}."))
        names, params = self._named(param_group[_PARAMS])
        self._check_params(params)
        group = {_PARAMS: params, **{k: v for k, v in param_group.items() if k != _PARAMS}}
        if names:
            group[_NAMES] = names
        for other in self.param_groups:
            if (_NAMES in other) != (_NAMES in group):
                raise ValueError(bad(op, "groups with and without names", "names in all groups or in none",
                                     "Pass named_parameters() to each."))
        for key, value in self.defaults.items():
            if value is required and key not in group:
                raise ValueError(bad(op, f"no {key}", "a value for it in each group", f"Add {key!r} to the group."))
            group.setdefault(key, value)
        self.check(group)
        self.param_groups.append(group)

    def _named(self, params: Any) -> tuple[list[str], list[Variable]]:
        """Names (none, or one each) and Variables of a group."""
        if isinstance(params, set):
            raise TypeError(bad(self._name, "a set of parameters", "an ordered collection",
                                "A set has another order in each run: use a list."))
        entries = [params] if isinstance(params, (Variable, Array)) else list(params)
        names = [e[0] for e in entries if isinstance(e, tuple)]
        if names and len(names) < len(entries):
            raise ValueError(bad(self._name, "parameters with and without names", "names for all or for none",
                                 "Pass named_parameters() or parameters()."))
        return names, [e[1] for e in entries] if names else entries

    def _check_params(self, params: list) -> None:
        for p in params:
            if not isinstance(p, Variable):
                raise TypeError(bad(self._name, f"a parameter of type {type(p).__name__}", "a Variable",
                                    "Pass model.parameters()."))
            if not p.is_leaf:
                raise ValueError(bad(self._name, "the result of an op as a parameter", "a leaf Variable",
                                     "Optimise the Variables it was computed from, or .detach() it."))
            if p.dtype.kind != "f":
                raise TypeError(bad(self._name, f"a parameter of {p.dtype}", "a float dtype", "Convert it first."))
        known = {id(p) for p in self._params()}
        if len({id(p) for p in params}) != len(params) or any(id(p) in known for p in params):
            raise ValueError(bad(self._name, "a parameter twice", "each parameter in one group, once",
                                 "Remove the repeated one; tied weights count once."))

    def _params(self) -> Iterable[Variable]:
        return (p for group in self.param_groups for p in group[_PARAMS])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero in place."""
        for p in self._params():
            clear_gradient(p, set_to_none)

    # Hooks ---------------------------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return changed (args, kwargs)."""
        return RemovableHandle.add(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return RemovableHandle.add(self._hooks["step_post"], hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before :meth:`state_dict` looks at anything."""
        return RemovableHandle.add(self._hooks["save_pre"], hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` on what :meth:`state_dict` is about to return; it may return another."""
        return RemovableHandle.add(self._hooks["save_post"], hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` on a shallow copy of what is loaded; it may return another."""
        return RemovableHandle.add(self._hooks["load_pre"], hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` after :meth:`load_state_dict`."""
        return RemovableHandle.add(self._hooks["load_post"], hook, prepend)

    # Saving --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number: {...}}, "param_groups": [...]}`` as PyTorch's: parameters are numbered in order.

        The arrays are the optimiser's own memory, not copies.
        """
        for hook in self._hooks["save_pre"].values():
            hook(self)
        numbers = {id(p): n for n, p in enumerate(self._params())}
        groups = [{**{k: v for k, v in g.items() if k != _PARAMS}, _PARAMS: [numbers[id(p)] for p in g[_PARAMS]]}
                  for g in self.param_groups]
        result = {"state": {numbers.get(id(p), p): dict(s) for p, s in self.state.items() if s}, "param_groups": groups}
        for hook in self._hooks["save_post"].values():
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave, or PyTorch's, with arrays in place of its tensors.

        Arrays are copied to their parameter's device, in its dtype, or float32 where that has 16 bits.
        Hyper-parameters that it lacks take their defaults. ValueError where groups or their sizes differ, ShapeError
        where a state does; nothing is changed then.
        """
        state_dict = dict(state_dict)
        for hook in self._hooks["load_pre"].values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved = state_dict["param_groups"]
        self._check_groups(saved)
        owners = dict(zip((k for g in saved for k in g[_PARAMS]), self._params()))
        state = {owners.get(k, k): self._read(owners[k], s) if k in owners else s
                 for k, s in state_dict["state"].items()}
        groups = [self._loaded_group(ours, theirs) for ours, theirs in zip(self.param_groups, saved)]
        for group in groups:
            self.check(group)
        self.__setstate__({"state": defaultdict(dict, {p: s for p, s in state.items() if s}), "param_groups": groups})
        for hook in self._hooks["load_post"].values():
            hook(self)

    def _check_groups(self, saved: list[dict[str, Any]]) -> None:
        op = f"{self._name}.load_state_dict"
        if len(saved) != len(self.param_groups):
            raise ValueError(bad(op, f"{len(saved)} parameter groups", f"{len(self.param_groups)}",
                                 "Make the optimiser with the same groups."))
        for number, (theirs, ours) in enumerate(zip(saved, self.param_groups)):
            if len(theirs[_PARAMS]) != len(ours[_PARAMS]):
                raise ValueError(bad(op, f"{len(theirs[_PARAMS])} parameters in group {number}",
                                     f"{len(ours[_PARAMS])}", "Make the optimiser with the same parameters."))

    def _loaded_group(self, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
        group = {k: v for k, v in deepcopy({**theirs, _PARAMS: None}).items() if k != _PARAMS}
        if _NAMES in ours:
            group.setdefault(_NAMES, ours[_NAMES])
        for key, value in self.defaults.items():
            group.setdefault(key, value)
            if isinstance(value, tuple):  # formats that know no tuples give lists
                group[key] = tuple(group[key])
        return {_PARAMS: ours[_PARAMS], **group}

    def _read(self, p: Variable, saved: dict[str, Any]) -> dict[str, Any]:
        """A parameter's saved state in this optimiser's form."""
        return {key: self._cast(p, value, key) for key, value in saved.items()}

    def _cast(self, p: Variable, value: Any, key: str) -> Any:
        """An entry of a state: arrays as Variables on the parameter's device, containers entry by entry."""
        if isinstance(value, dict):
            return {k: self._cast(p, v, k) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._cast(p, v, key) for v in value)
        if isinstance(value, (Variable, Array)) or hasattr(value, "__array__"):
            if key == "step":
                return whole(value.item())
            array = as_array(value, compute_dtype(p.dtype))
            owned = isinstance(value, (Variable, Array)) and array.storage is value.storage
            return Variable(move(array.clone() if owned else array, p.device))
        return whole(value) if key == "step" else value

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_hooks", defaultdict(OrderedDict))

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != _PARAMS]
        return "\n".join([*lines, ")"])


def whole(value: Any) -> Any:
    """A step count as an int, which other frameworks keep as a float."""
    return int(value) if float(value).is_integer() else value
