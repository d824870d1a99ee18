"""Pairs of steps and changes of the gradient, which approximate the Hessian along the steps."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..core.protocol import PyTree
from ..core.trees.arithmetic import add_scaled, dot, scaled
from ..core.trees.placement import shard_like

__all__ = ["Curvature", "is_curved"]

Array = jax.Array


class Curvature(NamedTuple):
    """The last m pairs of a step s and the change y of the gradient over it, in ring buffers.

    Attributes:
      s: leaves `(m, *p)`.
      y: leaves `(m, *p)`.
      weights: 1 / s.y of each pair, `(m,)`; 0 where the buffer has no pair yet.
      end: index in the ring buffers of the next pair, `()`, int32.
      size: number of pairs, `()`, int32.
    """

    s: PyTree
    y: PyTree
    weights: Array
    end: Array
    size: Array

    @staticmethod
    def rings(p: Array, m: int) -> dict[str, Array]:
        """Makes the empty ring buffers of one parameter."""
        # A broadcast has the sharding of the parameter, but under jit it must be constrained.
        shape = (m, *p.shape)
        zeros = jnp.broadcast_to(jnp.zeros_like(p), shape)
        ring = shard_like(zeros, jnp.broadcast_to(p, shape))
        return {"diff_params_memory": ring, "diff_updates_memory": ring.copy()}

    @staticmethod
    def start(m: int) -> dict[str, ArrayLike]:
        """Returns the initial values of the scalars in the state."""
        return {"weights": np.zeros(m), "end": np.int32(0), "size": np.int32(0)}

    def push(self, s: PyTree, y: PyTree, sy: Array, accepted: Array) -> "Curvature":
        """Replaces the oldest pair by a new one, if the new one is accepted."""
        m, end = self.weights.shape[0], self.end

        def put(ring: Array, new: Array) -> Array:
            # A rejected pair may contain NaN, so it must be selected out and not multiplied by 0.
            return ring.at[end].set(jnp.where(accepted, new, ring[end]))

        weight = 1 / jnp.where(accepted, sy, 1)
        moved = accepted.astype(jnp.int32)
        return Curvature(
            jax.tree.map(put, self.s, s),
            jax.tree.map(put, self.y, y),
            put(self.weights, weight),
            (end + moved) % m,
            jnp.minimum(self.size + moved, m),
        )

    def apply(self, g: PyTree, scale: Array, rounds: ArrayLike) -> tuple[PyTree, Array]:
        """Multiplies a vector by the approximate inverse Hessian of the pairs.

        H starts as scale I. Each pair, from the oldest to the newest, changes it to
        V^T H V + s s^T / s.y, with V = I - y s^T / s.y. H is positive definite if all s.y are
        positive.

        Args:
          g: the vector.
          scale: factor of the identity with which H starts, `()`.
          rounds: number of pairs to use, from the newest; a Python integer allows reverse-mode
            differentiation.

        Returns:
          H g, and the coefficient of each y in the first loop, `(m,)`, in the buffers' order.

        Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithm 7.4.
        """
        m = self.weights.shape[0]

        def pair(index: Array) -> tuple[PyTree, PyTree, Array]:
            return jax.tree.map(lambda ring: ring[index], (self.s, self.y, self.weights))

        def backward(i: Array, carry: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
            q, alphas = carry
            index = (self.end - 1 - i) % m
            s, y, weight = pair(index)
            alpha = weight * dot(s, q)
            return add_scaled(q, -alpha, y), alphas.at[index].set(alpha)

        def forward(i: Array, r: PyTree) -> PyTree:
            index = (self.end - rounds + i) % m
            s, y, weight = pair(index)
            return add_scaled(r, alphas[index] - weight * dot(y, r), s)

        # The two-loop recursion: from the newest pair to the oldest, and back.
        q, alphas = jax.lax.fori_loop(0, rounds, backward, (g, jnp.zeros_like(self.weights)))
        return jax.lax.fori_loop(0, rounds, forward, scaled(scale, q)), alphas


def is_curved(s: Sequence[Array], y: Sequence[Array], sy: Array) -> Array:
    """Tells whether the curvature of a pair is positive beyond rounding errors, `()`.

    The test is s.y > eps |s| |y|, with eps the machine epsilon of the least precise leaf. Its
    result does not change if the loss is multiplied by a number. It is False if y.y is too small to
    divide by.
    """
    eps = max((float(jnp.finfo(x.dtype).eps) for x in s), default=0.0)
    yy, least = dot(y, y), jnp.finfo(sy.dtype).tiny
    bound = jnp.maximum(least, eps * jnp.sqrt(dot(s, s)) * jnp.sqrt(yy))
    return (sy > bound) & (yy > least)
