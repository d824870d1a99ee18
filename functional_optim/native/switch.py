"""Switches: whether steps use kernels, and whether their functions are recorded for building."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import jax

__all__ = ["enabled", "is_enabled", "recorded", "recorded_bodies"]

# JAX includes this context in the keys of jit's cache, so that a program with kernels and one
# without are compiled separately.
_enabled = jax.make_user_context(os.environ.get("FUNCTIONAL_OPTIM_NATIVE", "1") != "0")


def enabled(on: bool = True) -> AbstractContextManager[None]:
    """Enables or disables kernels for steps that are compiled within a `with` block.

    By default, kernels are used if they are built. The environment variable
    `FUNCTIONAL_OPTIM_NATIVE=0` disables them.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.sgd(0.5), {"w": jax.numpy.ones(2)}
      >>> with fo.native.enabled(False):
      ...     jax.jit(fo.apply_gradients, static_argnums=0)(tx, params, tx.init(params), params)[0]
      {'w': Array([0.5, 0.5], dtype=float32)}
    """
    return _enabled(on)


def is_enabled() -> bool:
    """Tells whether a step that is traced now may use kernels."""
    return bool(_enabled.value)


_recording = threading.local()


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, None]]:
    """Collects the functions that kernels could be built for, while XLA runs the leaves."""
    bodies: dict[str, None] = {}
    previous, _recording.bodies = recorded_bodies(), bodies
    try:
        yield bodies
    finally:
        _recording.bodies = previous


def recorded_bodies() -> dict[str, None] | None:
    """Returns the functions that are recorded now; None outside of `recorded`."""
    return getattr(_recording, "bodies", None)
