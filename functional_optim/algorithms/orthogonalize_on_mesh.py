"""Orthogonalizes the matrices of all parameters together, divided over the devices of a mesh."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.decorators import renamed, tree_rule
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.placement import auto_sharded
from ..sharding.matrices import MatrixSharding
from . import newton_schulz as one_leaf
from .newton_schulz import STANDARD, Rounds, check_rounds, newton_schulz

__all__ = ["orthogonalize_by"]

Array = jax.Array


# It has the name of the rule for single leaves, so that both have the same state.
@tree_rule(check=check_rounds)
def orthogonalize(
    g: Sequence[Array],
    slots: Slots,
    p: None,
    ctx: StepContext,
    ns_coeffs: Static[Rounds | str] = STANDARD,
    ns_steps: Static[int | None] = None,
    eps: NonNegative = 1e-7,
    *,
    matrix_sharding: Static[MatrixSharding],
    adaptive: Static[bool] = False,
    preconditioning: Static[str] = "frobenius",
    method: Static[str] = "newton_schulz",
    safety_factor: Static[float | None] = None,
    ns_dtype: Static[DTypeLike | None] = None,
    eps_as_floor: Static[bool] = False,
    gram: Static[bool | None] = None,
) -> tuple[list[Array], dict[str, list[Array]], dict[str, Array]]:
    """Orthogonalizes all matrices of one shape as one array, placed on a mesh.

    The maths, the arguments and the state are as in the rule for single leaves. Each leaf has the
    shape `(matrices, rows, columns)`.
    """
    del slots, p, ctx
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, x in enumerate(g):
        groups.setdefault((x.shape[1:], x.dtype), []).append(i)

    def orthogonal(x: Array, eps: Array) -> Array:
        u = newton_schulz(
            matrix_sharding.placed(x),
            ns_coeffs,
            ns_steps,
            eps,
            method=method,
            preconditioning=preconditioning,
            safety_factor=safety_factor,
            ns_dtype=ns_dtype,
            eps_as_floor=eps_as_floor,
            gram=gram,
            adaptive=adaptive,
        )
        return matrix_sharding.placed(u)[: x.shape[0]]

    def together(*arguments: Array) -> list[Array]:
        *arrays, eps = arguments  # eps is an argument, because its type has a mesh too
        results: list[Array] = list(arrays)
        for members in groups.values():
            whole = orthogonal(jnp.concatenate([arrays[i] for i in members]), eps)
            start = 0
            for i in members:
                end = start + arrays[i].shape[0]
                results[i] = whole[start:end]
                start = end
        return results

    specs = [jax.typeof(x).sharding.spec for x in g]
    return list(auto_sharded(together, lambda *_: specs, *g, eps)) if g else [], {}, {}


def orthogonalize_by(
    matrix_sharding: MatrixSharding | None, **names: str
) -> Callable[..., GradientTransformation]:
    """Returns the factory of `orthogonalize` for all leaves together, or for single leaves.

    Args:
      matrix_sharding: how the devices of a mesh share the matrices; None for single leaves.
      names: new names of arguments, as for `renamed`.
    """
    if matrix_sharding is None:
        return renamed(one_leaf.orthogonalize, **names) if names else one_leaf.orthogonalize
    factory = renamed(orthogonalize, **names) if names else orthogonalize
    return functools.partial(factory, matrix_sharding=matrix_sharding)
