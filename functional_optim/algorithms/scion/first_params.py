"""First parameters on the balls of Scion."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from ...core.numerics.precision import compute_dtype
from ...core.numerics.validation import Interval, as_number
from ...core.protocol import PyTree
from ...core.rules.rng_keys import as_key, key_at
from .optimizer import LabelsOrFn, Norms, Radius
from .roles import RADII, Roles

__all__ = ["scion_init"]


def scion_init(
    params: PyTree,
    key: int | jax.Array,
    radius: Radius = None,
    *,
    norms: Norms = None,
    param_labels: LabelsOrFn = None,
    axes: LabelsOrFn = None,
) -> PyTree:
    """Makes initial parameters on the balls of `scion`, which has the same arguments.

    Matrices of spectral layers are random orthogonal matrices times the radius and the factor of
    their shape, one for each position of a convolution. Layers with the norm sign have random
    signs, layers with col_norm and row_norm random directions, and vectors with bias_rms are 0.

    Args:
      params: arrays, or `jax.ShapeDtypeStruct`, with the shapes and dtypes of the result.
      key: an integer, or a key of `jax.random.key`.
      radius: as for `scale_by_scion`, but without schedules.
      See `scale_by_scion` for the others.

    Raises:
      ValueError: as `scale_by_scion`.
      TypeError: key is neither an integer nor a key; or a radius is not a number.

    Example:
      >>> import functional_optim as fo
      >>> fo.scion_init({"b": jnp.ones(2), "embedding": jnp.ones((1, 1))}, 0)["b"]
      Array([0., 0.], dtype=float32)

    Reference: Pethick et al., Training deep learning models with norm-constrained LMOs, ICML 2025,
    arXiv:2502.07529, and the authors' code.
    """
    roles = Roles.of("scion_init", norms, param_labels, axes)
    seed = as_key(key, "scion_init: key")
    words, interval = seed.words(), Interval("[0, inf)")
    labels = jax.tree.leaves(roles.labels(params))
    treedef: PyTreeDef
    leaves, treedef = jax.tree.flatten(params)
    new = []
    for i, (ball, label) in enumerate(zip(jax.tree.leaves(roles(params)), labels, strict=True)):
        size = radius
        if radius is None or isinstance(radius, Mapping):
            sizes = RADII | dict(radius or {})
            if label not in sizes:
                raise ValueError(
                    f"scion_init: radius has no value for the label {label!r}. Its labels are: "
                    f"{', '.join(sizes)}."
                )
            size = sizes[label]
        shape, dtype = jnp.shape(leaves[i]), jnp.result_type(leaves[i])
        wide = compute_dtype(dtype)
        element = ball.random_element(key_at(words, seed.generator, jnp.int32(i)), shape, wide)
        number = as_number(size, "scion_init: radius", interval)
        new.append((jnp.asarray(number, wide) * element).astype(dtype))
    return treedef.unflatten(new)
