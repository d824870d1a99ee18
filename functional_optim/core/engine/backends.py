"""The list of backends, in a separate module so that adding one does not import the engine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .executors import Backend

__all__ = ["BACKENDS"]

BACKENDS: "list[Backend]" = []
"""The backends; the first that claims a leaf runs it."""
