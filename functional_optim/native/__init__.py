"""Kernels in C++ for steps on the CPU, built on request out of the rules themselves.

Example:
  >>> import functional_optim as fo
  >>> fo.native.build(fo.adamw(1e-3), {"w": jax.numpy.zeros(8)})  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from .compiler import CompilerError
from .multi_output import use_multi_output_fusion
from .switch import enabled

if TYPE_CHECKING:
    from .building import build

__all__ = ["CompilerError", "build", "enabled", "use_multi_output_fusion"]


def __getattr__(name: str) -> Any:
    # Building needs the translator, whose import takes a third of that of the whole package.
    if name == "build":
        from .building import build

        return build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
