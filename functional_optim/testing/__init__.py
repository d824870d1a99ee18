"""The conformance kit: checks that any transformation must pass, for your own tests.

Example:
  >>> import functional_optim as fo
  >>> from functional_optim.testing import check_state, check_transformation
  >>> check_state(fo.adam(1e-3))
"""

from .avals import check_shapes, check_state, check_updates
from .compilation import check_new_hyperparams, check_recompilation, check_traces
from .descent import check_quadratic, check_rosenbrock
from .differentiation import check_differentiation, check_hyperparam_derivatives
from .failure import ConformanceError, Failure
from .kit import check_transformation
from .lowering import check_lowering
from .placement import check_donation, check_sharding
from .program import check_jit, check_scan, check_vmap, check_vmap_hyperparams
from .registry import CHECKS
from .saving import check_checkpoint, check_pickling, check_state_pickling
from .trees import check_empty_trees, check_none_gradients, check_none_parameters
from .values import check_extra_arguments, check_purity, check_zero_gradients

__all__ = [
    "CHECKS",
    "ConformanceError",
    "Failure",
    "check_checkpoint",
    "check_differentiation",
    "check_donation",
    "check_empty_trees",
    "check_extra_arguments",
    "check_hyperparam_derivatives",
    "check_jit",
    "check_lowering",
    "check_new_hyperparams",
    "check_none_gradients",
    "check_none_parameters",
    "check_pickling",
    "check_purity",
    "check_quadratic",
    "check_recompilation",
    "check_rosenbrock",
    "check_scan",
    "check_sharding",
    "check_shapes",
    "check_state",
    "check_state_pickling",
    "check_traces",
    "check_transformation",
    "check_updates",
    "check_vmap",
    "check_vmap_hyperparams",
    "check_zero_gradients",
]
