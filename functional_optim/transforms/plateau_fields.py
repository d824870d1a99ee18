"""`reduce_on_plateau` with a state that has the fields and the order of optax's."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ..core.adapter import check_state
from ..core.caching import Interned
from ..core.numerics.precision import hyper_dtype, real_dtype
from ..core.numerics.validation import Interval, as_number, check_loss
from ..core.protocol import GradientTransformation, PyTree
from ..core.signatures import named_init
from ..core.state import State
from ..core.state_types import ReduceLROnPlateauState
from .plateau import Watch, judge

__all__ = ["reduce_on_plateau"]

Array = jax.Array


def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: float = 0.0,
) -> GradientTransformation:
    """Multiplies updates by a scale that falls when the mean of a metric has stopped improving.

    This is `functional_optim.reduce_on_plateau` for programs that unpack or make optax's state:
    `scale, best_value, plateau_count, cooldown_count, count, avg_value = state`. The arguments are
    constants of the program, and not in the state. `update` needs `value`.

    Args:
      See `functional_optim.reduce_on_plateau`.

    Differences: as for `functional_optim.reduce_on_plateau`, except for the state, whose numbers
    are float32, or float64 under x64, whatever the dtype of the parameters.

    Raises:
      TypeError: an argument is not a number.
      ValueError: a number outside its range, rtol and atol both 0, or `update` without `value`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.contrib.reduce_on_plateau(factor=0.5, patience=2)
      >>> state = tx.init({"w": 0.0})
      >>> for loss in (3.0, 3.0, 4.0):
      ...     updates, state = tx.update({"w": 1.0}, state, value=loss)
      >>> scale, best_value, *_ = state
      >>> print(scale, best_value)
      0.5 3.0
    """
    arguments = {
        "factor": (factor, "(0, 1)"),
        "patience": (patience, "[1, inf)"),
        "rtol": (rtol, "[0, 1]"),
        "atol": (atol, "[0, inf)"),
        "cooldown": (cooldown, "[0, inf)"),
        "accumulation_size": (accumulation_size, "[1, inf)"),
        "min_scale": (min_scale, "[0, 1]"),
    }
    where = "contrib.reduce_on_plateau"
    numbers = {
        k: float(as_number(x, f"{where}: {k}", Interval(interval)))
        for k, (x, interval) in arguments.items()
    }
    if not rtol and not atol:
        raise ValueError(
            f"{where}: rtol and atol are both 0, so that rounding counts as better. Pass one of "
            "them above 0."
        )
    return GradientTransformation(_Init(tuple(numbers.items())), _Update.of(*numbers.values()))


@named_init
@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of the scale."""

    numbers: tuple[tuple[str, float], ...]
    name = "reduce_on_plateau"

    def __call__(self, params: PyTree) -> State:
        """Makes the state before any measurement."""
        del params
        dtype, zero = hyper_dtype(), jnp.zeros((), jnp.int32)
        return ReduceLROnPlateauState(
            scale=jnp.ones((), dtype),
            best_value=jnp.full((), jnp.inf, dtype),
            plateau_count=zero,
            cooldown_count=zero,
            count=zero,
            avg_value=jnp.zeros((), dtype),
        )

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={x}' for k, x in self.numbers)})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of the scale."""

    factor: float
    patience: float
    rtol: float
    atol: float
    cooldown: float
    accumulation_size: float
    min_scale: float

    @property
    def is_cacheable(self) -> bool:
        """Whether it may be kept alive; it holds only numbers."""
        return True

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Adds the metric to the mean, judges a full one, and scales."""
        check_state("reduce_on_plateau", updates, state, params)
        del params
        if extra.get("value") is None:
            raise ValueError(
                "contrib.reduce_on_plateau: update needs value. Call update(updates, state, "
                "value=loss)."
            )
        check_loss("contrib.reduce_on_plateau", extra["value"])
        count = state.count + 1
        value = jnp.asarray(extra["value"], state.avg_value.dtype)
        n = count.astype(value.dtype)
        mean = state.avg_value + (value - state.avg_value) / n
        full = n >= self.accumulation_size
        new = _chosen(full, self._judged(state, mean), state)
        new = new._replace(count=jnp.where(full, 0, count), avg_value=jnp.where(full, 0.0, mean))

        def scaled(g: Any) -> Any:
            g = jnp.asarray(g)
            # The dtype of the parts, where g is complex.
            return g * new.scale.astype(real_dtype(g.dtype))

        return jax.tree.map(scaled, updates), new

    def _judged(self, state: State, mean: Array) -> State:
        """Computes the state after a full mean."""
        counts = (state.plateau_count, state.cooldown_count)
        watch = Watch(state.best_value, *(x.astype(mean.dtype) for x in counts))
        numbers = (self.rtol, self.atol, self.patience - 1, self.cooldown)
        watch, reduce = judge(watch, mean, *map(mean.dtype.type, numbers), mode="min")
        scale = state.scale
        lower = jnp.maximum(scale * self.factor, jnp.minimum(self.min_scale, scale))
        return state._replace(
            scale=jnp.where(reduce, lower, scale),
            best_value=watch.best,
            plateau_count=watch.bad.astype(jnp.int32),
            cooldown_count=watch.cooldown.astype(jnp.int32),
        )


def _chosen(condition: Array, new: State, old: State) -> State:
    """Selects one of two states, in the dtypes of the old one."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b).astype(b.dtype), new, old)
