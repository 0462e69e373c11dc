"""Convolutions and their gradients: both kernel forms against the definition, PyTorch over the options, errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, kernels
from clgrad.core import dtypes
from clgrad.core.errors import DTypeError, ShapeError
from clgrad.ndarray import from_host
from clgrad.nn import functional as F
from clgrad.ops import conv
from clgrad.testing import assert_close, gradcheck, on_device

# (input, weight, stride, padding, dilation, groups): what changes the tiles: few and many lanes, points that straddle
# rows and images, one tap, more margin than input, strides beyond the kernel, a long sum over few points, depthwise,
# few outputs with rows that no vector divides.
GEOMETRIES = [
    ((2, 3, 6, 7), (5, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((3, 20, 5, 5), (37, 20, 3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1), 1),
    ((2, 8, 9, 8), (12, 2, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 4),
    ((2, 4, 11, 10), (4, 1, 3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 4),
    ((1, 2, 12, 13), (3, 2, 2, 3), (3, 4), ((0, 1), (2, 0)), (2, 3), 1),
    ((2, 3, 3, 2), (2, 3, 3, 3), (2, 1), ((4, 3), (3, 4)), (1, 1), 1),
    ((2, 40, 9, 9), (33, 40, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 6, 7, 7), (4, 6, 1, 1), (3, 2), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 300, 3, 3), (2, 300, 3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 6, 9, 20), (12, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 6),
    ((1, 6, 9, 37), (6, 1, 3, 5), (1, 2), ((1, 1), (2, 2)), (2, 1), 6),
    ((3, 5, 7, 19), (3, 5, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((4, 3, 13, 27), (7, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 3, 6, 14), (3, 1, 3, 5), (1, 1), ((1, 1), (2, 2)), (1, 1), 3),
    ((9, 2, 17), (3, 2, 4), (2,), ((1, 2),), (1,), 1),
    ((2, 4, 4, 5, 6), (6, 2, 2, 3, 2), (1, 2, 1), ((1, 0), (1, 1), (0, 1)), (2, 1, 1), 2),
]

PLAIN = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)


def _integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Small integers: every product and sum is exact, and storable, in every dtype."""
    return rng.integers(-1, 2, shape).astype(dtypes.dtype(dtype).np)


def _three(geometry: tuple, rng: np.random.Generator, dtype: str, place: Any) -> None:
    """The three records of one geometry against their definitions."""
    shape, weight_shape, stride, padding, dilation, groups = geometry
    rest = (stride, padding, dilation, groups)
    x, w, b = (_integers(rng, s, dtype) for s in (shape, weight_shape, weight_shape[:1]))
    wide = [a.astype(np.float64) for a in (x, w, b)]
    expected = conv.convolution.op.ref(*wide, *rest)
    g = _integers(rng, expected.shape, dtype)
    label = f"{geometry} {dtype}"
    assert_close(conv.convolution(place(x), place(w), place(b), *rest), expected, dtype=dtype, message=label)
    assert_close(conv.convolution_input(place(g), place(w), None, shape[2:], *rest), conv.convolution_input.op.ref(
        g.astype(np.float64), wide[1], None, shape[2:], *rest), dtype=dtype, message=f"input gradient {label}")
    assert_close(conv.convolution_weight(place(g), place(x), weight_shape[2:], *rest), conv.convolution_weight.op.ref(
        g.astype(np.float64), wide[0], weight_shape[2:], *rest), dtype=dtype, message=f"weight gradient {label}")


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "x".join(map(str, g[0] + g[1])))
def test_values(geometry: tuple, form, rng: np.random.Generator) -> None:
    _three(geometry, rng, "float32", from_host)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(dtype: str, form, rng: np.random.Generator) -> None:
    """Storage types are summed in float32; the second geometry has an odd number of everything."""
    if dtype == "float64" and not form.facts.fp64:
        pytest.skip("the device has no float64")
    _three(GEOMETRIES[1], rng, dtype, from_host)


@pytest.mark.parametrize(("dtype", "layout"), [("float16", "sliced"), ("float32", "transposed")])
def test_gradient_of_few_weights(dtype: str, layout: str, form, rng: np.random.Generator) -> None:
    """Sums along rows of operands that are copied first: a storage type, rows that do not lie together."""
    x, g = _integers(rng, (3, 2, 6, 14), dtype), _integers(rng, (3, 2, 6, 12), dtype)
    rest = ((1, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    assert_close(conv.convolution_weight(on_device(g, layout), on_device(x, layout), *rest),
                 conv.convolution_weight.op.ref(g.astype(np.float64), x.astype(np.float64), *rest), dtype=dtype)


@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_layouts(layout: str, form, rng: np.random.Generator) -> None:
    for geometry in (GEOMETRIES[0], GEOMETRIES[2], GEOMETRIES[7]):
        _three(geometry, rng, "float32", lambda a: on_device(a, layout))


def test_broadcast_operands_and_views_into_larger_memory(form, rng: np.random.Generator) -> None:
    x, w = _integers(rng, (1, 4, 6, 6), "float32"), _integers(rng, (5, 4, 3, 3), "float32")
    y = conv.convolution.op.ref(np.broadcast_to(x, (3, 4, 6, 6)), w, None, (1, 1), ((0, 0),) * 2, (1, 1), 1)
    assert_close(F.conv2d(from_host(x).expand((3, 4, 6, 6)), from_host(w)), y)
    held = from_host(np.concatenate([w, w + 1]))
    assert_close(F.conv2d(from_host(x), held[5:]), conv.conv2d.op.ref(x, w + 1))


def test_integers_are_refused(device) -> None:
    with pytest.raises(DTypeError, match=r"convolution: got int64; expected float"):
        F.conv1d(clgrad.ones(1, 1, 3, dtype="int64"), clgrad.ones(1, 1, 2, dtype="int64"))


def test_nan_stays_where_its_window_is(form) -> None:
    x = np.zeros((1, 1, 9, 9), np.float32)
    x[0, 0, 4, 4] = np.nan
    out = F.conv2d(from_host(x), clgrad.ones(1, 1, 3, 3), padding=1).numpy()[0, 0]
    assert np.isnan(out[3:6, 3:6]).all()
    assert np.isnan(out).sum() == 9


def test_same_bits_at_every_run(form, rng: np.random.Generator) -> None:
    x, g = (from_host(rng.standard_normal(s).astype(np.float32)) for s in ((5, 7, 30, 30), (5, 9, 30, 30)))
    runs = [conv.convolution_weight(g, x, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1).numpy() for _ in range(3)]
    assert all((r == runs[0]).all() for r in runs)


EMPTY = [((0, 3, 5, 5), (4, 3, 3, 3), (0, 4, 3, 3)), ((2, 3, 5, 5), (0, 3, 3, 3), (2, 0, 3, 3)),
         ((2, 0, 5, 5), (4, 0, 3, 3), (2, 4, 3, 3))]


@pytest.mark.parametrize(("shape", "weight", "expected"), EMPTY)
def test_empty(shape: tuple, weight: tuple, expected: tuple, device) -> None:
    x, w = (clgrad.ones(s, requires_grad=True) for s in (shape, weight))
    b = clgrad.ones(weight[0], requires_grad=True)
    out = F.conv2d(x, w, b)
    assert_close(out, np.ones(expected))
    out.sum().backward()
    assert_close(x.grad, np.zeros(shape))
    assert_close(w.grad, np.zeros(weight))
    assert_close(b.grad, np.full(weight[0], float(np.prod(expected) / max(weight[0], 1))))


@pytest.mark.parametrize("transposed", [False, True])
def test_second_order_through_the_public_forms(transposed: bool, rng: np.random.Generator, device) -> None:
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    x, w, b = (Variable(from_host(rng.standard_normal(s)), requires_grad=True) for s in (
        (2, 4, 5), (4, 2, 3) if transposed else (6, 2, 3), (4 if transposed else 6,)))
    if transposed:  # an output padding of the stride and more: results that no tap reaches
        gradcheck(lambda x, w, b: F.conv_transpose1d(x, w, b, 1, 1, 2, 2, 3) ** 2, (x, w, b))
    else:
        gradcheck(lambda x, w, b: F.conv1d(x, w, b, 2, "valid", 1, 2) ** 2, (x, w, b))


# Winograd ------------------------------------------------------------------------------------------------------------

# (input, outputs, margins, groups) of 3 x 3 at step one: whole tiles and runs of 8; runs of every length; runs that
# straddle rows, images and blocks; no margin, much margin; images of one tile; groups; panels that are not full.
TILED = [
    ((2, 8, 32, 32), 16, ((1, 1), (1, 1)), 1),
    ((3, 20, 9, 27), 37, ((1, 1), (1, 1)), 1),
    ((2, 9, 30, 21), 16, ((0, 0), (2, 1)), 1),
    ((9, 16, 4, 4), 40, ((1, 1), (1, 1)), 1),
    ((5, 34, 7, 12), 36, ((2, 2), (0, 1)), 2),
    ((1, 16, 46, 67), 16, ((1, 0), (1, 1)), 1),
]


def _tiled(geometry: tuple, rng: np.random.Generator, dtype: str, place: Any = from_host) -> None:
    """Convolution with bias and both gradients of normal numbers, scaled so that results are about one."""
    (N, C, H, W), outs, margins, groups = geometry
    rest = ((1, 1), margins, (1, 1), groups)
    x, w, b = (rng.standard_normal(s) for s in ((N, C, H, W), (outs, C // groups, 3, 3), (outs,)))
    x, w, b = (a.astype(dtypes.dtype(dtype).np) for a in (x, w / np.sqrt(9 * C // groups), b))
    wide = [a.astype(np.float64) for a in (x, w, b)]
    expected = conv.convolution.op.ref(*wide, *rest)
    g = rng.standard_normal(expected.shape)
    small = (g / np.sqrt(N * H * W)).astype(x.dtype)
    g = g.astype(x.dtype)
    assert_close(conv.convolution(place(x), place(w), place(b), *rest), expected, dtype=dtype, message=f"{geometry}")
    assert_close(conv.convolution_input(place(g), place(w), None, (H, W), *rest), conv.convolution_input.op.ref(
        g.astype(np.float64), wide[1], None, (H, W), *rest), dtype=dtype, message=f"input gradient {geometry}")
    assert_close(conv.convolution_weight(place(small), place(x), (3, 3), *rest), conv.convolution_weight.op.ref(
        small.astype(np.float64), wide[0], (3, 3), *rest), dtype=dtype, message=f"weight gradient {geometry}")


@pytest.fixture
def wide(both_forms):
    with both_forms["wide"] as chosen:
        yield chosen


@pytest.mark.parametrize("geometry", TILED, ids=lambda g: "x".join(map(str, g[0])))
def test_tiles_of_3x3(geometry: tuple, wide, rng: np.random.Generator) -> None:
    _tiled(geometry, rng, "float32")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_tiles_of_3x3_in_other_dtypes(dtype: str, wide, rng: np.random.Generator) -> None:
    if dtype == "float64" and not wide.facts.fp64:
        pytest.skip("the device has no float64")
    _tiled(TILED[1], rng, dtype)


@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_tiles_of_3x3_in_other_layouts(layout: str, wide, rng: np.random.Generator) -> None:
    _tiled(TILED[4], rng, "float32", lambda a: on_device(a, layout))


def test_tiles_of_3x3_in_parts(wide, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small share of memory: inputs, filters and sums over tiles are each made in several launches. The shapes are of
    this test alone, so that no plan of another serves them."""
    params = kernels.template("winograd").module.DEFAULT["wide"][4]
    monkeypatch.setitem(params, "share", 2**15)
    monkeypatch.setitem(params, "group", 2)
    for geometry in (((3, 8, 33, 30), 16, ((1, 1), (1, 1)), 1), ((4, 20, 9, 27), 37, ((1, 1), (1, 1)), 1),
                     ((10, 16, 4, 4), 140, ((1, 1), (1, 1)), 1), ((6, 34, 7, 12), 36, ((2, 2), (0, 1)), 2)):
        _tiled(geometry, rng, "float32")


def test_tiles_read_nothing_beyond_their_image(wide, rng: np.random.Generator) -> None:
    """What lies before and after an image in its memory is not seen, whatever it is."""
    held = np.full((6, 8, 9, 10), np.nan, np.float32)
    held[2:4] = rng.standard_normal((2, 8, 9, 10))
    w = (rng.standard_normal((16, 8, 3, 3)) / 9).astype(np.float32)
    expected = conv.convolution.op.ref(held[2:4].astype(np.float64), w.astype(np.float64), None, *PLAIN)
    assert_close(conv.convolution(from_host(held)[2:4], from_host(w), None, *PLAIN), expected)


def test_tiles_of_3x3_give_the_same_bits(wide, rng: np.random.Generator) -> None:
    x, w, g = (from_host(rng.standard_normal(s).astype(np.float32)) for s in (
        (4, 16, 15, 17), (24, 16, 3, 3), (4, 24, 15, 17)))
    runs = [(conv.convolution(x, w, None, *PLAIN).numpy(), conv.convolution_weight(g, x, (3, 3), *PLAIN).numpy())
            for _ in range(3)]
    assert all((a == b).all() for run in runs for a, b in zip(run, runs[0]))


def test_second_order_through_tiles(wide, rng: np.random.Generator) -> None:
    if not wide.facts.fp64:
        pytest.skip("finite differences need float64")
    x, w = (Variable(from_host(rng.standard_normal(s)), requires_grad=True) for s in ((1, 8, 9, 13), (8, 8, 3, 3)))
    gradcheck(lambda x, w: F.conv2d(x, w, padding=1) ** 2 / 64, (x, w))


# PyTorch -------------------------------------------------------------------------------------------------------------


def _against(torch: Any, name: str, rng: np.random.Generator, shape: tuple, weight: tuple, bias: bool,
             options: dict) -> None:
    outputs = weight[1] * options.get("groups", 1) if "transpose" in name else weight[0]
    hosts = [rng.standard_normal(s).astype(np.float32) for s in (shape, weight, *([(outputs,)] if bias else []))]
    ours = [Variable(from_host(h), requires_grad=True) for h in hosts]
    theirs = [torch.tensor(h, requires_grad=True) for h in hosts]
    y, t = getattr(F, name)(*ours, **options), getattr(torch.nn.functional, name)(*theirs, **options)
    label = f"{name} {shape} {weight} {options}"
    assert_close(y, t.detach().numpy(), scale=4, message=label)
    g = rng.standard_normal(t.shape).astype(np.float32)
    y.backward(Variable(from_host(g)))
    t.backward(torch.tensor(g))
    for a, b in zip(ours, theirs):
        assert_close(a.grad, b.grad.numpy(), scale=16, message=f"gradient of {label}")


def _options() -> list[dict]:
    kept = [dict(zip(("stride", "padding", "dilation", "groups"), c)) for c in itertools.product(
        (1, 2, (2, 3)), (0, 2, (1, 0)), (1, (2, 1)), (1, 2))]
    return [*kept, {"padding": "same", "dilation": (1, 2)}, {"padding": "valid", "stride": 2}]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_convolution_is_pytorchs(rng: np.random.Generator, device) -> None:
    torch = pytest.importorskip("torch")
    for number, options in enumerate(_options()):
        _against(torch, "conv2d", rng, (2, 4, 9, 8), (6, 4 // options.get("groups", 1), 3, 2), number % 2 == 0, options)
    _against(torch, "conv1d", rng, (4, 9), (6, 4, 4), True, {"stride": 2, "padding": 1})
    _against(torch, "conv1d", rng, (2, 4, 9), (6, 4, 4), True, {"padding": "same"})
    _against(torch, "conv3d", rng, (2, 4, 4, 5, 6), (6, 2, 3, 2, 1), True,
             {"stride": (1, 2, 1), "padding": 1, "groups": 2})


def test_transposed_convolution_is_pytorchs(rng: np.random.Generator, device) -> None:
    torch = pytest.importorskip("torch")
    for number, options in enumerate(_options()[:-2]):
        options = {**options, "output_padding": number % 2 if options["stride"] != 1 else 0}
        _against(torch, "conv_transpose2d", rng, (2, 4, 5, 4), (4, 3, 3, 2), number % 2 == 0, options)
    _against(torch, "conv_transpose1d", rng, (4, 5), (4, 3, 4), True, {"stride": 3, "padding": 2})
    _against(torch, "conv_transpose3d", rng, (1, 2, 2, 3, 2), (2, 2, 2, 2, 3), True,
             {"stride": 2, "dilation": (1, 2, 1)})


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda t: F.conv2d(t(2, 3, 5, 5), t(4, 2, 3, 3)), ShapeError, r"conv2d: got .* with 3 channels .*2 channels"),
    (lambda t: F.conv2d(t(2, 3, 5), t(4, 3, 3)), ShapeError, r"weight \(4, 3, 3\); expected 4 dimensions"),
    (lambda t: F.conv2d(t(3, 5), t(4, 3, 3, 3)), ShapeError, r"input \(3, 5\); expected 4 dimensions"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 2, 3, 3), groups=3), ValueError, "groups=3"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 3, 3), t(3)), ShapeError, r"bias \(3,\)"),
    (lambda t: F.conv2d(t(1, 4, 2, 5), t(4, 4, 3, 3)), ShapeError, r"the kernel's reach, \(3, 3\)"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 3, 3), stride=0), ValueError, "stride=0; expected 1 or more"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 3, 3), padding=-1), ValueError, "padding=-1; expected 0 or more"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 3, 3), stride=(1, 2, 3)), ShapeError, "an int or 2 ints"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 3, 3), stride=1.5), TypeError, "stride=1.5"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 3, 3), padding="full"), ValueError, "padding='full'"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 3, 3), stride=2, padding="same"), ValueError, "'same' with stride"),
    (lambda t: F.conv2d(t(1, 4, 5, 5), t(4, 4, 0, 3)), ShapeError, "one tap or more"),
    (lambda t: F.conv_transpose2d(t(1, 4, 5, 5), t(3, 4, 3, 3)), ShapeError, "expected 3 channels"),
    (lambda t: F.conv_transpose2d(t(1, 4, 5, 5), t(4, 4, 3, 3), output_padding=1), ValueError, "output_padding=1"),
    (lambda t: F.conv_transpose2d(t(1, 4, 1, 1), t(4, 4, 3, 3), padding=2), ShapeError, "Pad less"),
])
def test_errors(call: Any, kind: type, message: str, device) -> None:
    with pytest.raises(kind, match=message):
        call(clgrad.ones)
