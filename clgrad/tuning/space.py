"""Parameter spaces, as the kernels' own files give them."""

from __future__ import annotations

import itertools
from typing import Any

from .. import kernels
from ..runtime.device import Facts
from ..runtime.tuned import Params, accumulator_size, fits


def default(family: str, form: str, dtype: str) -> Params | None:
    """A family's DEFAULT in a form, for a dtype's accumulator where it depends on that; None where it has none."""
    found: Any = getattr(kernels.template(family).module, "DEFAULT", {}).get(form)
    if found and all(isinstance(key, int) for key in found):
        found = found[accumulator_size(dtype)]
    return None if found is None else dict(found)


def values(family: str, form: str, dtype: str) -> dict[str, tuple[int, ...]]:
    """What each parameter of a form may be, rising. One whose default lies outside of its values' range is fixed in
    this form (a work-group size of 1 on wide cores); a default within it is one of them."""
    allowed = kernels.template(family).module.PARAMS
    result = {}
    for name, value in (default(family, form, dtype) or {}).items():
        options = allowed.get(name, (value,))
        inside = min(options) <= value <= max(options)
        result[name] = tuple(sorted({*options, value})) if inside else (value,)
    return result


def points(family: str, form: str, dtype: str, facts: Facts) -> list[Params]:
    """Every set of parameters that a device with these facts takes."""
    axes = values(family, form, dtype)
    size = accumulator_size(dtype)
    combined = (dict(zip(axes, chosen)) for chosen in itertools.product(*axes.values()))
    return [p for p in combined if fits(family, p, facts, size)]
