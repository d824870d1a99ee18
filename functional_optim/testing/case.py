"""The transformation that is checked, with the arguments of its calls."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..core.hyperparams import get_hyperparams, scheduled_hyperparams, set_hyperparams
from ..core.protocol import GradientTransformation, PyTree
from ..core.trees.apply import apply_updates

__all__ = ["DTYPES", "Extra", "Case", "settable"]

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64")
"""Dtypes of the parameters that a transformation is checked with; float64 enables x64."""

Extra = Mapping[str, PyTree] | Callable[[PyTree, PyTree], Mapping[str, PyTree]] | None
"""Extra arguments of `update`, or a function `(grads, params)` that returns them."""

SHAPES = {"b": (8,), "w": (8, 4)}
"""Shapes of the parameters if the caller passes none."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A transformation under test.

    Attributes:
      tx: the pair.
      user_params: the caller's parameters, or None.
      extra: arguments that `update` needs besides gradients and parameters.
      dtypes: the dtypes to try, from `DTYPES`.
    """

    tx: GradientTransformation
    user_params: PyTree = None
    extra: Extra = None
    dtypes: tuple[str, ...] = DTYPES

    def params(self, dtype: DTypeLike = np.float32, seed: int = 0) -> PyTree:
        """Returns parameters of a dtype: the caller's, or normally distributed numbers."""
        if self.user_params is None:
            return _normal(SHAPES, dtype, seed, is_leaf=lambda x: isinstance(x, tuple))
        if seed:
            return _normal(jax.tree.map(jnp.shape, self.user_params), dtype, seed, self._is_shape)
        return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), self.user_params)

    def grads(self, dtype: DTypeLike = np.float32, seed: int = 1) -> PyTree:
        """Returns normally distributed gradients in the shapes of the parameters."""
        shapes = jax.tree.map(jnp.shape, self.params(np.float32))
        return _normal(shapes, dtype, seed, self._is_shape)

    @staticmethod
    def _is_shape(x: object) -> bool:
        return isinstance(x, tuple) and all(isinstance(n, int) for n in x)

    def init(self, params: PyTree) -> PyTree:
        """Returns the state before the first update."""
        return self.tx.init(params)

    def update(self, grads: PyTree, state: PyTree, params: PyTree, **more: PyTree) -> Any:
        """Calls the update with the extra arguments of the case and further ones."""
        extra = self.extra(grads, params) if callable(self.extra) else self.extra or {}
        return self.tx.update(grads, state, params, **extra, **more)

    def step(self, params: PyTree, state: PyTree, grads: PyTree) -> tuple[PyTree, PyTree]:
        """Runs one training step."""
        updates, state = self.update(grads, state, params)
        return apply_updates(params, updates), state

    @functools.cached_property
    def state(self) -> PyTree:
        """The first state, for checks that hand it to jitted functions, which do not change it."""
        return self.init(self.params())

    @functools.cached_property
    def first_update(self) -> tuple[PyTree, Any]:
        """The first state, and the result of an update, both computed without jit."""
        params = self.params()
        with jax.disable_jit():
            state = self.init(params)
            return state, self.update(self.grads(), state, params)

    @functools.cached_property
    def traced(self) -> list[str]:
        """A list with an entry for each trace of `counted_step`."""
        return []

    @functools.cached_property
    def counted_step(self) -> Callable[..., tuple[PyTree, PyTree]]:
        """The step as one function, of which all checks that jit it share the trace."""

        def step(params: PyTree, state: PyTree, grads: PyTree) -> tuple[PyTree, PyTree]:
            self.traced.append("jitted_step")
            return self.step(params, state, grads)

        return step

    @functools.cached_property
    def jitted_step(self) -> Any:  # jax has no public type with `_cache_size`
        """The jitted step, which is compiled once for all checks."""
        return jax.jit(self.counted_step)

    @functools.cached_property
    def jitted_update(self) -> Any:
        """The jitted update, which is only traced and lowered, once for each dtype."""
        return jax.jit(lambda grads, state, params: self.update(grads, state, params))

    def shapes_after(self, dtype: str, grad_dtype: str) -> tuple[PyTree, PyTree]:
        """Returns the first state, and the shapes of what an update returns."""
        key = dtype, grad_dtype
        if key not in self._shapes_after:
            params, grads = self.params(dtype), self.grads(grad_dtype)
            state = self.init(params)
            self._shapes_after[key] = state, self.jitted_update.eval_shape(grads, state, params)
        return self._shapes_after[key]

    @functools.cached_property
    def _shapes_after(self) -> dict[tuple[str, str], tuple[PyTree, PyTree]]:
        return {}

    @functools.cached_property
    def mapped_step(self) -> Callable[..., tuple[PyTree, PyTree]]:
        """The jitted step, mapped over a leading axis of all its arguments."""
        return jax.jit(jax.vmap(self.step))

    @functools.cached_property
    def slopes(self) -> Callable[..., list[jax.Array]]:
        """The jitted derivative of a step by gradients and hyperparameters.

        `(params, state, grads, hyperparams, tangents of the last two) -> tangents of the step`.
        """

        def slopes(
            params: PyTree,
            state: PyTree,
            grads: PyTree,
            hyperparams: dict[str, jax.Array],
            tangents: tuple[PyTree, dict[str, jax.Array]],
        ) -> list[jax.Array]:
            def step(grads: PyTree, hyperparams: dict[str, jax.Array]) -> list[jax.Array]:
                new = set_hyperparams(state, hyperparams) if hyperparams else state
                after = jax.tree.leaves(self.step(params, new, grads))
                return [x for x in after if jnp.issubdtype(x.dtype, jnp.inexact)]

            return jax.jvp(step, (grads, hyperparams), tangents)[1]

        return jax.jit(slopes)

    def run(self, steps: int = 2) -> tuple[PyTree, PyTree]:
        """Returns parameters and state after some jitted steps."""
        params, state = self.params(), self.state
        for seed in range(1, steps + 1):
            params, state = self.jitted_step(params, state, self.grads(seed=seed))
        return params, state


def _normal(
    shapes: PyTree, dtype: DTypeLike, seed: int, is_leaf: Callable[[object], bool]
) -> PyTree:
    """Returns normally distributed arrays of these shapes."""
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> jax.Array:
        x = rng.standard_normal(shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            x = x + 1j * rng.standard_normal(shape)
        return jnp.asarray(x.astype(dtype))  # NumPy compiles no program

    return jax.tree.map(draw, shapes, is_leaf=is_leaf)


def settable(state: PyTree) -> dict[str, jax.Array]:
    """Returns the hyperparameters that can be set, which are those without a schedule."""
    scheduled, values = scheduled_hyperparams(state), get_hyperparams(state, default={})
    return {k: v for k, v in values.items() if k not in scheduled}
