"""Kernels in C++ for steps on the CPU, which are generated from the rules on request.

Example:
  >>> import functional_optim as fo
  >>> fo.native.build(fo.adamw(1e-3), {"w": jax.numpy.zeros(8)})  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from .compiler import CompilerError
from .multi_output import use_multi_output_fusion
from .switch import enabled

if TYPE_CHECKING:
    from .building import build

__all__ = ["CompilerError", "build", "enabled", "use_multi_output_fusion"]


def __getattr__(name: str) -> object:
    # `build` imports the translator, which takes a third of the time of importing the package.
    if name == "build":
        from .building import build

        return build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
