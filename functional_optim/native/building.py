"""Builds kernels for given transformations and parameters."""

from collections.abc import Iterable
from pathlib import Path

import jax

from ..core.apply_gradients import apply_gradients
from ..core.protocol import GradientTransformation, PyTree
from .library import add_library, find
from .switch import recorded

__all__ = ["build", "build_all"]


def build(tx: GradientTransformation, params: PyTree, **extra: object) -> Path | None:
    """Builds the kernels of a transformation, for parameters of these dtypes.

    `python -m functional_optim.native` builds the kernels of the standard optimizers. A custom
    chain needs this call, because neighboring rules of a chain share a loop, and so each chain has
    its own kernels. Built kernels are kept on disk, and the next process finds them.

    Programs that are compiled already do not change: build before the first step.

    Args:
      tx: any transformation.
      params: tree of arrays or of `jax.ShapeDtypeStruct`; gradients have their dtypes.
      extra: further arguments that `update` needs.

    Returns:
      The path of the library; None if no kernel was missing, or if no rule of the transformation
      is elementwise.

    Raises:
      CompilerError: there is no compiler, it failed, or the kernels cannot be written.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.clip(1.0), fo.lion(1e-4))
      >>> fo.native.build(tx, {"w": jax.ShapeDtypeStruct((8, 8), "float32")})  # doctest: +SKIP
    """
    return build_all([(tx, params)], **extra)


def build_all(
    pairs: Iterable[tuple[GradientTransformation, PyTree]], **extra: object
) -> Path | None:
    """Builds the kernels of several transformations, as `build` does, in one library."""
    with recorded() as bodies:
        for tx, params in pairs:
            _trace(tx, params, extra)
    missing = [body for body in bodies if find(body) is None]
    return add_library(missing) if missing else None


def _trace(tx: GradientTransformation, params: PyTree, extra: dict[str, object]) -> None:
    """Traces a step, so that its leaves' functions are recorded; nothing is computed."""
    state = jax.eval_shape(tx.init, params)
    jax.eval_shape(lambda g, s, p: apply_gradients(tx, g, s, p, **extra), params, state, params)
