"""Fused: optimisers that change each element by one formula, so that many parameters are updated by one launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..autograd.mode import enable_grad
from ..autograd.variable import Variable, unwrap
from ..core.errors import DeviceError, ShapeError, bad
from ..families.optimize import Block, Update
from ..ndarray import Array, move
from ..ops.elementwise import assign
from .optimizer import Optimizer

Numbers = tuple[float, ...]

# What most updates begin with. Options that need no state of their own are scalars: they would only multiply kernels.
SIGNED = ("sign",)
DECAYED = ("sign", "weight_decay")
SIGN = ("", "g *= sign;")
DECAY = ("", "if (weight_decay != 0) g += weight_decay * p;")


@dataclass(eq=False)
class _Seat:
    """A parameter's place in a block, and the Variables of its states there; ``used`` once they hold its values."""

    block: Block
    member: int
    states: dict[str, Variable]
    data: Array  # the parameter's when it was last compared with the block
    used: bool = False


class Fused(Optimizer):
    """An optimiser made of an ``update`` record and the host's arithmetic around it.

    A step copies nothing between host and device (the first one sends a small table), waits for nothing, and no value
    of a hyper-parameter builds a kernel. ``state[p]`` holds host ``numbers`` ("step", an int) and the states, views of
    buffers that the parameters of a group, device and dtype share; float16 and bfloat16 parameters have float32
    states and are updated in float32.
    """

    update: Update
    numbers: tuple[str, ...] = ("step",)  # of ``state[p]``, in PyTorch's names
    flags: tuple[str, ...] = ()  # hyper-parameters whose truth selects states, and so code

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._seats: dict[Variable, _Seat] = {}
        super().__init__(params, defaults)

    # What a subclass says ------------------------------------------------------------------------------------------

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        """Values of the update's scalars at a parameter's ``step``-th update, counted from 1."""
        raise NotImplementedError(f"{self._name} needs scalars(group, step)")

    def advance(self, group: dict[str, Any], numbers: Numbers, fresh: bool) -> tuple[Numbers, Numbers]:
        """``numbers`` after an update, and its scalars. ``fresh``: whether states begin with this update."""
        return (numbers[0] + 1,), self.scalars(group, int(numbers[0]) + 1)

    @staticmethod
    def decayed(group: dict[str, Any]) -> Numbers:
        """Values of the scalars ``DECAYED``."""
        return (-1.0 if group["maximize"] else 1.0), group["weight_decay"]

    def begin(self, group: dict[str, Any]) -> Numbers:
        """``numbers`` before the first update."""
        return (0,)

    def starts(self, group: dict[str, Any]) -> dict[str, float]:
        """What states are filled with that do not begin at 0."""
        return {}

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError where a hyper-parameter of a group is out of range."""
        self.check_mode(group)

    def check_mode(self, group: dict[str, Any]) -> None:
        """``foreach``, ``fused`` and ``capturable`` are taken and change nothing: a step is always one launch."""
        if group.get("differentiable"):
            raise NotImplementedError(bad(self._name, "differentiable=True", "False",
                                          "Updates are not recorded: write the step with ops to differentiate it."))
        if group.get("fused") and group.get("foreach"):
            raise RuntimeError(bad(self._name, "fused=True and foreach=True", "one of them at most", "Leave one out."))

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

    def _options(self, group: dict[str, Any]) -> frozenset[str]:
        return frozenset(flag for flag in self.flags if group[flag])

    def _step_group(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        grads = {p: self._gradient(p) for p in params}
        options = self._options(group)
        self._place([p for p in group["params"] if p.grad is not None or p.requires_grad], group, options)
        advanced: dict[tuple, tuple[Numbers, Numbers]] = {}
        together: dict[tuple, list[Variable]] = {}
        for p in params:
            numbers, fresh = self._enter(p, group)
            if (numbers, fresh) not in advanced:
                advanced[numbers, fresh] = self.advance(group, numbers, fresh)
            after, scalars = advanced[numbers, fresh]
            self.state[p].update(zip(self.numbers, after))
            together.setdefault((self._seats[p].block, scalars), []).append(p)
        for (block, scalars), members in together.items():
            self._update(block, options, members, [grads[p] for p in members], scalars)
        for p in params:  # a defaultdict: looking made entries for optimisers that keep nothing
            if not self.state[p]:
                del self.state[p]

    def _update(self, block: Block, options: frozenset[str], params: list[Variable], grads: list[Array],
                scalars: Sequence[float]) -> None:
        targets = [p.data for p in params]
        rows = [t if t.is_contiguous() else t.contiguous() for t in targets]
        block.update(self.update, options, tuple(self._seats[p].member for p in params), rows, grads, scalars)
        for target, row in zip(targets, rows):
            if row is not target:
                assign(target, row)

    def _gradient(self, p: Variable) -> Array:
        """A parameter's gradient, row-major and of its dtype."""
        g, data = unwrap(p.grad), p.data
        if g._layout is data._layout and g._layout is not None and g._layout.contiguous:
            return g
        if g.shape != data.shape:
            raise ShapeError(bad(f"{self._name}.step", f"a gradient of shape {g.shape}", f"{data.shape}",
                                 "Set .grad to None, or to an array of the parameter's shape."))
        if g.storage.device is not data.storage.device:
            raise DeviceError(bad(f"{self._name}.step", f"a gradient on {g.device}", f"{data.device}",
                                  "Call zero_grad() after moving a model."))
        g = g if g.dtype is data.dtype else g.astype(data.dtype)
        return g if g.is_contiguous() else g.contiguous()

    # States --------------------------------------------------------------------------------------------------------

    def _place(self, params: list[Variable], group: dict[str, Any], options: frozenset[str]) -> None:
        """Seat parameters that are new, moved, converted, or under other options, in a block by device and dtype."""
        names, seats = self.update.states_of(options), self._seats
        new: dict[tuple, list[Variable]] = {}
        for p in params:
            seat, data = seats.get(p), p.data
            if seat is not None and seat.block.states == names:
                if seat.data is data:
                    continue
                if (seat.block.device, seat.block.dtype, seat.block.sizes[seat.member]) == (
                        data.device, data.dtype, data.size):
                    seat.data = data
                    continue
            new.setdefault((data.device, data.dtype), []).append(p)
        for (device, dtype), members in new.items():
            block = Block(device, dtype, tuple(p.numel() for p in members), names, self.starts(group))
            for number, p in enumerate(members):
                views = {name: Variable(block.state(name, number, p.shape)) for name in names}
                seats[p] = _Seat(block, number, views, p.data)

    def _enter(self, p: Variable, group: dict[str, Any]) -> tuple[Numbers, bool]:
        """Make ``state[p]`` and the parameter's seat agree; its numbers, and whether states begin now.

        Whoever puts another array into ``state[p]``, or takes one out, finds that respected at the next step.
        """
        state, seat = self.state[p], self._seats[p]
        for n, v in zip(self.numbers, self.begin(group)):
            state.setdefault(n, v)
        fresh = False
        for name, mine in seat.states.items():
            theirs = state.get(name)
            if theirs is not mine:
                self._fill(p, name, theirs, seat, self.starts(group).get(name, 0))
                state[name] = mine
                fresh |= theirs is None
        seat.used = True
        return tuple([state[n] for n in self.numbers]), fresh

    def _fill(self, p: Variable, name: str, value: Variable | None, seat: _Seat, start: float) -> None:
        """Write what a state begins with into its place."""
        view = seat.states[name].data
        if value is None:
            if seat.used or start != seat.block.starts.get(name, 0):
                assign(view, start)
            return
        if value.shape != p.shape:
            raise ShapeError(bad(f"{self._name}.step", f"a parameter of shape {p.shape}, once {value.shape}",
                                 "parameters whose shapes stay", "Make a new optimiser."))
        assign(view, move(unwrap(value), p.device))

    # Saving --------------------------------------------------------------------------------------------------------

    def _read(self, p: Variable, saved: dict[str, Any]) -> dict[str, Any]:
        known = {name for _, name in self.update.states}
        state = {}
        for key, value in saved.items():
            if key in self.numbers:
                state[key] = self._cast(p, value, "step") if key == "step" else float(value)
            elif value is not None:
                state[key] = self._cast(p, value, key)
                if key in known and state[key].shape != p.shape:
                    raise ShapeError(bad(f"{self._name}.load_state_dict", f"{key} of shape {state[key].shape}",
                                         f"{p.shape}", "Load the state of a model of the same shapes."))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._seats = {}
