"""Host side of Winograd's convolution F(4x4, 3x3) on wide-core devices: what Problems it serves, and their launches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conv import Problem, _Steps

_POINTS = 36


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def fits(p: Problem, params: dict[str, int]) -> bool:
    """Whether a Problem is of 3 x 3 windows at step one, and large enough to gain by it."""
    taps, grid = (p.r, p.j) if p.channels_in_r else (p.j, p.r)
    if taps[1:] != (1, 3, 3) or grid[1] != 1 or p.low[0] or p.j_step[1:] != (1, 1) or p.r_step[1:] != (1, 1):
        return False
    tiles = _ceil(grid[2], 4) * _ceil(grid[3], 4)
    margins = [(-p.low[d], p.low[d] + grid[d + 1] + 2 - p.space[d]) for d in (1, 2)]
    if max(map(max, margins)) > 4:  # the kernel's margins are this wide
        return False
    return (params["width"] <= p.M and taps[0] >= params["channels"] and grid[0] * tiles >= params["tiles"]
            and 9 * grid[2] * grid[3] >= params["gain"] * _POINTS * tiles)


def steps(s: _Steps, p: Problem, bias: int | None, x: tuple[Any, Any, tuple[int, ...]],
          params: dict[str, int]) -> None:
    """Append a Problem's launches; x is X's buffer, offset and strides, of the accumulator's type and dense rows."""
    (_forward if p.channels_in_r else _gradient)(s, p, bias, x, params)


def _spread(s: _Steps, p: Problem, x: tuple, grid: tuple, C: int, first: int, blocks: int, layout: tuple, V: Any,
            params: dict[str, int]) -> None:
    name, offset, strides = x
    tiles_h, tiles_w = _ceil(grid[2], 4), _ceil(grid[3], 4)
    by_image, by_channel = (strides[1], strides[2]) if p.channels_in_r else (strides[2], strides[1])
    each = max(1, min(C, _ceil(p.groups * blocks * C, 8 * s.device.facts.compute_units)))
    s.add("spread", p.groups * blocks * _ceil(C, each), 1,
          [blocks, first, grid[0] * tiles_h * tiles_w, tiles_h, tiles_w, C, each, *p.space[1:], name, offset,
           strides[0], by_image, by_channel, strides[4], *_span(p, strides), *p.low[1:], *layout, V],
          family="winograd", out=s.acc, ctype=s.acc, width=params["width"])


def _span(p: Problem, strides: tuple[int, ...]) -> tuple[int, int]:
    """The lowest index of X's elements, counted from its offset, and the one beyond the highest."""
    images, channels = (p.j[0], p.r[0]) if p.channels_in_r else (p.r[0], p.j[0])
    counts = (p.groups, images, channels) if p.channels_in_r else (p.groups, channels, images)
    ends = [(n - 1) * step for n, step in zip((*counts, *p.space), strides)]
    return sum(min(0, e) for e in ends), sum(max(0, e) for e in ends) + 1


def _scratch(s: _Steps, units: int, group: int, params: dict[str, int]) -> tuple[Any, int, int]:
    """Memory for the sums of each work-item, the number of work-items, and how many units each of them takes."""
    each = _ceil(units, 4 * s.device.facts.compute_units)
    workers = _ceil(units, each)
    return s.temporary(workers * group * _POINTS * 17 * params["width"]), workers, each


def _parts(total: int, most: int) -> list[tuple[int, int]]:
    """Even parts of a range, none above ``most``: where each begins, and its size."""
    size = _ceil(total, _ceil(total, max(1, most)))
    return [(at, min(size, total - at)) for at in range(0, total, size)]


def _forward(s: _Steps, p: Problem, bias: int | None, x: tuple, params: dict[str, int]) -> None:
    lanes, C, grid = 2 * params["width"], p.r[0], p.j
    tiles_h, tiles_w = _ceil(grid[2], 4), _ceil(grid[3], 4)
    tiles = grid[0] * tiles_h * tiles_w
    panels, all_blocks = _ceil(p.M, lanes), _ceil(tiles, 8)
    by_tiles = _parts(all_blocks, params["share"] // (_POINTS * C * 8 * p.groups))
    u_point, v_point = C * lanes + params["width"], C * 8 + 16  # no powers of two: these would meet few sets of a cache
    panel_size, v_block = _POINTS * u_point + lanes, _POINTS * v_point
    by_panels = _parts(p.groups * panels, params["share"] // panel_size if len(by_tiles) == 1 else p.groups * panels)
    U = s.temporary(by_panels[0][1] * panel_size)
    V = s.temporary(p.groups * by_tiles[0][1] * v_block)
    for i, (panel, some) in enumerate(by_panels):
        each = max(1, min(C, _ceil(some * C, 8 * s.device.facts.compute_units)))
        s.add("filters", some * _ceil(C, each), 1,
              [p.M, panels, panel, C, each, "A", "a", p.a_shift, p.a[0], p.a[1], p.a[2], p.a[4], p.a[5],
               int(bias is not None), "B", "b", bias or 0, u_point, U],
              family="winograd", out=s.acc, width=params["width"])
        for first, blocks in by_tiles:
            v_g = blocks * v_block
            if not i or len(by_tiles) > 1:
                _spread(s, p, x, grid, C, first, blocks, (v_g, v_block, v_point, 64), V, params)
            group = max(1, min(params["group"], _ceil(blocks * some, 4 * s.device.facts.compute_units), blocks))
            units = some * _ceil(blocks, group)
            scratch, workers, each = _scratch(s, units, group, params)
            s.add("product", workers, 1,
                  [units, each, first, panels, panel, some, blocks, group, p.M, C, tiles, tiles_h, tiles_w, *grid[2:],
                   V, v_g, v_block, v_point, U, u_point, "C", p.out_shift, *p.out[:3], *p.out[4:], scratch],
                  family="winograd", ctype=s.acc, width=params["width"])


def _gradient(s: _Steps, p: Problem, bias: int | None, x: tuple, params: dict[str, int]) -> None:
    lanes, C, grid = 2 * params["width"], p.j[0], p.r
    tiles_h, tiles_w = _ceil(grid[2], 4), _ceil(grid[3], 4)
    tiles = grid[0] * tiles_h * tiles_w
    panels, eights = _ceil(p.M, lanes), _ceil(C, 8)
    size = _POINTS * 8 * p.groups * (8 * eights + panels * lanes)
    by_tiles = _parts(_ceil(tiles, 8), 2 * params["share"] // size)
    most = by_tiles[0][1]
    V = s.temporary(p.groups * _POINTS * (most * eights * 64 + 16))
    D = s.temporary(p.groups * _POINTS * panels * (most * lanes * 8 + params["width"]))
    count, splits = p.groups * p.M * C * 9, len(by_tiles)
    target, out = ("C", s.ctype) if splits == 1 else (s.temporary(splits * count), s.acc)
    group = max(1, min(params["group"], _ceil(p.groups * panels * eights, 4 * s.device.facts.compute_units)))
    units = p.groups * panels * _ceil(eights, group)
    scratch, workers, each = _scratch(s, units, group, params)
    for i, (first, blocks) in enumerate(by_tiles):
        v_point, d_point = blocks * eights * 64 + 16, blocks * lanes * 8 + params["width"]
        v_g = _POINTS * v_point
        _spread(s, p, x, grid, C, first, blocks, (v_g, 64, v_point, blocks * 64), V, params)
        s.add("lanes", p.groups * panels * blocks, 1,
              [p.M, panels, blocks, first, tiles, tiles_h, tiles_w, *grid[2:], "A", "a", p.a[0], p.a[1], p.a[2], p.a[4],
               p.a[5], d_point, D], family="winograd", out=s.acc, width=params["width"])
        s.add("gradient", workers, 1,
              [units, each, panels, blocks, group, p.M, C, eights, V, v_g, v_point, D, d_point, target,
               p.out_shift + i * count, *p.out[:2], scratch],
              family="winograd", ctype=s.acc, out=out, width=params["width"])
    s.add_up(target, splits, count, params["width"])
