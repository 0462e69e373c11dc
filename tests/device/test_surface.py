"""PyTorch's surface: keyword names, ``out=``, options, in-place forms and names, against PyTorch itself where it is
installed."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import clgrad
from clgrad import ops
from clgrad.core import dtypes
from clgrad.core.errors import DTypeError, GraphError, ShapeError
from clgrad.ndarray import from_host
from clgrad.table import OPS
from clgrad.testing import assert_close, samples

# Keywords ------------------------------------------------------------------------------------------------------------


def _torch_function(torch, op):
    """PyTorch's function of a record; the user's one of nn.functional where there are two."""
    if op.namespace:
        return getattr(getattr(torch, op.namespace), op.public_name, None)
    found = getattr(torch.nn.functional, op.name, None) or getattr(torch, op.name, None)
    return found if callable(found) else None


def _spellings(op, function, inputs, attrs):
    """The sample as keywords: by the names that the public function shows, and by synonyms of them."""
    names = list(inspect.signature(function).parameters)
    values = dict(zip(names, map(np.asarray, inputs))) | {op.keywords[k]: v for k, v in attrs.items()}
    yield values
    for other, name in op.synonyms.items():
        if name in op.keywords and op.keywords[name] in values:
            yield {other if k == op.keywords[name] else k: v for k, v in values.items()}


def _torch_takes(theirs, torch, named):
    try:
        return theirs(**{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in named.items()})
    except TypeError:
        return None


NAMED = [name for name, op in OPS.items() if op.public and op.cases and not op.sequence and not op.method_only]
# What our first cases call in ways that PyTorch refuses for other reasons than names
MORE_THAN_PYTORCH = {"take": "along an axis", "logsumexp": "over all axes", "scatter": "a number as src",
                     "quantile": "a list of q", "nanquantile": "a list of q", "bmm": "batches of any rank",
                     "pad": "reflects along any axes", "index_put": "lists as indices"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMED)
def test_keywords_are_pytorchs(name: str, device) -> None:
    """Called by keywords alone, PyTorch's function and ours take the same names, and give the same shape."""
    torch = pytest.importorskip("torch")
    op, function = OPS[name], ops.ALL[name]
    theirs = _torch_function(torch, op)
    if theirs is None or name in MORE_THAN_PYTORCH:
        pytest.skip(MORE_THAN_PYTORCH.get(name, "PyTorch has no such function"))
    dtype = next(d for d in (dtypes.float32, dtypes.int32, dtypes.complex64) if d.kind in op.kinds)
    sample = next(iter(samples(op, dtype)))
    inputs = [x.astype(np.int64) if x.dtype.kind == "u" else x for x in sample.inputs]
    spellings = list(_spellings(op, function, inputs, sample.attrs))
    found = [(s, r) for s in spellings for r in [_torch_takes(theirs, torch, s)] if r is not None]
    assert found, f"PyTorch's {name} takes none of {[list(s) for s in spellings]}"
    named, expected = found[0]
    got = function(**{k: from_host(v) if isinstance(v, np.ndarray) else v for k, v in named.items()})
    if isinstance(got, clgrad.Array):
        assert tuple(got.shape) == tuple(expected.shape), named


def test_synonyms_and_errors(rng, device) -> None:
    host = rng.standard_normal((3, 4)).astype(np.float32)
    x = clgrad.tensor(host)
    assert_close(clgrad.sum(input=x, axis=1, keepdims=True), host.sum(1, keepdims=True), dtype="float32")
    assert_close(x.cumsum(axis=0), host.cumsum(0), dtype="float32")
    assert_close(x.add(other=x, alpha=0.5), 1.5 * host, dtype="float32")
    assert_close(clgrad.pow(x, exponent=2), host**2, dtype="float32")
    assert_close(clgrad.where(condition=x > 0, input=x, other=x * 2), np.where(host > 0, host, host * 2))
    assert clgrad.split(x, split_size=2, dim=1)[1].shape == x.split(split_size_or_sections=2, axis=1)[1].shape == (3, 2)
    with pytest.raises(TypeError, match=r"sum\(\) got an unexpected keyword argument 'dims'; it takes input, dim"):
        clgrad.sum(x, dims=1)
    with pytest.raises(TypeError, match="got both 'dim' and 'axis'"):
        x.sum(1, axis=0)
    with pytest.raises(TypeError, match=r"cumsum\(\) missing 1 required argument\(s\): 'dim'"):
        x.cumsum()
    assert_close(clgrad.where(x > 0)[0], np.where(host > 0)[0], dtype="int64")
    assert_close(x.where(x > 0, 0.5), np.where(host > 0, host, np.float32(0.5)), dtype="float32")
    assert_close(clgrad.where(x > 0, x, 0.5, out=clgrad.empty(3, 4)), np.where(host > 0, host, np.float32(0.5)))
    with pytest.raises(TypeError, match=r"where\(\) missing 1 required argument\(s\): 'other'"):
        clgrad.where(x > 0, x)
    with pytest.raises(TypeError, match=r"gather\(\) missing 1 required argument\(s\): 'index'"):
        x.gather(1)


def test_options(rng, device) -> None:
    host = rng.uniform(-9, 9, (40,)).astype(np.float32)
    x, i = clgrad.tensor(host), clgrad.tensor(np.array([-7, 7, -6, 6, 0], np.int32))
    assert_close(clgrad.sub(x, 1, alpha=3), host - 3, dtype="float32")
    assert_close(clgrad.div(x, 2, rounding_mode="floor"), np.floor(host / 2), dtype="float32")
    assert_close(x.div(2, rounding_mode="trunc"), np.trunc(host / 2), dtype="float32")
    assert_close(clgrad.div(i, 2, rounding_mode="trunc"), [-3, 3, -3, 3, 0], dtype="int32")
    assert_close(i.div(-2, rounding_mode="floor"), [3, -4, 3, -3, 0], dtype="int32")
    assert_close(clgrad.div(i, 2, rounding_mode=None), np.array([-3.5, 3.5, -3, 3, 0]), dtype="float32")
    assert_close(x.round(decimals=1), np.round(host, 1), dtype="float32")
    assert_close(x.round(decimals=-1), np.round(host, -1), dtype="float32")
    assert clgrad.softmax(x, 0, dtype=clgrad.float16).dtype is clgrad.float16
    assert_close(clgrad.max(input=x, other=-x), np.abs(host), dtype="float32")
    assert_close(clgrad.searchsorted(clgrad.arange(5), input=clgrad.tensor([2]), side="right"), [3], dtype="int64")
    with pytest.raises(ValueError, match="rounding_mode='ceil'"):
        x.div(2, rounding_mode="ceil")


def test_variance_in_each_form(rng, device) -> None:
    host = rng.standard_normal((3, 4)).astype(np.float32)
    x = clgrad.tensor(host)
    for got, expected in ((x.var(), np.var(host, ddof=1)), (x.var(False), np.var(host)),
                          (x.std(unbiased=False), np.std(host)), (x.var(1, False), np.var(host, 1)),
                          (x.var(1, True, True), np.var(host, 1, ddof=1, keepdims=True)),
                          (x.std(dim=0, correction=0, keepdim=True), np.std(host, 0, keepdims=True)),
                          (clgrad.var_mean(x, 0, False)[0], np.var(host, 0))):
        assert_close(got, expected, dtype="float32")
    with pytest.raises(TypeError, match="both unbiased and correction"):
        x.var(unbiased=True, correction=0)


def test_out(rng, device) -> None:
    host = rng.standard_normal((3, 4)).astype(np.float32)
    x, out = clgrad.tensor(host), clgrad.zeros(3, 4)
    version = out._version
    assert clgrad.exp(x, out=out) is out
    assert out._version > version
    assert_close(out, np.exp(host), dtype="float32")
    assert clgrad.add(out, 1, alpha=2, out=out) is out
    assert_close(out, np.exp(host) + 2)
    assert_close(clgrad.matmul(x, x.T, out=clgrad.empty(3, 3, dtype=clgrad.float64)), host @ host.T, dtype="float64",
                 scale=1e8)
    line = clgrad.empty(4, 3).T  # strided memory
    assert_close(clgrad.mul(x, 2, out=line), host * 2)
    fresh = clgrad.empty(0)
    assert_close(clgrad.sum(x, 1, out=fresh), host.sum(1)) is None and fresh.shape == (3,)
    values, at = clgrad.empty(3), clgrad.empty(3, dtype=clgrad.int64)
    found = clgrad.max(x, dim=1, out=(values, at))
    assert found.values is values
    assert found.indices is at
    assert_close(at, host.argmax(1), dtype="int64")
    assert_close(clgrad.arange(4, out=clgrad.empty(0)), np.arange(4.0), dtype="float32")
    with pytest.raises(ShapeError, match=r"out of shape \(2,\)"):
        clgrad.exp(x, out=clgrad.empty(2))
    with pytest.raises(DTypeError, match="a float32 result for out of int32"):
        clgrad.exp(x, out=clgrad.empty(3, 4, dtype=clgrad.int32))
    with pytest.raises(DTypeError, match="out of type ndarray"):
        clgrad.exp(x, out=host)
    leaf = x.clone().requires_grad_()
    for inputs, target in (((leaf,), out), ((x,), leaf)):
        with pytest.raises(GraphError, match=r"out=\.\.\. and an array that requires grad"):
            clgrad.exp(*inputs, out=target)
    with clgrad.no_grad():
        assert_close(clgrad.exp(leaf, out=out), np.exp(host))


# In-place forms ------------------------------------------------------------------------------------------------------


OVERWRITTEN = [n for n, op in OPS.items() if op.inplace in (True, "view")]


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_in_place_is_the_op(name: str, device) -> None:
    """The method and the function that write give what the op gives, in the same memory."""
    op = OPS[name]
    for number, sample in enumerate(samples(op, dtypes.float32)):
        tensors = [clgrad.Variable(from_host(x)) for x in sample.inputs]
        attrs = {op.keywords[k]: v for k, v in sample.attrs.items()}
        expected = ops.ALL[name](*tensors, **attrs)
        if expected.shape != tensors[0].shape and op.inplace is True:
            continue
        write = getattr(clgrad, f"{name}_") if number % 2 else getattr(clgrad.Variable, f"{name}_")
        target, storage = tensors[0], tensors[0].storage
        assert write(*tensors, **attrs) is target
        assert target.storage is storage
        assert_close(target, expected.numpy(), dtype="float32", message=name)


def test_in_place_of_composites(rng, device) -> None:
    host = rng.standard_normal((3, 3)).astype(np.float32)
    x = clgrad.tensor(host)
    y = x
    for got, expected in ((x.clamp_(min=-1, max=1), np.clip(host, -1, 1)),):
        assert got is x
        assert_close(x, expected, dtype="float32")
    base = clgrad.tensor(host)
    view = base[1]
    view.pow_(2)
    assert_close(base[1], host[1] ** 2)
    assert y.tril_() is x
    assert clgrad.relu_(x) is x
    assert_close(x, np.maximum(np.tril(np.clip(host, -1, 1)), 0))
    m = clgrad.tensor(host)
    assert_close(m.addmm_(base, base, beta=0, alpha=2), 2 * base.numpy() @ base.numpy(), scale=8)
    assert_close(clgrad.tensor(host).lerp_(base, 0.5), (host + base.numpy()) / 2)
    assert_close(clgrad.tensor(host).add_(base, alpha=-0.1), host - 0.1 * base.numpy())
    assert_close(clgrad.tensor(host).div_(0.5, rounding_mode="floor"), np.floor(host / 0.5))
    with pytest.raises(ShapeError, match="addmm_"):
        clgrad.zeros(1, 3).addmm_(base, base)
    with pytest.raises(DTypeError, match="add_: got a float32 result"):
        clgrad.arange(3).add_(1, alpha=0.5)
    leaf = clgrad.ones(2, 2, requires_grad=True)
    for write in (lambda v: v.pow_(2), lambda v: v.t_(), lambda v: clgrad.exp_(v)):
        for target in (leaf, leaf * 2):
            with pytest.raises(GraphError, match="in-place write to"):
                write(target)


def test_in_place_views(device) -> None:
    x = clgrad.arange(6).reshape(2, 3)
    base = x[:]
    assert x.t_() is x
    assert x.shape == (3, 2)
    assert x.unsqueeze_(0).shape == (1, 3, 2)
    assert x.squeeze_().shape == (3, 2)
    assert x.transpose_(0, 1).swapaxes_(0, 1).swapdims_(0, 1).shape == (2, 3)
    x[0, 0] = 9  # the same memory
    assert base[0, 0].item() == 9
    assert not hasattr(clgrad.Array, "t_")


# Names ---------------------------------------------------------------------------------------------------------------
