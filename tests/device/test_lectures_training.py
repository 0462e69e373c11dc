"""What introductory lectures on PyTorch do with networks, data, files and logs: the imports changed, nothing else.

A program takes the library as ``torch``. It runs with clgrad alone, and beside PyTorch on the same numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clgrad
import clgrad as torch
import clgrad.nn as nn
import clgrad.nn.functional as F
import clgrad.optim as optim
import clgrad.vision as torchvision
import clgrad.vision.transforms as transforms
from clgrad.runtime import device as device_module
from clgrad.testing import assert_close
from clgrad.utils.data import DataLoader, TensorDataset
from clgrad.utils.tensorboard import SummaryWriter
from clgrad.vision.models.weights import FILES, checkpoints


def lecture_net(lib: Any) -> Any:
    """The network for 32 x 32 images, of a library's own layers."""
    nn, F = lib.nn, lib.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super(Net, self).__init__()  # noqa: UP008
            self.conv1 = nn.Conv2d(3, 6, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x):
            x = self.pool(F.relu(self.conv1(x)))
            x = self.pool(F.relu(self.conv2(x)))
            x = x.view(-1, 16 * 5 * 5)
            x = F.relu(self.fc1(x))
            x = F.relu(self.fc2(x))
            return self.fc3(x)

    return Net()


class TheModelClass(nn.Module):
    """A whole model in a file is found again by its class's name, at the top of a module."""

    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(6, 5)
        self.drop = nn.Dropout(0.5)
        self.linear2 = nn.Linear(5, 3)

    def forward(self, x):
        return self.linear2(self.drop(F.relu(self.linear1(x))))


def host(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy()


def fill(lib: Any, model: Any, scale: float = 0.1) -> Any:
    """The same parameters in both libraries."""
    rng = np.random.default_rng(3)
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.from_numpy(rng.uniform(-scale, scale, tuple(p.shape)).astype(np.float32)))
    return model


def same(got: list, expected: list, scale: float = 50) -> None:
    """Numbers and tensors of one library against those of the other."""
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected):
        mine, theirs = (host(v) if hasattr(v, "detach") else np.array(v, np.float32) for v in (mine, theirs))
        assert_close(mine, theirs, scale=scale)


# Training on images --------------------------------------------------------------------------------------------------


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """CIFAR-10 in its binary form: two images to a file, of which the class colours a corner."""
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        rows = rng.integers(0, 100, (2, 3073)).astype(np.uint8)
        rows[:, 0] %= 2
        rows[:, 1:600] += 150 * rows[:, :1]
        (folder / name).write_bytes(rows.tobytes())
    return tmp_path / "data"


def loaders(root: Path, num_workers: int = 0) -> tuple[Any, Any]:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
    trainset = torchvision.datasets.CIFAR10(root=root, train=True, download=True, transform=transform)
    testset = torchvision.datasets.CIFAR10(root=root, train=False, download=True, transform=transform)
    return (torch.utils.data.DataLoader(trainset, batch_size=4, shuffle=True, num_workers=num_workers),
            torch.utils.data.DataLoader(testset, batch_size=4, shuffle=False, num_workers=num_workers))


class Kept:
    """A loader whose epochs are kept, for the other library to see the same batches."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.epochs: list[list] = []

    def __iter__(self) -> Iterator[Any]:
        self.epochs.append([])
        for batch in self.loader:
            self.epochs[-1].append([host(part) for part in batch])
            yield batch


class Again:
    """The epochs that were kept, in their order."""

    def __init__(self, lib: Any, kept: Kept) -> None:
        self.lib = lib
        self.epochs = iter(kept.epochs)

    def __iter__(self) -> Iterator[Any]:
        for batch in next(self.epochs):
            yield [self.lib.from_numpy(part) for part in batch]


def image_classifier(torch: Any, trainloader: Any, testloader: Any, epochs: int = 2) -> list:
    net = fill(torch, lecture_net(torch))
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for epoch in range(epochs):
        running_loss = 0.0
        for i, data in enumerate(trainloader, 0):
            inputs, labels = data
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            losses.append(loss.item())
            if i % 3 == 2:
                print('[%d, %5d] loss: %.3f' % (epoch + 1, i + 1, running_loss / 3))  # noqa: UP031
                running_loss = 0.0
    correct = total = 0
    with torch.no_grad():
        for data in testloader:
            images, labels = data
            outputs = net(images)
            _, predicted = torch.max(outputs.data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    print('Accuracy of the network on the %d test images: %d %%' % (total, 100 * correct / total))  # noqa: UP031
    return [losses, total, outputs, *net.parameters()]


def test_training_an_image_classifier(cifar: Path, device, capsys) -> None:
    clgrad.manual_seed(0)
    train, test = map(Kept, loaders(cifar))
    got = image_classifier(clgrad, train, test)
    said = capsys.readouterr().out.splitlines()
    assert [line[:16] for line in said] == ["[1,     3] loss:", "[2,     3] loss:", "Accuracy of the "]
    np.testing.assert_allclose([float(line[17:]) for line in said[:2]],
                               [sum(got[0][:3]) / 3, sum(got[0][3:]) / 3], atol=1e-3)
    assert said[2].startswith("Accuracy of the network on the 2 test images: ")
    first, second = train.epochs
    assert [len(labels) for _, labels in first] == [4, 4, 2]
    assert sorted(i.sum() for b, _ in first for i in b) == pytest.approx(sorted(i.sum() for b, _ in second for i in b))
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(first, second))  # shuffled anew

    reference = pytest.importorskip("torch")
    expected = image_classifier(reference, Again(reference, train), Again(reference, test))
    theirs = capsys.readouterr().out.splitlines()
    assert theirs[2] == said[2]
    same(got, expected)


def test_images_loaded_by_two_workers(cifar: Path, device) -> None:
    epochs = []
    for num_workers in (0, 2):
        torch.random.manual_seed(5)
        epochs.append([[host(part) for part in batch] for batch in loaders(cifar, num_workers)[0]])
    assert len(epochs[0]) == len(epochs[1]) == 3
    for (images, labels), (by_workers, labels_by_workers) in zip(*epochs):
        np.testing.assert_array_equal(images, by_workers)
        np.testing.assert_array_equal(labels, labels_by_workers)


# Batches -------------------------------------------------------------------------------------------------------------


def arrays(*sizes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(size).astype(np.float32) for size in sizes]


def minibatches(torch: Any) -> list:
    from_data = importlib.import_module(torch.__name__ + ".utils.data")

    class Halves(from_data.Dataset):
        """A data set of one's own, which the loader's default collation makes batches of."""

        def __init__(self, x, y):
            self.x, self.y = x, y

        def __getitem__(self, index):
            return self.x[index] / 2, self.y[index]

        def __len__(self):
            return len(self.x)

    x, y = map(torch.from_numpy, arrays((20, 6), (20, 3)))
    losses = []
    for dataset in (from_data.TensorDataset(x, y), Halves(x, y)):
        loader = from_data.DataLoader(dataset, batch_size=8)
        model = fill(torch, torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        for _ in range(3):
            for x_batch, y_batch in loader:
                y_pred = model(x_batch)
                loss = torch.nn.functional.mse_loss(y_pred, y_batch)
                losses.append([len(y_batch), loss.item()])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
    return [losses, *model.parameters()]


def test_minibatches(device) -> None:
    got = minibatches(clgrad)
    assert [n for n, _ in got[0]] == [8, 8, 4] * 6
    reference = pytest.importorskip("torch")
    same(got, minibatches(reference))


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_state_dict_prints_as_the_lecture_prints_it(device, capsys) -> None:
    model = lecture_net(clgrad)
    print("Model's state_dict:")
    for param_tensor in model.state_dict():
        print(param_tensor, "\t", model.state_dict()[param_tensor].size())
    said = capsys.readouterr().out
    assert said == ("Model's state_dict:\n"
                    "conv1.weight \t torch.Size([6, 3, 5, 5])\nconv1.bias \t torch.Size([6])\n"
                    "conv2.weight \t torch.Size([16, 6, 5, 5])\nconv2.bias \t torch.Size([16])\n"
                    "fc1.weight \t torch.Size([120, 400])\nfc1.bias \t torch.Size([120])\n"
                    "fc2.weight \t torch.Size([84, 120])\nfc2.bias \t torch.Size([84])\n"
                    "fc3.weight \t torch.Size([10, 84])\nfc3.bias \t torch.Size([10])\n")


def test_an_optimisers_state_dict(device) -> None:
    model = lecture_net(clgrad)
    (group,) = optim.SGD(model.parameters(), lr=0.001, momentum=0.9).state_dict()["param_groups"]
    assert (group["lr"], group["momentum"], group["params"]) == (0.001, 0.9, list(range(10)))
    reference = pytest.importorskip("torch")
    theirs = lecture_net(reference)
    for make in (lambda lib, p: lib.optim.SGD(p, lr=0.001, momentum=0.9), lambda lib, p: lib.optim.Adam(p, lr=1e-4)):
        mine = make(clgrad, model.parameters()).state_dict()
        expected = make(reference, theirs.parameters()).state_dict()
        assert mine["param_groups"] == expected["param_groups"]
        assert mine.keys() == expected.keys()
        assert mine["state"] == expected["state"] == {}


def test_saving_and_loading_parameters(tmp_path: Path, device) -> None:
    path = tmp_path / "model.pt"
    x = clgrad.from_numpy(arrays((4, 6))[0])
    model = fill(clgrad, TheModelClass())
    torch.save(model.state_dict(), path)
    again = TheModelClass()
    assert str(again.load_state_dict(torch.load(path))) == "<All keys matched successfully>"
    again.eval()
    assert not again.drop.training
    np.testing.assert_array_equal(host(again(x)), host(model.eval()(x)))
    model.train()
    assert (model(x * 100) == model(x * 100)).all().item() is False  # dropout draws in training only


def test_saving_and_loading_a_whole_model(tmp_path: Path, device) -> None:
    path = tmp_path / "whole.pt"
    x = clgrad.from_numpy(arrays((4, 6))[0])
    model = fill(clgrad, TheModelClass()).eval()
    torch.save(model, path)
    again = torch.load(path)
    assert isinstance(again, TheModelClass)
    assert not again.training
    assert repr(again) == repr(model)
    np.testing.assert_array_equal(host(again(x)), host(model(x)))


def steps(torch: Any, model: Any, optimizer: Any, count: int) -> list[float]:
    x, y = map(torch.from_numpy, arrays((8, 6), (8, 3)))
    losses = []
    for _ in range(count):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def started(torch: Any, method: Callable) -> tuple[Any, Any]:
    model = fill(torch, torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)))
    return model, method(torch, model.parameters())


def resumed(torch: Any, method: Callable, path: Path) -> tuple[Any, Any]:
    model, optimizer = started(torch, method)
    checkpoint = torch.load(path)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    assert checkpoint["epoch"] == 3
    return model, optimizer


@pytest.mark.parametrize("method", [lambda lib, p: lib.optim.SGD(p, lr=0.1, momentum=0.9),
                                    lambda lib, p: lib.optim.Adam(p, lr=0.01)], ids=["SGD", "Adam"])
def test_training_resumed_from_a_file(method: Callable, tmp_path: Path, device) -> None:
    def save(lib: Any, path: Path) -> list[float]:
        """Three steps, a checkpoint, and the losses of the three steps after it."""
        model, optimizer = started(lib, method)
        steps(lib, model, optimizer, 3)
        lib.save({"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        return steps(lib, model, optimizer, 3)

    unbroken = save(clgrad, tmp_path / "mine.pt")
    assert steps(clgrad, *resumed(clgrad, method, tmp_path / "mine.pt"), 3) == unbroken
    reference = pytest.importorskip("torch")
    expected = save(reference, tmp_path / "theirs.pt")
    same([unbroken], [expected])
    same([steps(clgrad, *resumed(clgrad, method, tmp_path / "theirs.pt"), 3)], [expected])
    same([steps(reference, *resumed(reference, method, tmp_path / "mine.pt"), 3)], [expected])


# Logs ----------------------------------------------------------------------------------------------------------------


def logged(torch: Any, writer: Any = None) -> list[float]:
    class ParallelBlock(torch.nn.Module):
        def __init__(self, D_in, D_out):
            super().__init__()
            self.linear1 = torch.nn.Linear(D_in, D_out)
            self.linear2 = torch.nn.Linear(D_in, D_out)

        def forward(self, x):
            return (self.linear1(x) * self.linear2(x)).clamp(min=0)

    x, y = map(torch.from_numpy, arrays((8, 6), (8, 3)))
    model = fill(torch, torch.nn.Sequential(ParallelBlock(6, 5), ParallelBlock(5, 5), torch.nn.Linear(5, 3)), 0.5)
    loss_fn = torch.nn.MSELoss()
    if writer is not None:
        writer.add_graph(model, x)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for t in range(6):
        loss = loss_fn(model(x), y)
        losses.append(loss.item())
        if writer is not None:
            writer.add_scalar('training loss', loss, t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def test_a_run_that_is_logged(tmp_path: Path, device) -> None:
    pytest.importorskip("tensorboardX")
    run = tmp_path / "runs" / "lecture_4"
    writer = SummaryWriter(str(run))
    losses = logged(clgrad, writer)
    writer.close()
    if importlib.util.find_spec("torch"):
        same([losses], [logged(importlib.import_module("torch"))])
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(run))
    found.Reload()
    assert found.Tags()["scalars"] == ["training loss"]
    assert [e.step for e in found.Scalars("training loss")] == list(range(6))
    np.testing.assert_array_equal(np.float32([e.value for e in found.Scalars("training loss")]), np.float32(losses))
    names = {n.name for n in found.Graph().node}
    assert {f"Sequential/{block}/{linear}/weight" for block in (0, 1) for linear in ("linear1", "linear2")} <= names
    assert {"Sequential/2/weight", "Sequential/2/bias", "input_0", "output_0"} <= names


# Pretrained models ---------------------------------------------------------------------------------------------------


@pytest.fixture
def without_draws(monkeypatch) -> None:
    """Models of a hundred million parameters, of which none is drawn."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)


@pytest.mark.parametrize(("name", "file"), [("alexnet", "alexnet-owt-7be5be79.pth"),
                                            ("vgg16", "vgg16-397923af.pth"),
                                            ("resnet101", "resnet101-63fe2227.pth")])
def test_pretrained_says_where_to_put_a_file(name: str, file: str, tmp_path: Path, monkeypatch, device) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / file
    for asked in ({"pretrained": True}, {"weights": "IMAGENET1K_V1"}):
        with pytest.raises(FileNotFoundError) as error:
            getattr(torchvision.models, name)(**asked)
        (word, value), = asked.items()
        assert str(error.value).startswith(f"{name}: got {word}={value!r}; expected the path of a file")
        assert str(error.value).endswith(f"fetch https://download.pytorch.org/models/{file} yourself and put it at "
                                         f"{place}.")
    with pytest.raises(FileNotFoundError, match=f"{name}: got weights='absent.pth'; .* Pass weights='path/to/file.pth'"
                                                r"\.$"):
        getattr(torchvision.models, name)(weights="absent.pth")
    for asked in ({"pretrained": tmp_path / "absent.pth"}, {"weights": tmp_path / "absent.pth"}):
        with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
            getattr(torchvision.models, name)(**asked)


def test_where_pytorch_keeps_its_files(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert checkpoints() == tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert checkpoints() == Path.home() / ".cache" / "torch" / "hub" / "checkpoints"


def test_a_pretrained_model_from_a_file(tmp_path: Path, without_draws, monkeypatch, device) -> None:
    """As torchvision's files have it: no num_batches_tracked, which came later."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    wanted = torchvision.models.resnet18(num_classes=3)
    with torch.no_grad():
        wanted.conv1.weight.fill_(0.25)
        wanted.bn1.running_mean.fill_(0.5)
        wanted.fc.bias.fill_(-1)
    state = {k: v for k, v in wanted.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, folder / "resnet18-f37072fd.pth")
    for asked in ({"pretrained": True}, {"weights": str(folder / "resnet18-f37072fd.pth")},
                  {"pretrained": folder / "resnet18-f37072fd.pth"}):
        net = torchvision.models.resnet18(num_classes=3, **asked)
        assert [host(v).flat[0] for v in (net.conv1.weight, net.bn1.running_mean, net.fc.bias)] == [0.25, 0.5, -1]
    with pytest.raises(RuntimeError, match=r"fc\.weight: shape \(3, 512\), expected \(1000, 512\)"):
        torchvision.models.resnet18(pretrained=True)


@pytest.mark.parametrize(("name", "kind"), [("alexnet", "AlexNet"), ("vgg16", "VGG"), ("vgg11_bn", "VGG"),
                                            ("resnet101", "ResNet")])
def test_pretrained_takes_the_models_own_file(name: str, kind: str, tmp_path: Path, monkeypatch, device) -> None:
    """With a small layer in the large model's place; the models' own sizes are asserted with their layers."""
    made = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(getattr(torchvision.models, name).__globals__, kind,
                        lambda *args, **kwargs: made.append(kwargs) or nn.Linear(2, 1))
    path = tmp_path / "hub" / "checkpoints" / FILES[name]
    path.parent.mkdir(parents=True)
    torch.save({"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([5.0])}, path)
    for asked in ({"pretrained": True}, {"weights": "IMAGENET1K_V1", "progress": False}, {"weights": path}):
        net = getattr(torchvision.models, name)(**asked)
        assert net.weight.tolist() == [[3, 4]]
        assert made.pop() == ({"init_weights": False} if kind == "VGG" else {})  # no draws that a file replaces
    getattr(torchvision.models, name)()
    assert made == [{}]


# Names and places ----------------------------------------------------------------------------------------------------


def test_names_that_imports_use(device) -> None:
    for name in ("nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "optim", "optim.lr_scheduler",
                 "autograd", "utils", "utils.data", "utils.tensorboard", "cuda", "jit", "random", "linalg", "fft",
                 "vision", "vision.datasets", "vision.transforms", "vision.models"):
        module = importlib.import_module(f"clgrad.{name}")
        reached: Any = torch
        for part in name.split("."):
            reached = getattr(reached, part)
        assert reached is module
    assert torch.utils.data.DataLoader is DataLoader
    assert torch.utils.data.TensorDataset is TensorDataset
    torch.random.manual_seed(7)
    first = torch.randn(3).tolist()
    torch.manual_seed(7)
    assert torch.randn(3).tolist() == first


def test_a_gpu_or_else_nothing(device) -> None:
    where = torch.device('cuda:0') if torch.cuda.is_available() else None
    x = torch.randn(4, 6, device=where)
    model = TheModelClass().to(where)
    assert model(x).device is x.device is (torch.device('cuda:0') if where is not None else device)


def test_a_graph_of_variables_on_a_gpu(device, monkeypatch, capsys) -> None:
    monkeypatch.setattr(device_module, "_said_no_gpu", [True])
    Variable = torch.autograd.Variable
    N, D = 3, 4
    torch.random.manual_seed(10)
    x, y, z = (Variable(torch.randn(N, D).cuda(), requires_grad=True) for _ in range(3))
    c = torch.sum(x * y + z)
    c.backward()
    assert x.device is y.grad.device is torch.device("cuda:0")
    for got, expected in ((x.grad, y), (y.grad, x), (z.grad, torch.ones(N, D))):
        np.testing.assert_array_equal(host(got), host(expected))
    print(z.grad)
    rows = "[1., 1., 1., 1.]"
    place = "" if x.device is device else f", device='{x.device.key}'"
    assert capsys.readouterr().out == f"tensor([{rows},\n        {rows},\n        {rows}]{place})\n"


def test_modules_move_and_convert(device, monkeypatch) -> None:
    monkeypatch.setattr(device_module, "_said_no_gpu", [True])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = TheModelClass()
        weight = net.linear1.weight
        for convert, dtype in (("half", clgrad.float16), ("bfloat16", clgrad.bfloat16), ("float", clgrad.float32)):
            assert getattr(net, convert)() is net
            assert net.linear1.weight is weight
            assert {p.dtype for p in net.parameters()} == {dtype}
        gpu = torch.device("cuda:0")
        for moved in (net.cuda(), net.cuda(0), net.to("cuda:0"), net.to(gpu), net.type(torch.cuda.FloatTensor),
                      net.type("torch.cuda.FloatTensor")):
            assert moved is net
            assert {(p.dtype, p.device) for p in net.parameters()} == {(clgrad.float32, gpu)}
        assert net.type(torch.HalfTensor).linear2.bias.dtype is net.type(clgrad.float16).linear2.bias.dtype
        assert net.type(torch.FloatTensor).cpu().linear2.bias.device is torch.ones(1).cpu().device
        with pytest.raises(TypeError, match="expected a float or complex dtype"):
            net.type(torch.LongTensor)
        if device.facts.fp64:
            assert {p.dtype for p in net.double().parameters()} == {clgrad.float64}


def on_a_typed_device(torch: Any, dtype: Any) -> list:
    """Tensors and a module, all of one typed tensor, as in programs from before ``device=``."""
    x, y = (torch.from_numpy(a).type(dtype) for a in arrays((8, 6), (8, 3)))
    model = fill(torch, torch.nn.Linear(6, 3)).type(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = (model(x) - y).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [loss.item(), *model.parameters()]


def test_a_program_of_typed_tensors(device, monkeypatch) -> None:
    monkeypatch.setattr(device_module, "_said_no_gpu", [True])
    got = on_a_typed_device(clgrad, clgrad.cuda.FloatTensor)
    assert got[1].dtype is clgrad.float32
    reference = pytest.importorskip("torch")
    same(got, on_a_typed_device(reference, reference.FloatTensor))
