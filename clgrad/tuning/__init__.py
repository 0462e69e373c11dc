"""Autotuning: finds the fastest parameters of the kernels on a device, checks them, and keeps them in a database.

``python -m clgrad tune`` is its command; :func:`record` notes what a program asks of the kernels, to be tuned later.
Nothing here runs by itself, unless ``CLGRAD_TUNE=auto`` says so.
"""

from ..runtime import tuned as _tuned
from .auto import tune_missing as _tune_missing
from .recorder import record as record
from .recorder import recorded as recorded

_tuned.when_missing = _tune_missing
