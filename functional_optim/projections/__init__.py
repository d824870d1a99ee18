"""Euclidean projections of trees, each taken as one vector, onto sets.

Names are as in `optax.projections`. Leaves keep their dtypes; distances are computed in
float32 at least. All projections are differentiable.
"""

from .balls import (
    projection_l1_ball,
    projection_l1_sphere,
    projection_l2_ball,
    projection_l2_sphere,
    projection_linf_ball,
)
from .boxes import projection_box, projection_hypercube, projection_non_negative
from .planes import projection_halfspace, projection_hyperplane, projection_vector
from .simplex import projection_simplex

__all__ = [
    "projection_box",
    "projection_halfspace",
    "projection_hypercube",
    "projection_hyperplane",
    "projection_l1_ball",
    "projection_l1_sphere",
    "projection_l2_ball",
    "projection_l2_sphere",
    "projection_linf_ball",
    "projection_non_negative",
    "projection_simplex",
    "projection_vector",
]
