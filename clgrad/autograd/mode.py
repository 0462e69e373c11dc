"""Whether ops are being recorded: a flag a thread, and the context managers that set it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from ..core.config import config


class _State(threading.local):
    enabled = True


_state = _State()


def is_grad_enabled() -> bool:
    """Whether ops of this thread are recorded for backward."""
    return _state.enabled


class set_grad_enabled:
    """Switch recording on or off, at once and until the end of a ``with`` block if used as one."""

    def __init__(self, mode: bool) -> None:
        self._mode = mode
        self._before = _state.enabled
        _state.enabled = mode

    def __enter__(self) -> None:
        _state.enabled = self._mode

    def __exit__(self, *exc: object) -> None:
        _state.enabled = self._before


class _Switch:
    """A context manager and decorator that sets the flag to ``mode``; instances may be nested and reused."""

    mode: bool

    def __init__(self, function: Callable | None = None) -> None:
        self._before: list[bool] = []
        self._function = function
        if function is not None:
            functools.update_wrapper(self, function)

    def __enter__(self) -> None:
        self._before.append(_state.enabled)
        _state.enabled = self.mode

    def __exit__(self, *exc: object) -> None:
        _state.enabled = self._before.pop()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is None:  # used as @no_grad()
            return self._decorate(args[0])
        with self._again():
            return self._function(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _decorate(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return wrapper

    def _again(self) -> _Switch:
        """A fresh switch for one call: calls may nest, and run in several threads."""
        return type(self)()


class no_grad(_Switch):
    """Ops in this block (or decorated function) are not recorded."""

    mode = False


class enable_grad(_Switch):
    """Ops in this block are recorded, also inside ``no_grad``."""

    mode = True


class inference_mode(_Switch):
    """PyTorch's name for code that is never differentiated: ``no_grad`` here, or nothing with ``mode=False``."""

    def __init__(self, mode: Any = True) -> None:
        super().__init__(mode if callable(mode) else None)
        self._wanted = bool(mode)

    @property
    def mode(self) -> bool:
        return _state.enabled and not self._wanted

    def _again(self) -> inference_mode:
        return inference_mode(self._wanted)


class detect_anomaly:
    """Within this block the op that makes a NaN, forward or backward, raises FloatingPointError and is named.

    It is ``CLGRAD_CHECK=1`` for a while: each launch is waited for and its result read, so it is slow. It holds for
    all threads. ``check_nan=False`` changes nothing.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check = bool(check_nan)
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(config.check)
        config.check = config.check or self._check

    def __exit__(self, *exc: object) -> None:
        config.check = self._before.pop()


class set_detect_anomaly(detect_anomaly):
    """Switch that check on or off, at once and until the end of a ``with`` block if used as one."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan)
        self._mode = bool(mode and check_nan)
        self._old = config.check
        config.check = self._mode

    def __enter__(self) -> None:
        config.check = self._mode

    def __exit__(self, *exc: object) -> None:
        config.check = self._old
