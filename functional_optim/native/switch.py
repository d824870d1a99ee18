"""Whether steps are traced for kernels."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import jax

__all__ = ["enabled", "is_enabled", "recorded", "recorded_bodies"]

# A context that is part of jit's keys: what was compiled with kernels is not what runs without.
_enabled = jax.make_user_context(os.environ.get("FUNCTIONAL_OPTIM_NATIVE", "1") != "0")


def enabled(on: bool = True) -> AbstractContextManager[None]:
    """Lets steps be compiled with kernels, or without them, within a `with`.

    Kernels are used wherever they are built; the variable `FUNCTIONAL_OPTIM_NATIVE=0` of the
    environment lets XLA run all steps.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.sgd(0.5), {"w": jax.numpy.ones(2)}
      >>> with fo.native.enabled(False):
      ...     jax.jit(fo.apply_gradients, static_argnums=0)(tx, params, tx.init(params), params)[0]
      {'w': Array([0.5, 0.5], dtype=float32)}
    """
    return _enabled(on)


def is_enabled() -> bool:
    """Tells whether a step that is traced now may have kernels."""
    return bool(_enabled.value)


_recording = threading.local()


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, None]]:
    """Collects the functions that kernels could be built for, while XLA runs the leaves."""
    bodies: dict[str, None] = {}
    before, _recording.bodies = recorded_bodies(), bodies
    try:
        yield bodies
    finally:
        _recording.bodies = before


def recorded_bodies() -> dict[str, None] | None:
    """Returns the functions that are recorded now; None outside of `recorded`."""
    return getattr(_recording, "bodies", None)
