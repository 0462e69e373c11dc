"""A pickle machine that makes plain containers and what its caller admits, and can do nothing else.

It interprets the opcodes that PyTorch's checkpoints use, one by one. A global is a lookup in the caller's table, a call
is a call of a function from that table, and an opcode that is not listed here ends the reading: nothing is imported,
and no object is built whose class was not chosen here.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from ..core.errors import ClgradError, UnsafeFileError

_MOST_DIGITS = 64  # bytes of an integer
_MOST_LINE = 4096  # bytes of a global's module or name


class Damage(Exception):
    """A pickle that cannot be read; the reader of the file says which file."""


class Maker:
    """A function that a pickle may call, under the name it has there."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name = name
        self.make = make


class Buildable:
    """An object that a pickle may give a state: what :meth:`build` returns takes its place."""

    def build(self, state: Any) -> Any:
        """The object with that state."""
        raise NotImplementedError


class _Bounded:
    """What the opcodes' parser needs of a file, without room made for lengths that the file does not have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        at = file.tell()
        self._size = file.seek(0, 2)
        file.seek(at)
        self.tell = file.tell

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._size - self._file.tell():
            raise EOFError(f"{count} bytes asked for beyond the end")
        return self._file.read(count)

    def readline(self) -> bytes:
        return self._file.readline(_MOST_LINE)


class Machine:
    """Reads one pickle from a file, from where it stands to just behind its end.

    ``table`` maps ``"module name"`` to Makers and constants; ``persistent`` makes the object of a persistent id.
    """

    def __init__(self, file: BinaryIO, table: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self._file = _Bounded(file)
        self._table = table
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object. UnsafeFileError names what is not admitted; Damage says what cannot be read."""
        try:
            for opcode, argument, place in pickletools.genops(self._file):
                if opcode.name == "STOP":
                    return self._pop()
                step = _STEPS.get(opcode.name)
                if step is None:
                    raise UnsafeFileError(f"the pickle opcode {opcode.name} at byte {place}")
                step(self, argument)
        except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, EOFError,
                RecursionError, MemoryError) as error:
            if isinstance(error, ClgradError):
                raise
            raise Damage(f"a pickle that cannot be read ({type(error).__name__}: {str(error)[:200]})") from None
        raise Damage("a pickle without an end")

    def _pop(self) -> Any:
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise IndexError("nothing above the mark")
        return self._stack.pop()

    def _above_mark(self) -> list[Any]:
        at = self._marks.pop()
        found = self._stack[at:]
        del self._stack[at:]
        return found

    # Steps that need more than a line --------------------------------------------------------------------------------

    def _global(self, name: str) -> None:
        if name not in self._table:
            raise UnsafeFileError(f"the global {name.replace(' ', '.', 1)!r}")
        self._stack.append(self._table[name])

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global without a name")
        self._global(f"{module} {name}")

    def _reduce(self, _: Any) -> None:
        arguments, maker = self._pop(), self._pop()
        if not isinstance(maker, Maker) or not isinstance(arguments, tuple):
            raise UnsafeFileError(f"a call of a {type(maker).__name__}")
        self._stack.append(maker.make(*arguments))

    def _build(self, _: Any) -> None:
        """State of an object: of an OrderedDict, whose attributes hold a state_dict's versions, or of a Buildable."""
        state, target = self._pop(), self._stack[-1]
        if isinstance(target, Buildable):
            built = self._stack[-1] = target.build(state)
            for index in [i for i, v in self._memo.items() if v is target]:
                self._memo[index] = built
            return
        if type(target) is not OrderedDict or not isinstance(state, dict) or not all(
                isinstance(k, str) and not k.startswith("__") for k in state):
            raise UnsafeFileError(f"state for a {type(target).__name__}")
        target.__dict__.update(state)

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise UnsafeFileError(f"items for a {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2]):
            target[_key(key)] = value

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise UnsafeFileError(f"elements for a {type(target).__name__}")
        target.extend(values)

    def _add(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise UnsafeFileError(f"elements for a {type(target).__name__}")
        target.update(map(_key, values))

    def _take(self, count: int) -> tuple:
        return tuple([self._pop() for _ in range(count)][::-1])

    def _integer(self, value: int) -> None:
        if value.bit_length() > 8 * _MOST_DIGITS:
            raise Damage(f"an integer of {value.bit_length()} bits")
        self._stack.append(value)

    def _pop_top(self, _: Any) -> None:
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self._pop()


_PLAIN = (str, int, float, bool, complex, bytes, type(None))


def _key(value: Any) -> Any:
    """A key whose hash and comparison are Python's own."""
    if isinstance(value, tuple):
        for v in value:
            _key(v)
    elif type(value) not in _PLAIN:
        raise UnsafeFileError(f"a {type(value).__name__} as a key")
    return value


def _push(machine: Machine, value: Any) -> None:
    machine._stack.append(value)


def _constant(value: Any) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine._stack.append(value)


def _new(kind: type) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine._stack.append(kind())


def _put(machine: Machine, index: int) -> None:
    machine._memo[index] = machine._stack[-1]


_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "MARK": lambda m, _: m._marks.append(len(m._stack)),
    "POP": Machine._pop_top,
    "POP_MARK": lambda m, _: m._above_mark() and None,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
                     "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING", "BYTEARRAY8"), _push),
    "LONG1": Machine._integer,
    "LONG4": Machine._integer,
    "EMPTY_DICT": _new(dict),
    "EMPTY_LIST": _new(list),
    "EMPTY_SET": _new(set),
    "EMPTY_TUPLE": _new(tuple),
    "TUPLE": lambda m, _: m._stack.append(tuple(m._above_mark())),
    "TUPLE1": lambda m, _: m._stack.append(m._take(1)),
    "TUPLE2": lambda m, _: m._stack.append(m._take(2)),
    "TUPLE3": lambda m, _: m._stack.append(m._take(3)),
    "APPEND": lambda m, _: m._extend([m._pop()]),
    "APPENDS": lambda m, _: m._extend(m._above_mark()),
    "ADDITEMS": lambda m, _: m._add(m._above_mark()),
    "SETITEM": lambda m, _: m._set_items(list(m._take(2))),
    "SETITEMS": lambda m, _: m._set_items(m._above_mark()),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda m, _: _put(m, len(m._memo)),
    "BINGET": lambda m, i: m._stack.append(m._memo[i]),
    "LONG_BINGET": lambda m, i: m._stack.append(m._memo[i]),
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    "REDUCE": Machine._reduce,
    "BUILD": Machine._build,
    "BINPERSID": lambda m, _: m._stack.append(m._persistent(m._pop())),
}
