"""What the families share: bounded plan caches, index types, sizes of launches."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..core import dtypes
from ..core.dtypes import DType
from ..ndarray import INT_BYTES, Storage, no_float64
from ..runtime import program, tuned
from ..runtime.device import Device
from ..runtime.launch import Launch
from ..runtime.program import Kernel

_MOST_PLANS = 4096

_every: list[weakref.ref] = []  # the Plans of every family


class Plans(dict):
    """Plans by key; emptied when full, so that ever-changing shapes do not grow it without bound."""

    def __init__(self) -> None:
        super().__init__()
        _every.append(weakref.ref(self, _every.remove))

    def put(self, key: Any, plan: Any) -> Any:
        if len(self) >= _MOST_PLANS:
            self.clear()
        self[key] = plan
        return plan


def forget() -> None:
    """Let every plan be made anew at its next use: with other tuned parameters or another default dtype, or after its
    kernels were let go."""
    for plans in [ref() for ref in _every]:
        if plans is not None:
            plans.clear()


dtypes.when_default_changes.append(forget)
program.when_dropped.append(forget)


def signature_of(args: Sequence[Any], offsets: Sequence[str], index: str) -> str:
    """The letters of a Launch's arguments, of which ints and the names in ``offsets`` are of the index type."""
    i = letter(index)
    return "".join(i if isinstance(a, (int, np.integer)) or a in offsets else "P" for a in args)


def replay(launches: Sequence[Launch], device: Device, temporaries: Sequence[int], values: dict[Any, Any]) -> None:
    """Launch in order; ``values`` is what names stand for, but for the temporaries, ("temp", i), made here."""
    held = [Storage(device, n) for n in temporaries]  # until everything is enqueued: then the pool may reuse them
    for i, storage in enumerate(held):
        values["temp", i] = storage.buffer
    for step in launches:
        step(*[values[name] for name in step.names])


def by_kind(text: str | dict[str, str], d: DType, *default: str) -> str:
    """The C text for a dtype, of one for all or by kinds; a kind without text is an error, or has the default."""
    return text if isinstance(text, str) else next((t for kinds, t in text.items() if d.kind in kinds), *default)


def index_type(*nbytes: int) -> str:
    """C type that indexes memory blocks of these sizes in bytes. The element count of a view that reads an element more
    than once is a size of its own."""
    return "int" if max(nbytes, default=0) < INT_BYTES else "long"


def letter(index: str) -> str:
    """Signature letter of an index type."""
    return "i" if index == "int" else "l"


def form(device: Device) -> str:
    """The kernel shape a device gets."""
    return "wide" if device.wide_core else "many"


def parameters(device: Device, family: str, dtype: str, layout: str, sizes: tuple[int, ...]) -> dict[str, int]:
    """What a family's kernels take for a problem: parameters that were tuned, or the form's default."""
    return tuned.params(device, family, dtype, layout, sizes, kernels.template(family).module.DEFAULT[form(device)])


def check_device(device: Device, *used: DType) -> None:
    """float64 asked of a device without it is an error here, not in the driver's compiler."""
    if not device.facts.fp64 and any(d.real.name == "float64" for d in used):
        raise no_float64(device)


def streamed(device: Device, nbytes: int, itemsize: int, least: int = 0) -> bool:
    """Whether vectors of a result of ``nbytes`` are best written past the caches: from ``least`` on, or where an
    elementwise result would be."""
    least = least or kernels.template("elementwise").module.DEFAULT[form(device)]["stream"]
    return device.wide_core and itemsize in (4, 8) and nbytes >= least


def workers(device: Device, items: int, per_unit: int, least: int) -> int:
    """Work-items for a wide-core launch: enough for every core, none with less than ``least`` items."""
    return max(1, min(device.facts.compute_units * per_unit, -(-items // least)))


def blocks(device: Device, items: int, local: int, per_unit: int) -> tuple[tuple[int], tuple[int]]:
    """Global and local size of a many-core launch over ``items``, capped: kernels walk in grid strides."""
    groups = max(1, min(-(-items // local), device.facts.compute_units * per_unit))
    return (groups * local,), (local,)


def spread(device: Device, k: Kernel, params: dict[str, int], units: int,
           work: int = 1) -> tuple[tuple[int], tuple[int]]:
    """Global and local size for ``units`` of ``work`` elements each, by a family's parameters: ``groups_per_unit``;
    ``least`` elements of a wide-core work-item; ``local`` work-items of a many-core group, if the kernel allows."""
    if device.wide_core:
        return (max(1, min(units, workers(device, units * work, params["groups_per_unit"], params["least"]))),), (1,)
    return blocks(device, units, min(params["local"], k.max_local), params["groups_per_unit"])


def group_size(device: Device, rows: int, length: int, local: int) -> int:
    """Work-items of a group for rows of a length: more than ``local`` where so few rows would leave units without work,
    as long as each has 16 elements."""
    most = min(1024, device.facts.max_work_group_size)
    while 2 * local <= most and 16 * 2 * local <= length and rows * local < 512 * device.facts.compute_units:
        local *= 2
    return local


def row_pieces(device: Device, rows: int, length: int, least: int) -> int:
    """Into how many pieces a row is cut on a many-core device, so that every unit has two groups: pieces of at least
    ``least`` elements, which are worth another launch, and 1 where there are rows enough."""
    if 2 * rows > device.facts.compute_units or length < 2 * least:
        return 1
    pieces = min(-(-2 * device.facts.compute_units // max(rows, 1)), length // least)
    return -(-length // -(-length // pieces))


def team_size(length: int, local: int) -> int:
    """Work-items, a power of two, that share a row: all of a group, or fewer with about four elements each, so that the
    group takes several rows, which lie side by side."""
    return min(local, 1 << max(0, -(-length // 4) - 1).bit_length())


def strip_span(device: Device, outer: int, inner: int, width: int, strip: int) -> int:
    """Elements side by side, of ``inner``, that a strip of at most ``strip`` vectors takes: fewer, where a core would
    have none of the ``outer`` times as many strips."""
    vectors = -(-inner // width)
    share = max(1, vectors * outer // (2 * device.facts.compute_units))
    return width * max(1, min(strip, vectors, share))


def streamed_rows(nbytes: int, row: int, dtype: DType, least: int) -> bool:
    """Whether a wide-core kernel writes rows past the caches: many enough, of whole vectors that are computed in the
    type they are stored in."""
    return nbytes >= least and row % (64 // dtype.itemsize) == 0 and dtype.c == dtype.compute
