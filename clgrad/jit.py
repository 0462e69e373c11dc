"""PyTorch's names for compiled functions. Functions run eagerly, so every Python branch and loop is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def script(obj: Any = None, **options: Any) -> Any:
    """The function or module itself: ``@script`` marks what PyTorch would compile. Options are accepted, unused."""
    return script if obj is None else obj


def trace(func: Any, example_inputs: Any = None, **options: Any) -> Any:
    """The function or module itself; nothing is frozen, so other branches stay reachable."""
    return func


def ignore(function: Callable | None = None, **options: Any) -> Callable:
    """The function itself."""
    return ignore if function is None else function


unused = export = ignore


def is_scripting() -> bool:
    """False: what runs is always Python."""
    return False
