"""Whole models as plain data: the import path of each module's class, its attributes, its arrays, its children.

A model is made again without its constructor: its class is found by name, its attributes are put back. So nothing but
data is stored, and a file can ask for no more than the use of a Module's class.
"""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ..core.errors import UnsafeFileError, bad
from ..nn import Module

_MARK = "clgrad.module"
_FUNCTION = "clgrad.function"
_TABLES = ("_parameters", "_buffers", "_modules")


def encode(value: Any) -> Any:
    """The value with each Module in it as a dict; the value itself where there is none."""
    return _walk(value, _encode_one, {})


def _encode_one(value: Any, memo: dict) -> Any:
    if isinstance(value, Module):
        return _encoded(value, memo)
    if isinstance(value, FunctionType) or (isinstance(value, type) and issubclass(value, Module)):
        return {_FUNCTION: _path(value)}
    return value


def _encoded(module: Module, memo: dict) -> dict[str, Any]:
    result: dict[str, Any] = {_MARK: _path(type(module))}
    memo[id(module)] = result
    base = vars(Module())
    attributes = {k: v for k, v in vars(module).items() if k not in _TABLES and not (k in base and _is_empty(v))}
    result["attributes"] = {k: _walk(v, _encode_one, memo) for k, v in attributes.items() if k not in base or
                            isinstance(v, (bool, set))}
    for table in _TABLES:
        result[table] = {k: _walk(v, _encode_one, memo) for k, v in vars(module)[table].items()}
    return result


def _is_empty(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__len__") and len(value) == 0


def _path(value: Any) -> str:
    """``module:name``, by which it can be found again."""
    module, name = value.__module__, value.__qualname__
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not value:
        raise TypeError(bad("save", f"{value!r}, which cannot be found as {module}.{name}",
                            "classes and functions at the top level of a module",
                            "Define it there, or save model.state_dict()."))
    return f"{module}:{name}"


def decode(value: Any, trust: bool) -> Any:
    """The value with its models made again. UnsafeFileError names a class that may not be used."""
    return _walk(value, lambda v, memo: _decode_one(v, memo, trust), {})


def _decode_one(value: Any, memo: dict, trust: bool) -> Any:
    if type(value) is not dict or (_MARK not in value and _FUNCTION not in value):
        return value
    if _FUNCTION in value:
        return _found(value[_FUNCTION], trust, _is_function)
    cls = _found(value[_MARK], trust, lambda c: isinstance(c, type) and issubclass(c, Module))
    module = cls.__new__(cls)
    memo[id(value)] = module
    Module.__init__(module)
    tables = [value.get(t) for t in _TABLES]
    if not all(type(t) is dict and all(isinstance(k, str) for k in t) for t in (*tables, value.get("attributes"))):
        raise UnsafeFileError(bad("load", f"a model {value[_MARK]!r} without its parts", "what clgrad.save wrote",
                                  "Restore the file from a copy."))
    decoded = {k: _walk(v, lambda x, m: _decode_one(x, m, trust), memo) for k, v in value["attributes"].items()}
    vars(module).update({k: v for k, v in decoded.items() if not k.startswith("__") and k not in _TABLES})
    for name, table in zip(_TABLES, tables):
        vars(module)[name].update({k: _walk(v, lambda x, m: _decode_one(x, m, trust), memo) for k, v in table.items()})
    return module


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType) or (isinstance(value, type) and issubclass(value, Module))


def _found(path: Any, trust: bool, fits: Callable[[Any], bool]) -> Any:
    """What an import path names. Without trust only clgrad's own, and Module classes of modules imported already."""
    module, _, name = str(path).partition(":")
    if trust and module not in sys.modules:
        importlib.import_module(module)
    found: Any = sys.modules.get(module)
    own = module == "clgrad" or module.startswith("clgrad.")
    if found is None and own:
        try:
            found = importlib.import_module(module)
        except ImportError:
            found = None
    for part in name.split("."):
        found = None if part.startswith("__") else getattr(found, part, None)
    is_module = isinstance(found, type) and issubclass(found, Module)
    if found is None or not fits(found) or not (trust or is_module or found.__module__.startswith("clgrad.")):
        raise UnsafeFileError(bad("load", f"a model that uses {str(path)[:200]!r}, which is not a Module class of an "
                                  "imported module, nor a function of clgrad", "one of these",
                                  "Import the module that defines it first; a file that you trust may have it imported "
                                  "or name its functions: trust=True."))
    return found


def _walk(value: Any, change: Callable[[Any, dict], Any], memo: dict) -> Any:
    """A value with ``change`` applied to all it holds; containers without a change stay the same objects."""
    if id(value) in memo:
        return memo[id(value)]
    changed = change(value, memo)
    if changed is not value:
        memo[id(value)] = changed
        memo.setdefault("keep", []).append(value)
        return changed
    kind = type(value)
    if kind in (dict, OrderedDict):
        memo[id(value)] = value
        fresh = {k: _walk(v, change, memo) for k, v in value.items()}
        if all(fresh[k] is v for k, v in value.items()):
            return value
        result = kind(fresh)
        if kind is OrderedDict:
            result.__dict__.update(value.__dict__)
    elif kind in (list, tuple):
        memo[id(value)] = value
        parts = [_walk(v, change, memo) for v in value]
        if all(a is b for a, b in zip(parts, value)):
            return value
        result = kind(parts)
    else:
        return value
    memo[id(value)] = result
    memo.setdefault("keep", []).append(value)
    return result
