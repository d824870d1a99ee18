"""Kernels in C++ for steps on the CPU, built on request out of the rules themselves.

Example:
  >>> import functional_optim as fo
  >>> fo.native.build(fo.adamw(1e-3), {"w": jax.numpy.zeros(8)})  # doctest: +SKIP
"""

from ..core.server import serve_with
from .building import build
from .compiler import CompilerError
from .multi_output import use_multi_output_fusion
from .serving import server
from .switch import enabled

__all__ = ["CompilerError", "build", "enabled", "use_multi_output_fusion"]

serve_with(server)
