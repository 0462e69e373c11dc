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


UNARY_IN_PLACE = ("abs", "exp", "sqrt", "neg", "sigmoid", "tanh", "relu", "sin", "floor", "round", "log1p", "square",
                  "trunc", "fix", "erf", "frac", "sinc", "lgamma", "digamma", "erfinv", "logit", "i0", "deg2rad",
                  "rad2deg", "reciprocal", "rsqrt", "nan_to_num")


def test_names_of_pytorch(device) -> None:
    """What PyTorch calls its methods and functions is there, but for what is left out on purpose."""
    torch = pytest.importorskip("torch")
    apart = ("sparse", "quant", "q_", "cudnn", "mkldnn", "miopen", "name", "_copy", "storage", "fbgemm", "coalesce",
             "indices", "dense", "is_", "qscheme", "int_repr", "vulkan", "xpu", "ipu", "mtia", "unsafe", "smm", "addmm")
    absent = {"apply_", "as_strided_scatter", "as_subclass", "chalf", "const_data_ptr", "dim_order", "eig", "geqrf",
              "grad_dtype", "hash_tensor", "igamma", "igamma_", "igammac", "igammac_", "lstsq", "lu", "map2_", "map_",
              "module_load", "new", "new_empty_strided", "orgqr", "ormqr", "output_nr", "record_stream", "reinforce",
              "resize", "resize_", "resize_as", "resize_as_", "set_", "slice_inverse", "solve", "symeig",
              "to_padded_tensor", "triangular_solve", "values", "volatile", "lu_solve", "conj_physical_"}
    missing = {n for n in dir(torch.Tensor) if not n.startswith("_") and not hasattr(clgrad.Variable, n)
               and not any(a in n for a in apart)}
    assert missing - absent == set()
    for name in UNARY_IN_PLACE:
        assert callable(getattr(clgrad, f"{name}_"))


SPECIAL = [("gammaln", "gammaln", (1e-3, 1e4)), ("gammaln", "gammaln", (-9.9, 5)), ("digamma", "psi", (1e-3, 1e4)),
           ("digamma", "psi", (-19.9, 3)), ("erfinv", "erfinv", (-0.99999, 0.99999)), ("i0", "i0", (-60, 60)),
           ("i1", "i1", (-60, 60)), ("i0e", "i0e", (-500, 500)), ("i1e", "i1e", (-500, 500)),
           ("logit", "logit", (1e-4, 0.999)), ("entr", "entr", (0, 9)), ("ndtr", "ndtr", (-5, 5))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "theirs", "interval"), SPECIAL)
def test_special_functions(name: str, theirs: str, interval: tuple, dtype: str, rng, device) -> None:
    """Over the whole domain, against SciPy in float64."""
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    special = pytest.importorskip("scipy.special")
    x = rng.uniform(*interval, 2000).astype(dtype)
    got = getattr(clgrad.special, name)(from_host(x))
    # near a pole or a zero of the slope one unit of x moves the value more than the tolerance
    assert_close(got, getattr(special, theirs)(x.astype(np.float64)), dtype=dtype, scale=8)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_polygamma(n: int, rng, device) -> None:
    special = pytest.importorskip("scipy.special")
    x = rng.uniform(0.2, 60, 500).astype(np.float32)
    assert_close(clgrad.polygamma(n, from_host(x)), special.polygamma(n, x.astype(np.float64)), dtype="float32")
    leaf = clgrad.tensor([1.5, 4.0], requires_grad=True)
    leaf.polygamma(n).sum().backward()
    assert_close(leaf.grad, special.polygamma(n + 1, [1.5, 4.0]).astype(np.float32))
    assert_close(clgrad.digamma(clgrad.arange(1, 4)), special.psi([1.0, 2, 3]), dtype="float32")  # of integers
    with pytest.raises(ValueError, match="polygamma"):
        clgrad.polygamma(-1, leaf)


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_scatter_reduce(reduce: str, include_self: bool, dtype: str, rng, device) -> None:
    torch = pytest.importorskip("torch")
    x, src = rng.integers(-5, 6, (3, 6)).astype(dtype), rng.integers(-5, 6, (4, 7)).astype(dtype)
    for dim, index in ((0, rng.integers(0, 3, (4, 5))), (1, rng.integers(0, 6, (2, 5)))):
        if dtype == "float32":  # PyTorch differentiates no src that is larger than its index
            src = src[:index.shape[0], :index.shape[1]]
        ours = clgrad.tensor(x, requires_grad=dtype == "float32"), clgrad.tensor(src, requires_grad=dtype == "float32")
        theirs = torch.tensor(x, requires_grad=dtype == "float32"), torch.tensor(src, requires_grad=dtype == "float32")
        out = ours[0].scatter_reduce(dim, clgrad.tensor(index), ours[1], reduce, include_self=include_self)
        expected = theirs[0].scatter_reduce(dim, torch.tensor(index), theirs[1], reduce, include_self=include_self)
        assert_close(out, expected.detach().numpy(), dtype=dtype)
        if dtype == "float32" and reduce != "prod":
            weights = rng.standard_normal(x.shape).astype(np.float32)
            (out * clgrad.tensor(weights)).sum().backward()
            (expected * torch.tensor(weights)).sum().backward()
            for a, b in zip(ours, theirs):
                assert_close(a.grad, b.grad.numpy(), dtype=dtype)
    index = rng.integers(0, 6, 4)
    source = rng.integers(-5, 6, (3, 4)).astype(dtype)
    if reduce != "sum":
        assert_close(clgrad.index_reduce(clgrad.tensor(x), 1, clgrad.tensor(index), clgrad.tensor(source), reduce,
                                         include_self=include_self),
                     torch.index_reduce(torch.tensor(x), 1, torch.tensor(index), torch.tensor(source), reduce,
                                        include_self=include_self).numpy(), dtype=dtype)


def test_places(rng, device) -> None:
    host = rng.standard_normal((3, 4)).astype(np.float32)
    x = clgrad.tensor(host)
    mask = host > 0
    source = np.arange(20, dtype=np.float32)
    expected = host.copy()
    expected[mask] = source[:mask.sum()]
    assert_close(x.masked_scatter(clgrad.tensor(mask), clgrad.tensor(source)), expected, dtype="float32")
    index = np.array([[0, -1], [5, 0]])
    values = np.array([[1, 2], [3, 4]], np.float32)
    expected = host.copy()
    np.add.at(expected.reshape(-1), index, values)
    assert_close(x.put(clgrad.tensor(index), clgrad.tensor(values), accumulate=True), expected, dtype="float32")
    y = x.clone()
    assert y.put_(clgrad.tensor(index), clgrad.tensor(values)) is y
    assert y[0, 0].item() == 4
    with pytest.raises(ShapeError, match=f"at least {mask.sum()}"):
        x.masked_scatter(clgrad.tensor(mask), clgrad.ones(1))


def test_as_strided(rng, device) -> None:
    host = rng.standard_normal(12).astype(np.float32)
    x = clgrad.tensor(host, requires_grad=True)
    view = clgrad.as_strided(x, (3, 4), (2, 1), 1)
    expected = np.lib.stride_tricks.as_strided(host[1:], (3, 4), (8, 4))
    assert_close(view, expected, dtype="float32")
    (view * view).sum().backward()
    counts = np.bincount((np.arange(3)[:, None] * 2 + np.arange(4) + 1).ravel(), minlength=12)
    assert_close(x.grad, 2 * host * counts, dtype="float32")
    plain = x.detach()
    clgrad.as_strided(plain, (2,), (1,))[0] = 7
    assert plain[0].item() == 7  # the same memory
    for size, stride, offset in (((3, 4), (4, 1), 1), ((13,), (1,), 0), ((2,), (-1,), 3)):
        with pytest.raises(ShapeError, match="as_strided"):
            clgrad.as_strided(plain, size, stride, offset)


def test_sequences(rng, device) -> None:
    a, b, c = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3), (3, 4), (4, 2)))
    x, y, z = map(clgrad.tensor, (a, b, c))
    assert_close(clgrad.block_diag(x, y), OPS["block_diag"].ref(a, b), dtype="float32")
    assert_close(clgrad.block_diag(x[0], clgrad.tensor(2.0)), OPS["block_diag"].ref(a[0], np.float32(2)))
    assert_close(clgrad.chain_matmul(x, y, z), a @ b @ c, dtype="float32", scale=8)
    assert_close(clgrad.cartesian_prod(x[0], y[0]), OPS["cartesian_prod"].ref(a[0], b[0]), dtype="float32")
    if device.facts.fp64:
        assert_close(clgrad.float_power(clgrad.arange(1, 4), 0.5), np.sqrt([1.0, 2, 3]), dtype="float64")
    assert_close(clgrad.trapezoid(x, clgrad.tensor([0.0, 1.0, 3.0])), np.trapezoid(a, [0, 1, 3]), dtype="float32")
    places = clgrad.tensor([0.0, 1.0, 3.0, 4.0])
    assert_close(clgrad.gradient(y, spacing=(places,), dim=1)[0], np.gradient(b, [0, 1, 3, 4], axis=1), scale=8)
    assert_close(x.unfold(1, 2, 1), np.lib.stride_tricks.sliding_window_view(a, 2, 1), dtype="float32")


def test_questions_and_settings(device) -> None:
    x = clgrad.zeros(2, 3)
    assert clgrad.is_tensor(x)
    assert not clgrad.is_tensor(x.data)
    assert clgrad.numel(x) == 6
    assert clgrad.is_floating_point(x)
    assert x.is_signed()
    assert x.is_cpu or x.is_cuda
    assert x.layout is clgrad.strided
    assert clgrad.broadcast_shapes((2, 1), (3,)) == (2, 3)
    assert clgrad.promote_types(clgrad.int32, clgrad.float16) is clgrad.result_type(clgrad.int32, clgrad.float16)
    assert clgrad.can_cast(clgrad.int64, clgrad.uint8)
    assert not clgrad.can_cast(clgrad.float32, clgrad.int64)
    clgrad.set_float32_matmul_precision("high")
    assert clgrad.get_float32_matmul_precision() == "high"
    clgrad.use_deterministic_algorithms(False)
    assert clgrad.are_deterministic_algorithms_enabled()
    with pytest.raises(ValueError, match="set_float32_matmul_precision"):
        clgrad.set_float32_matmul_precision("low")
    with pytest.raises(NotImplementedError, match="data_ptr: an OpenCL buffer"):
        x.data_ptr()
    with pytest.raises(ShapeError, match="is_nonzero"):
        clgrad.is_nonzero(x)


def test_factories_of_the_surface(device) -> None:
    i = clgrad.arange(3)
    assert_close(i.new_zeros(2, 2), np.zeros((2, 2), np.int64), dtype="int64")
    assert_close(i.new_full((2,), 7, dtype=clgrad.float32), [7.0, 7.0], dtype="float32")
    assert_close(i.data.new_ones(2), [1, 1], dtype="int64")
    assert isinstance(i.data.new_ones(2), clgrad.Array)
    assert_close(clgrad.zeros(size=(2,), layout=clgrad.strided, pin_memory=False), np.zeros(2), dtype="float32")
    assert clgrad.randint(high=3, size=(4,)).shape == (4,)
    assert_close(clgrad.range(0, 2, 0.5), [0, 0.5, 1, 1.5, 2], dtype="float32")
    assert_close(clgrad.logspace(0, 3, 4, base=2), [1, 2, 4, 8], dtype="float32")
    assert_close(clgrad.tril_indices(2, 3, 1), np.stack(np.tril_indices(2, 1, 3)), dtype="int64")
    assert_close(clgrad.triu_indices(3, 2), np.stack(np.triu_indices(3, 0, 2)), dtype="int64")
    for got, expected in zip(clgrad.unravel_index(clgrad.tensor([5, 11]), (3, 4)), np.unravel_index([5, 11], (3, 4))):
        assert_close(got, expected, dtype="int64")
    tall = np.zeros((7, 3), np.float32)
    np.fill_diagonal(tall, 5, wrap=True)
    assert_close(clgrad.zeros(7, 3).fill_diagonal_(5, wrap=True), tall, dtype="float32")
    assert clgrad.empty_strided((2, 3), (1, 2)).stride() == (1, 2)
    assert_close(clgrad.frombuffer(b"\1\0\2\0", dtype=clgrad.int16), [1, 2], dtype="int16")
    x = clgrad.zeros(2)
    assert clgrad.asarray(x).data is x.data
    assert_close(clgrad.scalar_tensor(2), 2.0, dtype="float32")


def test_functional_names(rng, device) -> None:
    F = clgrad.nn.functional
    host = rng.standard_normal((4, 3)).astype(np.float32)
    x, w = clgrad.tensor(host), clgrad.ones(3)
    assert_close(clgrad.batch_norm(x, w, w, None, None, True, 0.1, 1e-5),
                 F.batch_norm(x, None, None, w, w, True).numpy())
    assert_close(clgrad.embedding(x, clgrad.tensor([1, 0])), host[[1, 0]], dtype="float32")
    assert_close(clgrad.layer_norm(x, (3,)), F.layer_norm(x, (3,)).numpy())
    assert_close(F.silu(x, inplace=True), F.silu(x).numpy())
    for write, plain in ((F.relu_, F.relu), (F.elu_, F.elu), (F.leaky_relu_, F.leaky_relu), (clgrad.selu_, F.selu)):
        y = x.clone()
        assert write(y) is y
        assert_close(y, plain(x).numpy(), dtype="float32")
    with pytest.raises(GraphError, match="relu_"):
        F.relu_(x.clone().requires_grad_())
    _, at = F.max_pool1d_with_indices(x[None], 3)
    assert_close(at[0, :, 0], host.argmax(1), dtype="int64")
