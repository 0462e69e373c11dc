"""Host side of means over what counts: a sum over the number of labels that are not ignored, in one launch."""

from __future__ import annotations

from .. import kernels
from ..core import dtypes
from ..core.dtypes import check_kind
from ..ndarray import Array, Layout, fresh, layout_of, same_device
from ..runtime.launch import Launch
from ..runtime.program import fitted, kernel
from .plans import Plans, form, index_type, letter

_plans = Plans()


def per_counted(x: Array, labels: Array, ignored: int) -> Array:
    """sum(x) / (number of integer ``labels`` that are not ``ignored``), 0-d and in x's dtype; NaN of none."""
    x, labels = x.contiguous(), labels.astype(dtypes.int64).contiguous()
    key = (x._layout or layout_of(x), labels._layout or layout_of(labels))
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _plan(x, labels))
    step, result = plan
    out = fresh(result)
    step(out.storage.buffer, x.storage.buffer, x.offset, labels.storage.buffer, labels.offset, ignored)
    return out


def _plan(x: Array, labels: Array) -> tuple[Launch, Layout]:
    check_kind("per_counted", "f", x.dtype)
    device = same_device("per_counted", (x, labels))
    index = index_type(x.storage.nbytes, labels.storage.nbytes)
    i = letter(index)
    k, group = fitted(lambda local: kernel(device, "counted", "counted", f"PP{i}{i}P{i}{i}l", "per_counted",
                                           group=local, ctype=x.dtype.c, T=x.dtype.compute, index=index),
                      kernels.template("counted").module.DEFAULT[form(device)]["local"])
    step = Launch(k, (group,), (group,), ("out", "x", "offset", x.size, "labels", "start", labels.size, "ignored"),
                  x.nbytes + labels.nbytes)
    return step, Layout.dense((), x.dtype, device)
