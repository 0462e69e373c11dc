"""Host side of recurrent cells: what follows a step's matrix products, and its gradient, one launch each."""

from __future__ import annotations

from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array, empty, same_device
from ..runtime.launch import launch
from ..runtime.program import kernel
from .plans import Plans, check_device, form, index_type, letter, parameters, spread


class Cell:
    """Callable for one kind of the kernel; ``reads`` and ``writes`` are how many times H each array's rows are long."""

    def __init__(self, kind: str, reads: tuple[int, ...], writes: tuple[int, ...]) -> None:
        self.kind = kind
        self.reads = reads
        self.writes = writes
        self._plans = Plans()

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """Arrays (N, gates * H) to arrays (N, gates * H)."""
        first = arrays[0]
        device = same_device(self.kind, arrays)
        check_kind(self.kind, "f", first.dtype)
        N, H = first.shape[0], first.shape[1] // self.reads[0] if first.ndim == 2 else 0
        wrong = [a for a, gates in zip(arrays, self.reads)
                 if a.shape != (N, gates * H) or a.dtype is not first.dtype]
        if first.ndim != 2 or wrong:
            raise ShapeError(bad(self.kind, f"{[a.shape for a in arrays]} of {first.dtype}",
                                 f"(N, gates * H) for {self.reads} gates, of one dtype", "Check the hidden size."))
        outs = tuple(empty((N, gates * H), first.dtype, device) for gates in self.writes)
        if not N or not H:
            return outs
        arrays = tuple(a if a.strides[1] == 1 or a.shape[1] == 1 else a.contiguous() for a in arrays)
        index = index_type(*(a.storage.nbytes for a in (*arrays, *outs)))
        key = (N, H, first.dtype, device, index)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans.put(key, self._plan(first, N, H, index))
        k, gsize, lsize, tail = plan
        args = [o.storage.buffer for o in outs]
        for a in arrays:
            args += (a.storage.buffer, a.offset, a.strides[0])
        launch(k, gsize, lsize, *args, *tail, nbytes=sum(a.nbytes for a in (*arrays, *outs)))
        return outs

    def _plan(self, first: Array, N: int, H: int, index: str) -> tuple:
        device, i = first.device, letter(index)
        check_device(device, first.dtype)
        k = kernel(device, "cell", "cell", "P" * len(self.writes) + f"P{i}{i}" * len(self.reads) + i * 2, self.kind,
                   kind=self.kind, form=form(device), ctype=first.dtype.c, T=first.dtype.compute, index=index)
        W = (8 if first.dtype.itemsize == 8 else 16) if device.wide_core else 1
        units = N * -(-H // W)
        params = parameters(device, "cell", first.dtype.name, self.kind, (N, H))
        return k, *spread(device, k, params, units, W), (H, units)
