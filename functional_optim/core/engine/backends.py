"""The list of backends, without the engine, so that one can be added before that is imported."""

from typing import Any

__all__ = ["BACKENDS"]

BACKENDS: list[Any] = []
"""Each a `Backend` of `executors`; the first that claims a leaf runs it."""
