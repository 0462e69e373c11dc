"""Modules, layers, losses and initialisers: values against PyTorch or NumPy, errors, training without host copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, nn, optim
from clgrad.core.errors import DTypeError, ShapeError
from clgrad.ndarray import from_host
from clgrad.nn import functional as F
from clgrad.nn import init
from clgrad.nn.module import StateDictError
from clgrad.runtime import launch as launcher
from clgrad.testing import assert_close

RNG = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape), np.float32)


def _leaf(x: np.ndarray) -> Variable:
    return Variable(from_host(x), requires_grad=True)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(3, 2, bias=False))
        self.register_buffer("count", clgrad.tensor([1, 2]))
        self.register_buffer("scratch", clgrad.tensor([0.5]), persistent=False)
        self.scale = nn.Parameter(clgrad.tensor(2.0))

    def forward(self, x: Any) -> Any:
        return self.rest(self.first(x)) * self.scale


NAMES = ["scale", "first.weight", "first.bias", "rest.1.weight"]


# Module --------------------------------------------------------------------------------------------------------------


def test_names_and_walks() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_parameters("net")] == ["net." + n for n in NAMES]
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_buffers()] == ["count", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "rest", "rest.0", "rest.1"]
    assert [n for n, _ in net.named_children()] == ["first", "rest"]
    assert [type(m).__name__ for m in net.modules()] == ["Net", "Linear", "Sequential", "ReLU", "Linear"]
    assert next(iter(net.parameters())) is net.scale
    assert list(net.state_dict()) == ["scale", "count", "first.weight", "first.bias", "rest.1.weight"]
    assert net.get_submodule("rest.1") is net.rest[1]
    with pytest.raises(AttributeError, match=r"get_submodule: got 'rest.7': Sequential has no child '7'; expected one"):
        net.get_submodule("rest.7")


def test_shared_parameters_appear_once_but_are_saved_under_each_name() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 2
    assert list(net.state_dict()) == ["0.weight", "1.weight"]


def test_attributes_go_where_they_belong() -> None:
    net = Net()
    with pytest.raises(TypeError, match=r"Net.scale: got a float; expected a Parameter or None"):
        net.scale = 3.0
    with pytest.raises(TypeError, match=r"Net.first: got a Variable; expected a Module or None"):
        net.first = clgrad.ones(2)
    net.count = clgrad.tensor([5, 6])
    assert net.state_dict()["count"].tolist() == [5, 6]
    del net.scale
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'scale'"):
        _ = net.scale
    net.scale = 3.0
    assert "scale" not in net.state_dict()
    net.plain = "text"
    del net.plain
    assert not hasattr(net, "plain")
    net.first = None
    assert [n for n, _ in net.named_parameters()] == ["rest.1.weight"]
    assert {"count", "rest", "forward"} <= set(dir(net))


def test_buffers_as_attributes() -> None:
    net = Net()
    net.scale = nn.Buffer(clgrad.ones(2))  # takes the Parameter's place
    net.mask = nn.parameter.Buffer(clgrad.zeros(3), persistent=False)
    assert [n for n, _ in net.named_buffers()] == ["count", "scratch", "scale", "mask"]
    assert "scale" not in dict(net.named_parameters())
    assert "mask" not in net.state_dict()
    net.mask = nn.Buffer(clgrad.ones(3))
    assert net.state_dict()["mask"].tolist() == [1, 1, 1]
    assert not net.mask.requires_grad
    net.double()
    assert net.scale.dtype is clgrad.float64


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda n: n.register_parameter("a.b", None), KeyError, "register_parameter: got the name 'a.b'"),
    (lambda n: n.register_buffer("forward", None), KeyError, "register_buffer: got the name 'forward'"),
    (lambda n: n.register_buffer("x", [1]), TypeError, "register_buffer: got a list; expected a Variable, an Array"),
    (lambda n: n.register_parameter("x", clgrad.ones(1)), TypeError, "register_parameter: got a Variable"),
    (lambda n: n.add_module("x", print), TypeError, "add_module: got a builtin_function_or_method; expected a Module"),
    (lambda n: n.to(clgrad.int32), TypeError, "Net.to: got clgrad.int32; expected a float or complex dtype"),
    (lambda n: n.type(clgrad.int32), TypeError, "Net.type: got clgrad.int32; expected a float or complex dtype"),
    (lambda n: n.load_state_dict([1]), TypeError, "load_state_dict: got a list; expected a dict of arrays"),
    (lambda n: nn.Module()(1), NotImplementedError, "Module needs a forward method"),
    (lambda n: n.rest[2], IndexError, "Sequential: got index 2; expected -2 <= index < 2"),
])
def test_errors_of_modules(call: Any, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        call(Net())
    assert message in str(caught.value)


def test_to_leaves_integers_and_type_converts_them() -> None:
    net = nn.BatchNorm1d(2)
    net.to(clgrad.float64)
    assert [v.dtype for v in (net.weight, net.running_mean, net.num_batches_tracked)] == [
        clgrad.float64, clgrad.float64, clgrad.int64]
    weight = net.weight
    assert net.type(clgrad.FloatTensor) is net
    assert [v.dtype for v in (net.weight, net.running_mean, net.num_batches_tracked)] == [clgrad.float32] * 3
    assert net.weight is weight
    assert nn.Linear(2, 2).to(clgrad.complex64).weight.dtype is clgrad.complex64


def test_a_forgotten_super_init_is_named() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Identity()

    with pytest.raises(AttributeError, match=r"Forgetful: got attribute 'layer' before Module.__init__"):
        Forgetful()


def test_repr_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")

    def build(nn: Any) -> Any:
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Sequential(nn.Dropout(0.1), nn.Flatten(), nn.Tanh()),
                             nn.Softplus(), nn.Softmax(dim=1), nn.GELU(), nn.Identity(), nn.SiLU(), nn.LogSoftmax(1),
                             nn.Sigmoid(), nn.CrossEntropyLoss(), nn.MSELoss(), nn.Linear(2, 1, bias=False))

    assert repr(build(nn)) == repr(build(torch.nn))
    assert repr(nn.Parameter(clgrad.ones(2))) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"


def test_train_eval_apply_requires_grad_zero_grad() -> None:
    net, seen = Net(), []
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]
    net(clgrad.ones(2, 4)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.first.bias.grad.tolist() == [0, 0, 0]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(clgrad.ones(2, 4)).requires_grad


def test_to_keeps_the_parameters_themselves() -> None:
    net = Net()
    before = list(net.parameters())
    net(clgrad.ones(2, 4)).sum().backward()
    assert net.half() is net
    assert [p.dtype.name for p in net.parameters()] == ["float16"] * 4
    assert {p.grad.dtype.name for p in net.parameters()} == {"float16"}
    assert (net.count.dtype.name, net.scratch.dtype.name) == ("int64", "float16")
    assert all(a is b for a, b in zip(before, net.parameters()))
    net.to(clgrad.default_device(), clgrad.float32).to("float32").float()
    assert net(clgrad.ones(2, 4)).dtype is clgrad.float32


def test_state_dict_shares_memory_and_loads_by_value() -> None:
    a, b = Net(), Net()
    saved = a.state_dict()
    result = b.load_state_dict({k: v.numpy() for k, v in saved.items()})
    assert result == ([], [])
    for name, value in b.state_dict().items():
        assert_close(value, saved[name].numpy())
        assert value.data.storage is not saved[name].data.storage
    assert saved["scale"].data.storage is a.scale.data.storage
    assert not saved["scale"].requires_grad
    assert a.state_dict(keep_vars=True)["scale"] is a.scale
    assert list(a.rest.state_dict(prefix="rest.")) == ["rest.1.weight"]


def test_load_state_dict_names_every_problem_and_changes_nothing() -> None:
    net = Net()
    before = net.first.weight.detach().numpy()
    state = {k: v.numpy() + 1 for k, v in net.state_dict().items()}
    del state["scale"], state["count"]
    state["rest.1.weight"] = np.ones((2, 4), np.float32)
    state["extra"] = np.ones(1)
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "load_state_dict: got a state_dict that does not fit Net: missing: scale, count; unexpected: extra; "
        "rest.1.weight: shape (2, 4), expected (2, 3). Build the module as the saved one was, or pass strict=False to "
        "leave out names that do not match.")
    assert isinstance(caught.value, RuntimeError)
    np.testing.assert_array_equal(net.first.weight.detach().numpy(), before)
    with pytest.raises(StateDictError, match=r"fit Net: rest.1.weight: shape \(2, 4\)"):
        net.load_state_dict(state, strict=False)
    del state["rest.1.weight"]
    assert net.load_state_dict(state, strict=False) == (["scale", "count", "rest.1.weight"], ["extra"])
    np.testing.assert_array_equal(net.first.weight.detach().numpy(), before + 1)


def test_copies_are_independent() -> None:
    net = Net()
    twin = copy.deepcopy(net)
    again = pickle.loads(pickle.dumps(net))
    for other in (twin, again):
        assert isinstance(other.scale, nn.Parameter)
        assert other.scale.requires_grad
        assert_close(other(clgrad.ones(2, 4)), net(clgrad.ones(2, 4)).detach().numpy())
    with clgrad.no_grad():
        twin.scale.add_(1.0)
    assert (net.scale.item(), twin.scale.item()) == (2.0, 3.0)


def test_sequential() -> None:
    layers = [nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[-1] is layers[2]
    assert list(net[1:]) == layers[1:]
    named = nn.Sequential({"in": layers[0], "out": layers[2]})
    assert [n for n, _ in named.named_children()] == ["in", "out"]
    net.append(nn.Tanh()).extend([nn.Identity()])
    net[1] = nn.SiLU()
    assert [type(m).__name__ for m in net] == ["Linear", "SiLU", "Linear", "Tanh", "Identity"]
    x = _normal(5, 4)
    w = [p.detach().numpy() for p in named.parameters()]
    assert_close(named(clgrad.tensor(x)), (x @ w[0].T + w[1]) @ w[2].T + w[3])


# Layers --------------------------------------------------------------------------------------------------------------


ACTIVATIONS = [("ReLU", {}), ("ReLU", {"inplace": True}), ("Sigmoid", {}), ("Tanh", {}), ("SiLU", {}), ("GELU", {}),
               ("GELU", {"approximate": "tanh"}), ("Softplus", {}), ("Softplus", {"beta": 2.0, "threshold": 3.0}),
               ("Softmax", {"dim": 0}), ("Softmax", {"dim": -1}), ("LogSoftmax", {"dim": 1}), ("Identity", {}),
               ("Flatten", {}), ("Flatten", {"start_dim": 0})]


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS, ids=str)
def test_layers_and_gradients_match_pytorch(name: str, options: dict) -> None:
    torch = pytest.importorskip("torch")
    x, g = _normal(3, 4, 5) * 3, _normal(3, 4, 5)
    ours, theirs = _leaf(x), torch.tensor(x, requires_grad=True)
    out = getattr(nn, name)(**options)(ours)
    expected = getattr(torch.nn, name)(**{k: v for k, v in options.items() if k != "inplace"})(theirs)
    assert_close(out, expected.detach().numpy())
    out.backward(clgrad.tensor(g.reshape(out.shape)))
    expected.backward(torch.tensor(g.reshape(out.shape)))
    assert_close(ours.grad, theirs.grad.numpy(), scale=2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(), (7,), (2, 3)])
def test_linear_matches_pytorch(bias: bool, lead: tuple) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Linear(5, 4, bias), torch.nn.Linear(5, 4, bias)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = _normal(*lead, 5)
    a, b = _leaf(x), torch.tensor(x, requires_grad=True)
    out, expected = ours(a), theirs(b)
    assert_close(out, expected.detach().numpy())
    out.square().sum().backward()
    (expected**2).sum().backward()
    assert_close(a.grad, b.grad.numpy(), scale=4)
    for p, t in zip(ours.parameters(), theirs.parameters()):
        assert_close(p.grad, t.grad.numpy(), scale=4)


def test_dropout() -> None:
    clgrad.manual_seed(1)
    x = clgrad.ones(100, 100, requires_grad=True)
    layer = nn.Dropout(0.25)
    out = layer(x)
    values = out.detach().numpy()
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((values == 0).mean() - 0.25) < 0.02
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert not np.array_equal(layer(x).detach().numpy(), values)
    clgrad.manual_seed(1)
    np.testing.assert_array_equal(layer(x).detach().numpy(), values)
    assert layer.eval()(x) is x
    assert nn.Dropout(0)(x) is x
    assert nn.Dropout(1.0)(x).detach().numpy().max() == 0
    assert F.dropout(x, 0.5, training=False) is x
    assert layer.train()(x.half() if hasattr(x, "half") else x.astype("float16")).dtype is clgrad.float16
    with pytest.raises(ValueError, match=r"dropout: got p=1.5; expected 0 <= p <= 1"):
        nn.Dropout(1.5)


# Losses --------------------------------------------------------------------------------------------------------------

REDUCTIONS = ["mean", "sum", "none"]


def _assert_loss(ours: Any, theirs: Any, x: np.ndarray, torch: Any) -> None:
    """Loss and gradient."""
    a, b = _leaf(x), torch.tensor(x, requires_grad=True)
    loss, expected = ours(a), theirs(b)
    assert_close(loss, expected.detach().numpy(), scale=2)
    loss.sum().backward()
    expected.sum().backward()
    assert_close(a.grad, b.grad.numpy(), scale=2)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss"])
def test_losses_of_values(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x, y = _normal(6, 5), _normal(6, 5)
    ours, theirs = getattr(nn, name)(reduction=reduction), getattr(torch.nn, name)(reduction=reduction)
    _assert_loss(lambda a: ours(a, clgrad.tensor(y)), lambda b: theirs(b, torch.tensor(y)), x, torch)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore_index", [-100, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6), (5,)], ids=str)
def test_losses_of_class_indices(shape: tuple, weighted: bool, ignore_index: int, smoothing: float,
                                 reduction: str) -> None:
    torch = pytest.importorskip("torch")
    axis = 0 if len(shape) == 1 else 1
    x, weight = _normal(*shape), RNG.random(shape[axis]).astype(np.float32)
    y = np.asarray(RNG.integers(0, shape[axis], tuple(n for a, n in enumerate(shape) if a != axis)))
    if y.ndim:
        y.flat[1] = ignore_index
    else:
        y = np.asarray(1)
    options = {"ignore_index": ignore_index, "reduction": reduction}
    smooth = {**options, "label_smoothing": smoothing}
    ours = nn.CrossEntropyLoss(clgrad.tensor(weight) if weighted else None, **smooth)
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weight) if weighted else None, **smooth)
    _assert_loss(lambda a: ours(a, clgrad.tensor(y)), lambda b: theirs(b, torch.tensor(y)), x, torch)
    if not smoothing:
        ours = nn.NLLLoss(clgrad.tensor(weight) if weighted else None, **options)
        theirs = torch.nn.NLLLoss(torch.tensor(weight) if weighted else None, **options)
        _assert_loss(lambda a: ours(a, clgrad.tensor(y)), lambda b: theirs(b, torch.tensor(y)), x, torch)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6), (5,)], ids=str)
def test_cross_entropy_of_probabilities(shape: tuple, weighted: bool, smoothing: float, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    axis = 0 if len(shape) == 1 else 1
    x, weight = _normal(*shape), RNG.random(shape[axis]).astype(np.float32)
    y = RNG.random(shape).astype(np.float32)
    y /= y.sum(axis, keepdims=True)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    ours = nn.CrossEntropyLoss(clgrad.tensor(weight) if weighted else None, **options)
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weight) if weighted else None, **options)
    _assert_loss(lambda a: ours(a, clgrad.tensor(y)), lambda b: theirs(b, torch.tensor(y)), x, torch)
    _assert_loss(lambda a: ours(clgrad.tensor(x), a), lambda b: theirs(torch.tensor(x), b), y, torch)


def test_cross_entropy_by_the_formula() -> None:
    x, y = _normal(6, 4), np.array([0, 3, -100, 1, 2, 3])
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    kept = y >= 0
    assert_close(F.cross_entropy(clgrad.tensor(x), clgrad.tensor(y)), -log_p[kept, y[kept]].mean())
    extreme = clgrad.tensor([[1000.0, 0.0], [-1000.0, 0.0]])
    assert F.cross_entropy(extreme, clgrad.tensor([1, 1]), reduction="none").tolist() == [1000, 0]
    every = F.cross_entropy(clgrad.tensor(x), clgrad.full((6,), -100))
    assert np.isnan(every.item())  # 0 / 0, as PyTorch


@pytest.mark.parametrize("target", [4, -1])
def test_a_class_out_of_range_is_reported(target: int) -> None:
    with pytest.raises(IndexError, match=f"got index {target} on axis 1 of size 4"):
        F.cross_entropy(clgrad.tensor(_normal(2, 4)), clgrad.tensor([target, 0])).item()


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x, y: F.mse_loss(x, x, reduction="avg"), ValueError, "mse_loss: got reduction='avg'; expected 'none',"),
    (lambda x, y: F.cross_entropy(x, y, reduction=None), ValueError, "cross_entropy: got reduction=None"),
    (lambda x, y: F.cross_entropy(x, y, label_smoothing=2), ValueError, "cross_entropy: got label_smoothing=2"),
    (lambda x, y: F.cross_entropy(x, y[:1]), ShapeError, "cross_entropy: got target of shape (1,) for input (2, 3)"),
    (lambda x, y: F.cross_entropy(x, x[:1]), ShapeError, "cross_entropy: got probabilities of shape (1, 3)"),
    (lambda x, y: F.cross_entropy(x, x, ignore_index=1), DTypeError, "got ignore_index=1 with probabilities"),
    (lambda x, y: F.cross_entropy(x.sum(), y), ShapeError, "cross_entropy: got a 0-d input"),
    (lambda x, y: F.cross_entropy(x, y, clgrad.ones(2)), ShapeError, "cross_entropy: got weight of shape (2,)"),
    (lambda x, y: F.nll_loss(x, x), DTypeError, "nll_loss: got target of clgrad.float32; expected an integer dtype"),
    (lambda x, y: F.softmax(x), TypeError, "softmax: got dim=None; expected an int"),
    (lambda x, y: nn.LogSoftmax()(x), TypeError, "log_softmax: got dim=None; expected an int"),
    (lambda x, y: F.gelu(x, "exact"), ValueError, "gelu: got approximate='exact'"),
])
def test_errors_of_functions(call: Any, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        call(clgrad.tensor(_normal(2, 3)), clgrad.tensor([0, 1]))
    assert message in str(caught.value)


def test_broadcast_targets_warn() -> None:
    with pytest.warns(UserWarning, match=r"mse_loss: got target of shape \(3,\); expected input's \(2, 3\)"):
        loss = F.mse_loss(clgrad.ones(2, 3), clgrad.zeros(3))
    assert loss.item() == 1


def test_softmax_takes_a_dtype() -> None:
    assert F.softmax(clgrad.tensor([1, 2]), 0, dtype="float32").dtype is clgrad.float32


# Initialisers --------------------------------------------------------------------------------------------------------


BOUNDED = [("uniform_", {"a": -2.0, "b": 3.0}, -2, 3), ("xavier_uniform_", {}, -(6 / 150) ** 0.5, (6 / 150) ** 0.5),
           ("xavier_uniform_", {"gain": 2.0}, -2 * (6 / 150) ** 0.5, 2 * (6 / 150) ** 0.5),
           ("kaiming_uniform_", {}, -(6 / 50) ** 0.5, (6 / 50) ** 0.5),
           ("kaiming_uniform_", {"a": 5**0.5}, -(1 / 50) ** 0.5, (1 / 50) ** 0.5),
           ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "tanh"}, -5 / 3 * 0.03**0.5, 5 / 3 * 0.03**0.5)]
NORMAL = [("normal_", {}, 0, 1), ("normal_", {"mean": 3.0, "std": 0.5}, 3, 0.5),
          ("xavier_normal_", {}, 0, (2 / 150) ** 0.5), ("kaiming_normal_", {}, 0, (2 / 50) ** 0.5),
          ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, 0, (2 / 100) ** 0.5)]


@pytest.mark.parametrize(("name", "options", "low", "high"), BOUNDED, ids=str)
def test_uniform_initialisers(name: str, options: dict, low: float, high: float) -> None:
    clgrad.manual_seed(0)
    weight = nn.Parameter(clgrad.empty(100, 50))
    assert getattr(init, name)(weight, **options) is weight
    values = weight.detach().numpy()
    width = high - low
    assert low - 1e-6 <= values.min() < low + 0.01 * width
    assert high - 0.01 * width < values.max() <= high + 1e-6
    assert abs(values.mean() - (low + high) / 2) < 0.02 * width
    assert weight.is_leaf
    assert weight.requires_grad


@pytest.mark.parametrize(("name", "options", "mean", "std"), NORMAL, ids=str)
def test_normal_initialisers(name: str, options: dict, mean: float, std: float) -> None:
    clgrad.manual_seed(0)
    values = getattr(init, name)(clgrad.empty(100, 50), **options).numpy()
    assert abs(values.mean() - mean) < 0.06 * std
    assert abs(values.std() - std) < 0.04 * std


def test_constants_gains_and_fans() -> None:
    assert init.constant_(clgrad.empty(3), 0.5).tolist() == [0.5] * 3
    assert init.ones_(clgrad.empty(2)).tolist() == [1, 1]
    assert init.zeros_(clgrad.empty(2)).tolist() == [0, 0]
    assert init.fans("x", (8, 4, 3, 3)) == (36, 72)
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: init.calculate_gain("swish"), ValueError, "calculate_gain: got nonlinearity='swish'"),
    (lambda: init.calculate_gain("leaky_relu", True), ValueError, "calculate_gain: got param=True; expected a number"),
    (lambda: init.xavier_normal_(clgrad.ones(3)), ShapeError, "xavier_normal_: got shape (3,); expected at least two"),
    (lambda: init.kaiming_normal_(clgrad.ones(3, 3), mode="in"), ValueError, "kaiming_normal_: got mode='in'"),
])
def test_errors_of_initialisers(call: Any, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_linear_begins_as_pytorchs() -> None:
    """Both weight and bias uniform in +-1/sqrt(in_features)."""
    clgrad.manual_seed(0)
    layer = nn.Linear(64, 500)
    for p in layer.parameters():
        values = p.detach().numpy()
        assert 0.98 / 8 < np.abs(values).max() <= 1 / 8
        assert values.std() == pytest.approx(1 / 8 / 3**0.5, rel=0.06)
    clgrad.manual_seed(0)
    np.testing.assert_array_equal(nn.Linear(64, 500).weight.detach().numpy(), layer.weight.detach().numpy())


# Training ------------------------------------------------------------------------------------------------------------


def test_training_follows_pytorch_without_host_copies(device) -> None:
    torch = pytest.importorskip("torch")
    ours = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    theirs = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, y = _normal(32, 8), RNG.integers(0, 4, 32)
    a, b = clgrad.tensor(x), clgrad.tensor(y)
    optimizer, other = optim.Adam(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    losses = []
    for step in range(10):
        if step == 1:
            device.copies.reset()
        optimizer.zero_grad()
        loss = F.cross_entropy(ours(a), b)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        other.zero_grad()
        expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        expected.backward()
        other.step()
    assert (device.copies.to_device, device.copies.to_host) == (0, 0)
    assert_close(losses[-1], expected.detach().numpy(), scale=4)
    for p, t in zip(ours.parameters(), theirs.parameters()):
        assert_close(p, t.detach().numpy(), scale=20)


# Fused endings -----------------------------------------------------------------------------------------------------


def test_sequential_fuses_relu_into_the_product_before_it(rng: np.random.Generator, device, monkeypatch) -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 3))
    x = from_host(rng.standard_normal((9, 6)).astype(np.float32))

    def by_hand(x):
        for layer in model:
            x = layer(x)
        return x

    results = []
    for run in (model, by_hand):
        v = Variable(x, requires_grad=True)
        model.zero_grad()
        out = run(v)
        (out * out).sum().backward()
        results.append([out, v.grad, *(p.grad for p in model.parameters())])
    for got, expected in zip(*results):
        assert_close(got, expected.numpy() if not isinstance(expected, Variable) else expected.detach().numpy())

    launches: list[str] = []
    monkeypatch.setattr(launcher, "_recent", launches)
    with clgrad.no_grad():
        model(x)
    assert not [label for label in launches if not label.startswith("matmul.")]


def test_sequential_leaves_relu_alone_that_someone_watches(rng: np.random.Generator, device) -> None:
    class Doubled(nn.ReLU):
        def forward(self, input):
            return super().forward(input) * 2

    x = Variable(from_host(rng.standard_normal((4, 6)).astype(np.float32)))
    plain = nn.Linear(6, 5)
    expected = np.maximum(plain(x).detach().numpy(), 0)
    assert_close(nn.Sequential(plain, nn.ReLU())(x), expected)
    assert_close(nn.Sequential(plain, Doubled())(x), expected * 2)
    seen = []
    watched = nn.ReLU()
    watched.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    assert_close(nn.Sequential(plain, watched)(x), expected)
    assert seen == [(4, 5)]
    seen.clear()
    model = nn.Sequential(plain, nn.ReLU())
    handle = plain.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    assert_close(model(x), expected)
    assert seen == [(4, 5)]
    handle.remove()
    own = nn.ReLU()
    own.forward = lambda input: input * 3
    assert_close(nn.Sequential(plain, own)(x), plain(x).detach().numpy() * 3)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_feed_forward_is_the_same_fused_or_not(norm_first: bool, dropout: float, rng: np.random.Generator,
                                               device) -> None:
    class Own(nn.Linear):
        """Keeps the layer from being fused."""

    x = from_host(rng.standard_normal((3, 4, 8)).astype(np.float32))
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout, norm_first=norm_first, batch_first=True)
    other = nn.TransformerEncoderLayer(8, 2, 12, dropout, norm_first=norm_first, batch_first=True)
    other.linear1, other.linear2 = Own(8, 12), Own(12, 8)
    other.load_state_dict(layer.state_dict())
    results = []
    for model in (layer, other):
        clgrad.manual_seed(3)
        v = Variable(x, requires_grad=True)
        out = model(v)
        (out * out).sum().backward()
        results.append([out, v.grad, *(p.grad for p in model.parameters())])
        model.eval()
        results[-1].append(model(v))
    for got, expected in zip(*results):
        assert_close(got, expected.detach().numpy(), scale=10)
