"""Finding the parameters to evaluate at, if they differ from the parameters that train."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.leaf.quantized import decode_state
from ..core.numerics.precision import compute_dtype, real_dtype
from ..core.protocol import PyTree
from ..core.state import State, nested_states
from ..core.trees.structure import align, is_absent, leaf_paths, path_string, without_containers
from ..core.types import Required

__all__ = ["eval_params", "is_interpolated"]

POINTS = {
    "average": "hyperparams",
    "slow": "hyperparams",
    "ax": "hyperparams",
    "cache": "steps_since_sync",
}
"""Fields with a point to evaluate at (averages, lookahead, ASGD, SAM), each with another field of
its state, because a partition may have a label of the same name, but not of both names."""

_BASE, _SHARE = "z", "interpolation"
"""A slot, and a scalar that is carried. The parameters that train are share x + (1 - share) z; the
point to evaluate at is x, which is not stored, because it follows from the other two."""


def eval_params(state: PyTree, params: PyTree, *, default: PyTree = Required.ERROR) -> PyTree:
    """Finds the parameters to evaluate at, in any nesting of states.

    They are the average of `params_ema` or `params_swa`, the slow weights of `lookahead`, the
    average of `asgd`, the parameters from which `sam` has climbed, or the averaged point of
    `schedule_free` or `generalized_primal_averaging`; each in its parameter's dtype. Where the
    state has one of these for some parameters, the others are returned unchanged, for example in
    a partition that averages only some parameters.

    Args:
      state: of a chain, a wrapper, a partition, or one transformation.
      params: the parameters that train.
      default: what is returned if the state has no such point for any parameter; for a
        program that evaluates any optimizer, pass the parameters. Without it, an error is raised.

    Raises:
      ValueError: the state has no such point, and there is no default; two transformations keep
        such a point for one parameter, or one keeps a point that does not fit; the message names
        them and the parameter.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.lookahead(fo.sgd(1.0), sync_period=2, slow_step_size=0.5)
      >>> params = {"w": 4.0}
      >>> updates, state = tx.update({"w": 1.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates), fo.eval_params(state, params)
      ({'w': Array(3., dtype=float32)}, {'w': Array(4., dtype=float32)})
    """
    points = list(_points(without_containers(state), params))
    if not points:
        if default is Required.ERROR:
            raise ValueError(
                "eval_params: the state has no parameters to evaluate at. Pass the whole state "
                "of an optimizer with params_ema, params_swa, lookahead, asgd, sam or "
                "schedule_free, or default=params, to evaluate at those that train."
            )
        return default
    flat, treedef = jax.tree.flatten(params)
    result, owners, paths = list(flat), [""] * len(flat), leaf_paths(params)
    for link, tree in points:
        tree_points = align(params, tree, link="eval_params", name=link)
        for i, x in enumerate(tree_points):
            if is_absent(x):
                continue
            if owners[i]:
                raise ValueError(
                    f"eval_params: {owners[i]} and {link} both have a point to evaluate "
                    f"'{paths[i]}' at. Pass the state of the one that you mean."
                )
            owners[i], result[i] = link, _cast_like(x, flat[i], link, paths[i])
    return jax.tree.unflatten(treedef, result)


def _points(state: PyTree, params: PyTree) -> Iterator[tuple[str, PyTree]]:
    """Yields the trees of points, each with the path of its field."""
    for path, node in nested_states(state):
        for field, companion in POINTS.items():
            if field in node and companion in node:
                yield _field_path(path, field), decode_state(node[field])
        if is_interpolated(node):
            yield _field_path(path, _BASE), _averaged(node, params, _field_path(path, _BASE))


def _field_path(path: tuple[object, ...], field: str) -> str:
    return path_string((*path, jax.tree_util.GetAttrKey(field)))


def is_interpolated(node: State) -> bool:
    """Tells whether the parameters lie between a base, which the state has, and an average."""
    return {_BASE, "carry"} <= {*node._fields} and _SHARE in node["carry"]


def _averaged(node: State, params: PyTree, link: str) -> PyTree:
    """Computes the averages from the bases and the parameters, which lie between the two."""
    flat, treedef = jax.tree.flatten(params)
    bases = align(params, decode_state(node[_BASE]), link="eval_params", name=link)
    share, batch = node["carry"][_SHARE], node["count"].shape
    points = []
    for i, (z, y) in enumerate(zip(bases, flat, strict=True)):
        if is_absent(z) or jnp.shape(z) != jnp.shape(y):  # the caller raises the error
            points.append(z)
            continue
        # With a count for each leaf, the shares differ from leaf to leaf.
        leaf_share = share if share.ndim == len(batch) else share[..., i]
        z, y = (x.astype(compute_dtype(x.dtype)) for x in (z, jnp.asarray(y)))
        leaf_share = leaf_share.reshape(*batch, *[1] * (z.ndim - len(batch)))
        points.append(z + (y.astype(z.dtype) - z) / leaf_share.astype(real_dtype(z.dtype)))
    return jax.tree.unflatten(treedef, points)


def _cast_like(x: jax.Array, p: ArrayLike, link: str, path: str) -> jax.Array:
    """Casts a point to its parameter's dtype."""
    if jnp.shape(x) != jnp.shape(p):
        raise ValueError(
            f"eval_params: {link} has shape {jnp.shape(x)} at '{path}', and the parameter "
            f"{jnp.shape(p)}. Pass the parameters that the state was made for."
        )
    return x.astype(jnp.asarray(p).dtype)
