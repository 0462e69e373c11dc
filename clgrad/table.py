"""The Op record: everything about one op stands together, and is checked when it is declared.

From a record come its function, its methods, its kernels, its graph node, its tests and its row in the op table.
A derivative's *parameter names are its save list*: ``g`` is the incoming gradient, ``out`` the result, a tensor
argument's name that input, ``x_shape``, ``x_dtype`` and ``x_device`` only that of it, ``needs`` which inputs want a
gradient, any other name an attribute.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .core.errors import GraphError

OPS: dict[str, Op] = {}
_KEYWORDS = {"x": "input", "y": "other"}  # what callers call a record's first arguments
_SYNONYMS = {"axis": "dim", "keepdims": "keepdim", "input": "A"}  # NumPy's names, which PyTorch takes too


class ZeroGrad:
    """Marker: the derivative is zero (or the result is not differentiable in this argument)."""

    def __repr__(self) -> str:
        return "ZERO_GRAD"


ZERO_GRAD = ZeroGrad()


@dataclass(frozen=True)
class NoGrad:
    """Marker: asking for this derivative is an error, which says why."""

    why: str

    def error(self, op: str) -> GraphError:
        return GraphError(f"{op}: has no derivative in this argument: {self.why}. Detach it, or compute it otherwise.")

    def refuse(self, op: str) -> None:
        """Raise it."""
        raise self.error(op)


@dataclass(frozen=True)
class Rule:
    """A derivative with its parameters resolved: where each comes from, and its position there.

    A source is "g", "needs", "saved" (the op's ``saves``), "attrs", or "shape", "dtype" or "device" of a tensor.
    """

    call: Callable
    sources: tuple[tuple[str, int], ...]

    def text(self, name: str) -> str:
        """Python text that calls it as ``name``, for a ``node`` and what is known of it."""
        texts = {"g": "g", "needs": "node.needs()", "saved": "node.kept({}, create_graph)", "attrs": "node.attrs[{}]"}
        values = [texts.get(source, f"node.meta({source!r}, {{}})").format(at) for source, at in self.sources]
        return f"{name}({', '.join(values)})"


@dataclass(frozen=True)
class Case:
    """One call to test an op with: shapes (or arrays by name) of its tensors, and attributes."""

    shapes: tuple[tuple[int, ...], ...]
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrices:
    """A domain of matrices rather than numbers: "general", "square" (well-conditioned), "symmetric" (its eigenvalues
    apart) or "positive" definite. Derivatives of the last two are taken along symmetric changes."""

    kind: str


@dataclass(frozen=True, eq=False)
class Op:
    """One op. ``args`` is its Python signature, tensors first; ``run(*arrays, *attrs)`` computes on plain arrays.

    ``grad`` has an entry for each tensor argument: a rule, ZERO_GRAD or NoGrad; or it is one rule for all of them,
    which returns a tuple. ``kinds`` are the dtype kinds taken (b bool, i and u integer, f float, c complex), ``domain``
    the interval (or kind of Matrices) test inputs are drawn from, one for all or one a tensor. ``ref`` computes the
    same with NumPy. Without ``half``, 16-bit floats are refused.
    ``operator`` is the Python operator (``"add"`` for ``+``) and ``inplace(target, *operands)`` its writing form; True
    for one that computes and writes the result over the array, "view" for one that gives the Variable another view.
    A ``composite`` is made of other ops, which carry the derivative. A ``variadic`` method takes its last argument as
    ints too (``x.permute(1, 0)``); ``several`` results come as a tuple, and a rule's ``g`` and ``out`` are then lists
    of them, None where nothing flows back. A ``holomorphic`` op's rules are written as for reals and hold for complex
    numbers by conjugation, which the engine does; another's, and those of several results, give the gradient
    themselves. With a ``namespace``, ``linalg_inv`` is ``clgrad.linalg.inv``, and only its aliases are names of
    ``clgrad`` and methods. An op that is not ``listed`` is a user's, outside the table.

    Callers name arguments as in PyTorch: ``x`` is ``input`` to them and ``y`` is ``other``, unless ``keywords`` says
    otherwise (record's name: caller's name). ``synonyms`` are further names for the same (``axis`` for ``dim``), and
    ``options`` further keywords, each a function ``f(value, *arguments)`` that computes the op with it;
    ``fewer`` is what it means with the first argument alone.
    """

    name: str
    args: str
    family: str
    tensors: tuple[str, ...]
    run: Callable
    grad: Any
    ref: Callable
    doc: str
    kinds: str = "biufc"
    domain: Any = (-3.0, 3.0)
    cases: tuple[Case, ...] = ()
    aliases: tuple[str, ...] = ()
    method: bool = True
    operator: str | None = None
    inplace: Callable | str | bool | None = None
    public: bool = True
    method_only: bool = False
    variadic: bool = False
    several: bool = False
    sequence: bool = False
    composite: bool = False
    holomorphic: bool = True
    namespace: str | None = None
    keywords: dict[str, str] = field(default_factory=dict)
    synonyms: dict[str, str] = field(default_factory=dict)
    options: dict[str, Callable] = field(default_factory=dict)
    fewer: Callable | None = None
    half: bool = True
    listed: bool = True
    c: str | None = None
    rtype: Callable | None = None
    attrs: tuple[str, ...] = ()
    rules: tuple = ()
    joint: Rule | None = None
    saves: tuple[str, ...] = ()
    saved_tensors: tuple[int | None, ...] = ()  # which tensor each of them is; None: the result
    gradients: Callable | None = None  # (node, g, create_graph): each tensor's gradient, or None where nobody wants it
    saving: Callable | None = None  # (edges, arrays, out, keep): what of ``saves`` is wanted, each as keep() gives it
    differentiable: bool = False
    signature: Any = None

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        signature = inspect.signature(eval(f"lambda {self.args}: None"))
        names = tuple(signature.parameters)
        unknown = {*self.keywords, *self.synonyms.values()} - set(names)
        if unknown:
            raise TypeError(f"op {self.name}: keywords for {sorted(unknown)}, which ({self.args}) has not")
        if self.listed and self.public:
            put("keywords", {n: self.keywords.get(n, _KEYWORDS.get(n, n)) for n in names})
            put("synonyms", {k: n for k, n in _SYNONYMS.items() if n in names and k not in names} | self.synonyms)
        put("signature", signature)
        if names[:len(self.tensors)] != self.tensors:
            raise TypeError(f"op {self.name}: tensors {self.tensors} must open the signature ({self.args})")
        put("attrs", names[len(self.tensors):])
        if not self.doc or not callable(self.ref):
            raise TypeError(f"op {self.name}: needs a doc and a reference")
        if self.listed and self.name in OPS:
            raise TypeError(f"op {self.name}: declared twice")
        if not self.composite:
            self._resolve_rules(put)
        # whether some argument has a derivative rule: asked at every call, so answered once
        put("differentiable", self.composite or self.joint is not None or any(isinstance(r, Rule) for r in self.rules))
        if self.listed:
            OPS[self.name] = self

    @property
    def public_name(self) -> str:
        """Its name in its namespace."""
        return self.name.removeprefix(f"{self.namespace}_") if self.namespace else self.name

    @property
    def top_names(self) -> tuple[str, ...]:
        """Its names in ``clgrad``, which are its methods' too."""
        return self.aliases if self.namespace else (self.name, *self.aliases)

    def takes(self, dtype: Any) -> bool:
        """Whether its tensors may be of a dtype."""
        return dtype.kind in self.kinds and (self.half or dtype.kind != "f" or dtype.itemsize > 2)

    def _resolve_rules(self, put: Callable) -> None:
        joint = callable(self.grad)
        if not joint and (self.grad is None or len(self.grad) != len(self.tensors)):
            raise TypeError(f"op {self.name}: needs a grad entry for each of {self.tensors}")
        entries = (self.grad,) if joint else tuple(self.grad)
        names = [tuple(inspect.signature(e).parameters) if callable(e) else () for e in entries]
        allowed = {"g", "out", "needs", *self.tensors, *self.attrs}
        allowed |= {f"{t}_{what}" for t in self.tensors for what in ("shape", "dtype", "device")}
        wanted = {n for each in names for n in each}
        if wanted - allowed:
            raise TypeError(f"op {self.name}: its derivative asks for {sorted(wanted - allowed)}, "
                            f"expected names from {sorted(allowed)}")
        odd = [e for e in entries if not (callable(e) or isinstance(e, (ZeroGrad, NoGrad)))]
        if odd:
            raise TypeError(f"op {self.name}: a grad entry is a rule, ZERO_GRAD or NoGrad, got {odd[0]!r}")
        put("saves", tuple(n for n in (*self.tensors, "out") if n in wanted))
        put("saved_tensors", tuple(None if n == "out" else self.tensors.index(n) for n in self.saves))
        rules = tuple(Rule(e, tuple(map(self._source, each))) if callable(e) else e for e, each in zip(entries, names))
        put("joint", rules[0] if joint else None)
        put("rules", () if joint else rules)
        users = [None if joint else [t for t, each in enumerate(names) if n in each] for n in self.saves]
        scope = {f"rule{i}": r.call if isinstance(r, Rule) else r for i, r in enumerate(rules)}
        put("gradients", eval(self._gradients_text(), scope))
        put("saving", eval(self._saving_text(users), {}))

    # A node's part in every step, written out once: loops over rules and their sources took longer than the rules.

    def _gradients_text(self) -> str:
        if self.joint is not None:
            return f"lambda node, g, create_graph: {self.joint.text('rule0')}"
        texts = [f"{r.text(f'rule{i}')} if node.edges[{i}] is not None else None" if isinstance(r, Rule) else
                 f"rule{i}.refuse({self.name!r}) if node.edges[{i}] is not None else None" if isinstance(r, NoGrad)
                 else "None" for i, r in enumerate(self.rules)]
        return f"lambda node, g, create_graph: ({', '.join(texts)},)"

    def _saving_text(self, users: list[list[int] | None]) -> str:
        """``users`` are the tensors whose gradients need each of ``saves``; None where one rule is for all."""
        texts = []
        for tensor, wanted in zip(self.saved_tensors, users):
            source, several = ("out", self.several) if tensor is None else ("arrays", True) if self.sequence else (
                f"arrays[{tensor}]", False)
            text = f"list(map(keep, {source}))" if several else f"keep({source})"
            if wanted is not None and len(wanted) < len(self.tensors):
                text += f" if {' or '.join(f'edges[{t}] is not None' for t in wanted)} else None"
            texts.append(text)
        return f"lambda edges, arrays, out, keep: [{', '.join(texts)}]"

    def _source(self, name: str) -> tuple[str, int]:
        """Where a rule's parameter comes from."""
        if name in ("g", "needs"):
            return name, 0
        if name in self.saves:
            return "saved", self.saves.index(name)
        if name in self.attrs:
            return "attrs", self.attrs.index(name)
        tensor, what = name.rsplit("_", 1)
        return what, self.tensors.index(tensor)


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()  # in place of an argument that a synonym may give


def make_function(op: Op, apply: Callable, by_keyword: Callable | None = None) -> Callable:
    """The public function of a record: a true Python signature around ``apply(op, tensors, attributes)``.

    Keywords beyond the signature (``out``, synonyms, options) go to ``by_keyword(function, values, named)``, with the
    values of the signature by the record's names.
    """
    called = {name: op.keywords.get(name, name) for name in op.signature.parameters}
    tensors = [called[t] for t in op.tensors]
    if op.composite:
        call = f"_run({', '.join((*tensors, *(f'{a}={called[a]}' for a in op.attrs)))})"
    else:
        several = tensors[0] if op.sequence else f"({''.join(f'{t}, ' for t in tensors)})"
        call = f"_apply(_op, {several}, ({''.join(f'{called[a]}, ' for a in op.attrs)}))"
    scope: dict[str, Any] = {"_apply": apply, "_op": op, "_run": op.run, "_by_keyword": by_keyword}
    lines = [f"    return {call}"]
    if by_keyword is not None:
        asked = " or ".join(["_named", *(f"{called[n]} is _REQUIRED" for n in _late(op))])
        values = ", ".join(f"{name!r}: {public}" for name, public in called.items())
        lines = [f"    if {asked}:", f"        return _by_keyword(_this, {{{values}}}, _named)", *lines]
        scope["_REQUIRED"] = REQUIRED
    exec("\n".join([f"def {op.name}({_parameters(op, scope, by_keyword is not None)}):", *lines]), scope)
    function = scope["_this"] = scope[op.name]
    function.__doc__ = op.doc
    function.__name__ = function.__qualname__ = op.public_name
    function.__module__ = f"clgrad.{op.namespace}" if op.namespace else "clgrad"
    function.__signature__ = _shown_signature(op, by_keyword is not None)
    function.op = op
    return function


def _late(op: Op) -> list[str]:
    """The required arguments that may be missing from a call: the first that has a synonym, and those behind it."""
    required = [p for p in op.signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    first = next((i for i, p in enumerate(required) if p.name in op.synonyms.values()), len(required))
    return [p.name for p in required[first:]]


def _parameters(op: Op, scope: dict[str, Any], named: bool) -> str:
    """The signature as Python text by callers' names; defaults are names in ``scope``."""
    parts: list[str] = []
    late = _late(op) if named else ()
    starred = False
    for name, p in op.signature.parameters.items():
        public = op.keywords.get(name, name)
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or p.kind is not p.POSITIONAL_OR_KEYWORD
        if p.kind is p.VAR_POSITIONAL:
            parts.append(f"*{public}")
        elif name in late or p.default is not p.empty:
            scope[f"_default_{public}"] = REQUIRED if name in late else p.default
            parts.append(f"{public}=_default_{public}")
        else:
            parts.append(public)
    return ", ".join(parts + ["**_named"] * named)


def _shown_signature(op: Op, named: bool) -> inspect.Signature:
    """What ``help`` and ``inspect`` show: callers' names, ``out`` and the options; synonyms stay unsaid."""
    shown = [p.replace(name=op.keywords.get(p.name, p.name)) for p in op.signature.parameters.values()]
    extra = (*op.options, "out") if named else ()
    return inspect.Signature(shown + [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None)
                                      for n in extra])
