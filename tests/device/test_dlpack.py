"""DLPack: memory shared both ways, who keeps whom alive, and what cannot be shared."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import clgrad
import clgrad.array as xp
from clgrad.core import dtypes
from clgrad.interop.dlpack import OPENCL
from clgrad.ndarray import Array, from_host
from clgrad.testing import assert_close
from clgrad.utils import dlpack


@pytest.fixture
def shared(device) -> clgrad.Device:
    """A device that shares the host's memory: every CPU driver known does."""
    assert device.type != "cpu" or device.shares_host
    if not device.shares_host:
        pytest.skip("the device has memory of its own")
    return device


@pytest.fixture
def discrete(device, monkeypatch: pytest.MonkeyPatch) -> clgrad.Device:
    """The device, taken for one with memory of its own."""
    monkeypatch.setitem(device.__dict__, "shares_host", False)
    return device


@pytest.fixture(scope="session")
def pytorch():
    return pytest.importorskip("torch")


class Watched(np.ndarray):
    """A NumPy array that shows when it dies."""


def _watched(host: np.ndarray) -> tuple[np.ndarray, weakref.ref]:
    host = host.view(Watched)
    return host, weakref.ref(host)


@pytest.mark.parametrize("dtype", [d.name for d in dtypes.ALL if d.name != "bfloat16"])
def test_dtypes_both_ways(dtype: str, shared) -> None:
    if dtype == "float64" and not shared.facts.fp64:
        pytest.skip("the device has no float64")
    host = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    out = np.from_dlpack(from_host(host))
    assert out.dtype == host.dtype
    assert (out == host).all()
    for source in (host, np.from_dlpack(host)):
        taken = clgrad.from_dlpack(source)
        assert taken.dtype is dtypes.dtype(dtype)
        assert_close(taken, host, dtype=dtype)


def test_writes_are_seen_both_ways_on_export(shared) -> None:
    x = xp.zeros((3, 4))
    seen = np.from_dlpack(x[1:, ::2])
    seen[...] = 5
    assert_close(x, np.array([[0, 0, 0, 0], [5, 0, 5, 0], [5, 0, 5, 0]], np.float32))
    x += 1
    clgrad.synchronize(x.device)
    assert seen.tolist() == [[6, 6], [6, 6]]
    again = np.from_dlpack(x)  # a second export of mapped memory
    again[0, 0] = -1
    assert x[0, 0].item() == -1
    assert np.shares_memory(again, seen)


@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[::-1], lambda a: a.T, lambda a: a[1:, ::-2],
                                  lambda a: a[2], lambda a: a[:, 1:2], lambda a: a[1:1],
                                  lambda a: a[1, 2:3].reshape(()), lambda a: np.broadcast_to(a[:1], (3, 7)).copy()])
def test_writes_are_seen_both_ways_on_import(view, shared) -> None:
    base = np.arange(28, dtype=np.float32).reshape(4, 7)
    host = view(base)
    before = shared.copies.to_device
    x = clgrad.from_dlpack(host, copy=False)
    assert shared.copies.to_device == before
    assert x.shape == host.shape
    assert_close(x, host)
    x.mul_(2)
    clgrad.synchronize(shared)
    assert_close(x, host)
    host[...] = 3
    assert_close(x + 1, np.full(host.shape, 4, np.float32))
    assert_close(xp.asarray(x).sum(), np.float32(3 * host.size))


def test_any_start_in_memory_is_shared(shared) -> None:
    """Buffers begin at the driver's boundaries, arrays need not."""
    raw = np.zeros(4096, np.uint8)
    for at in (0, 1, 4, 12, 28, 60, 124, 2052):
        host = raw[at:at + 1000 * (at % 4 == 0) or at + 7]
        host = host.view(np.float32) if at % 4 == 0 else host
        x = clgrad.from_dlpack(host, copy=False)
        host[...] = at % 100
        x.add_(1)
        clgrad.synchronize(shared)
        assert (host == at % 100 + 1).all()
        raw[...] = 0


def test_the_capsule_keeps_the_memory(shared) -> None:
    """Neither the pool nor a later array gets the block while a consumer has it."""
    x = xp.full((1000,), 7, dtype=xp.int32)
    storage = weakref.ref(x.storage)
    held = np.from_dlpack(x)
    gc.collect()  # what earlier tests left
    active = shared.memory_stats()["active"]
    del x
    gc.collect()
    assert storage() is not None
    assert shared.memory_stats()["active"] == active
    others = [xp.zeros(1000, dtype=xp.int32) for _ in range(5)]
    assert (held == 7).all()
    part = held[10:20]
    del held
    assert storage() is not None
    assert (part == 7).all()
    del part
    assert storage() is None
    assert len(others) == 5


def test_a_capsule_nobody_takes_lets_go(shared) -> None:
    for version in (None, (1, 0)):
        x = xp.ones(100)
        storage = weakref.ref(x.storage)
        capsule = x.__dlpack__(max_version=version)
        del x
        assert storage() is not None
        del capsule
        assert storage() is None


def test_a_consumer_may_let_go_in_another_thread(shared) -> None:
    x = xp.ones(1000)
    storage = weakref.ref(x.storage)
    held = [np.from_dlpack(x)]
    del x
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert storage() is None
    assert_close(xp.ones(1000) + 1, np.full(1000, 2, np.float32))


def test_the_producer_lives_as_long_as_the_array(shared) -> None:
    host, alive = _watched(np.ones((50, 3), np.float32))
    x = clgrad.from_dlpack(host, copy=False)
    view = x.t()[1]
    y = x * 2
    del host, x
    gc.collect()
    assert alive() is not None
    assert view.sum().item() == 50
    del view
    assert alive() is None
    assert y.sum().item() == 300


def test_memory_is_kept_while_kernels_use_it(shared) -> None:
    """The last reference goes right after the launch."""
    for i in range(20):
        host, alive = _watched(np.full(200_000, i, np.float32))
        x = clgrad.from_dlpack(host, copy=False)
        y = x * 2
        del host, x
        assert alive() is None
        np.full(200_000, -1, np.float32)
        assert_close(y[::1000], np.full(200, 2 * i, np.float32))


def test_what_came_in_goes_out_again(shared) -> None:
    host, alive = _watched(np.arange(6, dtype=np.int16))
    again = np.from_dlpack(clgrad.from_dlpack(host))
    assert np.shares_memory(again, host)
    del host
    assert alive() is not None
    del again
    assert alive() is None


def test_read_only_memory_is_copied_or_refused(shared) -> None:
    host = np.arange(5, dtype=np.float32)
    host.flags.writeable = False
    for source in (host, np.from_dlpack(host)):
        x = clgrad.from_dlpack(source)
        x += 1
        assert host.tolist() == [0, 1, 2, 3, 4]
        assert x.tolist() == [1, 2, 3, 4, 5]
        with pytest.raises(BufferError, match="copy=False for read-only memory"):
            clgrad.from_dlpack(source, copy=False)


def test_misaligned_memory_is_copied_or_refused(shared) -> None:
    host = np.zeros(41, np.uint8)[1:].view(np.float32)
    fields = np.zeros(3, [("a", np.uint8), ("b", np.float32)])["b"]
    for source in (host, fields):
        assert clgrad.from_dlpack(source).tolist() == source.tolist()
        with pytest.raises(BufferError, match="not aligned to 4 bytes"):
            clgrad.from_dlpack(source, copy=False)


def test_copies_where_asked(shared) -> None:
    host = np.ones(4, np.float32)
    x = clgrad.from_dlpack(host, copy=True)
    host[...] = 2
    assert x.tolist() == [1, 1, 1, 1]
    out = np.from_dlpack(x, copy=True)
    out[...] = 3
    assert x.tolist() == [1, 1, 1, 1]
    assert not np.shares_memory(np.from_dlpack(x.data[::-1]), np.from_dlpack(x))  # consumers bear no negative strides
    with pytest.raises(BufferError, match="strides of 0 or more"):
        x.data[::-1].__dlpack__(copy=False)


def test_own_arrays(shared, both_forms) -> None:
    x = clgrad.ones(3, requires_grad=True)
    for call in (x.__dlpack__, lambda: clgrad.from_dlpack(x)):
        with pytest.raises(BufferError, match=r"\.detach\(\)"):
            call()
    assert clgrad.from_dlpack(x.detach()).storage is x.storage
    assert clgrad.from_dlpack(x.detach(), copy=True).storage is not x.storage
    taken = xp.from_dlpack(x.data)
    assert type(taken) is Array
    assert taken.storage is x.storage
    other = both_forms["many"]
    assert clgrad.from_dlpack(x.detach(), device=other).device is other
    with pytest.raises(BufferError, match=f"from {x.device} to {other}"):
        clgrad.from_dlpack(x.detach(), device=other, copy=False)


def test_from_memory_of_its_own_a_copy_must_be_asked_for(discrete) -> None:
    x = clgrad.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.__dlpack_device__() == (OPENCL, discrete.index)
    for asked in ({}, {"copy": True}, {"dl_device": (1, 0), "copy": False}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError, match=r"dl_device=\(1, 0\) and copy=True"):
            x.__dlpack__(**asked)
    for out in (np.from_dlpack(x.t(), device="cpu", copy=True), np.from_dlpack(x.t(), device="cpu")):
        assert out.tolist() == [[1, 3], [2, 4]]
    host = np.arange(3, dtype=np.float32)
    for copy in (None, False):
        with pytest.raises(BufferError, match="copy=True"):
            clgrad.from_dlpack(host, copy=copy)
    taken = clgrad.from_dlpack(host, copy=True), clgrad.from_dlpack(host, device=discrete)
    host += 1
    for x in taken:
        assert x.device is discrete
        assert x.tolist() == [0, 1, 2]


def test_capsules_under_pytorchs_names(shared) -> None:
    x = clgrad.arange(4)
    capsule = dlpack.to_dlpack(x)
    y = dlpack.from_dlpack(capsule)
    y += 1
    clgrad.synchronize()
    assert x.tolist() == [1, 2, 3, 4]
    with pytest.raises(BufferError, match="taken already"):
        dlpack.from_dlpack(capsule)
    del x
    assert y.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: clgrad.from_dlpack([1, 2]), TypeError, r"got list.*clgrad.tensor\(\)"),
    (lambda: clgrad.ones(2).__dlpack__(stream=1), BufferError, "no streams"),
    (lambda: clgrad.from_dlpack(np.zeros(2, ">f4")), TypeError, "expected one of"),
    (lambda: clgrad.from_dlpack(np.zeros(2, object)), TypeError, "expected one of"),
])
def test_errors(call, error: type, message: str, shared) -> None:
    with pytest.raises(error, match=message):
        call()


def test_memory_of_another_kind_of_device(shared) -> None:
    class Elsewhere:
        def __init__(self, can_copy: bool) -> None:
            self.can_copy = can_copy

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, *, stream=None, **asked):
            if not self.can_copy and asked:
                raise TypeError("unexpected keyword")
            assert asked["dl_device"] == (1, 0)
            return np.arange(3).__dlpack__(max_version=(1, 0))

    with pytest.raises(BufferError, match=r"DLPack device \(2, 0\).*copy=True"):
        clgrad.from_dlpack(Elsewhere(True))
    assert clgrad.from_dlpack(Elsewhere(True), copy=True).tolist() == [0, 1, 2]
    with pytest.raises(BufferError, match="cannot copy itself"):
        clgrad.from_dlpack(Elsewhere(False), copy=True)


def test_pytorch_both_ways(pytorch, shared) -> None:
    x = clgrad.arange(6, dtype="float32").reshape(2, 3)
    storage = weakref.ref(x.storage)
    t = pytorch.from_dlpack(x.t())
    t.mul_(2)
    assert_close(x, np.array([[0, 2, 4], [6, 8, 10]], np.float32))
    del x
    gc.collect()
    assert storage() is not None
    assert t.tolist() == [[0, 6], [2, 8], [4, 10]]
    del t
    assert storage() is None
    for source in (pytorch.arange(6.0).reshape(2, 3).t(), pytorch.tensor(True), pytorch.zeros(0, 3),
                   pytorch.arange(5, dtype=pytorch.int16)[1:4], pytorch.ones(3, dtype=pytorch.float16)):
        taken = clgrad.from_dlpack(source, copy=False)
        assert_close(taken, source.numpy(), dtype=source.numpy().dtype)
        if source.numel() and source.dtype is not pytorch.bool:
            source += 1
            taken += 1
            clgrad.synchronize()
            assert_close(taken, source.numpy(), dtype=source.numpy().dtype)
    with pytest.raises(BufferError, match="gradient"):
        clgrad.from_dlpack(pytorch.ones(2, requires_grad=True))
    assert pytorch.utils.dlpack.from_dlpack(dlpack.to_dlpack(clgrad.ones(2))).tolist() == [1, 1]


def test_pytorch_bfloat16(pytorch, shared) -> None:
    source = pytorch.tensor([1.5, -2.25, 3e38], dtype=pytorch.bfloat16)
    if "bfloat16" not in dtypes.NAMES:
        with pytest.raises(BufferError, match="got bfloat16"):
            clgrad.from_dlpack(source)
        return
    taken = clgrad.from_dlpack(source, copy=False)
    assert taken.dtype.name == "bfloat16"
    assert taken.tolist() == source.tolist()
    back = pytorch.from_dlpack(taken)
    assert back.dtype is pytorch.bfloat16
    source[0] = 8
    assert back.tolist() == source.tolist()
    assert clgrad.from_dlpack(source, copy=True).tolist() == source.tolist()


def test_jax_both_ways(shared) -> None:
    jax = pytest.importorskip("jax")
    out = jax.dlpack.from_dlpack(xp.arange(6, dtype="float32").reshape((2, 3)))
    assert out.tolist() == [[0, 1, 2], [3, 4, 5]]
    source = jax.numpy.arange(4, dtype="int32")
    for copy in (True, None):
        taken = clgrad.from_dlpack(source, copy=copy)
        taken += 1
        assert taken.tolist() == [1, 2, 3, 4]
        assert source.tolist() == [0, 1, 2, 3]


def test_memory_that_cannot_say_whether_it_may_be_written(shared) -> None:
    class Old:
        """Speaks DLPack as before 1.0."""

        def __init__(self, host: np.ndarray) -> None:
            self.host = host

        def __dlpack__(self, stream=None):
            return self.host.__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    host = np.zeros(3, np.float32)
    taken = clgrad.from_dlpack(Old(host))
    taken += 1
    assert host.tolist() == [0, 0, 0]
    taken = clgrad.from_dlpack(Old(host), copy=False)
    taken += 1
    clgrad.synchronize(shared)
    assert host.tolist() == [1, 1, 1]


def test_consumers_may_outlive_the_interpreters_end(child, shared) -> None:
    """Nothing hangs, crashes or complains when shared memory is alive at exit."""
    done = child("""
        import sys
        import numpy as np
        import clgrad
        host = np.ones(1000, np.float32)
        sys.kept = [np.from_dlpack(clgrad.ones(1000)), clgrad.from_dlpack(host), clgrad.ones(10).__dlpack__(), host]
        sys.kept[1].add_(1)
    """)
    assert "Exception" not in done.stderr
