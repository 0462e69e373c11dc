"""Recurrent layers and cells: a step is one product with the state and one launch for all gates."""

from __future__ import annotations

import numbers
import warnings
from math import sqrt
from typing import Any

from .. import factories
from ..core.errors import ShapeError, bad
from ..factories import full as full_variable
from ..ops.cell import gru_step, lstm_step, relu_step, tanh_step
from ..ops.index import take
from ..ops.matmul import linear
from ..ops.shape import cat, narrow, squeeze, stack, transpose, unsqueeze
from . import functional as F
from . import init
from .module import Module, Parameter
from .utils.rnn import PackedSequence

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _zeros(shape: tuple[int, ...], like: Any) -> Any:
    return full_variable(shape, 0.0, dtype=like.dtype, device=like.device)


def _uniform(module: Module, hidden: int) -> None:
    """Every parameter uniform in +-1/sqrt(hidden)."""
    bound = 1 / sqrt(hidden) if hidden > 0 else 0.0
    for p in module.parameters():
        init.uniform_(p, -bound, bound)


def _step(mode: str, x: Any, state: tuple, w_hh: Any, b_hh: Any, w_hr: Any) -> tuple:
    """The state after one step; x is the input's product, biases of the input (and, but for GRU, all) included."""
    h = linear(state[0], w_hh, b_hh)
    if mode == "LSTM":
        h, c, _ = lstm_step(x, h, state[1])
        return (h if w_hr is None else linear(h, w_hr), c)
    if mode == "GRU":
        return (gru_step(x, h, state[0])[0],)
    return ((tanh_step if mode == "RNN_TANH" else relu_step)(x, h),)


class RNNBase(Module):
    """Layers of a recurrence over a sequence, PyTorch's names: ``weight_ih_l{k}``, ``weight_hh_l{k}``,
    ``bias_ih_l{k}``, ``bias_hh_l{k}``, ``weight_hr_l{k}`` (with proj_size), each with ``_reverse`` for the other
    direction. All begin
    uniform in +-1/sqrt(hidden_size).
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(bad(name, f"dropout={dropout!r}", "0 <= dropout <= 1", "It is a probability of a zero."))
        if hidden_size <= 0 or num_layers <= 0:
            raise ValueError(bad(name, f"hidden_size={hidden_size}, num_layers={num_layers}", "positive sizes",
                                 "Give positive numbers."))
        if not 0 <= proj_size < hidden_size or (proj_size and mode != "LSTM"):
            raise ValueError(bad(name, f"proj_size={proj_size}", "0 <= proj_size < hidden_size, of an LSTM",
                                 "Leave it out, or make it smaller."))
        if dropout and num_layers == 1:
            warnings.warn(bad(name, f"dropout={dropout} with one layer", "more than one layer",
                              "Dropout comes between layers: it has no effect here."), stacklevel=3)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        directions, gates = 1 + bidirectional, _GATES[mode] * hidden_size
        real = proj_size or hidden_size
        for layer in range(num_layers):
            for direction in range(directions):
                width = input_size if layer == 0 else real * directions
                shapes = {"weight_ih": (gates, width), "weight_hh": (gates, real)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for what, shape in shapes.items():
                    setattr(self, f"{what}{self._suffix(layer, direction)}",
                            Parameter(factories.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @staticmethod
    def _suffix(layer: int, direction: int) -> str:
        return f"_l{layer}{'_reverse' if direction else ''}"

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [list(self._weights(layer, d).values()) for layer in range(self.num_layers)
                for d in range(1 + self.bidirectional)]

    def _weights(self, layer: int, direction: int) -> dict[str, Parameter]:
        names = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * self.bias + ["weight_hr"] * bool(self.proj_size)
        return {n: getattr(self, n + self._suffix(layer, direction)) for n in names}

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        _uniform(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """PyTorch's call for cuDNN: nothing to do here."""

    # Running -------------------------------------------------------------------------------------------------------

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Output of the last layer at every step, and the last state of every layer and direction.

        ``input`` is (L, N, input_size), (N, L, input_size) with ``batch_first``, (L, input_size) of one sequence, or a
        PackedSequence. ``hx`` is (layers * directions, N, hidden_size), for LSTM a pair (h, c); zeros without it.
        """
        packed = input if isinstance(input, PackedSequence) else None
        lstm = self.mode == "LSTM"
        if packed is not None:
            data, sizes = packed.data, packed.batch_sizes.tolist()
            single = False
        else:
            if input.ndim not in (2, 3):
                raise ShapeError(bad(type(self).__name__, f"a {input.ndim}-dimensional input", "2 or 3 dimensions",
                                     "One sequence, or a batch of them."))
            single = input.ndim == 2
            data = unsqueeze(input, 1) if single else transpose(input, 0, 1) if self.batch_first else input
            sizes = None
        if data.shape[-1] != self.input_size:
            raise ShapeError(bad(type(self).__name__, f"an input of {data.shape[-1]} features", self.input_size,
                                 "The last axis is input_size."))
        batch = sizes[0] if sizes else data.shape[1]
        states = self._states(hx, batch, single, data)
        if packed is not None and packed.sorted_indices is not None and hx is not None:
            states = [take(s, packed.sorted_indices, 1) for s in states]
        output, last = self._layers(data, sizes, states)
        if packed is not None:
            if packed.unsorted_indices is not None:
                last = [take(s, packed.unsorted_indices, 1) for s in last]
            result: Any = PackedSequence(output, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        elif single:
            result, last = squeeze(output, 1), [squeeze(s, 1) for s in last]
        else:
            result = transpose(output, 0, 1) if self.batch_first else output
        return result, tuple(last) if lstm else last[0]

    def _states(self, hx: Any, batch: int, single: bool, like: Any) -> list:
        """(layers * directions, N, size) for h, and for c of an LSTM."""
        count = self.num_layers * (1 + self.bidirectional)
        sizes = [self.proj_size or self.hidden_size] + [self.hidden_size] * (self.mode == "LSTM")
        if hx is None:
            return [_zeros((count, batch, n), like) for n in sizes]
        given = list(hx) if self.mode == "LSTM" else [hx]
        if len(given) != len(sizes):
            raise ShapeError(bad(type(self).__name__, f"{len(given)} initial states", "a pair (h, c)", "Pass both."))
        expected = [(count, n) if single else (count, batch, n) for n in sizes]
        if [tuple(s.shape) for s in given] != expected:
            raise ShapeError(bad(type(self).__name__, f"initial states of {[s.shape for s in given]}", f"{expected}",
                                 "(layers * directions, batch, hidden_size)."))
        return [unsqueeze(s, 1) for s in given] if single else given

    def _layers(self, data: Any, sizes: list | None, states: list) -> tuple[Any, list]:
        last: list[list] = [[] for _ in states]
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(1 + self.bidirectional):
                at = layer * (1 + self.bidirectional) + direction
                start = tuple(s[at] for s in states)
                out, end = self._run(data, sizes, start, self._weights(layer, direction), bool(direction))
                outputs.append(out)
                for kept, s in zip(last, end):
                    kept.append(s)
            data = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                data = F.dropout(data, self.dropout, self.training)
        return data, [stack(s, 0) for s in last]

    def _run(self, data: Any, sizes: list | None, state: tuple, weights: dict, backwards: bool) -> tuple[Any, tuple]:
        """One layer in one direction: outputs in the input's layout, and the last state."""
        b_ih, b_hh = weights.get("bias_ih"), weights.get("bias_hh")
        if b_ih is not None and self.mode != "GRU":
            b_ih, b_hh = b_ih + b_hh, None
        x = linear(data, weights["weight_ih"], b_ih)

        def step(part: Any, before: tuple) -> tuple:
            return _step(self.mode, part, before, weights["weight_hh"], b_hh, weights.get("weight_hr"))

        if sizes is not None:
            return _packed(x, sizes, state, step, backwards)
        outputs = []
        steps = range(data.shape[0])
        for t in reversed(steps) if backwards else steps:
            state = step(x[t], state)
            outputs.append(state[0])
        if not outputs:
            return _zeros((0, *state[0].shape), data), state
        return stack(outputs[::-1] if backwards else outputs, 0), state

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
                    "bidirectional": False}
        return text + "".join(f", {n}={getattr(self, n)}" for n, d in defaults.items() if getattr(self, n) != d)


def _packed(x: Any, sizes: list[int], state: tuple, step: Any, backwards: bool) -> tuple[Any, tuple]:
    """Steps over packed rows: step t has the first sizes[t] sequences. Those that end, or have not begun, wait."""
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    order = range(len(sizes))
    outputs: list = [None] * len(sizes)
    if not backwards:
        ended: list[tuple] = []
        for t in order:
            n = sizes[t]
            if n < state[0].shape[0]:
                ended.append(tuple(narrow(s, 0, n, s.shape[0] - n) for s in state))
                state = tuple(narrow(s, 0, 0, n) for s in state)
            state = step(narrow(x, 0, starts[t], n), state)
            outputs[t] = state[0]
        ended.append(state)
        return cat(outputs, 0), tuple(cat(list(parts), 0) for parts in zip(*reversed(ended)))
    first = state
    state = tuple(narrow(s, 0, 0, sizes[-1]) for s in first)
    for t in reversed(order):
        n = sizes[t]
        have = state[0].shape[0]
        if n > have:
            state = tuple(cat([s, narrow(f, 0, have, n - have)], 0) for s, f in zip(state, first))
        state = step(narrow(x, 0, starts[t], n), state)
        outputs[t] = state[0]
    return cat(outputs, 0), state


class RNN(RNNBase):
    __doc__ = """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it (Elman 1990). """ + RNNBase.__doc__

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None) -> None:
        _check_nonlinearity("RNN", nonlinearity)
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
                         dropout, bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity


def _check_nonlinearity(op: str, nonlinearity: str) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(bad(op, f"nonlinearity={nonlinearity!r}", "'tanh' or 'relu'", "Pass one of these."))


class LSTM(RNNBase):
    __doc__ = """Long short-term memory (Hochreiter and Schmidhuber 1997), gates in the order input, forget, candidate,
    output; proj_size projects h (Sak et al. 2014). """ + RNNBase.__doc__

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, device, dtype)


class GRU(RNNBase):
    __doc__ = """Gated recurrent unit (Cho et al. 2014), gates in the order reset, update, candidate; the reset gate
    scales the state's product, bias included, as in PyTorch. """ + RNNBase.__doc__

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
                         device, dtype)


class _Cell(Module):
    mode: str

    def __init__(self, input_size: int, hidden_size: int, bias: bool, device: Any, dtype: Any) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = _GATES[self.mode] * hidden_size
        for name, shape in (("weight_ih", (gates, input_size)), ("weight_hh", (gates, hidden_size)),
                            ("bias_ih", (gates,)), ("bias_hh", (gates,))):
            wanted = bias or name.startswith("weight")
            self.register_parameter(name, Parameter(factories.empty(shape, device=device, dtype=dtype))
                                    if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, uniform in +-1/sqrt(hidden_size)."""
        _uniform(self, self.hidden_size)

    def _next(self, input: Any, hx: Any) -> tuple:
        name = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(bad(name, f"input {input.shape}", f"(N, {self.input_size}) or ({self.input_size},)",
                                 "The last axis is input_size."))
        single = input.ndim == 1
        x = unsqueeze(input, 0) if single else input
        count = 2 if self.mode == "LSTM" else 1
        if hx is None:
            state = tuple(_zeros((x.shape[0], self.hidden_size), x) for _ in range(count))
        else:
            given = tuple(hx) if count == 2 else (hx,)
            expected = (*input.shape[:-1], self.hidden_size)
            if len(given) != count or any(tuple(s.shape) != expected for s in given):
                raise ShapeError(bad(name, f"a state of {[s.shape for s in given]}", f"{count} of {expected}",
                                     "(N, hidden_size)."))
            state = tuple(unsqueeze(s, 0) for s in given) if single else given
        b_ih, b_hh = self.bias_ih, self.bias_hh
        if b_ih is not None and self.mode != "GRU":
            b_ih, b_hh = b_ih + b_hh, None
        new = _step(self.mode, linear(x, self.weight_ih, b_ih), state, self.weight_hh, b_hh, None)
        return tuple(squeeze(s, 0) for s in new) if single else new

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias=False"


class RNNCell(_Cell):
    """One step h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None, dtype: Any = None) -> None:
        _check_nonlinearity("RNNCell", nonlinearity)
        self.nonlinearity = nonlinearity
        self.mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._next(input, hx)[0]

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(_Cell):
    """One step of an LSTM: input and a pair (h, c) to the next pair."""

    mode = "LSTM"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple:
        return self._next(input, hx)


class GRUCell(_Cell):
    """One step of a GRU: input and h to the next h."""

    mode = "GRU"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._next(input, hx)[0]
