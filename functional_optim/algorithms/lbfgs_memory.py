"""State that one search by L-BFGS passes to the next."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.numerics.validation import as_start
from ..core.protocol import PyTree
from ..core.rules.context import Slots
from ..core.state import State
from .curvature import Curvature

__all__ = ["Memory"]

Array = jax.Array


class Memory(NamedTuple):
    """The memory of searches.

    Attributes:
      curvature: the pairs.
      direction: the last direction.
      grad: the gradient at the start of that direction.
      scale: the scale of the inverse Hessian before any pair, `()`.
      step: how far the direction was followed, `()`.
      value: the objective at the start of that direction, `()`.
      taken: the coefficient of each pair in the two-loop recursion, `(m,)`.
      iterations: number of iterations in all searches, `()`, int32.
      evaluations: number of evaluations in all searches, `()`, int32.
    """

    curvature: Curvature
    direction: PyTree
    grad: PyTree
    scale: Array
    step: Array
    value: Array
    taken: Array
    iterations: Array
    evaluations: Array

    # A state keeps it as slots, shaped like the parameters, and scalars of the whole tree.

    @staticmethod
    def slots_of(p: Array, history_size: int) -> dict[str, Array]:
        """Makes the slots of one parameter before the first search."""
        last = {"direction": jnp.zeros_like(p), "grad": jnp.zeros_like(p)}
        return last | Curvature.rings(p, history_size)

    @staticmethod
    def scalars_of(history_size: int) -> dict[str, Any]:
        """Makes the scalars before the first search."""
        nothing = {"scale": 1.0, "step": 0.0, "value_before": 0.0, "taken": np.zeros(history_size)}
        counts = dict.fromkeys(("iterations", "evaluations"), np.int32(0))
        return Curvature.start(history_size) | nothing | counts

    @classmethod
    def start(cls, xs: list[Array], history_size: int) -> "Memory":
        """Makes the memory before the first search for these parameters."""
        names = cls.slots_of(jnp.zeros(()), 1)
        made = [cls.slots_of(x, history_size) for x in xs]
        scalars = {k: as_start(v) for k, v in cls.scalars_of(history_size).items()}
        return cls.of(State(**{k: [s[k] for s in made] for k in names}), State(**scalars))

    @classmethod
    def of(cls, slots: Slots, scalars: Any) -> "Memory":
        """Reads the memory from slots and scalars, by name."""
        rings = slots.diff_params_memory, slots.diff_updates_memory
        return cls(
            Curvature(*rings, scalars.weights, scalars.end, scalars.size),
            slots.direction,
            slots.grad,
            scalars.scale,
            scalars.step,
            scalars.value_before,
            scalars.taken,
            scalars.iterations,
            scalars.evaluations,
        )

    def slots(self) -> dict[str, PyTree]:
        """Returns the slots."""
        return {
            "direction": self.direction,
            "grad": self.grad,
            "diff_params_memory": self.curvature.s,
            "diff_updates_memory": self.curvature.y,
        }

    def scalars(self) -> Mapping[str, Array]:
        """Returns the scalars."""
        return {
            "weights": self.curvature.weights,
            "end": self.curvature.end,
            "size": self.curvature.size,
            "scale": self.scale,
            "step": self.step,
            "value_before": self.value,
            "taken": self.taken,
            "iterations": self.iterations,
            "evaluations": self.evaluations,
        }
