"""Shape and stride arithmetic on tuples of Python ints. Strides count elements, not bytes."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

from .errors import ShapeError, bad

Shape = tuple[int, ...]


class Size(tuple):
    """A shape as PyTorch's users see it: a tuple whose repr is PyTorch's, ``torch.Size([2, 3])``."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        return prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __format__(self, spec: str) -> str:
        return format(str(tuple(self)), spec)  # in sentences, such as errors, as any shape

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return Size(found) if isinstance(key, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(super().__add__(tuple(other)))

    def __reduce__(self) -> tuple:
        return Size, (tuple(self),)


@lru_cache(4096)
def contiguous_strides(shape: Shape) -> Shape:
    """Row-major strides of a shape."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: Shape, strides: Shape) -> bool:
    """True where memory order is row-major without gaps; strides of size-1 axes do not matter."""
    expected = contiguous_strides(shape)
    return strides == expected or 0 in shape or all(
        n == 1 or s == e for n, s, e in zip(shape, strides, expected))


@lru_cache(4096)
def dense_order(shape: Shape, strides: Shape) -> tuple[int, ...] | None:
    """Axes from outermost to innermost when the elements fill memory without gap or overlap, else None."""
    order = sorted(range(len(shape)), key=lambda a: (-strides[a], a))
    step = 1
    for axis in reversed(order):
        if shape[axis] == 1:
            continue
        if strides[axis] != step:
            return None
        step *= shape[axis]
    return tuple(order)


def broadcast(op: str, *shapes: Shape) -> Shape:
    """The common shape of NumPy's broadcasting rule; ShapeError where there is none."""
    rank = max(map(len, shapes))
    out = []
    for axis in range(-rank, 0):
        sizes = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(sizes) > 1:
            raise ShapeError(bad(op, " and ".join(str(tuple(s)) for s in shapes), "shapes that broadcast together",
                                 f"Axis {axis} has sizes {sorted(sizes)}: make them equal, or 1 (reshape, unsqueeze)."))
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


def expand_strides(shape: Shape, strides: Shape, target: Shape) -> Shape:
    """Strides that read an array of ``shape`` as ``target`` (already known to broadcast)."""
    lead = len(target) - len(shape)
    return (0,) * lead + tuple(
        0 if n == 1 and t != 1 else s for n, s, t in zip(shape, strides, target[lead:]))


def axis_index(op: str, axis: Any, rank: int) -> int:
    """``axis`` as a non-negative int; ShapeError (also an IndexError's wording) when out of range."""
    if type(axis) is int and -rank <= axis < rank:
        return axis % rank
    try:
        index = operator.index(axis)
    except TypeError:
        raise ShapeError(bad(op, f"dim={axis!r}", "an int", "Pass the axis as an int.")) from None
    limit = max(rank, 1)
    if not -limit <= index < limit:
        raise AxisError(bad(op, f"dim={index}", f"-{limit} <= dim < {limit}", f"The array has {rank} dimensions."))
    return index % limit


class AxisError(ShapeError, IndexError):
    """An axis out of range: PyTorch raises IndexError, NumPy a ValueError; this is both."""


def axis_tuple(op: str, dim: Any, rank: int) -> tuple[int, ...]:
    """Axes meant by None (all), an int, or a sequence of ints; sorted, without repetition."""
    if dim is None:
        return tuple(range(rank))
    dims = dim if isinstance(dim, Iterable) else (dim,)
    axes = [axis_index(op, d, rank) for d in dims]
    if len(set(axes)) != len(axes):
        raise ShapeError(bad(op, f"dim={dim}", "each axis once", "Remove the repeated axis."))
    return tuple(sorted(axes)) if rank else ()


def reduced(shape: Shape, axes: tuple[int, ...], keepdim: bool) -> Shape:
    """Shape after reducing ``axes``."""
    if keepdim:
        return tuple(1 if a in axes else n for a, n in enumerate(shape))
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def resolve(op: str, size: int, shape: Sequence[int]) -> Shape:
    """``shape`` with one -1 replaced by what ``size`` elements leave for it."""
    return _resolve(op, size, tuple(map(operator.index, shape)))


@lru_cache(8192)
def _resolve(op: str, size: int, shape: Shape) -> Shape:
    unknown = [a for a, n in enumerate(shape) if n == -1]
    known = prod(n for n in shape if n != -1)
    if len(unknown) > 1 or any(n < -1 for n in shape):
        raise ShapeError(bad(op, shape, "at most one -1 and no other negative size", "Give the sizes."))
    if unknown:
        if known == 0 or size % known:
            raise ShapeError(bad(op, f"shape {shape} for {size} elements", "a -1 that can be inferred",
                                 "Sizes must multiply to the number of elements."))
        shape = tuple(size // known if n == -1 else n for n in shape)
    if prod(shape) != size:
        raise ShapeError(bad(op, f"shape {shape} ({prod(shape)} elements)", f"{size} elements",
                             "Sizes must multiply to the number of elements; -1 infers one."))
    return shape


@lru_cache(8192)
def view_strides(shape: Shape, strides: Shape, target: Shape) -> Shape | None:
    """Strides that read the same memory as ``target``, or None where a copy is needed."""
    if 0 in target:
        return contiguous_strides(target)
    # Merge neighbouring axes that are contiguous with each other, then cut the merged runs into the target's axes.
    runs: list[list[int]] = []
    for n, s in zip(shape, strides):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * s:
            runs[-1] = [runs[-1][0] * n, s]
        else:
            runs.append([n, s])
    out: list[int] = []
    room, step = 1, 1
    for n in reversed(target):
        if n == 1:
            out.append(step)
            continue
        if room == 1:
            if not runs:
                return None
            room, step = runs.pop()
        if room % n:
            return None
        out.append(step)
        step *= n
        room //= n
    return tuple(reversed(out))


@lru_cache(8192)
def collapse(shape: Shape, *operands: Shape) -> tuple[Shape, tuple[Shape, ...]]:
    """Drop size-1 axes and merge neighbours that every operand's strides allow. At least one axis remains.

    Axes are first ordered by the first operand's strides (the one written), so that its memory is walked in order.
    """
    axes = [a for a in range(len(shape)) if shape[a] != 1]
    axes.sort(key=lambda a: tuple(-abs(s[a]) for s in operands))
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in operands]
    for a in axes:
        if sizes and all(t[-1] == s[a] * shape[a] for t, s in zip(steps, operands)):
            sizes[-1] *= shape[a]
            for t, s in zip(steps, operands):
                t[-1] = s[a]
        else:
            sizes.append(shape[a])
            for t, s in zip(steps, operands):
                t.append(s[a])
    if not sizes:
        return (1,), tuple((0,) for _ in operands)
    return tuple(sizes), tuple(map(tuple, steps))


def merged(shape: Shape, strides: Shape) -> tuple[tuple[int, int], ...]:
    """Size and stride of axes in their order, without those of size 1, neighbours that lie as one made one. At least
    one axis remains."""
    sizes, steps = collapse(shape, contiguous_strides(shape), strides)
    return tuple(zip(sizes, steps[1]))


def extent(shape: Shape, strides: Shape) -> tuple[int, int]:
    """Lowest and highest element position reached, relative to the offset; (0, -1) when empty."""
    if 0 in shape:
        return 0, -1
    low = sum((n - 1) * s for n, s in zip(shape, strides) if s < 0)
    high = sum((n - 1) * s for n, s in zip(shape, strides) if s > 0)
    return low, high
