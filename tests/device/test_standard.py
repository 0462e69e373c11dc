"""The array namespace under the standard's names, against NumPy's, which has the same functions."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad.array as xp
from clgrad.core import dtypes
from clgrad.ndarray import Array, from_host
from clgrad.testing import assert_close

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4) % 7 - 3
M = np.array([[1.5, -2, 3], [4, 5.5, -6], [0, 8, 9]], np.float32)
AT = np.array([2, 0, 1, 0])
B = np.array([True, False, True])

# name, positional arguments, keyword arguments: called alike in both namespaces.
CALLS = [
    *[(name, (X,), {"axis": axis, "keepdims": keepdims}) for name in ("sum", "prod", "mean", "max", "min", "any", "all")
      for axis, keepdims in ((None, False), (1, True), ((0, 2), False))],
    *[(name, (X,), {"axis": 1, "correction": c}) for name in ("var", "std") for c in (0.0, 1.0)],
    *[(name, (X,), {"axis": axis, "keepdims": True}) for name in ("argmax", "argmin") for axis in (None, 2)],
    ("sum", (AT,), {"dtype": "int32"}), ("count_nonzero", (X,), {"axis": 1}),
    ("concat", ([X, X],), {"axis": -1}), ("concat", ([X, AT],), {"axis": None}), ("stack", ([AT, AT],), {"axis": 1}),
    ("unstack", (X,), {"axis": 1}), ("expand_dims", (X,), {"axis": (0, -1)}), ("squeeze", (X[:1],), {"axis": 0}),
    ("permute_dims", (X, (2, 0, 1)), {}), ("matrix_transpose", (X,), {}), ("moveaxis", (X, 0, -1), {}),
    ("moveaxis", (X, (0, 1), (2, 0)), {}), ("flip", (X,), {}), ("flip", (X,), {"axis": 1}),
    ("reshape", (X, (4, -1)), {}),
    ("roll", (X, 2), {}), ("roll", (X, -1), {"axis": 2}), ("roll", (X, (1, 5)), {"axis": (0, 2)}),
    ("repeat", (X, 2), {}), ("repeat", (M, 3), {"axis": 1}), ("tile", (M, (2, 1, 2)), {}), ("tile", (X, (2,)), {}),
    ("broadcast_to", (AT, (3, 4)), {}), ("broadcast_arrays", (X[:, :1], M[:, :1]), {}),
    ("meshgrid", (AT, B), {}), ("meshgrid", (AT, B), {"indexing": "ij"}),
    *[(name, (M,), {"k": k}) for name in ("tril", "triu") for k in (-1, 0, 2)],
    ("diff", (X,), {}), ("diff", (X,), {"axis": 1, "n": 2}), ("diff", (AT,), {"append": AT[:1]}),
    ("take", (X, AT[:3]), {"axis": 1}), ("take", (X, AT), {}), ("take_along_axis", (M, AT[None, :3]), {"axis": 0}),
    ("where", (B, M, M.T), {}), ("clip", (M, -1.0, 2.0), {}), ("clip", (M,), {}), ("clip", (M, None, 2.0), {}),
    ("bitwise_invert", (AT,), {}), ("negative", (M,), {}), ("subtract", (M, X[0, :, :3]), {}), ("multiply", (M, M), {}),
    ("divide", (M, M.T + 7), {}), ("pow", (M, 2), {}), ("equal", (M, M.T), {}), ("greater_equal", (M, M.T), {}),
    ("logical_not", (B,), {}), ("signbit", (np.array([0.0, -0.0, -1, np.inf, -np.inf], np.float32),), {}),
    ("copysign", (M, -M.T), {}), ("matmul", (M, M), {}), ("vecdot", (M, M), {}), ("vecdot", (X, X[:1]), {"axis": 1}),
    *[(name, (X,), {"axis": 1}) for name in ("cumulative_sum", "cumulative_prod", "sort", "argsort")],
    ("cumulative_sum", (AT,), {"include_initial": True}),
    ("cumulative_prod", (X,), {"axis": 0, "include_initial": True}),
    ("searchsorted", (np.sort(AT), AT), {"side": "right"}), ("nonzero", (X,), {}), ("unique_values", (X,), {}),
    ("unique_counts", (X,), {}), ("unique_inverse", (X,), {}), ("unique_all", (X,), {}),
    ("tensordot", (X, X.T), {"axes": 1}), ("tensordot", (X, X), {"axes": ((0, 2), (0, 2))}),
]


# NumPy's argsort is stable, as the standard's default is, only when asked.
NUMPY = {"argsort": lambda x, axis: np.argsort(x, axis=axis, stable=True)}


def _moved(value: object) -> object:
    if isinstance(value, np.ndarray):
        return from_host(value)
    return [_moved(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS, ids=lambda v: v if isinstance(v, str) else "")
def test_same_as_numpy(name: str, args: tuple, kwargs: dict, device) -> None:
    keywords = {k: _moved(v) for k, v in kwargs.items()}
    got = getattr(xp, name)(*map(_moved, args), **keywords)
    want = NUMPY.get(name, getattr(np, name))(*args, **kwargs)
    if isinstance(want, tuple):
        assert isinstance(got, tuple)
        assert len(got) == len(want)
    for g, w in zip(got, want) if isinstance(want, tuple) else [(got, want)]:
        assert isinstance(g, Array)
        assert_close(g, w, dtype=np.asarray(w).dtype, message=name)


def test_creation(device) -> None:
    assert_close(xp.eye(3, 4, k=1), np.eye(3, 4, 1, dtype=np.float32))
    assert_close(xp.eye(3, k=-2), np.eye(3, k=-2, dtype=np.float32))
    assert_close(xp.linspace(0, 1, 4, endpoint=False), np.linspace(0, 1, 4, endpoint=False, dtype=np.float32))
    assert_close(xp.arange(5, 0, -2), np.arange(5, 0, -2))
    assert xp.zeros(3, dtype=xp.int8).dtype is xp.int8
    assert xp.ones((2, 0)).shape == (2, 0)
    assert xp.full((2,), 3.5).tolist() == [3.5, 3.5]
    assert xp.full_like(xp.ones(2), 4, dtype=xp.int32).tolist() == [4, 4]
    assert xp.empty_like(xp.ones((2, 3))).shape == (2, 3)


def test_dtypes(device) -> None:
    assert xp.finfo(xp.float32).eps == np.finfo(np.float32).eps
    assert xp.iinfo(from_host(AT)).max == 2**63 - 1
    assert xp.isdtype(xp.int8, "integral")
    assert xp.isdtype(xp.float64, ("bool", "real floating"))
    assert not xp.isdtype(xp.uint8, "signed integer")
    assert xp.can_cast(xp.int8, xp.int32)
    assert not xp.can_cast(xp.float64, xp.float32)
    assert xp.result_type(xp.ones(2), xp.float64, 1) is xp.float64
    x = xp.ones(2)
    assert xp.astype(x, x.dtype) is not x
    assert xp.astype(x, x.dtype, copy=False) is x
    info = xp.__array_namespace_info__()
    assert info.dtypes(kind="unsigned integer").keys() == {"uint8", "uint16", "uint32", "uint64"}
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["integral"] is xp.int64
    assert x.__array_namespace__() is xp
    assert x.to_device(device) is x
    assert_close(from_host(X).mT, X.mT)
    assert set(info.dtypes()) <= {d.name for d in dtypes.ALL}


@pytest.mark.parametrize(("call", "message"), [
    (lambda: xp.isdtype(xp.int8, "number"), "expected one of bool"),
    (lambda: xp.squeeze(xp.ones((2, 1)), 0), "axes of size 1"),
    (lambda: xp.reshape(xp.ones((2, 3)).T, (6,), copy=False), "Leave copy out"),
    (lambda: xp.meshgrid(xp.ones(2), indexing="yx"), "'ij' or 'xy'"),
    (lambda: xp.tril(xp.ones(3)), "expected a matrix"),
    (lambda: xp.searchsorted(xp.ones(3), xp.ones(3), side="middle"), "'left' or 'right'"),
    (lambda: xp.nonzero(xp.ones(())), "at least one dimension"),
    (lambda: xp.cumulative_sum(xp.ones((2, 2))), "Name it"),
    (lambda: xp.ones(3).mT, "at least two dimensions"),
    (lambda: xp.matrix_transpose(xp.ones(3)), "at least two dimensions"),
    (lambda: xp.vecdot(xp.ones(3), xp.ones(4)), "equal sizes"),
    (lambda: xp.tensordot(xp.ones((2, 3)), xp.ones((2, 3)), axes=1), "equal sizes"),
    (lambda: xp.finfo(xp.int8), "Use iinfo"),
    (lambda: xp.iinfo(xp.float32), "Use finfo"),
    (lambda: xp.signbit(xp.ones(2, dtype=xp.int8)), "a float dtype"),
])
def test_errors(call, message: str, device) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()
