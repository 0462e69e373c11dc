"""Printing as PyTorch does it: texts that it gave, comparison with it where it is installed; tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import clgrad
import clgrad.array as xp
from clgrad.core import dtypes, printing
from clgrad.ndarray import from_host

INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def _usual_options() -> Iterator[None]:
    yield
    clgrad.set_printoptions(profile="default")
    assert clgrad.get_printoptions()["precision"] == 4


def _cases() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    normal = rng.standard_normal((5, 6)).astype(np.float32)
    cases = {
        "floats": np.array([[1.5, -2.25], [0.1, 3]], np.float32), "whole": np.array([1.0, -2, 300], np.float32),
        "wide range": np.array([1.0, 2000], np.float32), "tiny": np.array([1e-5, 1], np.float32),
        "huge": np.array([1e9, -1], np.float32), "special": np.array([INF, -INF, NAN, 1, -2.5], np.float32),
        "special whole": np.array([NAN, 1.0, -INF], np.float32), "only special": np.array([NAN, INF], np.float32),
        "zeros": np.zeros((2, 3), np.float32), "signed zero": np.array([-0.0, 0.0, 1.5], np.float32),
        "scalar": np.array(-1.25, np.float32), "whole scalar": np.array(7.0, np.float32),
        "nan": np.array(NAN, np.float32),
        "int scalar": np.array(-3), "ints": np.array([[1, -20], [300, 4]]), "bytes": np.array([1, 255], np.uint8),
        "bools": np.array([[True, False], [False, False]]), "true": np.array([True]),
        "double": np.array([1.0, 2.5]), "halves": np.array([0.5, -3.14159, 65504], np.float16),
        "empty": np.zeros(0, np.float32), "empty ints": np.zeros(0, np.int64),
        "empty matrix": np.zeros((0, 3), np.float32),
        "empty bytes": np.zeros((2, 0), np.int8), "3-d": np.arange(24).reshape(2, 3, 4),
        "4-d": np.ones((2, 1, 2, 2), np.int8),
        "normal": normal, "small normal": normal * np.float32(1e-3), "long row": np.arange(60.0, dtype=np.float32),
        "summary": np.arange(1001), "summarised floats": rng.standard_normal((30, 40)).astype(np.float32),
        "summarised 3-d": rng.integers(-9, 9, (12, 5, 20)).astype(np.int16),
        "one long axis": np.ones((2, 700), np.float32),
        "threshold": np.arange(1000, dtype=np.int32),
        "large": np.arange(2**21, dtype=np.int32).reshape(2, 2**10, 2**10),
    }
    if "complex64" in dtypes.NAMES:
        cases |= {"complex": np.array([[1 + 2j, -0.5 - 1e-3j], [0, 100j]], np.complex64),
                  "complex double": np.array([1 - 2j, 3 + 4j]), "complex scalar": np.array(1.5 - 2j, np.complex64),
                  "complex summary": (np.arange(1200) * (1 - 0.5j)).astype(np.complex64)}
    return cases


CASES = _cases()

# As printed by PyTorch 2.13.
TEXTS = {
    "floats": (
        "tensor([[ 1.5000, -2.2500],\n"
        "        [ 0.1000,  3.0000]])"
    ),
    "wide range": "tensor([1.0000e+00, 2.0000e+03])",
    "tiny": "tensor([1.0000e-05, 1.0000e+00])",
    "huge": "tensor([ 1.0000e+09, -1.0000e+00])",
    "special": "tensor([    inf,    -inf,     nan,  1.0000, -2.5000])",
    "special whole": "tensor([nan, 1., -inf])",
    "zeros": (
        "tensor([[0., 0., 0.],\n"
        "        [0., 0., 0.]])"
    ),
    "signed zero": "tensor([-0.0000, 0.0000, 1.5000])",
    "scalar": "tensor(-1.2500)",
    "nan": "tensor(nan)",
    "ints": (
        "tensor([[  1, -20],\n"
        "        [300,   4]])"
    ),
    "bools": (
        "tensor([[ True, False],\n"
        "        [False, False]])"
    ),
    "double": "tensor([1.0000, 2.5000], dtype=clgrad.float64)",
    "halves": "tensor([ 5.0000e-01, -3.1406e+00,  6.5504e+04], dtype=clgrad.float16)",
    "empty": "tensor([])",
    "empty ints": "tensor([], dtype=clgrad.int64)",
    "empty matrix": "tensor([], size=(0, 3))",
    "3-d": (
        "tensor([[[ 0,  1,  2,  3],\n"
        "         [ 4,  5,  6,  7],\n"
        "         [ 8,  9, 10, 11]],\n"
        "\n"
        "        [[12, 13, 14, 15],\n"
        "         [16, 17, 18, 19],\n"
        "         [20, 21, 22, 23]]])"
    ),
    "long row": (
        "tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,\n"
        "        14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27.,\n"
        "        28., 29., 30., 31., 32., 33., 34., 35., 36., 37., 38., 39., 40., 41.,\n"
        "        42., 43., 44., 45., 46., 47., 48., 49., 50., 51., 52., 53., 54., 55.,\n"
        "        56., 57., 58., 59.])"
    ),
    "summary": "tensor([   0,    1,    2,  ...,  998,  999, 1000])",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str, device) -> None:
    _needs_dtype(CASES[name], device)
    assert repr(clgrad.tensor(CASES[name])) == TEXTS[name]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"precision": 2, "edgeitems": 1, "threshold": 5, "linewidth": 40},
                                     {"sci_mode": True}, {"sci_mode": False, "profile": "short"}], ids=str)
def test_same_as_pytorch(name: str, options: dict, device) -> None:
    torch = pytest.importorskip("torch")
    _needs_dtype(CASES[name], device)
    torch.set_printoptions(profile="default")
    torch.set_printoptions(**options)
    clgrad.set_printoptions(**options)
    try:
        got, want = repr(clgrad.tensor(CASES[name])), repr(torch.tensor(CASES[name])).replace("torch.", "clgrad.")
    finally:
        torch.set_printoptions(profile="default")
    if "dtype" in want:  # PyTorch's names of dtypes are a letter shorter, which may move a line's end
        got, want = " ".join(got.split()), " ".join(want.split())
    assert got == want


def _needs_dtype(host: np.ndarray, device: clgrad.Device) -> None:
    if host.dtype.name in ("float64", "complex128") and not device.facts.fp64:
        pytest.skip("the device has no float64")


def test_bfloat16(device) -> None:
    x = clgrad.tensor([1.5, -300.0, 0.1]).to(clgrad.bfloat16)
    assert repr(x) == "tensor([ 1.5000e+00, -3.0000e+02,  1.0010e-01], dtype=clgrad.bfloat16)"
    assert repr(x[0]) == "tensor(1.5000, dtype=clgrad.bfloat16)"


def test_views_and_large_arrays_fetch_what_is_shown(device) -> None:
    """A summary of a large array brings its edges to the host, whatever its strides."""
    host = np.arange(3 * 2**10 * 2**10, dtype=np.int32).reshape(3, 2**10, 2**10)
    x = from_host(host)
    device.copies.reset()
    for view, same in ((x, host), (x.permute((2, 0, 1)), host.transpose(2, 0, 1)), (x[:, ::-1, 5:], host[:, ::-1, 5:])):
        assert repr(view) == repr(from_host(np.ascontiguousarray(same)))
    assert device.copies.bytes_to_host < 10_000
    assert "..." in repr(xp.zeros((1,)).expand((2**33,)))


def test_where_it_is_and_what_it_is_for(device, both_forms) -> None:
    other = both_forms["many"]
    x = clgrad.ones(2, device=other, requires_grad=True)
    assert repr(x) == f"tensor([1., 1.], device='{other}', requires_grad=True)"
    with other:
        assert repr(x) == "tensor([1., 1.], requires_grad=True)"
        assert repr(x * 2) == "tensor([2., 2.], grad_fn=<MulBackward>)"
        assert repr(x.data) == "array([1., 1.])"


def test_options(device) -> None:
    x = clgrad.tensor([1 / 3, 100.25])
    clgrad.set_printoptions(precision=2)
    assert repr(x) == "tensor([  0.33, 100.25])"
    clgrad.set_printoptions(sci_mode=True)
    assert repr(x) == "tensor([3.33e-01, 1.00e+02])"
    clgrad.set_printoptions(profile="full")
    assert "..." not in repr(clgrad.arange(1500))
    clgrad.set_printoptions(profile="short")
    assert repr(clgrad.arange(1500)) == "tensor([   0,    1,  ..., 1498, 1499])"
    with pytest.raises(ValueError, match="expected one of default, short, full"):
        clgrad.set_printoptions(profile="long")
    assert printing.get_printoptions()["edgeitems"] == 2


def test_tables(device) -> None:
    page = clgrad.tensor([[1.5, -2.0], [0.25, 3.0]], requires_grad=True)._repr_html_()
    assert page.count("<tr>") == 2
    assert page.count("<td") == 4
    assert ">-2.0000</td>" in page
    assert f"tensor · shape (2, 2) · float32 · on {device} · requires_grad=True" in page
    assert "grad_fn=&lt;MulBackward&gt;" in (clgrad.ones(2, requires_grad=True) * 2)._repr_html_()
    page = xp.zeros((500, 700))._repr_html_()
    assert page.count("<tr>") == 7
    assert page.count("<td") == 7 * 7
    assert page.count("&hellip;") == 6
    assert page.count("&#8942;") == 7
    assert xp.arange(2000)._repr_html_().count("<td") == 7
    for x in (xp.ones(()), xp.ones((2, 2, 2)), xp.ones((0, 2))):
        page = x._repr_html_()
        assert "<pre>array(" in page
        assert f"shape {x.shape}" in page


def test_a_lost_device_still_prints(device, both_forms, monkeypatch: pytest.MonkeyPatch) -> None:
    x = clgrad.ones(2, device=both_forms["wide"])
    monkeypatch.setattr(both_forms["wide"], "lost", "gone")
    assert "<on a lost device>" in repr(x)
    assert "&lt;on a lost device&gt;" in x._repr_html_()
