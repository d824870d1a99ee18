"""Arithmetic on whole trees of arrays, and functions that read and edit states.

Names are as in `optax.tree`. Sums, norms and products over a tree accumulate in float32 at
least, whatever the dtypes of the leaves; None and empty trees add nothing.
"""

from .arithmetic import add, add_scale, clip, conj, div, mul, real, scale, sub, where
from .comparing import allclose
from .finding import get, get_all_with_path, set
from .making import (
    batch_shape,
    cast,
    cast_like,
    dtype,
    full_like,
    ones_like,
    random_like,
    split_key_like,
    unwrap_random_key_data,
    zeros_like,
)
from .mapping import map_params
from .moments import (
    bias_correction,
    update_infinity_moment,
    update_moment,
    update_moment_per_elem_norm,
)
from .reductions import max, min, norm, size, sum, vdot

__all__ = [
    "add",
    "add_scale",
    "allclose",
    "batch_shape",
    "bias_correction",
    "cast",
    "cast_like",
    "clip",
    "conj",
    "div",
    "dtype",
    "full_like",
    "get",
    "get_all_with_path",
    "map_params",
    "max",
    "min",
    "mul",
    "norm",
    "ones_like",
    "random_like",
    "real",
    "scale",
    "set",
    "size",
    "split_key_like",
    "sub",
    "sum",
    "unwrap_random_key_data",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
    "vdot",
    "where",
    "zeros_like",
]
