"""einops on Arrays and Variables, by plain ``einops.rearrange`` after ``import clgrad``."""

from __future__ import annotations

import einops
import numpy as np
import pytest

import clgrad
from clgrad.ndarray import Array, from_host
from clgrad.testing import assert_close, gradcheck

X = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6) % 11

CALLS = {
    "transpose": lambda x: einops.rearrange(x, "b c h w -> b h w c"),
    "merge": lambda x: einops.rearrange(x, "b c h w -> (b h) (w c)"),
    "patches": lambda x: einops.rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=2, q=3),
    "split": lambda x: einops.rearrange(x, "b c h (two w) -> two b c h w", two=2),
    "ellipsis": lambda x: einops.rearrange(x, "b ... w -> b w ..."),
    "list": lambda x: einops.rearrange([x, x], "two b c h w -> b (two c) h w"),
    "sum": lambda x: einops.reduce(x, "b c h w -> b c", "sum"),
    "mean": lambda x: einops.reduce(x, "b c (h p) w -> b h (w c)", "mean", p=2),
    "max": lambda x: einops.reduce(x, "b c h w -> () c () w", "max"),
    "min": lambda x: einops.reduce(x, "b c h w -> ", "min"),
    "prod": lambda x: einops.reduce(x[..., :2], "b c h w -> b h", "prod"),
    "repeat": lambda x: einops.repeat(x, "b c h w -> b (c r) h w n", r=2, n=3),
    "einsum": lambda x: einops.einsum(x, x, "b c h w, b d h w -> b c d"),
    "pack": lambda x: einops.pack([x, x[:, :, 0, 0]], "b *")[0],
    "unpack": lambda x: einops.unpack(x, [[2], [2, 2]], "b c h *")[1],
    "shape": lambda x: x * einops.parse_shape(x, "_ c h _")["h"],
}


@pytest.mark.parametrize("name", CALLS)
def test_same_as_on_numpy(name: str, device) -> None:
    want = CALLS[name](X)
    got = CALLS[name](from_host(X))
    assert type(got) is Array
    assert_close(got, want)
    got = CALLS[name](clgrad.tensor(X, requires_grad=True))
    assert isinstance(got, clgrad.Variable)
    assert got.requires_grad
    assert_close(got.detach(), want)


@pytest.mark.parametrize("name", ["patches", "mean", "repeat", "einsum", "max"])
def test_gradients(name: str, device) -> None:
    x = np.random.default_rng(3).permutation(24).reshape(1, 2, 2, 6).astype(np.float64)
    if device.facts.fp64:
        gradcheck(CALLS[name], (clgrad.tensor(x, requires_grad=True),))


def test_integers_have_no_mean(device) -> None:
    with pytest.raises(NotImplementedError, match="non-floating"):
        einops.reduce(clgrad.arange(4), "a -> ", "mean")


@pytest.mark.parametrize("first", ["clgrad", "einops"])
def test_either_import_may_come_first(first: str, child, device) -> None:
    """And clgrad imports nothing of einops by itself."""
    second = {"clgrad": "einops", "einops": "clgrad"}[first]
    child(f"""
        import sys
        import {first}
        assert {second!r} not in sys.modules
        import {second}
        x = clgrad.arange(6).reshape(2, 3)
        assert einops.rearrange(x, "a b -> b a").tolist() == [[0, 3], [1, 4], [2, 5]]
        assert einops.rearrange(x.data, "a b -> (b a)").tolist() == [0, 3, 1, 4, 2, 5]
        assert not [f for f in sys.meta_path if "clgrad" in type(f).__module__]
        import importlib, einops._backends
        assert importlib.util.find_spec("einops._backends").origin.endswith("_backends.py")
    """)
