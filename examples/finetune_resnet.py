"""ResNet-18 fine-tuned: weights from a file, a new last layer, and either that layer or all of them trained.

``--weights`` is a state_dict of ResNet-18 (torchvision's ``resnet18-f37072fd.pth``, or safetensors) and ``--data`` a
folder with a folder of images a class. Without them the example writes random weights to a file and draws noise with
a tint a class, so that it runs alone. Needs ``pip install '.[vision]'``.
"""

import argparse
from pathlib import Path

import numpy as np

import clgrad
from clgrad import nn, optim
from clgrad.utils.data import DataLoader, Subset
from clgrad.vision import datasets, models, transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, which the weights have seen


class Tinted(datasets.FakeData):
    """Noise whose class, one of three, is the channel that is brighter."""

    classes = ("red", "green", "blue")

    def __getitem__(self, index: int):
        x, label = super().__getitem__(index)
        x[label] += 2
        return x, label


def read_images(folder: Path | None, size: int, count: int):
    """Images as normalised (3, size, size) arrays."""
    steps = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    if folder is None:
        return Tinted(count, (3, size, size), 3, transforms.Compose(steps))
    crop = [transforms.Resize(size * 8 // 7), transforms.CenterCrop(size)]
    return datasets.ImageFolder(folder, transforms.Compose(crop + steps))


def load_model(weights: Path, classes: int, whole: bool) -> nn.Module:
    """A ResNet-18 with the file's weights and a last layer for so many classes; the rest frozen unless ``whole``."""
    model = models.resnet18()
    model.load_state_dict(clgrad.load(weights))
    model.requires_grad_(whole)
    model.fc = nn.Linear(model.fc.in_features, classes)
    return model


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: optim.Optimizer, whole: bool) -> float:
    """Mean loss of a pass. Frozen layers keep the statistics of their norms: only a model trained whole moves them."""
    losses = []
    model.train(whole)
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return clgrad.stack(losses).mean().item()


def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    with clgrad.no_grad():
        return clgrad.cat([model(x).argmax(1) == y for x, y in loader]).float().mean().item()


def main(arguments: list[str] | None = None) -> tuple[list[float], float, nn.Module]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="gpu, cpu, or part of a device's name (default: the best one)")
    parser.add_argument("--weights", type=Path, default=Path("resnet18.pt"), help="written if absent (random weights)")
    parser.add_argument("--data", type=Path, help="folder with a folder of images a class (default: tinted noise)")
    parser.add_argument("--whole", action="store_true", help="train all layers, not the last alone")
    parser.add_argument("--lr", type=float, help="default: 3e-3, and 1e-4 for all layers")
    for name, value in (("size", None), ("count", 120), ("epochs", 5), ("batch-size", 16), ("num-workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    images = read_images(options.data, options.size or (224 if options.data else 64), options.count)
    order = np.random.default_rng(0).permutation(len(images))
    test, train = (DataLoader(Subset(images, part.tolist()), options.batch_size, shuffle=True,
                              num_workers=options.num_workers) for part in np.split(order, [max(1, len(order) // 5)]))
    with clgrad.device(options.device) as device:
        print(f"device: {device} ({device.name})")
        clgrad.manual_seed(0)
        if not options.weights.exists():
            clgrad.save(models.resnet18().state_dict(), options.weights)
        model = load_model(options.weights, len(images.classes), options.whole)
        trained, losses = [p for p in model.parameters() if p.requires_grad], []
        optimizer = optim.AdamW(trained, lr=options.lr or (1e-4 if options.whole else 3e-3))
        for epoch in range(options.epochs):
            losses.append(train_epoch(model, train, optimizer, options.whole))
            print(f"epoch {epoch + 1:3d}: loss {losses[-1]:.4f}, test accuracy {accuracy(model, test):.1%}", flush=True)
        return losses, accuracy(model, test), model


if __name__ == "__main__":
    main()
