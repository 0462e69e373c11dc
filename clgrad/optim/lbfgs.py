"""L-BFGS, with a line search for the strong Wolfe conditions.

The method decides on the host by values of the loss and of inner products, so that, unlike the other optimisers' steps,
each of its iterations waits for the device and reads some numbers. Vectors stay on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

from ..autograd.mode import enable_grad, no_grad
from ..autograd.variable import Variable, unwrap
from ..core import dtypes
from ..core.errors import ShapeError, bad
from ..families.optimize import Update, compute_dtype, update_each
from ..ndarray import Array, full, same_device
from ..ops.products import dot
from ..ops.reduce import amax
from ..ops.shape import cat, reshape
from .optimizer import Optimizer

_MOVE = Update("move", ("step",), (), (("", "p += step * g;"),))
_SET = Update("set", (), (), (("", "p = g;"),))
_SUFFICIENT, _CURVATURE = 1e-4, 0.9  # c1 and c2 of the Wolfe conditions (Nocedal and Wright 2006, section 3.1)


class _Point(NamedTuple):
    """A step's length, and there the loss, its gradient, and the slope along the direction."""

    t: float
    loss: float
    grad: Array
    slope: float


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal and Wright 2006, Algorithm 7.4): ``step(closure)`` makes up to ``max_iter``
    iterations with the whole data's loss, which ``closure`` computes, gradients too, as often as asked.

    ``max_eval`` bounds the calls (default: 5/4 of ``max_iter``). It ends where no element of the gradient is above
    ``tolerance_grad``, or neither loss nor parameters change by ``tolerance_change``. ``history_size`` pairs of
    vectors are kept. ``line_search_fn``: None takes steps of ``lr``, "strong_wolfe" searches for their length.
    One parameter group, on one device.
    """

    def __init__(self, params: Any, lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None) -> None:
        super().__init__(params, {"lr": lr, "max_iter": max_iter,
                                  "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                                  "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
                                  "history_size": history_size, "line_search_fn": line_search_fn})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if self.param_groups:
            raise ValueError(bad("LBFGS", "a second parameter group", "one", "L-BFGS treats all parameters as one "
                                 "vector: pass them together."))
        super().add_param_group(param_group)

    def check(self, group: dict[str, Any]) -> None:
        self.require(group, "lr")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(bad("LBFGS", f"line_search_fn={group['line_search_fn']!r}", "None or 'strong_wolfe'",
                                 "Change line_search_fn."))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make up to ``max_iter`` iterations; the loss before the first one, as ``closure`` returned it."""
        if closure is None:
            raise TypeError(bad("LBFGS.step", "no closure", "a function that computes loss and gradients",
                                "Pass one that calls zero_grad(), computes the loss, calls backward(), returns it."))
        group = self.param_groups[0]
        self.check(group)
        same_device("LBFGS.step", [p.data for p in group["params"]])
        with no_grad():
            return _Run(group, self.state[group["params"][0]], closure).run()


class _Run:
    """One call of step: the parameters as one vector, and the memory, which ``state`` of the first one keeps."""

    def __init__(self, group: dict[str, Any], state: dict[str, Any], closure: Callable[[], Any]) -> None:
        self.group = group
        self.params: list[Variable] = group["params"]
        self.dtype = dtypes.result_type(*{compute_dtype(p.dtype) for p in self.params})
        self.closure = closure
        self.state = state
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

    # The parameters as one vector ----------------------------------------------------------------------------------

    def evaluate(self) -> tuple[Any, Array]:
        """What the closure returns, and the gradient."""
        with enable_grad():
            loss = self.closure()
        return loss, cat([self._flat(p) for p in self.params])

    def _flat(self, p: Variable) -> Array:
        if p.grad is None:
            return full((p.numel(),), 0, self.dtype, p.device)
        g = unwrap(p.grad)
        if g.shape != p.shape:
            raise ShapeError(bad("LBFGS.step", f"a gradient of shape {g.shape}", f"{p.shape}",
                                 "Set .grad to None, or to an array of the parameter's shape."))
        flat = reshape(g, (-1,)).astype(self.dtype)
        return flat.clone() if len(self.params) == 1 and flat.storage is g.storage else flat

    def move(self, t: float, d: Array) -> None:
        """p += t * d."""
        parts, start = [], 0
        for p in self.params:
            parts.append(reshape(d[start:start + p.numel()], p.shape).astype(p.dtype))
            start += p.numel()
        update_each(_MOVE, [p.data for p in self.params], parts, (t,))

    def at(self, home: list[Array], t: float, d: Array) -> _Point:
        """The point at ``home + t * d``; the parameters are put back to ``home``."""
        self.move(t, d)
        loss, grad = self.evaluate()
        update_each(_SET, [p.data for p in self.params], home)
        return _Point(t, float(loss), grad, dot(grad, d).item())

    # The iterations ------------------------------------------------------------------------------------------------

    def run(self) -> Any:
        group, state = self.group, self.state
        first, grad = self.evaluate()
        loss, evaluations = float(first), 1
        state["func_evals"] += 1
        if _largest(grad) <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self.direction(grad)
            state["prev_flat_grad"], state["prev_loss"] = Variable(grad), loss
            t = group["lr"] * (1.0 if state["n_iter"] > 1 else min(1.0, 1.0 / grad.abs().sum().item()))
            state["d"], state["t"] = Variable(d), t
            slope = dot(grad, d).item()
            if slope > -group["tolerance_change"]:
                break
            last = iteration == group["max_iter"]
            before = loss
            t, loss, grad, calls = self.advance(_Point(0, loss, grad, slope), t, d, group["max_eval"] - evaluations,
                                                last)
            state["t"] = t
            evaluations += calls
            state["func_evals"] += calls
            if last or evaluations >= group["max_eval"] or self.settled(grad, t, d, loss - before):
                break
        return first

    def advance(self, start: _Point, t: float, d: Array, calls: int, last: bool) -> tuple[float, float, Array, int]:
        """Go along ``d``; the step's length, loss and gradient there, and the calls that took (of ``calls``)."""
        if self.group["line_search_fn"] is None:
            self.move(t, d)
            if last:  # nothing will ask for the gradient there
                return t, start.loss, start.grad, 0
            loss, grad = self.evaluate()
            return t, float(loss), grad, 1
        home = [p.data.clone() for p in self.params]
        point, made = _strong_wolfe(lambda length: self.at(home, length, d), start, t, _largest(d),
                                    self.group["tolerance_change"], calls)
        self.move(point.t, d)
        return point.t, point.loss, point.grad, made

    def settled(self, grad: Array, t: float, d: Array, change: float) -> bool:
        """Whether nothing is left to gain, by the tolerances."""
        group = self.group
        return (_largest(grad) <= group["tolerance_grad"] or _largest(d) * abs(t) <= group["tolerance_change"]
                or abs(change) < group["tolerance_change"])

    def direction(self, grad: Array) -> Array:
        """-H g by the two loops over the memory, into which the last step goes first."""
        state = self.state
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return -grad
        self.remember(grad)
        changes, steps, ro = ([unwrap(v) for v in state[key]] for key in ("old_dirs", "old_stps", "ro"))
        al = state.setdefault("al", [None] * self.group["history_size"])
        q = -grad
        for n in reversed(range(len(steps))):
            a = dot(steps[n], q) * ro[n]
            q = q - a * changes[n]
            al[n] = Variable(a)
        r = q * unwrap(state["H_diag"])
        for n in range(len(steps)):
            r = r + steps[n] * (unwrap(al[n]) - dot(changes[n], r) * ro[n])
        return r

    def remember(self, grad: Array) -> None:
        """Keep the last step and the change of the gradient along it, if the curvature there is positive."""
        state = self.state
        y, s = grad - unwrap(state["prev_flat_grad"]), unwrap(state["d"]) * unwrap(state["t"])
        ys = dot(y, s)
        if ys.item() > 1e-10:
            for key, value in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / ys)):
                if len(state[key]) == self.group["history_size"]:
                    state[key].pop(0)
                state[key].append(Variable(value))
            state["H_diag"] = Variable(ys / dot(y, y))


def _largest(x: Array) -> float:
    """The largest absolute value, read from the device; 0 of nothing."""
    return amax(x.abs()).item() if x.size else 0.0


# The line search -----------------------------------------------------------------------------------------------------


def _minimum(a: _Point, b: _Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is least, within [low, high]; else the middle.

    Nocedal and Wright 2006, equation 3.59.
    """
    left, right = (a, b) if a.t <= b.t else (b, a)
    d1 = left.slope + right.slope - 3 * (left.loss - right.loss) / (left.t - right.t)
    square = d1 * d1 - left.slope * right.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = sqrt(square)
    least = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2))
    return min(max(least, low), high)


def _strong_wolfe(at: Callable[[float], _Point], start: _Point, t: float, size: float, tolerance: float,
                  most: int) -> tuple[_Point, int]:
    """A point that satisfies the strong Wolfe conditions, or the best one found; and how often ``at`` was called.

    Nocedal and Wright 2006, Algorithms 3.5 and 3.6: widen until a bracket is found, then narrow that. ``size`` is the
    direction's largest element, ``most`` the number of trials after the first.
    """
    bracket, done, trials = _bracket(at, start, t, most)
    cramped = False
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while not done and trials < most:
        a, b = bracket
        left, right = min(a.t, b.t), max(a.t, b.t)
        if (right - left) * size < tolerance:
            break
        t, cramped = _inside(_minimum(a, b, left, right), left, right, cramped)
        point = at(t)
        trials += 1
        if point.loss > start.loss + _SUFFICIENT * t * start.slope or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if abs(point.slope) <= -_CURVATURE * start.slope:
            done = True
        elif point.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low], trials + 1


def _bracket(at: Callable[[float], _Point], start: _Point, t: float, most: int) -> tuple[list[_Point], bool, int]:
    """Two points around a good one, or one that is good already (then True); and the trials after the first."""
    before, point = start, at(t)
    for trials in range(most):
        if point.loss > start.loss + _SUFFICIENT * t * start.slope or (trials > 1 and point.loss >= before.loss):
            return [before, point], False, trials
        if abs(point.slope) <= -_CURVATURE * start.slope:
            return [point], True, trials
        if point.slope >= 0:
            return [before, point], False, trials
        t = _minimum(before, point, point.t + 0.01 * (point.t - before.t), point.t * 10)
        before, point = point, at(t)
    return [start, point], False, max(most, 0)


def _inside(t: float, left: float, right: float, cramped: bool) -> tuple[float, bool]:
    """A trial not too near the bracket's ends: the second such in a row, or one on an end, moves a tenth inwards."""
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if not cramped and left < t < right:
        return t, True
    return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
