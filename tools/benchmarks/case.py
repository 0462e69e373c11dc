"""A case, the arrays it gets, and the builders of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .libraries import OTHERS

Step = Callable[[], Any]
Builder = Callable[[Any], Step]


@dataclass(frozen=True)
class Case:
    """What is timed. ``builders`` gives, by library, a function of the Library that makes the step; ``"*"`` is for
    those not named. ``work`` is the amount of ``unit`` in a step: FLOP, B(ytes), ops, or samples; ``dtype`` is what
    the FLOP are computed in."""

    name: str
    builders: dict[str, Builder]
    work: float = 0.0
    unit: str = "FLOP"
    skip: tuple[str, ...] = ()
    dtype: str = "float32"

    def builder(self, library: str) -> Builder | None:
        """The builder of a library, or None where the case is not for it."""
        return None if library in self.skip else self.builders.get(library, self.builders.get("*"))


def random(*shape: int) -> np.ndarray:
    """Uniform float32 in [-1, 1)."""
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def floats(*shape: int) -> Callable[[], np.ndarray]:
    """A maker of ``random(*shape)``."""
    return lambda: random(*shape)


def normal(*shape: int) -> Callable[[], np.ndarray]:
    """A maker of normally distributed float32."""
    return lambda: np.random.default_rng(0).standard_normal(shape, np.float32)


def integers(high: int, *shape: int, dtype: Any = np.int64) -> Callable[[], np.ndarray]:
    """A maker of integers below ``high``."""
    return lambda: np.random.default_rng(1).integers(0, high, shape, dtype)


def shuffled(n: int) -> Callable[[], np.ndarray]:
    """A maker of a permutation of n numbers."""
    return lambda: np.random.default_rng(1).permutation(n)


def joined(shape: tuple[int, ...]) -> str:
    """The shape as names have it: ``16x64x32x32``."""
    return "x".join(map(str, shape))


def given(f: Callable[..., Any], *arrays: Callable[[], np.ndarray], dtype: str | None = None) -> Builder:
    """The builder of a step ``f(library.np, *arrays)`` of what the makers make."""
    def build(lib: Any) -> Step:
        held = [lib.put(a(), dtype) for a in arrays]
        run = lib.jit(lambda *xs: f(lib.np, *xs))
        return lambda: run(*held)

    return build


def call(f: Callable[..., Any], *shapes: tuple[int, ...], dtype: str | None = None) -> Builder:
    """The same of random arrays of these shapes."""
    return given(f, *(floats(*s) for s in shapes), dtype=dtype)


def moving(name: str, work: float, arrays: tuple, f: Callable, **others: Callable | None) -> Case:
    """A case that is told by the bytes it has to move; ``others`` by library, None where there is no counterpart."""
    builders = {"*": given(f, *arrays), **{k: given(g, *arrays) for k, g in others.items() if g}}
    return Case(name, builders, float(work), "B", tuple(k for k, g in others.items() if g is None))


def forward(f: Callable[..., Any], *arrays: Callable[[], np.ndarray]) -> Builder:
    """clgrad and PyTorch: the step ``f(nn.functional, *arrays)``, without a graph."""
    def build(lib: Any) -> Step:
        F = lib.module("nn.functional")
        held = [lib.put(a()) for a in arrays]

        def step() -> Any:
            with lib.np.no_grad():
                return f(F, *held)

        return step

    return build


def backward(f: Callable[..., Any], *arrays: Callable[[], np.ndarray]) -> Builder:
    """clgrad and PyTorch: ``f(nn.functional, *arrays)`` and the gradients of those arrays that are of floats, for a
    random gradient of the result, or for the result itself where that is a number."""
    def build(lib: Any) -> Step:
        F = lib.module("nn.functional")
        hosts = [a() for a in arrays]
        held = [lib.put(h) for h in hosts]
        wanted = [x.requires_grad_() for x, h in zip(held, hosts) if h.dtype.kind == "f"]
        g = None

        def step() -> Any:
            nonlocal g
            out = f(F, *held)
            if g is None and out.shape:  # at the first step, not before: nothing is to be built until then
                g = lib.put(random(*out.shape))
            out.backward(g)
            found = [x.grad for x in wanted]
            for x in wanted:
                x.grad = None
            return found

        return step

    return build


def jax_forward(f: Callable[..., Any], *arrays: Callable[[], np.ndarray]) -> Builder:
    """The step ``f(jax, *arrays)``."""
    return lambda lib: given(lambda np_, *xs: f(lib.jax, *xs), *arrays)(lib)


def jax_backward(f: Callable[..., Any], *arrays: Callable[[], np.ndarray]) -> Builder:
    """The same as :func:`backward` of ``f(jax, *arrays)``, in one function."""
    def build(lib: Any) -> Step:
        hosts = [a() for a in arrays]
        held = [lib.put(h) for h in hosts]
        floating = [i for i, h in enumerate(hosts) if h.dtype.kind == "f"]
        g = lib.put(random(*lib.jax.eval_shape(lambda *xs: f(lib.jax, *xs), *held).shape))

        def run(g: Any, *xs: Any) -> Any:
            def of_floats(*ys: Any) -> Any:
                replaced = dict(zip(floating, ys))
                return f(lib.jax, *(replaced.get(i, x) for i, x in enumerate(xs)))

            _, back = lib.jax.vjp(of_floats, *(xs[i] for i in floating))
            return back(g)

        compiled = lib.jax.jit(run)
        return lambda: compiled(g, *held)

    return build


def both_ways(name: str, f: Callable, arrays: tuple, once: float, twice: float, unit: str = "B",
              jax: Callable | None = None, numpy: Callable | None = None) -> tuple[Case, Case]:
    """Two cases of ``f(nn.functional, *arrays)``: alone, of work ``once``, and with its gradients, of work ``twice``.

    ``jax`` is the function of (jax, *arrays), ``numpy`` that of (numpy, *arrays)."""
    there = {"*": forward(f, *arrays)}
    back = {"*": backward(f, *arrays)}
    if jax is not None:
        there["jax"], back["jax"] = jax_forward(jax, *arrays), jax_backward(jax, *arrays)
    if numpy is not None:
        there["numpy"] = given(numpy, *arrays)
    return (Case(name, there, once, unit, tuple(n for n in OTHERS if n not in there)),
            Case(f"{name} and back", back, twice, unit, tuple(n for n in OTHERS if n not in back)))
