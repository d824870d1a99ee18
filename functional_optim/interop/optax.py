"""Converts transformations for optax's combinators."""

from typing import Any

from ..core.adapter import check_pair
from ..core.protocol import GradientTransformation

__all__ = ["to_optax"]


def to_optax(tx: GradientTransformation) -> Any:
    """Views a transformation as one of optax that takes extra arguments.

    optax's combinators accept any pair `(init, update)`, but pass extra arguments (`value=`,
    `grad=`, ...) only to instances of optax's class. Nothing else differs.

    Raises:
      ImportError: optax is not installed.
      TypeError: tx is not a pair of functions.

    Example:
      >>> import optax
      >>> import functional_optim as fo
      >>> from functional_optim.interop.optax import to_optax
      >>> tx = optax.chain(to_optax(fo.scale_by_adam()), optax.scale(-1e-3))
    """
    try:
        import optax  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("to_optax needs optax. Install it: pip install optax") from error
    return optax.GradientTransformationExtraArgs(*check_pair("to_optax: tx", tx))
