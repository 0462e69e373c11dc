"""RemovableHandle: what registering a hook returns."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from typing import Any


class RemovableHandle:
    """Takes a hook out again by :meth:`remove`, or at the end of a ``with`` block.

    ``RemovableHandle.add(hooks, hook)`` puts a hook into an ordered dict and returns its handle, which does not keep
    the dict's owner alive.
    """

    _numbers = itertools.count()

    def __init__(self, hooks: OrderedDict) -> None:
        self.id = next(self._numbers)
        self._hooks = weakref.ref(hooks)

    @classmethod
    def add(cls, hooks: OrderedDict, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Put ``hook`` behind those of ``hooks``, or before them."""
        handle = cls(hooks)
        hooks[handle.id] = hook
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def remove(self) -> None:
        """Take the hook out; doing so again changes nothing."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
