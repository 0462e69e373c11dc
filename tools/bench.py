"""Time cases in clgrad, NumPy and, where installed, PyTorch and JAX: in turns, median, quartiles, ratio.

Each library runs in a process of its own, so that their thread pools do not meet, and the processes take turns: what
slows the machine for a while slows all of them. A time is that of one step, from many in a row and one
synchronisation at the end. A ratio is the library's median over clgrad's: above 1, clgrad is faster. Where bytes are
the work, they are those that must be moved at least (each operand read once, the result written once), and stand
beside the rate at which clgrad copies 16 M floats in the same run ("copy 16 M" has to be among the cases).

    python tools/bench.py --only matmul --json new.json --compare old.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("clgrad", "numpy", "torch", "jax")
SAMPLE_SECONDS = 0.05
Step = Callable[[], Any]


# Libraries ---------------------------------------------------------------------------------------------------------


class Library:
    """What the cases need of a library: its namespace ``np``, arrays from the host, and waiting."""

    name = "numpy"

    def __init__(self, device: str | None) -> None:
        self.np: Any = np
        self.version = np.__version__
        self.device = platform.processor() or platform.machine()

    def put(self, host: np.ndarray) -> Any:
        """The array on the library's device."""
        return host

    def wait(self, out: Any) -> None:
        """Return when ``out`` and everything before it has been computed."""

    def jit(self, f: Callable) -> Callable:
        """The function as the library's users run it."""
        return f


class Clgrad(Library):
    name = "clgrad"

    def __init__(self, device: str | None) -> None:
        import clgrad

        if device is not None:
            clgrad.set_default_device(device)
        chosen = clgrad.default_device()
        self.np = clgrad
        self.version = clgrad.__version__
        self.device = f"{chosen} ({chosen.name}, {chosen.driver_version})"

    def put(self, host: np.ndarray) -> Any:
        return self.np.tensor(host)

    def wait(self, out: Any) -> None:
        self.np.synchronize()


class Torch(Library):
    name = "torch"

    def __init__(self, device: str | None) -> None:
        import torch

        self.np = torch
        self.version = torch.__version__
        self.cuda = torch.cuda.is_available()
        self.device = torch.cuda.get_device_name() if self.cuda else f"CPU, {torch.get_num_threads()} threads"
        if self.cuda:
            torch.set_default_device("cuda")

    def put(self, host: np.ndarray) -> Any:
        return self.np.asarray(host, device="cuda") if self.cuda else self.np.from_numpy(host)

    def wait(self, out: Any) -> None:
        if self.cuda:
            self.np.cuda.synchronize()


class Jax(Library):
    name = "jax"

    def __init__(self, device: str | None) -> None:
        import jax
        import jax.numpy

        self.jax = jax
        self.np = jax.numpy
        self.version = jax.__version__
        self.device = str(jax.devices()[0])

    def put(self, host: np.ndarray) -> Any:
        return self.np.asarray(host)

    def wait(self, out: Any) -> None:
        self.jax.block_until_ready(out)

    def jit(self, f: Callable) -> Callable:
        return self.jax.jit(f)


OPEN = {"clgrad": Clgrad, "numpy": Library, "torch": Torch, "jax": Jax}


# Cases -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What is timed. ``builders`` gives, by library, a function of the Library that makes the step; ``"*"`` is for
    those not named. ``work`` is the amount of ``unit`` in a step: FLOP, B(ytes), ops, or samples."""

    name: str
    builders: dict[str, Callable[[Any], Step]]
    work: float = 0.0
    unit: str = "FLOP"
    skip: tuple[str, ...] = ()

    def builder(self, library: str) -> Callable[[Any], Step] | None:
        """The builder of a library, or None where the case is not for it."""
        return None if library in self.skip else self.builders.get(library, self.builders.get("*"))


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _call(f: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[Any], Step]:
    """The builder of a step ``f(library.np, *arrays)``."""
    def build(lib: Any) -> Step:
        arrays = [lib.put(_random(*s)) for s in shapes]
        run = lib.jit(lambda *xs: f(lib.np, *xs))
        return lambda: run(*arrays)

    return build


def _given(f: Callable[..., Any], *arrays: Callable[[], np.ndarray]) -> Callable[[Any], Step]:
    """The same of arrays that the functions make."""
    def build(lib: Any) -> Step:
        given = [lib.put(a()) for a in arrays]
        run = lib.jit(lambda *xs: f(lib.np, *xs))
        return lambda: run(*given)

    return build


def _matmul(label: str, a: tuple[int, ...], b: tuple[int, ...]) -> Case:
    flops = 2 * float(np.prod(a)) * b[-1]
    return Case(f"matmul {label}", {"*": _call(lambda np_, x, y: x @ y, a, b)}, flops)


def _gradient_matmul(label: str, a: tuple[int, int], b: tuple[int, int], which: str) -> Case:
    """Products with a transposed operand, as the backward pass of x @ w makes them."""
    f = (lambda np_, x, y: x.T @ y) if which == "left" else (lambda np_, x, y: x @ y.T)
    if which == "left":
        def mine(np_: Any, x: Any, y: Any) -> Any:
            return x.t() @ y
    else:
        def mine(np_: Any, x: Any, y: Any) -> Any:
            return x @ y.t()
    inner = a[0] if which == "left" else a[1]
    outer = a[1] * b[1] if which == "left" else a[0] * b[0]
    return Case(f"matmul {label}", {"*": _call(f, a, b), "clgrad": _call(mine, a, b)}, 2.0 * inner * outer)


def _softmax_numpy(np_: Any, x: Any) -> Any:
    e = np_.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _softmax_jax(lib: Any) -> Step:
    return _call(lambda np_, x: lib.jax.nn.softmax(x, -1), (4096, 1024))(lib)


_EAGER = ("numpy", "jax")  # cases of clgrad and PyTorch alone skip these

# Training steps ------------------------------------------------------------------------------------------------------

_LAYERS = ((64, 1000), (1000, 100), (100, 10), (64, 10))
_RATE = 1e-6


def _two_layers_eager(lib: Any) -> Step:
    """clgrad and PyTorch: the loss by autograd, the update by hand."""
    xp = lib.np
    x, w1, w2, y = (lib.put(_random(*s)) for s in _LAYERS)
    w1.requires_grad_()
    w2.requires_grad_()

    def step() -> Any:
        loss = ((x @ w1).clamp(min=0) @ w2 - y).square().sum()
        loss.backward()
        with xp.no_grad():
            for w in (w1, w2):
                w -= _RATE * w.grad
                w.grad = None
        return loss

    return step


def _two_layers_numpy(lib: Any) -> Step:
    x, w1, w2, y = (_random(*s) for s in _LAYERS)

    def step() -> Any:
        nonlocal w1, w2
        h = x @ w1
        r = np.maximum(h, 0)
        g = 2 * (r @ w2 - y)
        g1 = (g @ w2.T) * (h > 0)
        w2 -= np.float32(_RATE) * (r.T @ g)
        w1 -= np.float32(_RATE) * (x.T @ g1)
        return w1

    return step


def _two_layers_jax(lib: Any) -> Step:
    x, w1, w2, y = (lib.put(_random(*s)) for s in _LAYERS)
    weights = (w1, w2)

    def loss(ws: Any) -> Any:
        return ((lib.np.maximum(x @ ws[0], 0) @ ws[1] - y) ** 2).sum()

    update = lib.jax.jit(lambda ws: tuple(w - _RATE * g for w, g in zip(ws, lib.jax.grad(loss)(ws))))

    def step() -> Any:
        nonlocal weights
        weights = update(weights)
        return weights

    return step


def _digits(lib: Any) -> Step:
    """clgrad and PyTorch: nn.Sequential, cross entropy and Adam, batch 64."""
    nn = importlib.import_module(f"{lib.name}.nn")
    optim = importlib.import_module(f"{lib.name}.optim")
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    x = lib.put(_random(64, 64))
    y = lib.put(np.random.default_rng(1).integers(0, 10, 64))
    loss_of = nn.CrossEntropyLoss()

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


# Loading -------------------------------------------------------------------------------------------------------------


class Images:
    """Samples that cost host work: a random crop, a flip and a normalisation of a 3x72x72 image."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (64, 3, 72, 72)).astype(np.uint8)

    def __len__(self) -> int:
        return 1024

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        top, left, flip = index % 8, index // 8 % 8, index % 2
        crop = self.images[index % 64, :, top:top + 64, left:left + 64].astype(np.float32)
        return np.ascontiguousarray((crop[:, :, ::-1] if flip else crop) / 127.5 - 1), index % 10


def _loading(**options: Any) -> Callable[[Any], Step]:
    """A batch of 64 and a step that uses it: how much of the loading hides behind the computation."""
    def build(lib: Any) -> Step:
        data = importlib.import_module(f"{lib.name}.utils.data")
        loader = data.DataLoader(Images(), 64, shuffle=True, drop_last=True, **options)
        w = lib.put(_random(3 * 64 * 64, 512))
        batches = iter(loader)

        def step() -> Any:
            nonlocal batches
            batch = next(batches, None)
            if batch is None:
                batches = iter(loader)
                batch = next(batches)
            return (batch[0].to(w.device).reshape(64, -1) @ w).sum()

        return step

    return build
# Images --------------------------------------------------------------------------------------------------------------


def _conv(label: str, x: tuple[int, ...], w: tuple[int, ...], backward: bool = False) -> Case:
    """A convolution that keeps the size; with ``backward`` also both gradients, three times the work."""
    margin, groups = w[2] // 2, x[1] // w[1]
    flops = 2 * float(np.prod(w)) * x[0] * x[2] * x[3]

    def eager(lib: Any) -> Step:
        F = importlib.import_module(f"{lib.name}.nn.functional")
        a, b = lib.put(_random(*x)), lib.put(_random(*w))
        if not backward:
            return lambda: F.conv2d(a, b, None, 1, margin, 1, groups)
        a.requires_grad_()
        b.requires_grad_()
        g = lib.put(_random(x[0], w[0], *x[2:]))

        def step() -> Any:
            F.conv2d(a, b, None, 1, margin, 1, groups).backward(g)
            a.grad, gradient, b.grad = None, b.grad, None
            return gradient

        return step

    def with_jax(lib: Any) -> Step:
        def run(np_: Any, a: Any, b: Any) -> Any:
            return lib.jax.lax.conv_general_dilated(a, b, (1, 1), "SAME", feature_group_count=groups)

        return _call(run, x, w)(lib)

    return Case(f"conv {label}", {"*": eager, "jax": with_jax}, flops * (3 if backward else 1),
                skip=_EAGER if backward else ("numpy",))


def _max_pool(lib: Any) -> Step:
    F = importlib.import_module(f"{lib.name}.nn.functional")
    x = lib.put(_random(16, 64, 64, 64))
    return lambda: F.max_pool2d(x, 2)


def _lenet(lib: Any) -> Step:
    """clgrad and PyTorch: LeNet on batch 64 of 3 x 32 x 32, cross entropy and SGD."""
    nn = importlib.import_module(f"{lib.name}.nn")
    optim = importlib.import_module(f"{lib.name}.optim")
    model = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                          nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                          nn.Linear(84, 10))
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    x = lib.put(_random(64, 3, 32, 32))
    y = lib.put(np.random.default_rng(1).integers(0, 10, 64))
    loss_of = nn.CrossEntropyLoss()

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _overhead(lib: Any) -> Step:
    """A hundred additions of sixteen elements: what an op costs before it computes anything."""
    a, b = lib.put(_random(16)), lib.put(_random(16))

    def step() -> Any:
        for _ in range(100):
            c = a + b
        return c

    return step


def _backward_overhead(lib: Any) -> Step:
    """The same with a graph: a chain of fifty multiplications, and back."""
    x, y = lib.put(_random(16)), lib.put(np.ones(16, np.float32))
    x.requires_grad_()

    def step() -> Any:
        out = x
        for _ in range(50):
            out = out * y
        out.sum().backward()
        x.grad = None
        return out

    return step


# Moving and ordering -------------------------------------------------------------------------------------------------

_M16 = 1 << 24
_CONVOLUTIONS = (((16, 64, 32, 32), (64, 64, 3, 3)), ((16, 128, 16, 16), (128, 128, 3, 3)),
                 ((16, 256, 8, 8), (256, 256, 3, 3)), ((16, 512, 4, 4), (512, 512, 3, 3)),
                 ((16, 64, 32, 32), (256, 64, 1, 1)), ((16, 64, 32, 32), (64, 1, 3, 3)))
_COPY = "copy 16 M"  # the yardstick of what memory gives
_SQUARE = (4096, 4096)


def _floats(*shape: int) -> Callable[[], np.ndarray]:
    return lambda: _random(*shape)


def _normal(*shape: int) -> Callable[[], np.ndarray]:
    return lambda: np.random.default_rng(0).standard_normal(shape, np.float32)


def _integers(high: int, *shape: int, dtype: Any = np.int64) -> Callable[[], np.ndarray]:
    return lambda: np.random.default_rng(1).integers(0, high, shape, dtype)


def _shuffled(n: int) -> Callable[[], np.ndarray]:
    return lambda: np.random.default_rng(1).permutation(n)


def _bytes(name: str, work: float, arrays: tuple, f: Callable, **others: Callable | None) -> Case:
    """A case that is told by the bytes it has to move; ``others`` by library, None where there is no counterpart."""
    builders = {"*": _given(f, *arrays), **{k: _given(g, *arrays) for k, g in others.items() if g}}
    return Case(name, builders, float(work), "B", tuple(k for k, g in others.items() if g is None))


def _copies() -> Iterator[Case]:
    line = (_floats(_M16),)
    yield _bytes(_COPY, 8 * _M16, line, lambda np_, a: a.clone(), numpy=lambda np_, a: a.copy(),
                 jax=lambda np_, a: np_.copy(a))
    yield _bytes("add 16 M", 12 * _M16, line * 2, lambda np_, a, b: a + b)
    yield _bytes("lerp 16 M (saxpy's traffic)", 12 * _M16, line * 2, lambda np_, a, b: np_.lerp(a, b, 0.3),
                 numpy=lambda np_, a, b: a + np.float32(0.3) * (b - a), jax=lambda np_, a, b: a + 0.3 * (b - a))
    for n in (4096, 2048):
        m, k = 4096, n
        yield _bytes(f"transposed copy {m}x{k}", 8 * m * k, (_floats(m, k),), lambda np_, a: a.T.contiguous(),
                     numpy=lambda np_, a: np_.ascontiguousarray(a.T), jax=lambda np_, a: np_.transpose(a))


def _reductions() -> Iterator[Case]:
    yield _bytes("sum 16 M", 4 * _M16, (_floats(_M16),), lambda np_, a: a.sum())
    for axis in (0, 1):
        yield _bytes(f"sum axis {axis} of 4096x4096", 4 * _M16, (_floats(*_SQUARE),),
                     lambda np_, a, axis=axis: a.sum(axis))
    for shape in ((64, 512, 512), (4096, 64, 64)):
        yield _bytes(f"sum axis 1 of {'x'.join(map(str, shape))}", 4 * _M16, (_floats(*shape),),
                     lambda np_, a: a.sum(1))
    yield _bytes("max axis 1 of 4096x4096", 4 * _M16, (_floats(*_SQUARE),), lambda np_, a: np_.amax(a, 1))


def _indexing() -> Iterator[Case]:
    rows, table = _shuffled(65536), _floats(65536, 256)
    yield _bytes("take rows of 65536x256", 8 * _M16, (table, rows), lambda np_, a, i: a[i])
    yield _bytes("take_along axis 1 of 4096x4096", 16 * _M16, (_floats(*_SQUARE), _integers(4096, *_SQUARE)),
                 lambda np_, a, i: np_.take_along_axis(a, i, 1), clgrad=lambda np_, a, i: np_.gather(a, 1, i),
                 torch=lambda np_, a, i: np_.gather(a, 1, i))
    yield _bytes("take 16 M at random", 16 * _M16, (_floats(_M16), _integers(_M16, _M16)), lambda np_, a, i: a[i])

    def put(np_: Any, a: Any, i: Any, v: Any) -> Any:
        out = a.copy()
        out[i] = v
        return out

    def add(np_: Any, a: Any, i: Any, v: Any) -> Any:
        out = a.copy()
        np.add.at(out, i, v)
        return out

    for name, arrays, work in (("rows of 65536x256", (table, rows, table), 12 * _M16),
                               ("16 M at random", (_floats(_M16), _integers(_M16, _M16), _floats(_M16)), 20 * _M16)):
        yield _bytes(f"put {name}", work, arrays, lambda np_, a, i, v: a.index_put((i,), v), numpy=put,
                     jax=lambda np_, a, i, v: a.at[i].set(v))
        yield _bytes(f"add {name}", work, arrays, lambda np_, a, i, v: a.index_add(0, i, v), numpy=add,
                     jax=lambda np_, a, i, v: a.at[i].add(v))


def _orders() -> Iterator[Case]:
    def chosen(np_: Any, a: Any, k: int) -> Any:
        return np.sort(np.partition(a, -k, -1)[..., -k:], -1)

    line, square = (_normal(_M16),), (_normal(*_SQUARE),)
    sorts = {"clgrad": lambda np_, a: np_.array.sort(getattr(a, "data", a)), "torch": lambda np_, a: np_.sort(a).values}
    for name, arrays in (("16 M", line), ("rows of 4096x4096", square)):
        yield _bytes(f"sort {name}", 8 * _M16, arrays, lambda np_, a: np_.sort(a), **sorts)
        yield _bytes(f"argsort {name}", 12 * _M16, arrays, lambda np_, a: np_.argsort(a))
    yield _bytes("sort with indices 16 M", 16 * _M16, line, lambda np_, a: np_.sort(a), numpy=None, jax=None)
    yield _bytes("sort 16 M int32", 8 * _M16, (_integers(1 << 31, _M16, dtype=np.int32),), lambda np_, a: np_.sort(a),
                 **sorts)
    for name, k, arrays in (("100 of 16 M", 100, line), ("10 of rows of 4096x4096", 10, square)):
        yield _bytes(f"topk {name}", 4 * _M16, arrays, lambda np_, a, k=k: np_.topk(a, k),
                     numpy=lambda np_, a, k=k: chosen(np_, a, k), jax=None)
    yield _bytes("median of 16 M", 4 * _M16, line, lambda np_, a: np_.median(a))
    yield _bytes("unique of 16 M int32", 4 * _M16, (_integers(1 << 20, _M16, dtype=np.int32),),
                 lambda np_, a: np_.unique(a), jax=None)


def _scans() -> Iterator[Case]:
    yield _bytes("cumsum 16 M", 8 * _M16, (_floats(_M16),), lambda np_, a: np_.cumsum(a, 0))
    for axis in (0, 1):
        yield _bytes(f"cumsum axis {axis} of 4096x4096", 8 * _M16, (_floats(*_SQUARE),),
                     lambda np_, a, axis=axis: np_.cumsum(a, axis))
    yield _bytes("cumprod 16 M", 8 * _M16, (lambda: 1 + 1e-4 * _random(_M16),), lambda np_, a: np_.cumprod(a, 0))


CASES = (
    *(_matmul(f"{n}x{n}x{n}", (n, n), (n, n)) for n in (64, 128, 256, 512, 1024, 2048)),
    _matmul("64x1000x100", (64, 1000), (1000, 100)),
    _gradient_matmul("1000x64x100 (left transposed)", (64, 1000), (64, 100), "left"),
    _gradient_matmul("64x100x1000 (right transposed)", (64, 100), (1000, 100), "right"),
    _matmul("batch 32 of 64x64x64", (32, 64, 64), (32, 64, 64)),
    *_copies(), *_reductions(), *_indexing(), *_orders(), *_scans(),
    Case("tanh(exp(a)*b) 16 M", {"*": _call(lambda np_, a, b: np_.tanh(np_.exp(a) * b), (_M16,), (_M16,))},
         12.0 * _M16, "B"),
    Case("softmax 4096x1024", {"*": _call(lambda np_, a: np_.softmax(a, -1), (4096, 1024)), "jax": _softmax_jax,
                               "numpy": _call(_softmax_numpy, (4096, 1024))}, 8.0 * 4096 * 1024, "B"),
    *(_conv(f"{'x'.join(map(str, x))} with {'x'.join(map(str, w))}{' and back' if back else ''}", x, w, back)
      for x, w in _CONVOLUTIONS for back in (False, True)),
    Case("max_pool2d 16x64x64x64", {"*": _max_pool}, 5.0 * 16 * 64 * 64 * 64, "B", skip=_EAGER),
    Case("LeNet, batch 64, SGD", {"*": _lenet}, skip=_EAGER),
    Case("two layers 64x1000x100x10", {"*": _two_layers_eager, "numpy": _two_layers_numpy, "jax": _two_layers_jax}),
    Case("digits MLP, batch 64, Adam", {"*": _digits}, skip=_EAGER),
    Case("loading, batch 64 of 3x64x64, in the process", {"*": _loading()}, 64.0, "samples", skip=_EAGER),
    Case("loading, the same, ahead in a thread", {"clgrad": _loading(prefetch=2)}, 64.0, "samples"),
    Case("loading, the same, 2 workers", {"*": _loading(num_workers=2, persistent_workers=True)}, 64.0, "samples",
         skip=_EAGER),
    Case("overhead: add of 16 elements", {"*": _overhead}, 100.0, "ops"),
    Case("overhead: mul and its backward", {"*": _backward_overhead}, 50.0, "ops", skip=_EAGER),
)


# Workers: one process a library ------------------------------------------------------------------------------------


def worker(name: str, device: str | None) -> None:
    """The child's side: read a command a line, answer with a line of JSON."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not mix with the answers
    lib: Any = OPEN[name](device)
    print(json.dumps({"version": lib.version, "device": lib.device}), file=out, flush=True)
    state: dict[str, Any] = {}
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            answer = {"build": _build, "sample": _sample}[command](lib, state, *arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"}
        print(json.dumps(answer), file=out, flush=True)


def _build(lib: Any, state: dict, index: int) -> dict:
    """Make the step, warm it up, and find how many of them fill a sample."""
    state.clear()
    step = state["step"] = CASES[index].builder(lib.name)(lib)
    for _ in range(3):
        lib.wait(step())
    count = 1
    while _time(lib, step, count) < SAMPLE_SECONDS / 4 and count < 1 << 16:
        count *= 2
    state["count"] = max(1, round(count * SAMPLE_SECONDS / max(_time(lib, step, count), 1e-9)))
    return {"count": state["count"]}


def _sample(lib: Any, state: dict, times: int) -> dict:
    """Seconds a step, ``times`` times; one more run before wakes the threads."""
    _time(lib, state["step"], 1)
    return {"seconds": [_time(lib, state["step"], state["count"]) / state["count"] for _ in range(times)]}


def _time(lib: Any, step: Step, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        out = step()
    lib.wait(out)
    return time.perf_counter() - start


class Worker:
    """A library's process, as the parent sees it."""

    def __init__(self, name: str, device: str | None) -> None:
        self.name = name
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", name, *(["--device", device] if device else [])], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
        self.about = self._read()

    def ask(self, *command: Any) -> dict:
        """The answer to a command; ``error`` in it where the library failed or its process ended."""
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            return {"error": "the process ended"}
        return self._read()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=30)


# The parent --------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """The figures of one case in one library; microseconds a step."""

    case: str
    library: str
    median: float = 0.0
    low: float = 0.0
    high: float = 0.0
    error: str = ""
    samples: list[float] = field(default_factory=list)

    def take(self, seconds: list[float]) -> None:
        """Add samples and renew median and quartiles."""
        self.samples += [round(1e6 * s, 3) for s in seconds]
        if len(self.samples) > 1:
            self.low, self.median, self.high = statistics.quantiles(self.samples, n=4, method="inclusive")
        else:
            self.low = self.median = self.high = self.samples[0]


def measure(index: int, workers: list[Worker], rounds: int, times: int) -> list[Row]:
    """One case in every library, in turns."""
    case = CASES[index]
    rows = {}
    for w in workers:
        if case.builder(w.name) is not None:
            rows[w] = Row(case.name, w.name, error=w.ask("build", index).get("error", ""))
    for turn in range(rounds):
        order = list(rows)
        for w in order[turn % len(order):] + order[:turn % len(order)]:
            if not rows[w].error:
                answer = w.ask("sample", times)
                if "error" in answer:
                    rows[w].error = answer["error"]
                else:
                    rows[w].take(answer["seconds"])
    return list(rows.values())


def _rate(case: Case, microseconds: float) -> str:
    if not case.work:
        return ""
    if case.unit in ("ops", "samples"):
        return f"{microseconds / case.work:.2f} µs {'an op' if case.unit == 'ops' else 'a sample'}"
    return f"{case.work / microseconds / 1e3:.3g} G{case.unit}/s"


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def table(rows: list[Row], old: dict[tuple[str, str], Row] | None) -> Iterator[str]:
    """The rows as a Markdown table, line by line."""
    cases = {c.name: c for c in CASES}
    ours = {r.case: r.median for r in rows if r.library == "clgrad" and not r.error}
    copy = cases[_COPY].work / ours[_COPY] if _COPY in ours else 0.0
    then = " then | change |" if old is not None else ""
    yield f"| case | library | µs, median | quartiles | rate | of a copy | ratio to clgrad |{then}"
    yield "|---|---|--:|--:|--:|--:|--:|" + ("--:|--:|" if old is not None else "")
    for r in rows:
        if r.error:
            yield f"| {r.case} | {r.library} | failed | {r.error.replace('|', '/')} | | | |" + (" | |" if then else "")
            continue
        ratio = f"{r.median / ours[r.case]:.2f}" if r.case in ours else ""
        case = cases[r.case]
        share = f"{100 * case.work / r.median / copy:.0f} %" if case.unit == "B" and copy else ""
        line = (f"| {r.case} | {r.library} | {_figure(r.median)} | {_figure(r.low)} - {_figure(r.high)} "
                f"| {_rate(case, r.median)} | {share} | {ratio} |")
        if old is not None:
            before = old.get((r.case, r.library))
            line += f" {_figure(before.median)} | {_change(before, r)} |" if before and not before.error else " | |"
        yield line


def _change(before: Row, now: Row) -> str:
    """How much longer it takes now; marked where the quartiles do not touch."""
    apart = now.low > before.high or now.high < before.low
    return f"{100 * (now.median / before.median - 1):+.0f} %{' *' if apart else ''}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains one of these, comma-separated")
    parser.add_argument("--library", action="append", choices=LIBRARIES, help="libraries (default: those installed)")
    parser.add_argument("--device", help="clgrad's device, as CLGRAD_DEVICE")
    parser.add_argument("--rounds", type=int, default=5, help="turns a library gets in each case")
    parser.add_argument("--times", type=int, default=3, help="samples taken in a turn")
    parser.add_argument("--json", type=Path, help="file to keep the figures in")
    parser.add_argument("--compare", type=Path, help="file of an older run to set beside this one")
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _read(path: Path) -> dict[tuple[str, str], Row]:
    rows = [Row(**r) for r in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    return {(r.case, r.library): r for r in rows}


def _open(names: list[str], device: str | None) -> list[Worker]:
    """The libraries' processes; one that cannot start is said and left out."""
    started = []
    for name in names:
        w = Worker(name, device)
        if "error" in w.about:
            print(f"{name} does not start", file=sys.stderr)
        else:
            started.append(w)
    return started


def _load() -> str:
    """A remark where others are using the CPUs: libraries that spin at barriers then lose most."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"; the machine was busy (load {busy:.1f}): figures of CPU libraries mean little" if busy > 0.3 else ""


def main() -> int:
    """Run what the command line asks for; the exit status."""
    options = _arguments()
    if options.worker:
        worker(options.worker, options.device)
        return 0
    names = options.library or [n for n in LIBRARIES if n == "clgrad" or importlib.util.find_spec(n)]
    old = _read(options.compare) if options.compare else None
    parts = options.only.lower().split(",")
    chosen = [i for i, c in enumerate(CASES) if any(p in c.name.lower() for p in parts)]
    if not chosen:
        print("no such case; there are: " + "; ".join(c.name for c in CASES), file=sys.stderr)
        return 2
    load = _load()
    workers = _open(names, options.device)
    try:
        rows = []
        for i in chosen:
            print(f"{CASES[i].name} ...", file=sys.stderr, flush=True)
            rows += measure(i, workers, options.rounds, options.times)
        about = {w.name: w.about for w in workers}
    finally:
        for w in workers:
            w.close()
    for name, what in about.items():
        print(f"{name} {what['version']} on {what['device']}  ")
    print(f"\n{os.cpu_count()} CPUs; {options.rounds * options.times} samples each{load}")
    print("\n" + "\n".join(table(rows, old)))
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": [asdict(r) for r in rows]}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
