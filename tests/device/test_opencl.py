"""Memory shared with pyopencl code: buffers of others as Arrays, and the buffer under an Array."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator

import numpy as np
import pyopencl as cl
import pytest

import clgrad
import clgrad.array as xp
from clgrad.runtime.drivers import build_quietly
from clgrad.testing import assert_close

READ_WRITE = cl.mem_flags.READ_WRITE
_SCALE = "kernel void scale(global float *a, int first, float by) { a[first + get_global_id(0)] *= by; }"


@pytest.fixture
def foreign(device) -> Iterator[cl.CommandQueue]:
    """A queue in a context that clgrad did not make."""
    context = cl.Context([device._cl])  # held: Intel's queues do not hold their context
    yield cl.CommandQueue(context)
    assert context.devices == [device._cl]


def _scale(context: cl.Context) -> cl.Kernel:
    return cl.Kernel(build_quietly(cl.Program(context, _SCALE), []), "scale")


def _buffer(queue: cl.CommandQueue, host: np.ndarray) -> cl.Buffer:
    return cl.Buffer(queue.context, READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=host)


def _read(queue: cl.CommandQueue, buffer: cl.Buffer, like: np.ndarray) -> np.ndarray:
    out = np.empty_like(like)
    cl.enqueue_copy(queue, out, buffer)
    return out


def test_a_buffer_of_another_context(foreign, device) -> None:
    """Its ops run in that context, on the queue given, in order with the user's own commands."""
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    buffer = _buffer(foreign, host)
    kernel = _scale(foreign.context)
    x = xp.from_opencl(buffer, "float32", (3, 4), queue=foreign)
    assert x.device is not device
    assert x.device.queue is foreign
    assert str(x.device).startswith(f"{device}/")
    for _ in range(20):
        kernel(foreign, (12,), None, buffer, np.int32(0), np.float32(2))
        x += 1
        host = host * 2 + 1
        assert_close(x.sum(), host.sum(dtype=np.float64).astype(np.float32))
    assert (_read(foreign, buffer, host) == host).all()
    assert_close(x.T @ x, host.T @ host)
    assert xp.from_opencl(buffer, "float32", 12, queue=foreign).device is x.device
    assert_close(x.to(device), host)
    with pytest.raises(clgrad.errors.DeviceError, match=f"add: got {x.device} and {device}"):
        x + xp.ones((3, 4))


def test_without_a_queue(foreign, device) -> None:
    host = np.arange(6, dtype=np.int32)
    buffer = _buffer(foreign, host)
    foreign.finish()
    x = clgrad.from_opencl(buffer, clgrad.int32, (2, 2), (3, 1), 1)
    assert isinstance(x, clgrad.Variable)
    assert x.device.queue.context == foreign.context
    assert_close(x, host.reshape(2, 3)[:, 1:])
    x.mul_(10)
    clgrad.synchronize(x.device)
    assert _read(foreign, buffer, host).tolist() == [0, 10, 20, 3, 40, 50]
    other = cl.CommandQueue(foreign.context)
    assert clgrad.from_opencl(buffer, "int32", 6, queue=other).device is not x.device


def test_a_buffer_of_clgrads_context(device) -> None:
    host = np.arange(5, dtype=np.float32)
    x = xp.from_opencl(_buffer(device.queue, host), "float32", 5)
    assert x.device is device
    assert_close(x + xp.ones(5), host + 1)
    storage = weakref.ref(x.storage)
    del x
    gc.collect()
    assert storage() is None


def test_memory_of_pyopencls_arrays_and_pools(device) -> None:
    import pyopencl.array
    import pyopencl.tools

    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    theirs = pyopencl.array.to_device(device.queue, host, allocator=pyopencl.tools.MemoryPool(
        pyopencl.tools.ImmediateAllocator(device.queue)))
    x = xp.from_opencl(theirs.base_data, theirs.dtype, theirs.shape)
    assert x.device is device
    x *= 3
    assert (theirs.get() == host * 3).all()
    del theirs
    assert_close(x, host * 3)


def test_gradients_and_randomness_on_a_foreign_device(foreign) -> None:
    w = clgrad.from_opencl(_buffer(foreign, np.ones(4, np.float32)), "float32", 4, queue=foreign, requires_grad=True)
    with w.device:
        noise = clgrad.randn(4, generator=clgrad.Generator().manual_seed(3))
    (w * noise).sum().backward()
    assert w.grad.device is w.device
    assert_close(w.grad, clgrad.randn(4, generator=clgrad.Generator().manual_seed(3)).numpy())


def test_the_buffer_under_an_array(device) -> None:
    x = xp.arange(12, dtype="float32").reshape((3, 4))
    view = x[1:, 1]
    memory = view.opencl()
    assert memory.queue is device.queue
    assert memory.offset == 4 * 5
    assert memory.strides == (16,)
    kernel = _scale(device.context)
    x *= 2
    kernel(memory.queue, (3,), None, memory.buffer, np.int32(memory.offset // 4), np.float32(-1))
    want = np.arange(12, dtype=np.float32) * 2
    want[5:8] *= -1
    assert_close(x, want.reshape(3, 4))
    assert clgrad.tensor([[1.0]]).t().opencl().strides == (4, 4)
    assert xp.zeros((0, 2)).opencl().buffer is None


def test_copies_of_foreign_arrays(foreign, device) -> None:
    """A pickle goes back to its device where there is one of that name, as there is in this process."""
    x = xp.from_opencl(_buffer(foreign, np.arange(3.0, dtype=np.float32)), "float32", 3, queue=foreign)
    for made in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.device is x.device
        assert made.storage is not x.storage
        assert made.tolist() == [0, 1, 2]
    assert pickle.loads(pickle.dumps(x).replace(str(x.device).encode(), b"gone:" + b"9" * (len(str(x.device)) - 5))
                        ).device is device


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda q: clgrad.from_opencl(np.zeros(3), "float32", 3), TypeError, "got ndarray; expected a pyopencl.Buffer"),
    (lambda q: clgrad.from_opencl(cl.Buffer(q.context, READ_WRITE, 8), "float32", 3), ValueError,
     "0 to 2 of 4 bytes each; expected elements within the buffer's 8 bytes"),
    (lambda q: clgrad.from_opencl(cl.Buffer(q.context, READ_WRITE, 16), "float32", 3, (-1,), 1), ValueError,
     "elements -1 to 1"),
    (lambda q: clgrad.from_opencl(cl.Buffer(q.context, READ_WRITE, 16), "float32", (2, 2), (1,)), ValueError,
     "a stride for each"),
    (lambda q: clgrad.from_opencl(cl.Buffer(q.context, cl.mem_flags.READ_ONLY, 16), "float32", 2), BufferError,
     "READ_WRITE"),
    (lambda q: clgrad.from_opencl(cl.Buffer(q.context, READ_WRITE, 16), "float32", 2,
                                  queue=clgrad.default_device().queue), RuntimeError, "a queue of another context"),
    (lambda q: clgrad.from_opencl(cl.Buffer(q.context, READ_WRITE, 16), "float32", 2, queue=cl.CommandQueue(
        q.context, properties=cl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE)), RuntimeError, "in-order"),
])
def test_errors(make, error: type, message: str, foreign) -> None:
    with pytest.raises(error, match=message):
        make(foreign)
