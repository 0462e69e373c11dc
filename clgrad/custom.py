"""Ops of your own: an elementwise op from a C expression, and whole kernels from a Mako template.

Neither joins the table of clgrad's own ops, so that nothing here can change or shadow one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import kernels
from .autograd import Variable
from .core.errors import ShapeError, bad
from .ndarray import Array, same_device
from .ops import declare
from .runtime import launch
from .runtime.device import Device
from .runtime.program import Kernel as Built
from .runtime.program import build
from .table import ZERO_GRAD as ZERO_GRAD
from .table import NoGrad as NoGrad


def elementwise(name: str, args: str, *, c: str, grad: Sequence[Any], ref: Callable | None = None, doc: str = "",
                header: str = "", kinds: str = "biuf", vector: bool = True) -> Callable:
    """A differentiable function of one C expression over broadcast tensors and numbers, computed in one launch.

    ``args`` names the arguments (``"x, y"``), which ``c`` uses. In it, ``T`` is the type computed in (float or double,
    float for 16-bit dtypes; integers become the default float), ``ZERO`` and ``ONE`` are its numbers and ``K(0.5)``
    turns another written number into one. The expression must hold for OpenCL's vector types, as its arithmetic,
    comparisons with ``?:`` and mathematical functions do, unless ``vector`` is False. ``header`` is C text with helper
    functions, which take scalars only.

    ``grad`` has an entry for each argument: a function that returns its gradient, ``ZERO_GRAD``, or ``NoGrad(why)``,
    an error when asked for. The function's parameter names say what is kept for it: ``g`` is the incoming gradient,
    ``out`` the result, and an argument's name that argument. Derivatives of it follow from the ops it uses.

    ``ref``, the same in NumPy, is for :func:`clgrad.testing.samples`. A wrong declaration raises a TypeError here; C
    that the driver refuses raises a BuildError at the first call.
    """
    names = [a.strip() for a in args.split(",")]
    if not all(n.isidentifier() for n in names) or len(set(names)) < len(names):
        raise TypeError(bad(f"custom.elementwise {name!r}", f"args={args!r}", "different names such as 'x, y'",
                            "Numbers are passed by the caller: defaults belong into a function around this one."))
    if callable(grad) or len(grad) != len(names):
        got = "one function" if callable(grad) else f"{len(grad)} entries"
        raise TypeError(bad(f"custom.elementwise {name!r}", f"{got} in grad", f"a list with one for each of {args}",
                            "Use ZERO_GRAD where there is none."))
    return declare.elementwise(name, args, c=f"({c})", grad=list(grad), ref=ref or _without_reference, dtype="float",
                               kinds=kinds, vector=vector and not header, header=header, doc=doc or c, listed=False,
                               public=False, method=False)


def _without_reference(*_: Any) -> Any:
    raise TypeError("custom.elementwise: this op was declared without ref=, a NumPy function to compare it with.")


class Kernel:
    """An OpenCL kernel from a Mako template, built at the first call for a device and values, and kept on disk.

    ``source`` holds a ``kernel void`` called ``name``. ``signature`` has a letter an argument of a call: ``r`` an array
    that is read, ``w`` one that is written, ``i`` int, ``I`` uint, ``l`` long, ``L`` ulong, ``f`` float and ``d``
    double. **An array is two arguments of the kernel**: a ``global`` pointer, and a ``long`` with the place of its
    first element there, since an array may be part of another. In the template, ``prelude`` has clgrad's own helpers:
    ``prelude.extensions(ctype, ...)`` opens a source that uses such types.
    """

    def __init__(self, name: str, source: str, signature: str) -> None:
        unknown = set(signature) - set("rwiIlLfd")
        if unknown or not set(signature) & set("rw"):
            raise TypeError(bad(f"custom.Kernel {name!r}", f"signature {signature!r}",
                                "letters of rwiIlLfd, among them an array's r or w",
                                "Write one letter an argument of the call."))
        self.name = name
        self.source = source
        self.signature = signature
        self._built: dict[tuple, Built] = {}

    def __call__(self, global_size: Sequence[int], local_size: Sequence[int] | None, *args: Any, **values: Any) -> None:
        """Enqueue the kernel with so many work-items, in groups of ``local_size`` (None: as the driver likes).

        Arrays must be contiguous and on one device. ``values`` are the template's, hashable; each combination is a
        kernel of its own. Without work-items nothing runs.
        """
        if len(args) != len(self.signature):
            raise TypeError(bad(self.name, f"{len(args)} arguments", f"{len(self.signature)} ({self.signature})",
                                "Pass one a letter of the signature."))
        plain = [a._data if isinstance(a, Variable) else a for a in args]
        flat: list[Any] = []
        for letter, x in zip(self.signature, plain):
            flat += self._array(x) if letter in "rw" else (x,)
        device = same_device(self.name, [x for letter, x in zip(self.signature, plain) if letter in "rw"])
        if 0 in global_size:
            return
        launch.launch(self._kernel(device, values), tuple(global_size), local_size and tuple(local_size), *flat)
        for letter, x in zip(self.signature, plain):
            if letter == "w":
                x.storage.version += 1

    def _array(self, x: Any) -> tuple[Any, int]:
        if not isinstance(x, Array):
            raise TypeError(bad(self.name, f"a {type(x).__name__}", "an array where the signature has r or w",
                                "Wrap it with clgrad.tensor()."))
        if not x.is_contiguous():
            raise ShapeError(bad(self.name, f"strides {x.strides} for shape {x.shape}", "a contiguous array",
                                 "Call .contiguous() on it."))
        return x.storage.buffer, x.offset

    def _kernel(self, device: Device, values: dict[str, Any]) -> Built:
        # equal values may be written differently (1 and 1.0), and long ones may be shortened by repr: both count
        key = (device.key, *((k, values[k], repr(values[k])) for k in sorted(values)))
        built = self._built.get(key)
        if built is None:
            program = build(device, kernels.render_text(self.source, **values), self.name)
            letters = "".join("Pl" if s in "rw" else s for s in self.signature)
            built = self._built.setdefault(key, Built(device, program, self.name, letters, self.name))
        return built
