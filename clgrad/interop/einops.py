"""einops on Arrays and Variables: ``einops.rearrange(x, "b c h w -> b (h w) c")`` and its companions.

einops asks the subclasses of its AbstractBackend which of them knows a tensor. That class exists once einops is
imported, so the backend is made then: at once where einops came first, else when its module has been loaded. Until
then nothing but a finder in ``sys.meta_path`` waits, which removes itself.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from ..autograd.variable import Variable
from ..ndarray import Array
from ..ops import FUNCTIONS

_MODULE = "einops._backends"


def attach() -> None:
    """Register the backend with einops, now or when it is imported."""
    if _MODULE in sys.modules:
        _register(sys.modules[_MODULE])
    elif not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the one module as usual, and has the backend registered after it has run."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(Loader):
    """A module's own loader, with the registration after it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _register(backends: ModuleType) -> None:
    base = getattr(backends, "AbstractBackend", None)
    if base is not None and not any(b.framework_name == "clgrad" for b in base.__subclasses__()):
        backends.ClgradBackend = type("ClgradBackend", (_Backend, base), {"framework_name": "clgrad"})


class _Backend:
    """What einops asks of a library, in clgrad's words."""

    def is_appropriate_type(self, tensor: Any) -> bool:
        return isinstance(tensor, (Array, Variable))

    def from_numpy(self, x: Any) -> Variable:
        from ..factories import from_numpy

        return from_numpy(x)

    def to_numpy(self, x: Any) -> Any:
        return (x.detach() if isinstance(x, Variable) else x).numpy()

    def arange(self, start: int, stop: int) -> Variable:
        from ..factories import arange

        return arange(start, stop)

    def reshape(self, x: Any, shape: Any) -> Any:
        return FUNCTIONS["reshape"](x, tuple(shape))

    def transpose(self, x: Any, axes: Any) -> Any:
        return FUNCTIONS["permute"](x, tuple(axes))

    def reduce(self, x: Any, operation: str, axes: Any) -> Any:
        name = {"min": "amin", "max": "amax"}.get(operation, operation)
        return FUNCTIONS[name](x, tuple(axes))

    def stack_on_zeroth_dimension(self, tensors: list) -> Any:
        return FUNCTIONS["stack"](list(tensors), 0)

    def add_axis(self, x: Any, new_position: int) -> Any:
        return FUNCTIONS["unsqueeze"](x, new_position)

    def add_axes(self, x: Any, n_axes: int, pos2len: dict[int, int]) -> Any:
        sizes = [-1] * n_axes
        for position, length in sorted(pos2len.items()):
            x = self.add_axis(x, position)
            sizes[position] = length
        return FUNCTIONS["expand"](x, tuple(sizes))

    def tile(self, x: Any, repeats: Any) -> Any:
        return FUNCTIONS["tile"](x, tuple(repeats))

    def concat(self, tensors: Any, axis: int) -> Any:
        return FUNCTIONS["cat"](list(tensors), axis)

    def is_float_type(self, x: Any) -> bool:
        return x.dtype.kind in "fc"

    def einsum(self, pattern: str, *x: Any) -> Any:
        return FUNCTIONS["einsum"](pattern, *x)
