"""A transformation that replaces updates by Hutchinson's estimate of the Hessian's diagonal."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ..core.caching import Interned
from ..core.engine.whole_tree import arguments_of
from ..core.numerics.precision import safe_increment
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.rng_keys import Key, as_key, key_at
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.placement import place_on_mesh_of
from .diagonal import hutchinson_diag

__all__ = ["EstimatorInit", "hutchinson_estimator_diag_hessian"]


def hutchinson_estimator_diag_hessian(random_seed: int | jax.Array = 0) -> GradientTransformation:
    """Replaces updates by an estimate of the diagonal of the Hessian; see `hutchinson_diag`.

    `update` needs params and `obj_fn(params) -> ()`, or in its place `value_fn`, which may take
    extra arguments by name, as line searches call it. The random signs are a function of the key
    and the number of updates.

    Args:
      random_seed: an integer, or a key of `jax.random.key`.

    Raises:
      TypeError: random_seed is neither an integer nor a key.
      ValueError: `update` is called without params, or without obj_fn and value_fn.

    Example:
      >>> from functional_optim.second_order import hutchinson_estimator_diag_hessian
      >>> tx, params = hutchinson_estimator_diag_hessian(), {"w": jnp.array([1.0, 2.0])}
      >>> tx.update(params, tx.init(params), params, obj_fn=lambda p: jnp.sum(p["w"] ** 3))[0]
      {'w': Array([ 6., 12.], dtype=float32)}
    """
    key = as_key(random_seed, "hutchinson_estimator_diag_hessian: random_seed")
    init = EstimatorInit("hutchinson_estimator_diag_hessian", key)
    return GradientTransformation(init, _Update.of(key.generator))


@named_init
@dataclasses.dataclass(frozen=True)
class EstimatorInit:
    """`init` of an estimator with random numbers."""

    name: str
    key: Key

    def __call__(self, params: PyTree) -> State:
        """Makes the count and the key."""
        state = State(count=jnp.zeros((), jnp.int32), keys={"random_seed": self.key.words()})
        placed: State = place_on_mesh_of(params, state)
        return placed

    def __repr__(self) -> str:
        return f"{self.name}({self.key.value!r})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of the estimator."""

    generator: str | None

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Estimates the diagonal at the parameters."""
        del updates
        obj_fn = extra.get("obj_fn", extra.get("value_fn"))
        if params is None or obj_fn is None:
            raise ValueError(
                "hutchinson_estimator_diag_hessian: update needs params and obj_fn. Call "
                "update(updates, state, params, obj_fn=...), with a function of the parameters."
            )
        key = key_at(state.keys["random_seed"], self.generator, state.count)
        arguments = {} if "obj_fn" in extra else arguments_of(obj_fn, extra)
        diagonal = hutchinson_diag(lambda p: obj_fn(p, **arguments), params, key=key)
        return diagonal, state._replace(count=safe_increment(state.count))
