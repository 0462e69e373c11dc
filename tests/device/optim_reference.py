"""The optimisers' formulas in NumPy, float64, one parameter at a time: an element's history, told plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def trajectory(name: str, p: np.ndarray, grads: list[np.ndarray], options: dict[str, Any],
               rounded: bool = False) -> np.ndarray:
    """The parameter after a step for each of ``grads``, in its dtype; ``rounded`` to it after every step."""
    dtype = p.dtype
    o = {**_DEFAULTS[name], **options}
    decoupled = o.get("decoupled", o.get("decoupled_weight_decay"))
    update = _UPDATES[name](o, np.zeros(p.shape))
    next(update)
    p = p.astype(np.float64)
    for g in grads:
        g = g.astype(np.float64) * (-1 if o["maximize"] else 1)
        if decoupled:
            p = p * (1 - o["lr"] * o["weight_decay"])
        else:
            g = g + o["weight_decay"] * p
        p = np.asarray(update.send((p, g)))
        p = p.astype(dtype).astype(np.float64) if rounded else p
    return p.astype(dtype)


Update = Iterator[Any]


def _sgd(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    b = None
    while True:
        if o["momentum"]:
            b = g if b is None else o["momentum"] * b + (1 - o["dampening"]) * g
            g = g + o["momentum"] * b if o["nesterov"] else b
        p, g = yield p - o["lr"] * g


def _adam(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    (b1, b2), m, v, most, t = o["betas"], zero, zero, zero, 0
    while True:
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        most = np.maximum(most, v)
        used = most if o["amsgrad"] else v
        p, g = yield p - o["lr"] * (m / (1 - b1**t)) / (np.sqrt(used / (1 - b2**t)) + o["eps"])


def _adamax(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    (b1, b2), m, u, t = o["betas"], zero, zero, 0
    while True:
        t += 1
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, np.abs(g) + o["eps"])
        p, g = yield p - o["lr"] / (1 - b1**t) * m / u


def _nadam(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    (b1, b2), m, v, t, product = o["betas"], zero, zero, 0, 1.0
    while True:
        t += 1
        mu, following = (b1 * (1 - 0.5 * 0.96 ** (k * o["momentum_decay"])) for k in (t, t + 1))
        product *= mu
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        ahead = following * m / (1 - product * following) + (1 - mu) * g / (1 - product)
        p, g = yield p - o["lr"] * ahead / (np.sqrt(v / (1 - b2**t)) + o["eps"])


def _radam(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    (b1, b2), m, v, t = o["betas"], zero, zero, 0
    longest = 2 / (1 - b2) - 1
    while True:
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        mean, length = m / (1 - b1**t), longest - 2 * t * b2**t / (1 - b2**t)
        if length > 5:
            r = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            mean = mean * r * np.sqrt(1 - b2**t) / (np.sqrt(v) + o["eps"])
        p, g = yield p - o["lr"] * mean


def _adagrad(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    s, t = zero + o["initial_accumulator_value"], 0
    while True:
        s = s + g * g
        step = o["lr"] / (1 + t * o["lr_decay"]) * g / (np.sqrt(s) + o["eps"])
        t += 1
        p, g = yield p - step


def _adadelta(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    rho, eps, v, u = o["rho"], o["eps"], zero, zero
    while True:
        v = rho * v + (1 - rho) * g * g
        d = g * np.sqrt(u + eps) / np.sqrt(v + eps)
        u = rho * u + (1 - rho) * d * d
        p, g = yield p - o["lr"] * d


def _rmsprop(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    a, v, mean, b = o["alpha"], zero, zero, zero
    while True:
        v, mean = a * v + (1 - a) * g * g, a * mean + (1 - a) * g
        scaled = g / (np.sqrt(v - mean * mean if o["centered"] else v) + o["eps"])
        b = o["momentum"] * b + scaled
        p, g = yield p - o["lr"] * b


def _rprop(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    before, size = zero, zero + o["lr"]
    while True:
        turn = g * before
        size = np.clip(size * np.select([turn > 0, turn < 0], o["etas"][::-1], 1.0), *o["step_sizes"])
        before = np.where(turn < 0, 0, g)
        p, g = yield p - np.sign(before) * size


def _asgd(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    eta, t = o["lr"], 0
    while True:
        t += 1
        moved = p - eta * (g + o["lambd"] * p)
        eta = o["lr"] / (1 + o["lambd"] * o["lr"] * t) ** o["alpha"]
        p, g = yield moved


def _lion(o: dict, zero: np.ndarray) -> Update:
    p, g = yield
    (b1, b2), m = o["betas"], zero
    while True:
        moved = p - o["lr"] * np.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g
        p, g = yield moved


_UPDATES: dict[str, Callable[[dict, np.ndarray], Update]] = {
    "SGD": _sgd, "Adam": _adam, "AdamW": _adam, "Adamax": _adamax, "NAdam": _nadam, "RAdam": _radam,
    "Adagrad": _adagrad, "Adadelta": _adadelta, "RMSprop": _rmsprop, "Rprop": _rprop, "ASGD": _asgd, "Lion": _lion}

_SHARED = {"weight_decay": 0, "maximize": False}
_MOMENTS = {**_SHARED, "betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "SGD": {**_SHARED, "momentum": 0, "dampening": 0, "nesterov": False},
    "Adam": _MOMENTS, "AdamW": {**_MOMENTS, "weight_decay": 0.01, "decoupled": True}, "Adamax": _MOMENTS,
    "NAdam": {**_MOMENTS, "momentum_decay": 4e-3}, "RAdam": _MOMENTS,
    "Adagrad": {**_SHARED, "lr_decay": 0, "initial_accumulator_value": 0, "eps": 1e-10},
    "Adadelta": {**_SHARED, "rho": 0.9, "eps": 1e-6},
    "RMSprop": {**_SHARED, "alpha": 0.99, "eps": 1e-8, "momentum": 0, "centered": False},
    "Rprop": {**_SHARED, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50)},
    "ASGD": {**_SHARED, "lambd": 1e-4, "alpha": 0.75},
    "Lion": {**_SHARED, "betas": (0.9, 0.99), "decoupled": True}}
