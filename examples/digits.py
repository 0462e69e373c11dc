"""Handwritten digits: train a small network on scikit-learn's 1,797 scans, save it, load it, draw what it gets wrong.

Needs ``pip install 'clgrad[examples]'``.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from tqdm import trange

import clgrad
from clgrad import io, nn, optim
from clgrad.utils.data import DataLoader, TensorDataset


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10))


def load_data() -> tuple[np.ndarray, ...]:
    """Training images (64 pixels from 0 to 1) and labels, then those of 360 scans kept for the test."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    return x[360:], y[360:], x[:360], y[:360]


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


def classify(model: nn.Module, x: clgrad.Variable) -> np.ndarray:
    with clgrad.no_grad():
        return model.eval()(x).argmax(1).numpy()


def draw(path: Path, history: list[tuple[float, float]], x: np.ndarray, y: np.ndarray, predicted: np.ndarray) -> None:
    """The learning curves, and the test scans that the network got wrong."""
    wrong = np.flatnonzero(predicted != y)
    rows, columns = -(-len(wrong) // 10) or 1, min(10, len(wrong)) or 1
    figure = Figure(figsize=(10, 3.9 + 1.4 * rows), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(3.5, 0.4 + 1.4 * rows))
    titles = ("training loss (cross-entropy)", f"test accuracy in %: {history[-1][1]:.1f} in the end")
    for axes, values, title, scale in zip(upper.subplots(1, 2), zip(*history), titles, ("log", "linear")):
        axes.plot(range(1, len(values) + 1), values, marker=".")
        axes.set(title=title, xlabel="epoch", yscale=scale)
        axes.grid(alpha=0.3, which="both")
    lower.suptitle(f"wrong: {len(wrong)} of {len(y)} test scans")
    grid = lower.subplots(rows, columns, squeeze=False).ravel()
    for axes, i in zip(grid, wrong):
        axes.imshow(x[i].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"saw {predicted[i]}, is {y[i]}", fontsize=10)
    for axes in grid:
        axes.axis("off")
    figure.savefig(path, dpi=120, bbox_inches="tight", pad_inches=0.1)


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="gpu, cpu, or part of a device's name (default: the best one)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("digits.png"), help="picture; the model goes beside it")
    options = parser.parse_args(arguments)
    train_x, train_y, x, y = load_data()
    with clgrad.device(options.device) as device:
        print(f"device: {device} ({device.name})")
        clgrad.manual_seed(0)
        dataset, test = TensorDataset(clgrad.tensor(train_x), clgrad.tensor(train_y)), clgrad.tensor(x)
        loader, model, history = DataLoader(dataset, options.batch_size, shuffle=True), make_model(), []
        optimizer = optim.AdamW(model.parameters())
        for epoch in (epochs := trange(options.epochs, unit="epoch")):
            optimizer.param_groups[0]["lr"] = 5e-3 * (1 - epoch / options.epochs)  # builds nothing, copies nothing
            loss = train_epoch(model, loader, optimizer)
            history.append((loss, 100 * np.mean(classify(model, test) == y)))
            epochs.write(f"epoch {epoch + 1:3d}: loss {loss:.4f}, test accuracy {history[-1][1]:.1f} %")
        io.save(model.state_dict(), options.output.with_suffix(".safetensors"))
        again = make_model()
        again.load_state_dict(io.load(options.output.with_suffix(".safetensors")))
        predicted = classify(again, test)
    draw(options.output, history, x, y, predicted)
    print(f"{np.mean(predicted == y):.1%} of {len(y)} test scans right; wrote {options.output} and the model beside it")
    return float(np.mean(predicted == y))


if __name__ == "__main__":
    main()
