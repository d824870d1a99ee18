"""The list of backends, in a separate module so that adding one does not import the engine."""

from typing import Any

__all__ = ["BACKENDS"]

BACKENDS: list[Any] = []
"""Each is a `Backend` of `executors`; the first that claims a leaf runs it."""
