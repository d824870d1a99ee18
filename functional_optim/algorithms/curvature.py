"""Pairs of steps and changes of the gradient, which say what the curvature is along the way."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.arithmetic import add_scaled, dot, scaled
from ..core.trees.placement import alike

__all__ = ["Curvature", "is_curved"]

Array = jax.Array


class Curvature(NamedTuple):
    """The last m pairs (s, y), in rings: a step of the parameters and its change of the gradient.

    Attributes:
      s: leaves `(m, *p)`.
      y: leaves `(m, *p)`.
      weights: 1 / s.y of each pair, `(m,)`; 0 where there is none.
      end: where in the rings the next pair goes, `()`, int32.
      size: how many there are, `()`, int32.
    """

    s: PyTree
    y: PyTree
    weights: Array
    end: Array
    size: Array

    @staticmethod
    def rings(p: Array, m: int) -> dict[str, Array]:
        """Makes the empty ring buffers of one parameter."""
        # Broadcast, they are sharded as the parameter is; in a program, only if it says so.
        shape = (m, *p.shape)
        zeros = jnp.broadcast_to(jnp.zeros_like(p), shape)
        ring = alike(zeros, jnp.broadcast_to(p, shape))
        return {"diff_params_memory": ring, "diff_updates_memory": ring.copy()}

    @staticmethod
    def start(m: int) -> dict[str, Any]:
        """Returns the first values of the scalars that are kept."""
        return {"weights": np.zeros(m), "end": np.int32(0), "size": np.int32(0)}

    def push(self, s: PyTree, y: PyTree, sy: Array, accepted: Array) -> "Curvature":
        """Keeps a pair, in the place of the oldest, if it is accepted."""
        m, end = self.weights.shape[0], self.end

        def put(ring: Array, new: Array) -> Array:
            # What is refused may hold NaN, and must leave no trace.
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

    def apply(self, g: PyTree, scale: Array, rounds: Any) -> tuple[PyTree, Array]:
        """Multiplies by the inverse Hessian that the pairs stand for.

        With V = I - y s^T / s.y of each pair, newest outermost, H <- V^T H V + s s^T / s.y,
        and H = scale I before the oldest. Positive definite where all s.y are positive.

        Args:
          g: the vector.
          scale: `()`.
          rounds: how many pairs to go through, from the newest; a Python number to
            differentiate in reverse.

        Returns:
          H g, and what was taken of each y, `(m,)`, in the rings' order.

        Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithm 7.4.
        """
        m = self.weights.shape[0]

        def pair(i: Any) -> tuple[PyTree, PyTree, Array]:
            return jax.tree.map(lambda ring: ring[i], (self.s, self.y, self.weights))

        def back(i: Any, carry: Any) -> Any:
            q, taken = carry
            at = (self.end - 1 - i) % m
            s, y, weight = pair(at)
            alpha = weight * dot(s, q)
            return add_scaled(q, -alpha, y), taken.at[at].set(alpha)

        def forth(i: Any, r: PyTree) -> PyTree:
            at = (self.end - rounds + i) % m
            s, y, weight = pair(at)
            return add_scaled(r, taken[at] - weight * dot(y, r), s)

        q, taken = jax.lax.fori_loop(0, rounds, back, (g, jnp.zeros_like(self.weights)))
        return jax.lax.fori_loop(0, rounds, forth, scaled(scale, q)), taken


def is_curved(s: Sequence[Array], y: Sequence[Array], sy: Array) -> Array:
    """Whether a pair has a positive curvature that is not only rounding, `()`.

    That is s.y > eps |s| |y|, with eps of the least precise leaf: the same for a loss and for any
    multiple of it. Numbers that are too small to be divided by have none.
    """
    eps = max((float(jnp.finfo(x.dtype).eps) for x in s), default=0.0)
    yy, least = dot(y, y), jnp.finfo(sy.dtype).tiny
    bound = jnp.maximum(least, eps * jnp.sqrt(dot(s, s)) * jnp.sqrt(yy))
    return (sy > bound) & (yy > least)
