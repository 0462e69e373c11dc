"""What a device can do at most: its rate of multiply-adds and of copying, found with kernels of the tool's own.

The peak is that of kernels which only multiply and add in registers: enough chains that do not wait for each other,
in several vector widths, and the best of them counts. The copy moves arrays far larger than the last-level cache, in
several forms, and its rate counts each byte once read and once written. Both are the best seen, since what a machine
is busy with only takes from them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

PEAK_SECONDS = 0.005  # of one launch: long beside what a launch costs, short enough to find a moment without others
_FINAL_SECONDS = 0.8  # spent on the three best
_UNROLL = 4  # steps of the chains in a turn of the loop
_START, _FACTOR, _ADDEND = 1.0, 0.75, 0.125  # chains tend to 0.5: neither infinite nor denormal

# x[k] = x[k] * factor + addend, ``turns`` times for each of ``chains`` vectors of ``width``; what is written is used
# by nobody, and keeps the compiler from leaving the work away.
MULTIPLY_ADD = """
${prelude.extensions(ctype)}
<% V = ctype if width == 1 else f"{ctype}{width}" %>
kernel void multiply_add(global ${ctype} *out, long at, int turns, float start, float factor, float addend)
{
    const ${V} f = (${V})((${ctype})factor), c = (${V})((${ctype})addend);
% for k in range(chains):
    ${V} x${k} = (${V})((${ctype})start);
% endfor
    for (int i = 0; i < turns; ++i) {
% for _ in range(unroll):
    % for k in range(chains):
        x${k} = ${function}(x${k}, f, c);
    % endfor
% endfor
    }
% for k in range(1, chains):
    x0 += x${k};
% endfor
    out[at + get_global_id(0)] = ${"x0" if width == 1 else " + ".join(f"x0.s{i:x}" for i in range(width))};
}
"""

# out[i] = a[i] for n vectors: a work-item takes a part of its own ("parts": a core of a CPU walks through its memory),
# or work-items take turns ("turns": neighbours read neighbours, as GPUs like it). Stores that leave the cache alone are
# an extension of some compilers; elsewhere that form is the plain one again.
COPY = """
<% V = "float" if width == 1 else f"float{width}" %>
#if defined(__has_builtin)
#if __has_builtin(__builtin_nontemporal_store)
#define STREAM(value, place) __builtin_nontemporal_store(value, place)
#endif
#endif
#ifndef STREAM
#define STREAM(value, place) *(place) = value
#endif
kernel void copy(global float *restrict out, long at, global const float *restrict a, long a_at, int n)
{
    global ${V} *to = (global ${V} *)(out + at);
    global const ${V} *from = (global const ${V} *)(a + a_at);
    const int items = get_global_size(0), me = get_global_id(0);
% if order == "parts":
    const int part = (n + items - 1) / items, first = min(n, me * part), last = min(n, first + part);
    for (int i = first; i < last; ++i)
% else:
    for (int i = me; i < n; i += items)
% endif
% if stream:
        STREAM(from[i], to + i);
% else:
        to[i] = from[i];
% endif
}
"""


@dataclass(frozen=True)
class Sizes:
    """How many work-items, in groups of how many."""

    items: int
    group: int


def multiply_add_forms(wide: bool) -> Iterator[dict[str, Any]]:
    """The kernels that look for the peak: wide vectors for a CPU's cores, narrow ones where work-items are lanes.

    ``fma`` is one rounding, which a device without the instruction emulates; ``mad`` may be two there."""
    widths, chains = ((8, 16), (8, 12, 16)) if wide else ((1, 2, 4), (4, 8, 16))
    for width, n, function in itertools.product(widths, chains, ("fma", "mad")):
        if function == "fma" or width == widths[-1]:
            yield {"width": width, "chains": n, "function": function}


def copy_forms(wide: bool) -> Iterator[dict[str, Any]]:
    """The kernels that look for the copy's rate."""
    for width in ((8, 16) if wide else (1, 4)):
        for stream in (False, True):
            yield {"width": width, "order": "parts" if wide else "turns", "stream": stream}


def multiply_add_sizes(facts: Any, wide: bool) -> Sizes:
    """A few work-items a core, or enough groups that each unit of a GPU can hide its latency."""
    if wide:
        return Sizes(4 * facts.compute_units, 1)
    group = min(256, facts.max_work_group_size)
    return Sizes(32 * facts.compute_units * group, group)


def copy_sizes(facts: Any, wide: bool) -> list[Sizes]:
    """Those worth trying: few long walks or many short ones."""
    if wide:
        return [Sizes(n * facts.compute_units, 1) for n in (1, 16)]
    group = min(256, facts.max_work_group_size)
    return [Sizes(n * facts.compute_units * group, group) for n in (8, 64)]


def expected(turns: int, chains: int, width: int) -> float:
    """What a work-item of MULTIPLY_ADD writes."""
    rest = _ADDEND / (1 - _FACTOR)
    return chains * width * (rest + (_START - rest) * _FACTOR ** (turns * _UNROLL))


Candidate = tuple[dict[str, Any], float, Callable[[], Any]]  # what it is, its work, and one run of it


def _seconds(run: Callable[[], Any], wait: Callable[[], None], repeats: int = 1) -> float:
    """Of the quickest run."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        wait()
        best = min(best, time.perf_counter() - start)
    return best


def _best(candidates: list[Candidate], wait: Callable[[], None]) -> dict[str, Any]:
    """The rate of the quickest: all of them a few times, then the best three in turns: a slow moment hits all."""
    rates = {i: work / _seconds(run, wait, 3) for i, (_, work, run) in enumerate(candidates)}
    turns = itertools.cycle(sorted(rates, key=rates.__getitem__)[-3:])
    end = time.perf_counter() + _FINAL_SECONDS
    while time.perf_counter() < end:
        i = next(turns)
        rates[i] = max(rates[i], candidates[i][1] / _seconds(candidates[i][2], wait))
    winner = max(rates, key=rates.__getitem__)
    return {"rate": rates[winner], **candidates[winner][0]}


def multiply_adds(clgrad: Any, device: Any, ctype: str) -> Iterator[Candidate]:
    """The kernels of MULTIPLY_ADD, each found right and as many turns of it as take PEAK_SECONDS."""
    wide = device.wide_core
    sizes = multiply_add_sizes(device.facts, wide)
    out = clgrad.zeros(sizes.items, dtype=clgrad.float64 if ctype == "double" else clgrad.float32, device=device)
    for form in multiply_add_forms(wide):
        kernel = clgrad.custom.Kernel("multiply_add", MULTIPLY_ADD, "wifff")

        def run(turns: int, form: dict = form, kernel: Any = kernel) -> None:
            kernel((sizes.items,), (sizes.group,), out, turns, _START, _FACTOR, _ADDEND, ctype=ctype, unroll=_UNROLL,
                   **form)

        run(1)
        got, right = out.numpy(), expected(1, form["chains"], form["width"])
        if not np.allclose(got, right, rtol=1e-5):
            raise RuntimeError(f"roofline: {device} computed {got[0]} instead of {right} ({form})")
        turns = 64
        while (seconds := _seconds(lambda t=turns: run(t), clgrad.synchronize)) < PEAK_SECONDS / 8 and turns < 1 << 28:
            turns *= 4
        turns = max(1, round(turns * PEAK_SECONDS / seconds))
        flops = 2.0 * turns * _UNROLL * form["chains"] * form["width"] * sizes.items
        yield form, flops, lambda run=run, turns=turns: run(turns)


def copied_bytes(facts: Any, cache: int) -> int:
    """The size of an array to copy: far beyond the last-level cache, within what the device allows."""
    return min(max(256 << 20, 4 * cache), facts.max_alloc // 2, facts.global_mem // 8) // 4096 * 4096


def copies(clgrad: Any, device: Any) -> Iterator[Candidate]:
    """The kernels of COPY, each found right."""
    n = copied_bytes(device.facts, device._cl.global_mem_cache_size) // 4
    a = clgrad.ones(n, device=device)
    out = clgrad.zeros(n, device=device)
    for form in copy_forms(device.wide_core):
        kernel = clgrad.custom.Kernel("copy", COPY, "wri")
        for sizes in copy_sizes(device.facts, device.wide_core):
            def run(form: dict = form, kernel: Any = kernel, sizes: Sizes = sizes) -> None:
                kernel((sizes.items,), (sizes.group,), out, a, n // form["width"], **form)

            out.zero_()
            run()
            if not bool((out == a).all().item()):
                raise RuntimeError(f"roofline: {device} copied wrong numbers ({form})")
            yield {**form, "items": sizes.items, "bytes": 4 * n}, 8.0 * n, run


def measure(clgrad: Any, device: Any) -> dict[str, dict[str, Any]]:
    """``float32`` and ``float64`` in FLOP/s (0 where the device lacks the type) and ``copy`` in B/s, each as ``rate``
    with what is to be known of the kernel that reached it."""
    kinds = (("float32", "float"), ("float64", "double"))
    found = {name: _best(list(multiply_adds(clgrad, device, ctype)), clgrad.synchronize)
             for name, ctype in kinds if ctype == "float" or device.facts.fp64}
    return {"float32": found["float32"], "float64": found.get("float64", {"rate": 0.0}),
            "copy": _best(list(copies(clgrad, device)), clgrad.synchronize)}


def better(a: dict[str, dict[str, Any]], b: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of two roofs of one device, the higher of each figure."""
    return {k: max((r[k] for r in (a, b) if k in r), key=lambda found: found["rate"]) for k in {**a, **b}}


def summary(found: dict[str, dict[str, Any]]) -> str:
    """The figures in a line."""
    peaks = ", ".join(f"{found[k]['rate'] / 1e9:.0f} GFLOP/s {k}" for k in ("float32", "float64") if found[k]["rate"])
    copy = found["copy"]
    return f"{peaks}; copying {copy['bytes'] >> 20} MiB at {copy['rate'] / 1e9:.1f} GB/s (read and written)"


def share(found: dict[str, dict[str, Any]] | None, work: float, unit: str, dtype: str, seconds: float) -> float | None:
    """How much of the roofline a step reaches, from 0 to 1; None where its unit has none."""
    kind = {"FLOP": dtype, "B": "copy"}.get(unit)
    most = found[kind]["rate"] if found and kind else 0.0
    return work / seconds / most if most and work else None
