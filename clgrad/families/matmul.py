"""Host side of matrix products: which kernels, in which tiles, with what packed first.

Wide-core devices choose among three kernels: ``vector`` where one side is a single row or column, ``dot`` where both
operands run along k and there are few rows (x @ w.T), ``tile`` for the rest. ``tile`` reads an operand in place where
its strides allow, else packs it into zero-padded panels first; both cost launches only, never a second code path.
Small results with a long k split k and add the partial sums in a fixed order. Whichever launch stores the result can
end it too: add a bias, apply an activation, add a residual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from .. import kernels
from ..core import dtypes, shapes
from ..core.dtypes import DType
from ..core.errors import ShapeError, bad
from ..ndarray import INT_BYTES, Array, Layout, fresh, full, layout_of, same_device
from ..runtime import tuned
from ..runtime.device import Device, Facts
from ..runtime.launch import Launch
from ..runtime.program import GroupLimitError, kernel
from . import matrix_units
from .elementwise import Expression
from .plans import Plans, check_device, form, replay, signature_of

# The accumulator: unsigned for integers, so that sums wrap as defined; small integers wrap when stored.
_ACC = {"float": "float", "double": "double", "half": "float", "bf16": "float", "long": "ulong", "ulong": "ulong"}
_ITEM = {"float": 4, "uint": 4, "double": 8, "ulong": 8}
_SAME_BITS = {"float": "float", "double": "double", "int": "uint", "uint": "uint", "long": "ulong", "ulong": "ulong"}


@dataclass(frozen=True)
class Operand:
    """Where a batch of matrices lies: offset and element strides. ``row`` runs along M or N, ``k`` along K.

    The offset is a number, or names the operand whose offset is filled in at each launch: "a" or "b".
    """

    offset: int | str
    batch: int
    row: int
    k: int


@dataclass(frozen=True)
class Term:
    """What is added to a result: the names of its buffer and offset, and element strides. Along N it has unit stride,
    or one value a row (``column`` 0)."""

    name: str
    offset: str
    batch: int
    row: int
    column: int

    @property
    def mode(self) -> str:
        return "v" if self.column else "z"


@dataclass(frozen=True)
class Ending:
    """What becomes of a sum on its way out: activation(sum + before) + after; the activation as (argument, C text)."""

    before: Term | None = None
    after: Term | None = None
    activation: tuple[str, str] | None = None


@dataclass(frozen=True)
class Problem:
    """C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n], ended, C contiguous."""

    M: int
    N: int
    K: int
    batch: int
    a: Operand
    b: Operand
    ctype: str
    ending: Ending = Ending()
    sums: bool = False  # whether the sums of A's rows over k are wanted, too: of one matrix, from its panels

    @property
    def acc(self) -> str:
        return _ACC.get(self.ctype, "uint")

    @property
    def same_bits(self) -> bool:
        """Whether kernels can read the stored type as the accumulator."""
        return _SAME_BITS.get(self.ctype) == self.acc


@dataclass(frozen=True)
class Step:
    """One launch. In ``args`` an int is an index scalar; "a", "b", "e0" and "e1" are the offsets of operands and terms,
    "A" "B" "E0" "E1" their buffers, "C" the result's, "S" that of A's sums, ("temp", i) a temporary's."""

    function: str
    variables: dict[str, Any]
    gsize: int
    lsize: int
    args: tuple
    template: str = "matmul"


@dataclass
class Steps:
    """The launches of a product in order, and the temporaries they need (in accumulator elements)."""

    problem: Problem
    common: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    temporaries: list[int] = field(default_factory=list)

    @property
    def pairs(self) -> str:
        """What multiplies neighbours along k two by two, "" for nothing."""
        return self.common["pairs"]

    @property
    def depth(self) -> int:
        """Steps along k: values, or words of two."""
        return _ceil(self.problem.K, 2) if self.pairs else self.problem.K

    def temporary(self, size: int) -> tuple[str, int]:
        self.temporaries.append(max(1, size))
        return "temp", len(self.temporaries) - 1

    def add(self, part: str, gsize: int, lsize: int, args: list, function: str | None = None,
            template: str = "matmul", **values: Any) -> None:
        self.steps.append(Step(function or part, {**self.common, "part": part, **PLAIN, **values}, gsize, lsize,
                               tuple(args), template))


_MOST_PARTIAL = 2**28  # bytes of partial sums, beyond which K is not split for the caches' sake
PLAIN = {"before": "", "after": "", "activation": None}  # template values of sums that are stored as they are


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def plan_steps(p: Problem, facts: Facts, shape: str, index: str, params: dict[str, int] | None = None,
               unit: str = "") -> Steps:
    """The launches of a problem in one kernel form; ``params`` overrides defaults, and with them the choice of tile.
    ``unit`` names the matrix unit that multiplies, "" for none."""
    steps = Steps(p, {"form": shape, "ctype": p.ctype, "acc": p.acc, "index": index,
                      "pairs": unit if shape == "wide" else ""})
    chosen = {**kernels.template("matmul").module.DEFAULT[shape][_ITEM[p.acc]], **(params or {})}
    if shape == "many" and unit:
        _matrix(steps, p, unit, facts)
    elif shape == "many":
        _many(steps, p, params and chosen, facts)
    elif p.M == 1 or p.N == 1:
        _vector(steps, p, chosen, 4 * facts.compute_units)
    elif not p.sums and _suits_dot(p, chosen["dot_pair_rows" if unit else "dot_rows"]):
        _dot(steps, p, chosen, 4 * facts.compute_units)
    else:
        if params is None:
            chosen |= _choose_tile(p, chosen["width"])
        _tile(steps, p, chosen, 4 * facts.compute_units)
    return steps


def _suits_dot(p: Problem, most: int) -> bool:
    return (p.b.k == 1 and p.b.row != 1 and max(32, 4 * p.M) <= p.K and most >= p.M
            and (p.a.k == 1 or p.same_bits))


def _choose_tile(p: Problem, width: int) -> dict[str, int]:
    """The tile of least work, edges counted whole; among equals wide tiles, or narrow ones where B must be packed."""
    while width > 4 and width // 2 >= p.N:
        width //= 2
    packs_b = p.b.row != 1 or not p.same_bits

    def cost(tile: tuple[int, int]) -> tuple[float, int]:
        rows, vectors = tile
        step = max(rows * vectors, 6) + 0.15 * (rows + vectors)  # multiply-adds a step of k, and a little for its loads
        whole = _ceil(p.M, rows) * _ceil(p.N, vectors * width) * step * (1 if rows <= p.M else 1.3)
        return whole, vectors if packs_b else -vectors

    rows, vectors = min(kernels.template("matmul").module.TILES, key=cost)
    return {"tile_m": rows, "vectors": vectors, "width": width}


@dataclass(frozen=True)
class _Finish:
    """Where a product is written: C itself, ended, or partial sums which one more launch adds up and ends.

    ``values`` and ``args`` are what the launch that multiplies takes for it."""

    out: Any
    values: dict[str, Any]
    args: list
    add_up: Callable[[], None]


def _ended(p: Problem, line: bool) -> tuple[dict[str, Any], list]:
    """Template values and arguments of a problem's ending. A ``line`` of results steps along N where M is 1."""
    end, args = p.ending, []
    for t in (end.before, end.after):
        if t is not None:
            args += [t.name, t.offset, t.batch, t.column if line and p.N > 1 else t.row]
    modes = ["" if t is None else "z" if line else t.mode for t in (end.before, end.after)]
    return {"before": modes[0], "after": modes[1], "activation": end.activation}, args


def _finish(s: Steps, splits: int, width: int, lsize: int, line: bool = False) -> _Finish:
    p = s.problem
    if splits == 1:
        values, args = _ended(p, line)
        return _Finish("C", {"out": p.ctype, **values}, args, lambda: None)
    count = p.batch * p.M * p.N
    partial = s.temporary(splits * count)
    each = 1024 if s.common["form"] == "wide" else 1
    values, args = _ended(p, False)
    M, N = (p.M, p.N) if args else (1, count)

    def add_up() -> None:
        groups = _ceil(_ceil(count, each), lsize)
        s.add("sum", groups * lsize, lsize, [count, M, N, splits, each, partial, "C", *args], out=p.ctype, width=width,
              **values)

    return _Finish(partial, {"out": p.acc}, [], add_up)


def _along(o: Operand, itemsize: int) -> tuple[str, int]:
    """How an operand to be packed is read, and the side of the squares that are transposed where that is along k."""
    return "lane" if o.row == 1 else "k" if o.k == 1 else "any", 32 // itemsize


@dataclass(frozen=True)
class _Packed:
    """A packed operand: its buffer and strides, the step between panels, and its rows' sums over k as arguments of the
    launch that adds them up: a buffer [parts][lane] and the number of parts."""

    name: Any
    operand: Operand
    panel: int
    totals: tuple = ()


def _pack(s: Steps, name: str, o: Operand, length: int, tile: int, totals: bool = False) -> _Packed:
    """Copy an operand to panels [panel][k][lane], and sum each lane over k with ``totals``."""
    p = s.problem
    batches = 1 if o.batch == 0 else p.batch
    panels, K = _ceil(length, tile), s.depth
    packed = s.temporary(batches * panels * K * tile)
    along, block = _along(o, _ITEM[p.acc])
    chunk, run = max(64, 2048 // tile), 1
    if along == "lane" and tile < block:  # whole lines of memory: a few k of many panels
        chunk, run = max(16, 8192 // length), _ceil(512, tile)
    chunk = max(1, min(K, _ceil(_ceil(K, _ceil(K, chunk)), 16) * 16))
    run = _ceil(panels, _ceil(panels, run))
    parts = _ceil(K, chunk)
    sums = [s.temporary(parts * panels * tile)] if totals else []
    s.add("pack", batches * _ceil(panels, run) * parts, 1,
          [length, p.K, chunk, run, name, o.offset, o.batch, o.row, o.k, packed, *sums],
          tile=tile, along=along, block=block, out=p.acc, totals=totals)
    return _Packed(packed, Operand(0, panels * K * tile if batches > 1 else 0, 1, tile), K * tile,
                   (*sums, parts) if totals else ())


def _converted(s: Steps, name: str, o: Operand, length: int) -> tuple[Any, Operand]:
    """Copy an operand row by row: its buffer and strides."""
    packed = _pack(s, name, o, length, 1)
    return packed.name, Operand(0, packed.operand.batch, packed.panel, 1)


def _tile(s: Steps, p: Problem, params: dict[str, int], wanted: int) -> None:
    tile = {key: params[key] for key in ("tile_m", "vectors", "width")}
    tile_m, tile_n, item = tile["tile_m"], tile["vectors"] * tile["width"], _ITEM[p.acc]
    tiles, panels, K = _ceil(p.M, tile_m), _ceil(p.N, tile_n), s.depth
    whole = bool(s.pairs) and p.K % 2 == 0  # every word of neighbours along k has two of them
    a_fits = (p.same_bits or (whole and p.a.k == 1)) and tile_m <= p.M
    b_fits = p.same_bits and p.b.row == 1 and tile_n <= p.N
    # A step along k of a large A takes a few bytes of a line that is gone before the next tile needs its rest.
    pack_a = p.sums or not a_fits or (p.N >= 256 and p.a.k != 1 and (
        p.a.row != 1 or K * p.M * item >= params["pack_a_bytes"]))
    pack_b = not b_fits or (p.M >= 128 and K * p.N * item >= params["pack_b_bytes"])
    splits = 1
    if p.batch * tiles * panels < wanted and K >= 512:
        splits = max(1, min(_ceil(wanted, p.batch * tiles * panels), K // 256))
    panel = K * tile_n * item
    near = _ceil(panel, params["near_bytes"])
    if tiles > 1 and panel > params["far_bytes"] and p.batch * p.M * p.N * item * near <= _MOST_PARTIAL:
        splits = max(splits, near)
    chunk = _ceil(K, splits)
    splits = _ceil(K, chunk)
    far = 2**31 - 1 if s.common["index"] == "int" else 2**62
    A, a, B, b, last_m, last_n = "A", p.a, "B", p.b, far, far
    totals: tuple = ()
    if pack_a and not p.same_bits and a.k == 1 and tile_m <= p.M and not p.sums:
        A, a = _converted(s, "A", a, p.M)  # only its type is in the way
        pack_a = False
    if pack_a:
        packed = _pack(s, "A", a, p.M, tile_m, p.sums)
        A, a, a_tile, totals = packed.name, packed.operand, packed.panel, packed.totals
    else:
        a_tile, last_m = tile_m * a.row, p.M - tile_m
    if s.pairs:  # strides of A are those of values
        a, a_tile = (replace(a, k=2), a_tile) if A == "A" else (
            replace(a, batch=2 * a.batch, row=2 * a.row, k=2 * a.k), 2 * a_tile)
    # Where one work-item a panel is enough, and A stays in the cache meanwhile, it packs the panel itself.
    own = pack_b and (whole or not s.pairs) and p.batch * splits * panels >= wanted and (
        chunk * tiles * tile_m * item <= params["panel_bytes"])
    if pack_b and not own:
        packed = _pack(s, "B", b, p.N, tile_n)
        B, b, b_panel = packed.name, packed.operand, packed.panel
    else:
        b_panel, last_n = tile_n * b.row, far if own else p.N - tile_n
    # Tiles a work-item: as many as pay for it and as leave enough work-items, but A's share stays in the cache.
    group = tiles if own else max(
        1, params["least_work"] // max(1, tile_m * tile_n * chunk), p.batch * splits * panels * tiles // (4 * wanted))
    group = min(tiles, group, max(1, params["panel_bytes"] // max(1, chunk * tile_m * item)))
    group = _ceil(tiles, _ceil(tiles, group))
    items = p.batch * splits * _ceil(tiles, group) * panels
    panel = [s.temporary(items * chunk * tile_n), b.row] if own else []
    finish = _finish(s, splits, tile["width"], 1)
    s.add("tile", items, 1,
          [p.M, p.N, K, chunk, splits, group, A, a.offset, a.batch, a_tile, a.row, a.k, last_m,
           B, b.offset, b.batch, b_panel, b.k, last_n, *panel, finish.out, p.M * p.N, p.batch * p.M * p.N,
           *finish.args, *((*totals, "S") if p.sums else ())],
          rows="columns" if a.row == (2 if s.pairs else 1) else "strided", packs=_along(b, item) if own else None,
          totals=p.sums, **finish.values, **tile)
    finish.add_up()


def _dot(s: Steps, p: Problem, tile: dict[str, int], wanted: int) -> None:
    A, a = ("A", p.a) if p.a.k == 1 else _converted(s, "A", p.a, p.M)
    tiles, panels = _ceil(p.M, 4), _ceil(p.N, 4)
    splits = max(1, min(wanted // (p.batch * tiles * panels), p.K // 512))
    chunk = _ceil(_ceil(p.K, splits), 32) * 32
    splits = _ceil(p.K, chunk)
    group = max(1, min(tiles, p.batch * splits * panels * tiles // (4 * wanted)))
    group = _ceil(tiles, _ceil(tiles, group))
    finish = _finish(s, splits, tile["width"], 1)
    s.add("dot", p.batch * splits * _ceil(tiles, group) * panels, 1,
          [p.M, p.N, p.K, chunk, splits, group, A, a.offset, a.batch, a.row, "B", p.b.offset, p.b.batch, p.b.row,
           finish.out, p.M * p.N, p.batch * p.M * p.N, *finish.args], "dot_tile", width=tile["width"], **finish.values)
    finish.add_up()


def _vector(s: Steps, p: Problem, tile: dict[str, int], wanted: int) -> None:
    """One row or column: the matrix W is read once; x is packed unless it is contiguous in the accumulator's type."""
    x_name, x, w_name, w, L = ("B", p.b, "A", p.a, p.M) if p.N == 1 else ("A", p.a, "B", p.b, p.N)
    if not p.same_bits or x.k != 1:
        x_name, x = _converted(s, x_name, Operand(x.offset, x.batch, 1, x.k), 1)
    along = "out" if w.row == 1 and (L > 1 or w.k != 1) else "k" if w.k == 1 else "any"
    # Enough work-items, but none with less than a few thousand elements of W to read.
    most = 4096 // _ITEM[p.acc] if along == "out" else 1024
    if along == "out":
        splits = max(1, min(wanted // max(1, p.batch * _ceil(L, most)), _ceil(p.K, 256),
                            _ceil(p.batch * L * p.K, tile["vector_least"])))
    else:
        splits = max(1, min(wanted // (p.batch * _ceil(L, 4)), p.K // (tile["vector_least"] // 4)))
    chunk = _ceil(_ceil(p.K, splits), 32) * 32
    splits = _ceil(p.K, chunk)
    rows = most if along == "out" else max(
        4, min(most, _ceil(_ceil(p.batch * L * splits, 4 * wanted), 4) * 4, L), min(L, 8192 // chunk))
    rows = min(most, _ceil(_ceil(L, _ceil(L, rows)), 4) * 4)
    finish = _finish(s, splits, tile["width"], 1, line=True)
    s.add("vector", p.batch * splits * _ceil(L, rows), 1,
          [L, p.K, chunk, splits, rows, x_name, x.offset, x.batch, w_name, w.offset, w.batch, w.row, w.k,
           finish.out, L, p.batch * L, *finish.args], along=along, width=tile["width"], **finish.values)
    finish.add_up()


def _many(s: Steps, p: Problem, params: dict[str, int] | None, facts: Facts) -> None:
    params = _fitting(params or _many_tile(p, facts), facts, _ITEM[p.acc])
    items = params["group_m"] * params["group_n"]
    if p.M == 1 or p.N == 1:
        L = p.M * p.N
        x_name, x, w_name, w = ("B", p.b, "A", p.a) if p.N == 1 else ("A", p.a, "B", p.b)
        along = "out" if w.row == 1 and L > 1 else "k"
        team = min(items, 32 if p.K <= 2048 else 256)  # work-items a result
        part, values = "vector", {"along": along, "team": team, "group_m": params["group_m"],
                                  "group_n": params["group_n"]}
        blocks = _ceil(L, items // team if along == "k" else items)
        head, tail = [L, p.K], [x_name, x.offset, x.batch, x.k, w_name, w.offset, w.batch, w.row, w.k]
    else:
        part, blocks, values = "tile", _many_groups(p, params), {**_sides(p), **params}
        head, tail = [p.M, p.N, p.K], _two_operands(p)
    _split(s, p, part, blocks, items, facts, head, tail, values)


def _matrix(s: Steps, p: Problem, unit: str, facts: Facts) -> None:
    """A product by matrix units: as many launches, of the same arguments, as one by ordinary tiles."""
    params = matrix_units.tile_for(p.M, p.N, p.batch, unit, facts)
    if params is None:
        _many(s, p, None, facts)
    else:
        _split(s, p, "matrix", *matrix_units.groups(p.M, p.N, params, unit), facts, [p.M, p.N, p.K], _two_operands(p),
               {"template": "matrix_units", "unit": unit, **_sides(p), **params})


def _sides(p: Problem) -> dict[str, str]:
    """Along which axis neighbouring work-items read."""
    return {"a_along": "m" if p.a.row == 1 else "k", "b_along": "n" if p.b.row == 1 else "k"}


def _two_operands(p: Problem) -> list:
    return ["A", p.a.offset, p.a.batch, p.a.row, p.a.k, "B", p.b.offset, p.b.batch, p.b.k, p.b.row]


def _split(s: Steps, p: Problem, part: str, blocks: int, items: int, facts: Facts, head: list, tail: list,
           values: dict[str, Any]) -> None:
    """Work-groups of ``items`` for ``blocks`` parts of each product, and of K in as many splits as units want work."""
    splits = max(1, min(_ceil(4 * facts.compute_units, p.batch * blocks), p.K // 256))
    step = values.get("tile_k", 16)  # the vectors of every split shall be aligned
    chunk = _ceil(_ceil(p.K, splits), step) * step
    splits = _ceil(p.K, chunk)
    finish = _finish(s, splits, 1, min(64, items), line=part == "vector")
    s.add(part, p.batch * splits * blocks * items, items,
          [*head, chunk, splits, *tail, finish.out, p.M * p.N, p.batch * p.M * p.N, *finish.args],
          **finish.values, **values)
    finish.add_up()


def _many_groups(p: Problem, params: dict[str, int]) -> int:
    """Work-groups that one matrix of the batch takes."""
    return (_ceil(p.M, params["group_m"] * params["block_m"]) * _ceil(p.N, params["group_n"] * params["block_n"]))


def _many_tile(p: Problem, facts: Facts) -> dict[str, int]:
    """The tile that is done first: rounds of all units, by the results of a group and what each costs. A multiply-add
    costs one, and the local loads for it 1.5 / block of either side: an NVIDIA SM takes 16 cycles for a warp's step of
    8 x 8 and 6 for its vectors, 4 and 3 for one of 4 x 4."""
    def cost(t: dict[str, int]) -> float:
        area = t["group_m"] * t["block_m"] * t["group_n"] * t["block_n"]
        return _ceil(p.batch * _many_groups(p, t), facts.compute_units) * area * (
            1 + 1.5 / t["block_m"] + 1.5 / t["block_n"])

    tiles = kernels.template("matmul").module.MANY_TILES[_ITEM[p.acc]]
    return min(tiles[2:] if facts.unified_memory and not facts.wide_core else tiles, key=cost)


def _fitting(params: dict[str, int], facts: Facts, itemsize: int) -> dict[str, int]:
    """The parameters, with a smaller group until the device takes it."""
    module = kernels.template("matmul").module
    while not module.valid(params, facts, itemsize) and params["group_m"] * params["group_n"] > 1:
        key = "group_m" if params["group_m"] >= params["group_n"] else "group_n"
        params = {**params, key: params[key] // 2}
    return params


@dataclass(frozen=True, eq=False)
class _Plan:
    launches: tuple[Launch, ...]
    temporaries: tuple[int, ...]  # bytes
    result: Layout
    sums: Layout | None = None


_plans = Plans()


def matmul(x: Array, y: Array, shape: str | None = None, *, before: Array | None = None,
           activation: Expression | None = None, after: Array | None = None) -> Array:
    """activation(x @ y + before) + after, for x and y of shapes (..., M, K) and (..., K, N), batches broadcast.

    ``before`` and ``after`` have the result's dtype and broadcast to its shape; without them and the activation it is
    the product alone. Sums are ended in their own precision and rounded once. ``shape`` forces a kernel form."""
    key = (x._layout or layout_of(x), y._layout or layout_of(y), shape, activation,
           None if before is None else before._layout or layout_of(before),
           None if after is None else after._layout or layout_of(after))
    found = _plans.get(key)
    if found is None:
        return _first(x, y, shape, before, activation, after, key)
    out = fresh(found.result)
    values: dict[Any, Any] = {"A": x.storage.buffer, "B": y.storage.buffer, "C": out.storage.buffer, "a": x.offset,
                              "b": y.offset}
    if before is not None:
        values["E0"], values["e0"] = before.storage.buffer, before.offset
    if after is not None:
        values["E1"], values["e1"] = after.storage.buffer, after.offset
    replay(found.launches, found.result.device, found.temporaries, values)
    return out


def matmul_and_sums(x: Array, y: Array, shape: str | None = None) -> tuple[Array, Array | None]:
    """x @ y for matrices x (M, K) and y (K, N), and the sums of x over its second axis: where x is packed anyhow, in
    the same launches. None where that is not so."""
    key = ("sums", x._layout or layout_of(x), y._layout or layout_of(y), shape)
    found = _plans.get(key)
    if found is None:
        found = _plans.put(key, _plan_sums(x, y, shape or form(x.device), key) or "apart")
    if found == "apart":
        return matmul(x, y, shape), None
    out, sums = fresh(found.result), fresh(found.sums)
    replay(found.launches, found.result.device, found.temporaries, {
        "A": x.storage.buffer, "B": y.storage.buffer, "C": out.storage.buffer, "S": sums.storage.buffer,
        "a": x.offset, "b": y.offset})
    return out, sums


def _plan_sums(x: Array, y: Array, shape: str, key: tuple) -> _Plan | None:
    """The plan of a product whose left operand is packed in the wide form, for its sums; None for others."""
    if shape == "many" or x.dtype is not y.dtype or not x.ndim == y.ndim == 2 or x.shape[1] != y.shape[0] or min(
            x.shape[0], y.shape[1]) < 2 or not x.shape[1]:
        return None
    problem, device, result = _problem(x, y, (), x.dtype), same_device("matmul", (x, y)), (x.shape[0], y.shape[1])
    assert problem is not None
    if _matrix_unit(problem, device, shape, None):  # its panels hold no numbers to add up
        return None
    plan = _plan(replace(problem, sums=True), device, shape, _large(key, problem, x.dtype), result, x.dtype)
    return replace(plan, sums=Layout.dense(result[:1], x.dtype, x.device))


def _first(x: Array, y: Array, shape: str | None, before: Array | None, activation: Expression | None,
           after: Array | None, key: tuple) -> Array:
    """A product of shapes that have no plan: check, convert, plan. Only those that need no conversion are kept."""
    device = same_device("matmul", [t for t in (x, y, before, after) if t is not None])
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise ShapeError(bad("matmul", f"shapes {x.shape} and {y.shape}", "(..., M, K) and (..., K, N)",
                             "The last axis of the first must equal the last but one of the second."))
    dtype = dtypes.result_type(x.dtype, y.dtype)
    check_device(device, dtype)
    x, y = x.astype(dtype), y.astype(dtype)
    batch = x.shape[:-2] if x.shape[:-2] == y.shape[:-2] else shapes.broadcast("matmul", x.shape[:-2], y.shape[:-2])
    result = (*batch, x.shape[-2], y.shape[-1])
    if prod(result) == 0:
        return full(result, 0, dtype, device)
    if x.shape[-1] == 0:  # a sum of nothing is one zero product
        if before is None and after is None and activation is None:
            return full(result, 0, dtype, device)
        x, y = (full((*a.shape[:-2], *tail), 0, dtype, device)
                for a, tail in ((x, (result[-2], 1)), (y, (1, result[-1]))))
        return matmul(x, y, shape, before=before, activation=activation, after=after)
    if key[0].dtype is not dtype or key[1].dtype is not dtype:
        return matmul(x, y, shape, before=before, activation=activation, after=after)
    problem = _problem(x, y, batch, dtype)
    if problem is None:  # batches that no single stride can walk: copied side by side
        x, y = (a.expand((*batch, *a.shape[-2:])).clone().contiguous() for a in (x, y))
        return matmul(x, y, shape, before=before, activation=activation, after=after)
    terms = [None if t is None else _term(t, i, problem, result) for i, t in enumerate((before, after))]
    if "no stride" in terms:  # neither unit stride nor one value along N, or batches as above: copied
        copies = [None if t is None else t.expand(result).clone().contiguous() for t in (before, after)]
        return matmul(x, y, shape, before=copies[0], activation=activation, after=copies[1])
    text = None if activation is None else (activation.names[0], activation.text(dtype))
    problem = replace(problem, ending=Ending(*terms, text))
    large = _large(key, problem, dtype)
    _plans.put(key, _plan(problem, device, shape or form(device), large, result, dtype))
    return matmul(x, y, shape, before=before, activation=activation, after=after)


def _large(key: tuple, p: Problem, dtype: DType) -> bool:
    """Whether indices need 64 bits."""
    return any(type(part) is Layout and part.large for part in key) or max(
        p.batch * p.M * p.N * dtype.itemsize, p.M, p.N, p.K) >= INT_BYTES


def _term(t: Array, number: int, p: Problem, result: tuple[int, ...]) -> Any:
    """A term's strides over the problem's batch, rows and columns; "no stride" where one of them has none."""
    strides = shapes.view_strides(result, shapes.expand_strides(t.shape, t.strides, result), (p.batch, p.M, p.N))
    if strides is None or (p.N > 1 and strides[2] not in (0, 1)):
        return "no stride"
    return Term(f"E{number}", f"e{number}", *(0 if n == 1 else s for s, n in zip(strides, (p.batch, p.M, p.N))))


def _problem(x: Array, y: Array, batch: tuple[int, ...], dtype: DType) -> Problem | None:
    """The product as one batch of matrices, or None where the batch axes have no common stride."""
    M, K, N = x.shape[-2], x.shape[-1], y.shape[-1]
    if y.ndim == 2 and x.ndim > 2:  # one matrix for the whole batch: its rows are rows of one tall matrix
        strides = shapes.view_strides(x.shape, x.strides, (prod(x.shape[:-1]), K))
        if strides is not None:
            return Problem(prod(x.shape[:-1]), N, K, 1, Operand("a", 0, *_unit(strides, (M * prod(batch), K))),
                           Operand("b", 0, *_unit(y.strides[::-1], (N, K))), dtype.c)
    sizes, (_, x_batch, y_batch) = shapes.collapse(
        batch, shapes.contiguous_strides(batch), shapes.expand_strides(x.shape[:-2], x.strides[:-2], batch),
        shapes.expand_strides(y.shape[:-2], y.strides[:-2], batch))
    if len(sizes) > 1:
        return None
    return Problem(M, N, K, prod(batch), Operand("a", x_batch[0], *_unit(x.strides[-2:], (M, K))),
                   Operand("b", y_batch[0], *_unit((y.strides[-1], y.strides[-2]), (N, K))), dtype.c)


def _unit(strides: tuple[int, ...], sizes: tuple[int, int]) -> tuple[int, int]:
    """Strides of (row, k), where an axis of one element may claim any stride: it is read as the next element."""
    return tuple(1 if n <= 1 else s for s, n in zip(strides, sizes))


def _layout(p: Problem) -> str:
    """How the operands lie, for the look-up of tuned parameters: along rows (n), columns (t) or neither (s), of A and
    of B; and which of them all batches share."""
    a, b = ("n" if k == 1 else "t" if row == 1 else "s" for row, k in ((p.a.row, p.a.k), (p.b.k, p.b.row)))
    shared = "".join(name for name, o in (("a", p.a), ("b", p.b)) if p.batch > 1 and o.batch == 0)
    return a + b + (f"/{shared}" if shared else "")


def _matrix_unit(p: Problem, device: Device, shape: str, params: dict[str, int] | None) -> str:
    """The matrix unit for a problem: of tuned parameters, ordinary tiles were faster."""
    least = 16 if shape == "many" else 2
    if params is not None or p.ctype not in matrix_units.DTYPES or p.K < 16 or min(p.M, p.N) < least:
        return ""
    return matrix_units.unit_of(device, shape, p.ctype, _by_unit)


def units(device: Device) -> str:
    """Which matrix unit multiplies float16 and bfloat16 on a device, and why none does otherwise, for people."""
    return matrix_units.report(device, form(device), _by_unit)


def _by_unit(x: Array, y: Array, shape: str, unit: str) -> Array:
    """x @ y for two matrices, by a matrix unit that nobody trusts yet."""
    problem = _problem(x, y, (), x.dtype)
    assert problem is not None
    found = _plan(problem, x.device, shape, False, (problem.M, problem.N), x.dtype, unit)
    out = fresh(found.result)
    replay(found.launches, x.device, found.temporaries, {
        "A": x.storage.buffer, "B": y.storage.buffer, "C": out.storage.buffer, "a": x.offset, "b": y.offset})
    return out


def _launch(device: Device, p: Problem, s: Step) -> Launch:
    signature = signature_of(s.args, ("a", "b", "e0", "e1"), s.variables["index"])
    k = kernel(device, s.template, s.function, signature, f"matmul.{s.variables['part']}", **s.variables)
    return Launch(k, (s.gsize,), (s.lsize,), s.args, flops=2 * p.batch * p.M * p.N * p.K)


def _plan(p: Problem, device: Device, shape: str, large: bool, result: tuple[int, ...], dtype: DType,
          unit: str | None = None) -> _Plan:
    index, facts = "long" if large else "int", device.facts
    params = tuned.params(device, "matmul", dtype.name, _layout(p), (p.M, p.K, p.N, p.batch), None)
    unit = _matrix_unit(p, device, shape, params) if unit is None else unit
    item = _ITEM[p.acc]
    while True:
        steps = plan_steps(p, facts, shape, index, params, unit)
        if index == "int" and max((*steps.temporaries, p.batch * (p.M + 128) * (p.N + 128))) >= 2**29:
            index = "long"
            continue
        try:
            launches = [_launch(device, p, s) for s in steps.steps]
            break
        except GroupLimitError as limit:
            if limit.most >= facts.max_work_group_size:  # it was planned for already
                raise
            facts = replace(facts, max_work_group_size=limit.most)
    return _Plan(tuple(launches), tuple(n * item for n in steps.temporaries), Layout.dense(result, dtype, device))
