"""What surrounds training: data."""

from . import data as data
