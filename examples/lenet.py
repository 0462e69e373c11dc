"""LeNet on images of ten classes: FashionMNIST or MNIST from files, else scikit-learn's 1,797 handwritten digits.

``--root`` is a folder as torchvision lays it out (``root/FashionMNIST/raw`` or ``root/MNIST/raw``; ``--download``
fetches FashionMNIST). Without it: ``pip install 'clgrad[examples]'``.
"""

import argparse
from pathlib import Path

import numpy as np

import clgrad
from clgrad import nn, optim
from clgrad.utils.data import DataLoader, TensorDataset
from clgrad.vision import datasets, models


def read_digits() -> tuple[np.ndarray, ...]:
    """Scans of 8 x 8 pixels, each pixel drawn as a square of 4 x 4; 360 of them are kept for the test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = np.kron(x[order].reshape(-1, 8, 8) / 16, np.ones((4, 4))), y[order]
    return x[360:], y[360:], x[:360], y[:360]


def read_files(root: Path, download: bool) -> tuple[np.ndarray, ...]:
    """Images of 28 x 28 with a frame of 2 pixels, since LeNet looks at 32 x 32."""
    kind = datasets.MNIST if (root / "MNIST").is_dir() and not download else datasets.FashionMNIST
    found = []
    for train in (True, False):
        data = kind(root, train=train, download=download)
        found += [np.pad(np.asarray(data.data, np.float32) / 255, ((0, 0), (2, 2), (2, 2))), np.asarray(data.targets)]
    return tuple(found)


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: optim.Optimizer) -> float:
    """Mean loss of a pass over the training data, the only number that leaves the device."""
    losses = []
    model.train()
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return clgrad.stack(losses).mean().item()


def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """The share of images whose class the model names."""
    model.eval()
    with clgrad.no_grad():
        return clgrad.cat([model(x).argmax(1) == y for x, y in loader]).float().mean().item()


def main(arguments: list[str] | None = None) -> tuple[list[float], float]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="gpu, cpu, or part of a device's name (default: the best one)")
    parser.add_argument("--root", type=Path, help="folder of the data sets (default: scikit-learn's digits)")
    parser.add_argument("--download", action="store_true", help="fetch FashionMNIST into --root")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    options = parser.parse_args(arguments)
    if options.download and options.root is None:
        parser.error("--download needs a --root to write to")
    images = read_digits() if options.root is None else read_files(options.root, options.download)
    with clgrad.device(options.device) as device:
        print(f"device: {device} ({device.name})")
        clgrad.manual_seed(0)
        train_x, train_y, test_x, test_y = (
            clgrad.tensor(a[:, None].astype(np.float32) if a.ndim > 1 else a.astype(np.int64)) for a in images)
        train = DataLoader(TensorDataset(train_x, train_y), options.batch_size, shuffle=True)
        test = DataLoader(TensorDataset(test_x, test_y), options.batch_size)
        model, losses = models.LeNet(in_channels=1), []
        optimizer = optim.Adam(model.parameters(), lr=options.lr)
        for epoch in range(options.epochs):
            losses.append(train_epoch(model, train, optimizer))
            print(f"epoch {epoch + 1:3d}: loss {losses[-1]:.4f}, test accuracy {accuracy(model, test):.1%}", flush=True)
        return losses, accuracy(model, test)


if __name__ == "__main__":
    main()
