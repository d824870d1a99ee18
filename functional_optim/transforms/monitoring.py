"""Measuring updates without changing them."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.composed import composed
from ..core.numerics.precision import hyper_dtype
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.placement import place_on_mesh_of, sharded_as
from ..core.trees.varying import varying_as
from .momentum import ema

__all__ = ["measure_with_ema", "monitor", "snapshot"]

Array = jax.Array
Measure = Callable[[PyTree], PyTree]


def snapshot(measure_name: str, measure: Measure) -> GradientTransformation:
    """Measures the updates at this place of a chain; `metrics` reads the result.

    The state holds `metrics[measure_name]`, an array or a tree of arrays, zeros before the first
    update. Updates do not change.

    Args:
      measure_name: name of the result in `metrics`.
      measure: `measure(updates)`. At init it is called on the parameters (abstractly) to get the
        shapes of its result.

    Differences: at init, optax's snapshot measures the parameters.

    Raises:
      TypeError: measure is not a function.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.scale(2.0), fo.snapshot("norm", fo.global_norm))
      >>> _, state = tx.update({"w": 3.0}, tx.init({"w": 0.0}))
      >>> float(fo.metrics(state)["norm"])
      6.0
    """
    return _monitor("snapshot", {measure_name: measure})


def monitor(measures: Mapping[str, Measure | GradientTransformation]) -> GradientTransformation:
    """Measures the updates at this place of a chain, in several ways; `metrics` reads the results.

    The state holds under `metrics` the last measurements, zeros before the first update, and
    under `measure_states` the states of the measures that are transformations. Updates do not
    change.

    Args:
      measures: name -> function of the updates, or transformation whose updates are the
        measurement, such as `measure_with_ema`.

    Raises:
      TypeError: a measure is neither a function nor a transformation.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.monitor(
      ...     {"norm": fo.global_norm, "mean": fo.measure_with_ema(fo.global_norm, 0.5)}
      ... )
      >>> state = tx.init({"w": 0.0})
      >>> for g in (1.0, 4.0):
      ...     _, state = tx.update({"w": g}, state)
      >>> {name: float(value) for name, value in fo.metrics(state).items()}
      {'mean': 3.0, 'norm': 4.0}
    """
    return _monitor("monitor", measures)


@composed
def measure_with_ema(
    measure: Measure,
    decay: Hyperparameter,
    debias: bool = True,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """Makes a measure for `monitor` that is averaged over updates.

    The pair cannot be a link of a chain, because it returns the measurement in place of the
    updates. Booleans and integers are averaged as numbers.

    Args:
      measure: function of the updates that returns an array or a tree of arrays.
      See `ema` for the others.

    Raises:
      TypeError: measure is not a function.
      ValueError: decay outside [0, 1).

    Example:
      >>> import functional_optim as fo
      >>> large = fo.measure_with_ema(lambda updates: fo.global_norm(updates) > 2.0, 0.5)
      >>> tx = fo.monitor({"large": large})
      >>> state = tx.init({"w": 0.0})
      >>> for g in (1.0, 4.0):
      ...     _, state = tx.update({"w": g}, state)
      >>> print(f"{fo.metrics(state)['large']:.3f}")
      0.667
    """
    init, update = ema(decay, debias, accumulator_dtype)
    numbers = _AsNumbers(_checked("measure_with_ema: measure", measure))
    return GradientTransformation(
        _AveragedInit(numbers, init), _AveragedUpdate.of(numbers, ExtraArgsAdapter.to(update))
    )


def _checked(where: str, measure: object) -> Measure:
    if not callable(measure):
        raise TypeError(f"{where} must be a function of the updates, got {measure!r}.")
    return measure


def _monitor(
    link: str, measures: Mapping[str, Measure | GradientTransformation]
) -> GradientTransformation:
    functions, pairs = {}, {}
    for name, measure in measures.items():
        if hasattr(measure, "init"):
            pairs[name] = check_pair(f"{link}: the measure {name!r}", measure)
        else:
            functions[name] = _checked(f"{link}: the measure {name!r}", measure)
    inits = tuple((k, init) for k, (init, _) in pairs.items())
    update = _MonitorUpdate.of(
        tuple(functions.items()),
        tuple((k, ExtraArgsAdapter.to(update)) for k, (_, update) in pairs.items()),
    )
    return GradientTransformation(_MonitorInit(link, inits, update), update)


@named_init
@dataclasses.dataclass(frozen=True)
class _MonitorInit:
    """`init` of `snapshot` and `monitor`."""

    name: str
    inits: tuple[tuple[str, TransformInitFn], ...]
    update: "_MonitorUpdate"

    def __call__(self, params: PyTree) -> State:
        """Makes the states of the measures, and zeros in place of the measurements."""
        states = {k: init(params) for k, init in self.inits}
        # Updates have the shapes of the parameters, and only shapes are needed.
        shapes = jax.eval_shape(lambda p, s: self.update.measure(p, s, p, {})[0], params, states)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return place_on_mesh_of(
            params, varying_as(State(metrics=zeros, measure_states=states), params)
        )

    def __repr__(self) -> str:
        names = [k for k, _ in (*self.update.functions, *self.inits)]
        return f"{self.name}({', '.join(map(repr, names))})"


@dataclasses.dataclass(frozen=True)
class _MonitorUpdate(Interned):
    """`update` of `snapshot` and `monitor`."""

    functions: tuple[tuple[str, Measure], ...]
    links: tuple[tuple[str, ExtraArgsAdapter], ...]

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Measures the updates."""
        check_state("monitor", updates, state, params)
        metrics, states = self.measure(updates, state.measure_states, params, extra)
        # In the types that `init` gave them, as a carry of a loop must have.
        metrics = jax.tree.map(
            lambda x, old: sharded_as(x.astype(old.dtype), old), metrics, state.metrics
        )
        return updates, State(metrics=metrics, measure_states=states)

    def measure(
        self,
        updates: PyTree,
        states: Mapping[str, PyTree],
        params: PyTree,
        extra: dict[str, object],
    ) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Returns the measurements, and the states of the measures."""
        metrics, new_states = {k: function(updates) for k, function in self.functions}, {}
        for name, link in self.links:
            metrics[name], new_states[name] = link(updates, states[name], params, extra)
        return jax.tree.map(jnp.asarray, metrics), new_states


@dataclasses.dataclass(frozen=True)
class _AsNumbers:
    """A measure whose results are floating-point numbers, so that they have a mean."""

    measure: Measure

    def __call__(self, updates: PyTree) -> PyTree:
        return jax.tree.map(self._as_number, self.measure(updates))

    @staticmethod
    def _as_number(x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(hyper_dtype())


@named_init
@dataclasses.dataclass(frozen=True)
class _AveragedInit:
    """`init` of a measure that is averaged."""

    measure: _AsNumbers
    init: TransformInitFn
    name = "measure_with_ema"

    def __call__(self, params: PyTree) -> State:
        """Makes the state of the average."""
        shapes = jax.eval_shape(self.measure, params)
        # Without shardings, because their mesh may exist only inside a compiled program.
        return self.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), shapes))


@dataclasses.dataclass(frozen=True)
class _AveragedUpdate(Interned):
    """`update` of a measure that is averaged."""

    measure: _AsNumbers
    average: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Returns the average, in place of updates."""
        del params, extra
        return self.average(self.measure(updates), state, None, {})
