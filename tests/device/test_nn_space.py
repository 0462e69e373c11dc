"""Layers of space and the vision models: PyTorch's parameters, reprs and values over constructor options; counts."""

from __future__ import annotations

import pickle
from math import prod, sqrt
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, nn
from clgrad.ndarray import from_host
from clgrad.testing import assert_close
from clgrad.vision import models

# Constructor calls, each with the shape of an input: evaluated in clgrad.nn and in torch.nn alike.
LAYERS = [
    ("Conv1d(4, 6, 3)", (2, 4, 9)), ("Conv1d(4, 6, (3,), 2, 1, 2, 2, False)", (4, 9)),
    ("Conv2d(4, 6, 3, padding='same', padding_mode='reflect')", (2, 4, 6, 7)),
    ("Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), padding_mode='circular', bias=False)", (2, 4, 6, 7)),
    ("Conv2d(4, 8, 3, padding=1, padding_mode='replicate', groups=4)", (4, 6, 7)),
    ("Conv2d(4, 6, 3, padding='valid', padding_mode='circular', dilation=2)", (2, 4, 6, 7)),
    ("Conv3d(2, 4, 2, padding=1)", (1, 2, 3, 4, 3)),
    ("ConvTranspose1d(4, 6, 3, 2, 1, 1)", (2, 4, 5)),
    ("ConvTranspose2d(4, 6, 3, 2, 1, (1, 0), groups=2, bias=False, dilation=2)", (2, 4, 5, 4)),
    ("ConvTranspose3d(2, 4, 2)", (1, 2, 3, 2, 2)),
    ("MaxPool1d(2)", (2, 3, 7)), ("MaxPool2d(3, 2, 1, ceil_mode=True)", (2, 3, 7, 6)),
    ("MaxPool3d(2, dilation=2)", (1, 2, 5, 5, 4)),
    ("AvgPool1d(3, 2, 1, True, False)", (2, 3, 7)), ("AvgPool2d((3, 2), divisor_override=2)", (2, 3, 7, 6)),
    ("AvgPool3d(2)", (1, 2, 4, 5, 4)),
    ("AdaptiveAvgPool1d(3)", (2, 3, 7)), ("AdaptiveAvgPool2d((None, 2))", (2, 3, 7, 6)),
    ("AdaptiveAvgPool3d(2)", (1, 2, 4, 5, 4)),
    ("AdaptiveMaxPool1d(3)", (2, 3, 7)), ("AdaptiveMaxPool2d((4, 2))", (3, 7, 6)),
    ("AdaptiveMaxPool3d(2)", (1, 2, 4, 5, 4)),
    ("LPPool1d(2, 3)", (2, 3, 7)), ("LPPool2d(1.5, 2, ceil_mode=False)", (2, 3, 7, 6)),
    ("Unfold(2, padding=1)", (2, 3, 4, 5)), ("Fold((4, 5), (2, 3), stride=(1, 2))", (2, 12, 6)),
    ("Upsample(scale_factor=(2, 3))", (2, 3, 4, 5)), ("Upsample((3, 8), mode='bicubic')", (2, 3, 4, 5)),
    ("Upsample(scale_factor=1.5, mode='linear', align_corners=True)", (2, 3, 4)),
    ("UpsamplingNearest2d(size=5)", (2, 3, 4, 5)), ("UpsamplingBilinear2d(scale_factor=2)", (2, 3, 4, 5)),
    ("PixelShuffle(2)", (2, 8, 3, 2)), ("PixelUnshuffle(2)", (2, 8, 4, 2)), ("ChannelShuffle(2)", (2, 8, 4, 2)),
    ("Unflatten(1, (2, -1))", (2, 8, 3)), ("Flatten()", (2, 3, 4)),
    ("ConstantPad1d((1, -1), 2.5)", (2, 3, 4)), ("ConstantPad2d(1, 2.5)", (2, 3, 4)),
    ("ConstantPad3d(1, 0.5)", (2, 2, 2, 2)),
    ("ZeroPad1d(2)", (2, 3, 4)), ("ZeroPad2d((1, 2, 0, 1))", (2, 3, 4, 5)), ("ZeroPad3d(1)", (1, 2, 2, 2, 2)),
    ("ReflectionPad1d(2)", (2, 3, 4)), ("ReflectionPad2d((1, 2, 0, 1))", (2, 3, 4, 5)),
    ("ReflectionPad3d(1)", (1, 2, 2, 2, 2)),
    ("ReplicationPad1d(2)", (2, 3, 4)), ("ReplicationPad2d((1, 2, 0, 1))", (2, 3, 4, 5)),
    ("ReplicationPad3d(1)", (1, 2, 2, 2, 2)),
    ("CircularPad1d(2)", (2, 3, 4)), ("CircularPad2d((1, 2, 0, 1))", (2, 3, 4, 5)),
    ("CircularPad3d(1)", (1, 2, 2, 2, 2)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize(("text", "shape"), LAYERS, ids=[text for text, _ in LAYERS])
def test_a_layer_is_pytorchs(text: str, shape: tuple, rng: np.random.Generator, device) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = eval(f"nn.{text}", {"nn": nn}), eval(f"nn.{text}", {"nn": torch.nn})
    assert repr(ours) == repr(theirs)
    assert repr(pickle.loads(pickle.dumps(ours))) == repr(ours)
    state = theirs.state_dict()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in state.items()}
    ours.load_state_dict({k: v.numpy() for k, v in state.items()})
    x = np.abs(rng.standard_normal(shape).astype(np.float32)) + 0.1
    a, b = Variable(from_host(x), requires_grad=True), torch.tensor(x, requires_grad=True)
    y, t = ours(a), theirs(b)
    assert_close(y, t.detach().numpy(), scale=4, message=text)
    (y * y).sum().backward()
    (t * t).sum().backward()
    assert_close(a.grad, b.grad.numpy(), scale=16, message=f"gradient of {text}")
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters()):
        assert_close(p.grad, q.grad.numpy(), scale=40, message=f"gradient of {name} of {text}")


@pytest.mark.parametrize(("layer", "fan_in"), [(lambda: nn.Conv2d(8, 200, 5, groups=2), 100),
                                               (lambda: nn.ConvTranspose2d(200, 4, 5), 100)])
def test_initial_distribution(layer: Any, fan_in: int, device) -> None:
    """Uniform in +-1/sqrt(fan_in): the ends are neared, the spread is the distribution's."""
    clgrad.manual_seed(0)
    made = layer()
    bound = 1 / sqrt(fan_in)
    weight = made.weight.detach().numpy()
    assert 0.99 * bound < np.abs(weight).max() <= bound
    assert abs(weight.std() - bound / sqrt(3)) < 0.02 * bound
    assert np.abs(made.bias.detach().numpy()).max() <= bound


def test_unpool_layers_turn_pooling_round(rng: np.random.Generator, device) -> None:
    for rank, pool, unpool in ((1, nn.MaxPool1d, nn.MaxUnpool1d), (2, nn.MaxPool2d, nn.MaxUnpool2d),
                               (3, nn.MaxPool3d, nn.MaxUnpool3d)):
        x = from_host(rng.standard_normal((2, 3, *(4,) * rank)).astype(np.float32))
        values, index = pool(2, return_indices=True)(x)
        out = unpool(2)(values, index)
        kept = out.numpy() != 0
        assert kept.sum() == values.numpy().size
        np.testing.assert_array_equal(out.numpy()[kept], x.numpy()[kept])
    assert repr(nn.MaxUnpool2d(3, 2, 1)) == "MaxUnpool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))"


def test_transposed_convolution_takes_an_output_size(device) -> None:
    up = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = clgrad.ones(1, 2, 4, 4)
    assert up(x).shape == (1, 3, 7, 7)
    assert up(x, output_size=(8, 7)).shape == (1, 3, 8, 7)
    assert up(x, output_size=(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"output_size=\(9, 8\); expected between \(7, 7\) and \(8, 8\)"):
        up(x, output_size=(9, 8))


@pytest.mark.parametrize(("make", "kind", "message"), [
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels=3 with groups=2"),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "out_channels=3 with groups=2"),
    (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, "groups=0; expected 1 or more"),
    (lambda: nn.Conv2d(4, 4, 3, padding="some"), ValueError, "padding='some'"),
    (lambda: nn.Conv2d(4, 4, 3, 2, padding="same"), ValueError, "'same' with stride"),
    (lambda: nn.Conv2d(4, 4, 3, padding_mode="mirror"), ValueError, "padding_mode='mirror'"),
    (lambda: nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), ValueError, "expected 'zeros'"),
    (lambda: nn.Conv2d(4, 4, (3, 3, 3)), ValueError, "an int or 2 ints"),
    (lambda: nn.ReflectionPad2d((1, 2)), ValueError, "an int or 4 of them"),
    (lambda: nn.ZeroPad2d(1)(clgrad.ones(2, 2)), ValueError, "3 dimensions or more"),
    (lambda: nn.Unflatten(1, 3), TypeError, "a tuple of ints"),
])
def test_errors(make: Any, kind: type, message: str, device) -> None:
    with pytest.raises(kind, match=message):
        make()


# Models --------------------------------------------------------------------------------------------------------------


def _count(model: nn.Module) -> int:
    return sum(prod(p.shape) for p in model.parameters())


def test_lenet_learns(device) -> None:
    clgrad.manual_seed(0)
    net = models.lenet(num_classes=3)
    assert _count(models.LeNet()) == 62006
    x, target = clgrad.randn(6, 3, 32, 32), clgrad.tensor([0, 1, 2, 0, 1, 2])
    step = clgrad.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        step.zero_grad()
        loss = nn.functional.cross_entropy(net(x), target)
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < 1 < losses[0]


def test_alexnet(device) -> None:
    net = models.alexnet()
    assert _count(net) == 61_100_840
    names = list(net.state_dict())
    assert names[:2] == ["features.0.weight", "features.0.bias"]
    assert names[-2:] == ["classifier.6.weight", "classifier.6.bias"]
    assert net.eval()(clgrad.ones(1, 3, 64, 64)).shape == (1, 1000)


def test_vgg_counts(monkeypatch: pytest.MonkeyPatch, device) -> None:
    """Counts without drawing a hundred million numbers."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
    for name, count in (("vgg11", 132_863_336), ("vgg16", 138_357_544)):
        net = getattr(models, name)()
        assert _count(net) == count, name
    assert list(net.state_dict())[24:28] == ["features.28.weight", "features.28.bias", "classifier.0.weight",
                                             "classifier.0.bias"]


@pytest.mark.skipif(not hasattr(nn, "BatchNorm2d"), reason="needs BatchNorm2d")
def test_resnets(device) -> None:
    for name, count in (("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032),
                        ("resnet101", 44_549_160)):
        net = getattr(models, name)()
        assert _count(net) == count, name
    names = list(net.state_dict())
    assert names[:6] == ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
                         "bn1.num_batches_tracked"]
    assert "layer2.0.downsample.0.weight" in names
    assert names[-2:] == ["fc.weight", "fc.bias"]
    small = models.resnet18(num_classes=5, zero_init_residual=True)
    x = clgrad.randn(2, 3, 33, 40)
    small(x).sum().backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in small.parameters())
    assert small.eval()(x).shape == (2, 5)


def test_weights_from_a_file(tmp_path: Any, device) -> None:
    net = models.lenet()
    clgrad.save(net.state_dict(), tmp_path / "lenet.safetensors")
    for weights in (str(tmp_path / "lenet.safetensors"), net.state_dict()):
        again = models.lenet(weights=weights)
        assert_close(again.fc3.weight, net.fc3.weight.detach().numpy())
    with pytest.raises(FileNotFoundError, match=r"weights='IMAGENET1K_V1'; expected the path of a file"):
        models.lenet(weights="IMAGENET1K_V1")
