"""Whether steps are traced for kernels."""

import os
from contextlib import AbstractContextManager

import jax

__all__ = ["enabled", "is_enabled"]

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
    """Whether a step that is traced now may have kernels."""
    return bool(_enabled.value)
