"""Training steps and inference of whole models, and the optimisers' updates alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from .case import Builder, Case, Step, random
from .libraries import OTHERS

_LAYERS = ((64, 1000), (1000, 100), (100, 10), (64, 10))
_RATE = 1e-6


def _two_layers_eager(lib: Any) -> Step:
    """clgrad and PyTorch: the loss by autograd, the update by hand."""
    xp = lib.np
    x, w1, w2, y = (lib.put(random(*s)) for s in _LAYERS)
    w1.requires_grad_()
    w2.requires_grad_()

    def step() -> Any:
        loss = ((x @ w1).clamp(min=0) @ w2 - y).square().sum()
        loss.backward()
        with xp.no_grad():
            for w in (w1, w2):
                w -= _RATE * w.grad
                w.grad = None
        return loss

    return step


def _two_layers_numpy(lib: Any) -> Step:
    x, w1, w2, y = (random(*s) for s in _LAYERS)

    def step() -> Any:
        nonlocal w1, w2
        h = x @ w1
        r = np.maximum(h, 0)
        g = 2 * (r @ w2 - y)
        g1 = (g @ w2.T) * (h > 0)
        w2 -= np.float32(_RATE) * (r.T @ g)
        w1 -= np.float32(_RATE) * (x.T @ g1)
        return w1

    return step


def _two_layers_jax(lib: Any) -> Step:
    x, w1, w2, y = (lib.put(random(*s)) for s in _LAYERS)
    weights = (w1, w2)

    def loss(ws: Any) -> Any:
        return ((lib.np.maximum(x @ ws[0], 0) @ ws[1] - y) ** 2).sum()

    update = lib.jax.jit(lambda ws: tuple(w - _RATE * g for w, g in zip(ws, lib.jax.grad(loss)(ws))))

    def step() -> Any:
        nonlocal weights
        weights = update(weights)
        return weights

    return step


def _labels(lib: Any, n: int, classes: int = 10) -> Any:
    return lib.put(np.random.default_rng(1).integers(0, classes, n))


def _step(model: Any, loss_of: Any, update: Any, x: Any, y: Any) -> Step:
    """One step of training, as programs write it."""
    def step() -> Any:
        update.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        update.step()
        return loss

    return step


def train(make: Callable[[Any], Any], shape: tuple[int, ...], optimizer: str, **options: Any) -> Builder:
    """clgrad and PyTorch: a step of ``make(nn)`` on a batch of images or rows, with cross entropy."""
    def build(lib: Any) -> Step:
        nn, optim = lib.module("nn"), lib.module("optim")
        model = make(nn)
        update = getattr(optim, optimizer)(model.parameters(), **options)
        x, y = lib.put(random(*shape)), _labels(lib, shape[0])
        return _step(model, nn.CrossEntropyLoss(), update, x, y)

    return build


def _infer(make: Callable[[Any], Any], shape: tuple[int, ...]) -> Builder:
    """clgrad and PyTorch: the model in ``eval()``, without a graph."""
    def build(lib: Any) -> Step:
        model = make(lib.module("nn")).eval()
        x = lib.put(random(*shape))

        def step() -> Any:
            with lib.np.no_grad():
                return model(x)

        return step

    return build


# Models ------------------------------------------------------------------------------------------------------------


def _layers(*sizes: int) -> Callable[[Any], Any]:
    """Linear layers of these sizes with ReLU between them."""
    def make(nn: Any) -> Any:
        parts = [p for a, b in pairwise(sizes) for p in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*parts[:-1])

    return make


def _layers_flops(batch: int, *sizes: int) -> float:
    """Of a training step: forward, the weights' gradients, and the inputs', but for the first."""
    products = [2.0 * batch * a * b for a, b in pairwise(sizes)]
    return 3 * sum(products) - products[0]


def lenet(nn: Any) -> Any:
    """LeNet for 3 x 32 x 32."""
    return nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


_LENET_PRODUCTS = (2.0 * 28 * 28 * 6 * 75, 2.0 * 10 * 10 * 16 * 150, 2.0 * 400 * 120, 2.0 * 120 * 84, 2.0 * 84 * 10)


def lenet_flops(batch: int) -> float:
    """Of a training step of LeNet."""
    return batch * (3 * sum(_LENET_PRODUCTS) - _LENET_PRODUCTS[0])


_STAGES = ((64, 1, 32), (128, 2, 16), (256, 2, 8), (512, 2, 4))  # channels, stride of the first block, size after it


def _resnet_shapes() -> Iterator[tuple[tuple[int, int, int, int], int]]:
    """The weight of each convolution of ResNet-18's CIFAR form, with the size of its result."""
    yield (64, 3, 3, 3), 32
    before = 64
    for channels, stride, size in _STAGES:
        for inputs in (before, channels):
            yield (channels, inputs, 3, 3), size
            yield (channels, channels, 3, 3), size
        if stride > 1:
            yield (channels, before, 1, 1), size
        before = channels


def _resnet(nn: Any) -> Any:
    """ResNet-18 for 32 x 32: a 3 x 3 stem without pooling, and ten classes."""
    class Block(nn.Module):
        def __init__(self, inputs: int, channels: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(inputs, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels),
                                      nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
                                      nn.BatchNorm2d(channels))
            self.short = nn.Sequential() if stride == 1 else nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.body(x) + self.short(x))

    blocks, before = [], 64
    for channels, stride, _ in _STAGES:
        blocks += [Block(before, channels, stride), Block(channels, channels, 1)]
        before = channels
    return nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def _resnet_flops(batch: int) -> float:
    """Of a forward pass."""
    return 2.0 * batch * (sum(float(np.prod(w)) * size * size for w, size in _resnet_shapes()) + 512 * 10)


def encoder(batch: int, tokens: int, layers: int = 4, width: int = 256, heads: int = 4) -> Builder:
    """clgrad and PyTorch: a training step of a Transformer encoder with AdamW; the feed-forward part is four wide."""
    def build(lib: Any) -> Step:
        nn, optim = lib.module("nn"), lib.module("optim")
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True), layers,
                                      enable_nested_tensor=False)
        update = optim.AdamW(model.parameters(), lr=1e-4)
        x, y = lib.put(random(batch, tokens, width)), lib.put(random(batch, tokens, width))
        return _step(model, nn.MSELoss(), update, x, y)

    return build


def encoder_flops(batch: int, tokens: int, layers: int = 4, width: int = 256) -> float:
    """Of a training step: twelve products of width x width a token, and two of tokens x tokens x width."""
    products = 12 * batch * tokens * width * width + 2 * batch * tokens * tokens * width
    return 3 * 2.0 * layers * products


# Optimisers --------------------------------------------------------------------------------------------------------


def _parameters() -> list[tuple[int, ...]]:
    """The shapes of ResNet-18's 62 parameters: convolutions, two vectors a batch norm, and the last layer."""
    convolutions = [w for w, _ in _resnet_shapes()]
    vectors = [(w[0],) for w in convolutions for _ in range(2)]
    return [*convolutions, *vectors, (10, 512), (10,)]


def _update(optimizer: str, **options: Any) -> Builder:
    """clgrad and PyTorch: ``step()`` with gradients in place."""
    def build(lib: Any) -> Step:
        nn, optim = lib.module("nn"), lib.module("optim")
        parameters = [nn.Parameter(lib.put(random(*s))) for s in _parameters()]
        for p in parameters:
            p.grad = lib.put(random(*p.shape))
        update = getattr(optim, optimizer)(parameters, lr=1e-6, **options)
        return lambda: update.step()

    return build


_ELEMENTS = sum(float(np.prod(s)) for s in _parameters())
_MLP = (1000, 100, 10)

CASES = (
    Case("two layers 64x1000x100x10", {"*": _two_layers_eager, "numpy": _two_layers_numpy, "jax": _two_layers_jax},
         _layers_flops(64, *_MLP)),
    Case("Sequential 64x1000x100x10, Adam", {"*": train(_layers(*_MLP), (64, 1000), "Adam", lr=1e-4)},
         _layers_flops(64, *_MLP), skip=OTHERS),
    Case("digits MLP, batch 64, Adam", {"*": train(_layers(64, 128, 10), (64, 64), "Adam", lr=1e-3)},
         _layers_flops(64, 64, 128, 10), skip=OTHERS),
    *(Case(f"LeNet, batch {n}, SGD", {"*": train(lenet, (n, 3, 32, 32), "SGD", lr=1e-3, momentum=0.9)},
           lenet_flops(n), skip=OTHERS) for n in (4, 64)),
    Case("ResNet-18, batch 16, training", {"*": train(_resnet, (16, 3, 32, 32), "SGD", lr=1e-3, momentum=0.9)},
         3 * _resnet_flops(16), skip=OTHERS),
    Case("ResNet-18, batch 16, inference", {"*": _infer(_resnet, (16, 3, 32, 32))}, _resnet_flops(16), skip=OTHERS),
    Case("Transformer encoder 4x256, 8x128 tokens, AdamW", {"*": encoder(8, 128)}, encoder_flops(8, 128), skip=OTHERS),
    Case("Adam step, 62 tensors of ResNet-18", {"*": _update("Adam")}, 28 * _ELEMENTS, "B", skip=OTHERS),
    Case("SGD with momentum, 62 tensors of ResNet-18", {"*": _update("SGD", momentum=0.9)}, 20 * _ELEMENTS, "B",
         skip=OTHERS),
)
