"""copy, deepcopy and pickle of Arrays and Variables, as PyTorch has them; several devices in one process."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import clgrad
import clgrad.array as xp
from clgrad import nn
from clgrad.ndarray import from_host
from clgrad.testing import assert_close


def _pickled(x: object) -> object:
    return pickle.loads(pickle.dumps(x))


@pytest.fixture
def leaf(device) -> clgrad.Variable:
    x = clgrad.tensor([1.0, -2.0, 3.0], requires_grad=True)
    x.note = {"name": "weights"}
    (x * x).sum().backward()
    return x


def test_copy_shares_memory(leaf) -> None:
    made = copy.copy(leaf)
    assert made.storage is leaf.storage
    assert made.requires_grad
    assert made.grad is None
    assert made.note is leaf.note
    result = copy.copy(leaf * 2)
    assert result.is_leaf
    assert result.requires_grad


def test_deepcopy_has_memory_and_gradient_of_its_own(leaf) -> None:
    made = copy.deepcopy(leaf)
    assert made.storage is not leaf.storage
    assert made.requires_grad
    assert made.grad.tolist() == [2, -4, 6]
    assert made.grad.storage is not leaf.grad.storage
    assert made.note == leaf.note
    assert made.note is not leaf.note
    twice = copy.deepcopy([leaf, leaf])
    assert twice[0] is twice[1]
    with pytest.raises(RuntimeError, match=r"\.detach\(\)"):
        copy.deepcopy(leaf * 2)


def test_pickle_keeps_no_gradient(leaf) -> None:
    made = _pickled(leaf)
    assert made.tolist() == leaf.tolist()
    assert made.requires_grad
    assert made.grad is None
    assert made.note == leaf.note
    result = _pickled(leaf * 2)
    assert result.is_leaf
    assert result.requires_grad
    assert not _pickled(leaf.detach()).requires_grad


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, _pickled])
@pytest.mark.parametrize("host", [np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
                                  np.ones((3, 5), np.int8)[::-1, 1::2],
                                  np.zeros((0, 2), np.float16), np.array(True)], ids=["T", "strided", "empty", "0-d"])
def test_arrays(how, host: np.ndarray, device) -> None:
    x = from_host(host.T).T
    made = how(x)
    assert made.storage is not x.storage
    assert made.device is device
    assert_close(made, host, dtype=host.dtype)


def test_parameters_and_modules(device) -> None:
    layer = nn.Linear(3, 2)
    layer(clgrad.ones(1, 3)).sum().backward()
    deep, loaded = copy.deepcopy(layer), _pickled(layer)
    for made, has_grad in ((deep, True), (loaded, False)):
        assert type(made.weight) is type(layer.weight)
        assert_close(made.weight.data, layer.weight.numpy() if not layer.weight.requires_grad
                     else layer.weight.detach().numpy())
        assert made.weight.storage is not layer.weight.storage
        assert (made.weight.grad is not None) is has_grad


# Several devices -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(both_forms) -> tuple[clgrad.Device, clgrad.Device]:
    """Two devices: of two drivers where there are as many, else the one driver's device twice, in two contexts."""
    first = clgrad.default_device()
    second = next((d for d in clgrad.devices() if d is not first and d.verdict().ok), both_forms["many"])
    return first, second


def test_every_device_keeps_its_arrays(two) -> None:
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = [from_host(host * (i + 1), None, d) for i, d in enumerate(two)]
    for i, (x, d) in enumerate(zip(arrays, two)):
        assert (x.T @ x).device is d
        assert_close((x.T @ x).sum(0), ((i + 1) ** 2 * host.T @ host).sum(0))
        for how in (copy.copy, copy.deepcopy):
            assert how(x).device is d
        with d:
            assert clgrad.zeros(2).device is d
            assert xp.sort(xp.asarray([2.0, 1.0])).device is d


def test_moving_copies(two) -> None:
    a, b = two
    x = from_host(np.arange(6, dtype=np.int16).reshape(2, 3), None, a).T
    before = a.copies.to_host, b.copies.to_device
    y = x.to(b)
    assert (a.copies.to_host, b.copies.to_device) == (before[0] + 1, before[1] + 1)
    assert y.device is b
    assert_close(y, x.numpy(), dtype="int16")
    y += 1
    assert_close(x, y.numpy() - np.int16(1))
    assert x.to(a) is x
    assert x.to(b, clgrad.float32).dtype is clgrad.float32
    assert x.to_device(b).device is b
    assert y.to(x).device is a


@pytest.mark.parametrize("op", [
    lambda x, y: x + y, lambda x, y: x @ y, lambda x, y: clgrad.cat([x, y]), lambda x, y: clgrad.where(x > 0, x, y),
    lambda x, y: x[y.to(clgrad.int64)], lambda x, y: x.add_(y), lambda x, y: clgrad.cross_entropy(x, y[0].long())
    if hasattr(clgrad, "cross_entropy") else nn.functional.cross_entropy(x, y[0].long()),
    lambda x, y: x.gather(0, y.long()), lambda x, y: x.scatter_add(0, x.long() * 0, y)])
def test_mixing_raises_and_names_both(op, two) -> None:
    a, b = two
    x, y = clgrad.ones(3, 3, device=a), clgrad.ones(3, 3, device=b)
    with pytest.raises(clgrad.errors.DeviceError, match=rf"{a}( \(.*\))?(,| and) {b}.*\.to\(device\)"):
        op(x, y)
    assert x.sum().item() == y.sum().item() == 9


def test_gradients_cross_devices(two) -> None:
    a, b = two
    x = clgrad.tensor([1.0, -2.0, 3.0], device=a, requires_grad=True)
    w = clgrad.tensor([4.0, 5.0, 6.0], device=b, requires_grad=True)
    y = (x.exp().to(b) * w).sum()
    assert y.device is b
    (gx,) = clgrad.autograd.grad(y, x, create_graph=True)
    assert gx.device is a
    (gx * x).sum().backward()
    exp = np.exp([1.0, -2.0, 3.0])
    assert w.grad.device is b
    assert x.grad.device is a
    assert_close(w.grad, (exp * [1.0, -2.0, 3.0]).astype(np.float32))
    assert_close(x.grad, (np.array([4.0, 5, 6]) * exp * (1 + np.array([1.0, -2, 3]))).astype(np.float32))


def test_one_seed_is_one_stream_on_both(two) -> None:
    draws = []
    for d in two:
        clgrad.manual_seed(11)
        with d:
            draws.append([clgrad.rand(1000).numpy(), clgrad.randn(10).numpy(), clgrad.randint(0, 99, (50,)).numpy(),
                          clgrad.randperm(300).numpy()])
    for one, other in zip(*draws):
        assert_close(from_host(one), other)


def test_a_model_moves(two) -> None:
    a, b = two
    with a:
        layer = nn.Linear(3, 2)
    want = layer(clgrad.ones(1, 3, device=a)).detach().numpy()
    layer.to(b)
    assert all(p.device is b for p in layer.parameters())
    assert_close(layer(clgrad.ones(1, 3, device=b)).detach(), want)


def test_threads_on_two_devices(two) -> None:
    """Each thread its own default device; results of many small ops are right on both."""
    host = np.arange(400, dtype=np.float32).reshape(20, 20) / 100
    want = ((host @ host + 1).sum(0) * np.float32(2))
    wrong = []

    def work(d: clgrad.Device) -> None:
        with d:
            for _ in range(40):
                x = xp.asarray(host)
                got = (x @ x + 1).sum(0) * 2
                if got.device is not d or not np.allclose(got.numpy(), want, rtol=1e-5):
                    wrong.append(d)

    threads = [threading.Thread(target=work, args=(d,)) for d in (*two, *two)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
