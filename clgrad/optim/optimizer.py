"""Optimizer: parameter groups, states in flat buffers, and the walk that updates many parameters by one launch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from ..autograd.mode import enable_grad
from ..autograd.variable import Variable, unwrap
from ..core.errors import DeviceError, ShapeError, bad
from ..factories import as_array
from ..families.optimize import Block, Update, compute_dtype
from ..ndarray import Array, move
from ..nn.module import clear_gradient
from ..ops.elementwise import assign

_REQUIRED = "params"


class Optimizer:
    """Base of the optimisers. A subclass gives its ``update`` record, ``options(group)`` and ``scalars(group, step)``.

    ``params`` is an iterable of leaf Variables or of dicts, one a group, with ``"params"`` and hyper-parameters that
    override ``defaults``. ``param_groups`` may be changed between steps, as learning-rate schedules do: no value of a
    hyper-parameter builds a kernel, and a step copies nothing between host and device (the first one sends a small
    table). ``state[p]`` holds a parameter's step count and its states, which are views of flat buffers.
    """

    update: Update
    counted = True  # whether ``state[p]`` has PyTorch's "step"

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, (Variable, Array)):
            raise TypeError(bad(self.name, "one Variable", "an iterable of Variables or dicts",
                                "Put it in a list: [parameter]."))
        groups = list(params)
        if not groups:
            raise ValueError(bad(self.name, "an empty parameter list", "at least one parameter",
                                 "Pass model.parameters() of a model that has some."))
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Variable, dict[str, Any]] = defaultdict(dict)
        self._blocks: dict[Variable, tuple[Block, int]] = {}
        for group in groups if isinstance(groups[0], dict) else [{_REQUIRED: groups}]:
            self.add_param_group(group)

    @property
    def name(self) -> str:
        return type(self).__name__

    # What a subclass says ------------------------------------------------------------------------------------------

    def options(self, group: dict[str, Any]) -> frozenset[str]:
        """The options of ``update`` that a group has on: they select code."""
        raise NotImplementedError(f"{self.name} needs options(group)")

    def scalars(self, group: dict[str, Any], step: int) -> tuple[float, ...]:
        """Values of the update's scalars at a parameter's ``step``-th update, counted from 1."""
        raise NotImplementedError(f"{self.name} needs scalars(group, step)")

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError where a hyper-parameter is out of range."""
        raise NotImplementedError(f"{self.name} needs check(group)")

    def require(self, group: dict[str, Any], key: str, low: float = 0.0, below: float = inf) -> None:
        """ValueError unless a hyper-parameter, or each number of a pair of them, lies in [low, below)."""
        value = group[key]
        numbers = value if isinstance(value, (tuple, list)) else (value,)
        for v in numbers:
            if isinstance(v, (Variable, Array)) or not low <= v < below:
                what = f"a {type(v).__name__}" if isinstance(v, (Variable, Array)) else v
                raise ValueError(bad(self.name, f"{key}={what}", f"Python numbers, {low} <= {key} < {below}",
                                     f"Change {key}."))

    # Groups --------------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict of ``"params"`` (one leaf Variable or an iterable of them) and hyper-parameters of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(bad(f"{self.name}.add_param_group", f"a {type(param_group).__name__}", "a dict",
                                "Pass {'params': [...], 'lr': ...}."))
        params = param_group[_REQUIRED]
        if isinstance(params, set):
            raise TypeError(bad(self.name, "a set of parameters", "an ordered collection",
                                "A set has another order in each run: use a list."))
        params = [params] if isinstance(params, (Variable, Array)) else list(params)
        self._check_params(params)
        group = {**self.defaults, **param_group, _REQUIRED: params}
        self.check(group)
        self.param_groups.append(group)

    def _check_params(self, params: list) -> None:
        for p in params:
            if not isinstance(p, Variable):
                raise TypeError(bad(self.name, f"a parameter of type {type(p).__name__}", "a Variable",
                                    "Pass model.parameters()."))
            if not p.is_leaf:
                raise ValueError(bad(self.name, "the result of an op as a parameter", "a leaf Variable",
                                     "Optimise the Variables it was computed from, or .detach() it."))
            if p.dtype.kind != "f":
                raise TypeError(bad(self.name, f"a parameter of {p.dtype}", "a float dtype", "Convert it first."))
        known = {id(p) for group in self.param_groups for p in group[_REQUIRED]}
        if len({id(p) for p in params}) != len(params) or any(id(p) in known for p in params):
            raise ValueError(bad(self.name, "a parameter twice", "each parameter in one group, once",
                                 "Remove the repeated one; tied weights count once."))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero in place."""
        for group in self.param_groups:
            for p in group[_REQUIRED]:
                clear_gradient(p, set_to_none)

    # The step ------------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient: one launch for each device, dtype and group.

        ``closure`` computes the loss again (with gradients on) and is what the method returns. Parameters whose
        updates began at different steps take a launch for each count, and so do more tensors than a launch holds.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.check(group)
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        options = self.options(group)
        self._place([p for p in group[_REQUIRED] if p.grad is not None or p.requires_grad], options)
        scalars: dict[int, tuple[float, ...]] = {}
        together: dict[tuple, list[Variable]] = {}
        for p in group[_REQUIRED]:
            if p.grad is not None:
                step = self.state[p]["step"] = self.state[p].get("step", 0) + 1
                if step not in scalars:
                    scalars[step] = self.scalars(group, step)
                together.setdefault((self._blocks[p][0], scalars[step]), []).append(p)
        for (_, values), params in together.items():
            self._update(params, options, values)

    def _update(self, params: list[Variable], options: frozenset[str], scalars: Sequence[float]) -> None:
        block = self._blocks[params[0]][0]
        targets = [p.data for p in params]
        rows = [t if t.is_contiguous() else t.contiguous() for t in targets]
        block.update(self.update, options, tuple(self._blocks[p][1] for p in params), rows,
                     [self._gradient(p) for p in params], scalars)
        for target, row in zip(targets, rows):
            if row is not target:
                assign(target, row)

    def _gradient(self, p: Variable) -> Array:
        """A parameter's gradient, row-major and of its dtype."""
        g, data = unwrap(p.grad), p.data
        if g.shape != data.shape:
            raise ShapeError(bad(f"{self.name}.step", f"a gradient of shape {g.shape}", f"{data.shape}",
                                 "Set .grad to None, or to an array of the parameter's shape."))
        if g.device is not data.device:
            raise DeviceError(bad(f"{self.name}.step", f"a gradient on {g.device}", f"{data.device}",
                                  "Call zero_grad() after moving a model."))
        g = g if g.dtype is data.dtype else g.astype(data.dtype)
        return g if g.is_contiguous() else g.contiguous()

    def _place(self, params: list[Variable], options: frozenset[str]) -> None:
        """Put parameters that are new, moved, converted, or under other options into a block by device and dtype."""
        names = self.update.states_of(options)
        new: dict[tuple, list[Variable]] = {}
        for p in params:
            block, member = self._blocks.get(p, (None, 0))
            if block is None or (block.states, block.device, block.dtype, block.sizes[member]) != (
                    names, p.device, p.dtype, p.numel()):
                new.setdefault((p.device, p.dtype), []).append(p)
        for (device, dtype), members in new.items():
            block = Block(device, dtype, tuple(p.numel() for p in members), names)
            for number, p in enumerate(members):
                self._settle(p, block, number)

    def _settle(self, p: Variable, block: Block, member: int) -> None:
        """Point a parameter's states into a block, keeping the values it has."""
        state = self.state[p]
        if not self.counted and any(name not in state for name in block.states):
            state.pop("step", None)
        for name in block.states:
            view = block.state(name, member, p.shape)
            if name in state:
                if state[name].shape != p.shape:
                    raise ShapeError(bad(f"{self.name}.step", f"a parameter of shape {p.shape}, once "
                                         f"{state[name].shape}", "parameters whose shapes stay",
                                         "Make a new optimiser."))
                assign(view, move(state[name].data, p.device))
            state[name] = Variable(view)
        self._blocks[p] = (block, member)

    # Saving --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number: {...}}, "param_groups": [...]}`` as PyTorch's: parameters are numbered in order.

        The states are the optimiser's own memory, not copies.
        """
        numbers = {id(p): n for n, p in enumerate(self._params())}
        groups = [{**{k: v for k, v in g.items() if k != _REQUIRED},
                   _REQUIRED: [numbers[id(p)] for p in g[_REQUIRED]]} for g in self.param_groups]
        return {"state": {numbers[id(p)]: self._public(s) for p, s in self.state.items() if s}, "param_groups": groups}

    def _public(self, state: dict[str, Any]) -> dict[str, Any]:
        return dict(state) if self.counted else {k: v for k, v in state.items() if k != "step"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` (or PyTorch's, with arrays in place of its tensors) gave; values are
        copied. ValueError where groups or their sizes differ, ShapeError where a state does."""
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(bad(f"{self.name}.load_state_dict", f"{len(saved)} parameter groups",
                                 f"{len(self.param_groups)}", "Make the optimiser with the same groups."))
        for number, (theirs, ours) in enumerate(zip(saved, self.param_groups)):
            if len(theirs[_REQUIRED]) != len(ours[_REQUIRED]):
                raise ValueError(bad(f"{self.name}.load_state_dict",
                                     f"{len(theirs[_REQUIRED])} parameters in group {number}",
                                     f"{len(ours[_REQUIRED])}", "Make the optimiser with the same parameters."))
        keys = [k for g in saved for k in g[_REQUIRED]]
        states = {p: self._read(p, state_dict["state"].get(k, {})) for k, p in zip(keys, self._params())}
        for theirs, ours in zip(saved, self.param_groups):
            ours.update({k: tuple(v) if k == "betas" else v for k, v in theirs.items() if k != _REQUIRED})
            self.check(ours)
        self._blocks.clear()
        self.state = defaultdict(dict, {p: s for p, s in states.items() if s})
        for group in self.param_groups:
            self._place([p for p in group[_REQUIRED] if states.get(p)], self.options(group))

    def _read(self, p: Variable, saved: dict[str, Any]) -> dict[str, Any]:
        """A saved state as Variables on the parameter's device, and its step count."""
        if not saved:
            return {}
        known = {name for _, name in self.update.states}
        result: dict[str, Any] = {}
        for key, value in saved.items():
            if key in known and value is not None:
                array = move(as_array(value, compute_dtype(p.dtype)), p.device)
                if array.shape != p.shape:
                    raise ShapeError(bad(f"{self.name}.load_state_dict", f"{key} of shape {array.shape}", f"{p.shape}",
                                         "Load the state of a model of the same shapes."))
                result[key] = Variable(array)
        result["step"] = int(saved.get("step", 1))  # PyTorch's SGD counts no steps: having a state means one was made
        return result

    def _params(self) -> Iterable[Variable]:
        return (p for group in self.param_groups for p in group[_REQUIRED])

    def __repr__(self) -> str:
        lines = [f"{self.name} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != _REQUIRED]
        return "\n".join([*lines, ")"])
