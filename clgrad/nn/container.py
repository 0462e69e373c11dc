"""Containers: modules in a chain, modules and parameters in lists and dicts."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..autograd.variable import Variable
from ..core.errors import bad
from ..ndarray import Array
from .activation import ReLU
from .linear import Linear, then_relu, untouched
from .module import Module, Parameter, block


def _named(args: tuple) -> Iterable[tuple[str, Module]]:
    if len(args) == 1 and isinstance(args[0], Mapping):
        return args[0].items()
    return ((str(i), m) for i, m in enumerate(args))


class _Indexed(Module):
    """A module whose children are a list; their names count from 0, unless a dict named them."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __contains__(self, module: Any) -> bool:
        return any(m is module for m in self)

    def _name(self, index: Any) -> str:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(bad(type(self).__name__, f"index {index}", f"-{len(self)} <= index < {len(self)}",
                                 "It has that many modules."))
        return list(self._modules)[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._of(list(self._modules.items())[index])
        return self._modules[self._name(index)]

    def _of(self, items: list[tuple[str, Module]]) -> Any:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: Any) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name(index)]
        for name in names:
            delattr(self, name)
        self._renumber(list(self._modules.values()))

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns itself."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put a module before the one at ``index``; returns itself."""
        if not -len(self) <= index <= len(self):
            raise IndexError(bad(f"{type(self).__name__}.insert", f"index {index}",
                                 f"-{len(self)} <= index <= {len(self)}", "It has that many modules."))
        if not isinstance(module, Module):
            raise TypeError(bad(f"{type(self).__name__}.insert", f"a {type(module).__name__}", "a Module",
                                "Put functions into a Module's forward."))
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add several modules at the end; returns itself."""
        if not isinstance(modules, Iterable):
            raise TypeError(bad(f"{type(self).__name__}.extend", f"a {type(modules).__name__}",
                                "modules to iterate over", "Use append for a single one."))
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take a module out and return it."""
        module = self[index]
        del self[index]
        return module

    def __add__(self, other: Iterable[Module]) -> Any:
        return self._of([]).extend(self).extend(other)

    def __iadd__(self, other: Iterable[Module]) -> Any:
        return self.extend(other)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]


class Sequential(_Indexed):
    """Modules applied one after the other: ``Sequential(a, b)`` or ``Sequential({"first": a, "second": b})``."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        for name, module in _named(args):
            self.add_module(name, module)

    def _of(self, items: list[tuple[str, Module]]) -> Sequential:
        return type(self)(dict(items))

    def forward(self, input: Any) -> Any:
        product = None  # a Linear, until it is known whether a ReLU follows
        for module in self._modules.values():
            if product is not None:
                layer, product = product, None
                if untouched(module, ReLU):
                    input = then_relu(layer, input)
                    continue
                input = layer(input)
            if type(module) is Linear:
                product = module
            else:
                input = module(input)
        return input if product is None else product(input)

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            raise TypeError(bad("Sequential * n", f"a {type(times).__name__}", "an int", "Say how often."))
        if times < 1:
            raise ValueError(bad("Sequential * n", times, "1 or more", "Say how often."))
        return Sequential().extend(m for _ in range(times) for m in self)

    __rmul__ = __mul__


class ModuleList(_Indexed):
    """A list of modules, which are thereby registered; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def _of(self, items: list[tuple[str, Module]]) -> ModuleList:
        return type(self)([m for _, m in items])

    def __repr__(self) -> str:
        """Neighbours that print alike share a line, as PyTorch has it."""
        runs: list[list[Any]] = []
        for i, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        lines = [(f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}")
                 .replace("\n", "\n  ") for first, last, text in runs]
        return block(self._get_name(), [], lines)


class ModuleDict(Module):
    """A dict of modules, which are thereby registered; it has no forward of its own."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module) if key not in self._modules else setattr(self, key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Take a module out and return it."""
        return self._modules.pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """Pairs of name and module."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Add or replace modules from a mapping or from pairs."""
        if not isinstance(modules, (Mapping, ModuleDict, Iterable)):
            raise TypeError(bad("ModuleDict.update", f"a {type(modules).__name__}", "a mapping or pairs",
                                "Pass a dict of modules."))
        for key, module in modules.items() if hasattr(modules, "items") else modules:
            self[key] = module


def _as_parameter(value: Any) -> Any:
    """Arrays become Parameters; Parameters and anything else stay."""
    if isinstance(value, (Variable, Array)) and not isinstance(value, Parameter):
        return Parameter(value, requires_grad=value.dtype.kind in "fc")
    return value


def _describe(name: Any, value: Any) -> str:
    if isinstance(value, Variable):
        kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
        size = "x".join(str(n) for n in value.shape)
        return f"({name}): {kind} containing: [{value.dtype} of size {size}]"
    return f"({name}): Object of type: {type(value).__name__}"


class ParameterList(Module):
    """A list of Parameters, which are thereby registered; arrays put into it become Parameters."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        self.extend(values or ())

    def _index(self, index: Any) -> str:
        index = operator.index(index)
        if not -self._size <= index < self._size:
            raise IndexError(bad("ParameterList", f"index {index}", f"-{self._size} <= index < {self._size}",
                                 "It has that many values."))
        return str(index % self._size)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([self[i] for i in range(*index.indices(self._size))])
        return getattr(self, self._index(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._index(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(self._size))

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)

    def append(self, value: Any) -> ParameterList:
        """Add a value at the end; returns itself."""
        setattr(self, str(self._size), _as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add several values at the end; returns itself."""
        if not isinstance(values, Iterable) or isinstance(values, (Variable, Array)):
            raise TypeError(bad("ParameterList.extend", f"a {type(values).__name__}", "values to iterate over",
                                "Use append for a single one."))
        for value in list(values):
            self.append(value)
        return self

    def __repr__(self) -> str:
        return block(self._get_name(), [], [_describe(i, v) for i, v in enumerate(self)])


class ParameterDict(Module):
    """A dict of Parameters, which are thereby registered; arrays put into it become Parameters."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(bad("ParameterDict", f"the key {key!r}", "a string", "Keys are names of attributes."))
        self._keys[key] = None
        setattr(self, key, _as_parameter(value))

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or ``default``."""
        return self[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of a key, set to ``default`` first where there is none."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Take a value out and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last pair out and return it."""
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Take all values out."""
        for key in list(self._keys):
            del self[key]

    def keys(self) -> Any:
        """The names."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and value."""
        return [(k, self[k]) for k in self._keys]

    def values(self) -> Iterable[Any]:
        """The values."""
        return [self[k] for k in self._keys]

    def copy(self) -> ParameterDict:
        """Another dict of the same values."""
        return ParameterDict(dict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Another dict with these keys, all of one value."""
        return ParameterDict(dict.fromkeys(keys, default))

    def update(self, parameters: Any) -> None:
        """Add or replace values from a mapping or from pairs."""
        for key, value in parameters.items() if hasattr(parameters, "items") else parameters:
            self[key] = value

    def __or__(self, other: Any) -> ParameterDict:
        result = self.copy()
        result.update(other)
        return result

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return block(self._get_name(), [], [_describe(k, v) for k, v in self.items()])
