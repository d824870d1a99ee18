"""Building kernels."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

from ..core.apply_gradients import apply_gradients
from ..core.protocol import GradientTransformation, PyTree
from .library import add_library, find
from .switch import recorded

__all__ = ["build", "build_all"]


def build(tx: GradientTransformation, params: PyTree, **extra: Any) -> Path | None:
    """Builds the kernels of a transformation, for parameters of these dtypes.

    The standard optimizers need no call of this: `python -m functional_optim.native` builds
    theirs. A chain of one's own has loops of its own, for rules that follow one another are
    one loop. What is built is kept, and found by the next process.

    It does not change programs that are compiled already: build before the first step.

    Args:
      tx: any transformation.
      params: tree of arrays or of `jax.ShapeDtypeStruct`; gradients have their dtypes.
      extra: what `update` asks for beside these.

    Returns:
      The library; None where no kernel was wanting, because all are there, or no rule of the
      transformation is a loop over elements.

    Raises:
      CompilerError: there is no compiler, it failed, or the kernels cannot be kept.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.clip(1.0), fo.lion(1e-4))
      >>> fo.native.build(tx, {"w": jax.ShapeDtypeStruct((8, 8), "float32")})  # doctest: +SKIP
    """
    return build_all([(tx, params)], **extra)


def build_all(pairs: Iterable[tuple[GradientTransformation, PyTree]], **extra: Any) -> Path | None:
    """Builds the kernels of several transformations, as `build` does, in one library."""
    with recorded() as bodies:
        for tx, params in pairs:
            _trace(tx, params, extra)
    wanting = [body for body in bodies if find(body) is None]
    return add_library(wanting) if wanting else None


def _trace(tx: GradientTransformation, params: PyTree, extra: dict[str, Any]) -> None:
    """Goes through a step, without making one."""
    state = jax.eval_shape(tx.init, params)
    jax.eval_shape(lambda g, s, p: apply_gradients(tx, g, s, p, **extra), params, state, params)
