"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...autograd.variable import Variable
from ...core.errors import ShapeError, bad
from ...ndarray import same_device
from ...ops.shape import cat, reshape


def parameters_to_vector(parameters: Iterable[Variable]) -> Any:
    """The elements of ``parameters``, each row-major, as one 1-d Variable, through which gradients flow."""
    params = list(parameters)
    if not params:
        raise ValueError(bad("parameters_to_vector", "no parameters", "at least one",
                             "Pass model.parameters() of a model that has some."))
    same_device("parameters_to_vector", [p.data for p in params])
    return cat([reshape(p, (-1,)) for p in params])


def vector_to_parameters(vec: Variable, parameters: Iterable[Variable]) -> None:
    """Make ``parameters`` the consecutive parts of ``vec``, whose memory they share from then on."""
    if not isinstance(vec, Variable):
        raise TypeError(bad("vector_to_parameters", f"a {type(vec).__name__}", "a Variable", "Use clgrad.tensor()."))
    params = list(parameters)
    needed = sum(p.numel() for p in params)
    if vec.ndim != 1 or vec.numel() < needed:
        raise ShapeError(bad("vector_to_parameters", f"shape {vec.shape}", f"({needed},) for these parameters",
                             "Use what parameters_to_vector gave for the same model."))
    if params:
        same_device("vector_to_parameters", [p.data for p in params])
    start = 0
    for p in params:
        part = vec.data[start:start + p.numel()]
        p.data = reshape(part, p.shape)
        start += p.numel()
