"""Programs as introductory lectures on PyTorch write them, with the import changed and nothing else.

Each is a function of the library. It runs with PyTorch and with clgrad on the same numbers and must give the same.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad.runtime import device as device_module
from clgrad.testing import assert_close

N, D_in, H, D_out = 16, 40, 20, 10


class Numbers:
    """The same draws for both libraries, in the place of ``randn``."""

    def __init__(self, lib: Any) -> None:
        self.lib = lib
        self.rng = np.random.default_rng(0)

    def randn(self, *size: int, requires_grad: bool = False, device: Any = None) -> Any:
        made = self.lib.tensor(self.rng.standard_normal(size).astype(np.float32), device=device)
        return made.requires_grad_(requires_grad)


def tensors_by_hand(torch: Any, draw: Numbers) -> list:
    dtype = torch.FloatTensor
    x = draw.randn(N, D_in).type(dtype)
    y = draw.randn(N, D_out).type(dtype)
    w1 = draw.randn(D_in, H).type(dtype)
    w2 = draw.randn(H, D_out).type(dtype)
    learning_rate = 1e-4
    losses = []
    for _ in range(10):
        h = x.mm(w1)
        h_relu = h.clamp(min=0)
        y_pred = h_relu.mm(w2)
        losses.append((y_pred - y).pow(2).sum().item())
        grad_y_pred = 2.0 * (y_pred - y)
        grad_w2 = h_relu.t().mm(grad_y_pred)
        grad_h_relu = grad_y_pred.mm(w2.t())
        grad_h = grad_h_relu.clone()
        grad_h[h < 0] = 0
        grad_w1 = x.t().mm(grad_h)
        w1 -= learning_rate * grad_w1
        w2 -= learning_rate * grad_w2
    return [losses, w1, w2]


def variables(torch: Any, draw: Numbers) -> list:
    from importlib import import_module

    Variable = import_module(torch.__name__ + ".autograd").Variable
    x = Variable(draw.randn(N, D_in), requires_grad=False)
    y = Variable(draw.randn(N, D_out), requires_grad=False)
    w1 = Variable(draw.randn(D_in, H), requires_grad=True)
    w2 = Variable(draw.randn(H, D_out), requires_grad=True)
    learning_rate = 1e-4
    losses = []
    for _ in range(10):
        y_pred = x.mm(w1).clamp(min=0).mm(w2)
        loss = (y_pred - y).pow(2).sum()
        if w1.grad is not None:
            w1.grad.data.zero_()
        if w2.grad is not None:
            w2.grad.data.zero_()
        loss.backward()
        losses.append(loss.item())
        w1.data -= learning_rate * w1.grad.data
        w2.data -= learning_rate * w2.grad.data
    return [losses, w1.data, w2.data]


def autograd_with_no_grad(torch: Any, draw: Numbers) -> list:
    device = torch.device("cpu")
    x, y = draw.randn(N, D_in, device=device), draw.randn(N, D_out, device=device)
    w1 = draw.randn(D_in, H, device=device, requires_grad=True)
    w2 = draw.randn(H, D_out, device=device, requires_grad=True)
    learning_rate = 1e-4
    for _ in range(10):
        y_pred = x.mm(w1).clamp(min=0).mm(w2)
        loss = (y_pred - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            w1 -= learning_rate * w1.grad
            w2 -= learning_rate * w2.grad
            w1.grad.zero_()
            w2.grad.zero_()
    return [loss, w1, w2]


def own_function(torch: Any, draw: Numbers) -> list:
    class Sigmoid(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = 1.0 / (1.0 + (-x).exp())
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad_y):
            y, = ctx.saved_tensors
            return grad_y * y * (1.0 - y)

    x, y = draw.randn(N, D_in), draw.randn(N, D_out)
    w1, w2 = draw.randn(D_in, H, requires_grad=True), draw.randn(H, D_out, requires_grad=True)
    for _ in range(10):
        loss = (Sigmoid.apply(x.mm(w1)).mm(w2) - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            w1 -= 1e-3 * w1.grad
            w2 -= 1e-3 * w2.grad
            w1.grad.zero_()
            w2.grad.zero_()
    return [loss, w1, w2]


def a_sequence_of_layers(torch: Any, draw: Numbers) -> list:
    x, y = draw.randn(N, D_in), draw.randn(N, D_out)
    model = torch.nn.Sequential(torch.nn.Linear(D_in, H), torch.nn.ReLU(), torch.nn.Linear(H, D_out))
    _fill(torch, model, draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the argument is old, and both libraries may say so
        loss_fn = torch.nn.MSELoss(size_average=False)
    for _ in range(10):
        loss = loss_fn(model(x), y)
        model.zero_grad()
        loss.backward()
        for param in model.parameters():
            param.data -= 1e-4 * param.grad.data
    return [loss, *model.parameters()]


def a_module_of_ones_own(torch: Any, draw: Numbers) -> list:
    class TwoLayerNet(torch.nn.Module):
        def __init__(self, D_in, H, D_out):
            super(TwoLayerNet, self).__init__()  # noqa: UP008
            self.linear1 = torch.nn.Linear(D_in, H)
            self.linear2 = torch.nn.Linear(H, D_out)

        def forward(self, x):
            h_relu = self.linear1(x).clamp(min=0)
            return self.linear2(h_relu)

    x, y = draw.randn(N, D_in), draw.randn(N, D_out)
    model = TwoLayerNet(D_in, H, D_out)
    _fill(torch, model, draw)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(10):
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [loss, *model.parameters()]


def parallel_blocks_and_a_schedule(torch: Any, draw: Numbers) -> list:
    class ParallelBlock(torch.nn.Module):
        def __init__(self, D_in, D_out):
            super().__init__()
            self.linear1 = torch.nn.Linear(D_in, D_out)
            self.linear2 = torch.nn.Linear(D_in, D_out)

        def forward(self, x):
            return (self.linear1(x) * self.linear2(x)).clamp(min=0)

    x, y = draw.randn(N, D_in), draw.randn(N, D_out)
    model = torch.nn.Sequential(ParallelBlock(D_in, H), ParallelBlock(H, H), torch.nn.Linear(H, D_out))
    _fill(torch, model, draw)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    rates = []
    for _ in range(10):
        loss = torch.nn.MSELoss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return [loss, rates, *model.parameters()]


def a_branch_in_python(torch: Any, draw: Numbers) -> list:
    def model(x, y, w1, w2a, w2b, prev_loss: float):
        w2 = w2a if prev_loss < 5.0 else w2b
        y_pred = x.mm(w1).clamp(min=0).mm(w2)
        return (y_pred - y).pow(2).sum()

    if torch is clgrad:  # PyTorch compiles from source, which a function inside a function does not always allow
        model = torch.jit.script(model)
    x, y = draw.randn(N, D_in), draw.randn(N, D_out)
    w1, w2a, w2b = (draw.randn(*s, requires_grad=True) for s in ((D_in, H), (H, D_out), (H, D_out)))
    prev_loss = 5.0
    for _ in range(3):
        loss = model(x, y, w1, w2a, w2b, prev_loss)
        loss.backward()
        prev_loss = loss.item()
    return [loss, w1.grad, w2b.grad, [float(w2a.grad is None)]]


def _fill(torch: Any, model: Any, draw: Numbers) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(draw.randn(*p.shape) * 0.1)


PROGRAMS = [tensors_by_hand, variables, autograd_with_no_grad, own_function, a_sequence_of_layers,
            a_module_of_ones_own, parallel_blocks_and_a_schedule, a_branch_in_python]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_numbers_are_pytorchs(program: Callable, device) -> None:
    torch = pytest.importorskip("torch")
    expected = program(torch, Numbers(torch))
    got = program(clgrad, Numbers(clgrad))
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected):
        theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.array(theirs, np.float32)
        assert_close(mine if isinstance(mine, clgrad.Variable) or hasattr(mine, "storage") else
                     np.array(mine, np.float32), theirs, scale=50)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_programs_learn(program: Callable, device) -> None:
    """Without PyTorch: the same programs run, and leave finite numbers."""
    for value in program(clgrad, Numbers(clgrad)):
        host = value.detach().numpy() if isinstance(value, clgrad.Variable) else np.array(
            value.numpy() if hasattr(value, "storage") else value)
        assert np.isfinite(host).all()


def test_a_function_in_the_older_style(device) -> None:
    """Methods of an instance, which is called: PyTorch itself no longer runs it."""
    class ReLU(clgrad.autograd.Function):
        def forward(self, x):
            self.save_for_backward(x)
            return x.clamp(min=0)

        def backward(self, grad_y):
            x, = self.saved_tensors
            grad_input = grad_y.clone()
            grad_input[x < 0] = 0
            return grad_input

    host = np.random.default_rng(0).standard_normal((3, 4))
    x = clgrad.tensor(host, requires_grad=True)
    relu = ReLU()
    (relu(x) * relu(x * -2)).sum().backward()
    (relu(relu(x)) * 3).sum().backward()  # the same instance in two places of one graph
    assert_close(x.grad, 3.0 * (host > 0))

    class Static(clgrad.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(TypeError, match=r"Static: got a call of an instance .* expected Static\.apply"):
        Static()(x)
    assert not hasattr(ReLU(), "saved_tensors")


def test_the_golden_gradients_print_as_the_lecture_prints_them(device) -> None:
    if not device.facts.fp64:
        pytest.skip("the device has no float64")
    rng = np.random.RandomState(0)
    x, y, z = (clgrad.Variable(clgrad.from_numpy(rng.randn(3, 4)), requires_grad=True) for _ in range(3))
    c = clgrad.sum(x * y + z)
    c.backward()
    assert repr(x.grad) == ("tensor([[ 0.7610,  0.1217,  0.4439,  0.3337],\n"
                            "        [ 1.4941, -0.2052,  0.3131, -0.8541],\n"
                            "        [-2.5530,  0.6536,  0.8644, -0.7422]], dtype=clgrad.float64)")
    assert_close(y.grad, x.detach().numpy())
    assert_close(z.grad, np.ones((3, 4)))


def test_truth_of_a_gradient_names_what_to_write(device) -> None:
    w = clgrad.ones(3, requires_grad=True)
    (w * 2).sum().backward()
    with pytest.raises(clgrad.errors.ShapeError, match="is not None"):
        bool(w.grad)


def test_making_tensors(device) -> None:
    data = [[1, 2], [3, 4]]
    x_data = clgrad.tensor(data)
    assert_close(clgrad.from_numpy(np.array(data)), np.array(data), dtype="int64")
    assert_close(clgrad.ones_like(x_data), np.ones((2, 2), np.int64), dtype="int64")
    assert clgrad.rand_like(x_data).dtype is clgrad.float32
    assert clgrad.rand_like(x_data, dtype=clgrad.float64).dtype is clgrad.float64
    shape = (2, 3,)
    assert [f(shape).size() for f in (clgrad.rand, clgrad.ones, clgrad.zeros)] == [(2, 3)] * 3
    assert repr(clgrad.zeros(shape).size()) == "torch.Size([2, 3])"
    assert isinstance(clgrad.zeros(shape).shape[1:], clgrad.Size)
    assert clgrad.zeros(shape).size().numel() == 6
    assert f"{clgrad.zeros(shape).shape}" == "(2, 3)"
    assert copy.deepcopy(clgrad.Size([1])) == (1,)


def test_typed_tensors(device) -> None:
    assert_close(clgrad.FloatTensor([1, 2]), np.array([1, 2], np.float32), dtype="float32")
    assert clgrad.LongTensor(2, 3).shape == (2, 3)
    assert clgrad.LongTensor(2, 3).dtype is clgrad.int64
    assert clgrad.FloatTensor().shape == (0,)
    x = clgrad.ones(2)
    where = "torch.cuda." if device.type == "gpu" else "torch."
    assert x.type() == where + "FloatTensor"
    assert x.double().type() == where + "DoubleTensor"
    assert x.type("torch.LongTensor").dtype is x.type(clgrad.IntTensor).type(clgrad.int64).dtype is clgrad.int64


def test_a_cuda_name_means_a_gpu_or_warns_once(device, monkeypatch) -> None:
    monkeypatch.setattr(device_module, "_said_no_gpu", [])
    if clgrad.cuda.is_available():
        assert clgrad.device("cuda:0").type == "gpu"
        assert clgrad.cuda.device_count() > 0
        assert clgrad.ones(2).cuda().type() == "torch.cuda.FloatTensor"
        return
    with pytest.warns(UserWarning, match=r"there is no GPU for 'cuda:0'; using the default device"):
        assert clgrad.device("cuda:0") is clgrad.default_device()
    assert clgrad.ones(2).cuda().device is clgrad.default_device()  # silent now
    assert clgrad.ones(2, device="cuda").type(clgrad.cuda.FloatTensor).device is clgrad.default_device()
    assert clgrad.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match="got no GPU"):
        clgrad.cuda.current_device()
    with pytest.raises(clgrad.errors.DeviceError, match="'cuda:one'"):
        clgrad.device("cuda:one")


def test_cpu_is_a_device_that_has_a_cpu(device) -> None:
    x = clgrad.ones(2).cpu()
    assert_close(x, np.ones(2, np.float32))
    assert x.device.type == "cpu" or not any(d.type == "cpu" for d in clgrad.devices())
