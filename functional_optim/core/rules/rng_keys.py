"""Keys of random numbers, as users pass them and as states store them."""

import dataclasses
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Key", "as_key", "key_at"]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Key:
    """A hashable key: a seed, or the words of a key, and the name of its generator.

    Attributes:
      value: a seed, or the words of a key; either may be traced.
      generator: name of the generator; None for JAX's default.
    """

    value: int | tuple[int, ...] | Array
    generator: str | None = None

    def words(self) -> Array:
        """Returns the key as integers `(k,)`, a dtype that every checkpoint format knows."""
        if isinstance(self.value, tuple):
            return jnp.array(self.value, np.uint32)
        if jnp.ndim(self.value) == 1:
            return jnp.asarray(self.value)
        return jax.random.key_data(jax.random.key(self.value, impl=self.generator))


def as_key(value: Any, where: str) -> Key:
    """Views a key of `jax.random.key` or `PRNGKey`, or an integer, as a `Key`.

    Raises:
      TypeError: value is not a key or an integer; the message starts with `where`.
    """
    if isinstance(value, (jax.Array, np.ndarray)):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) and not value.ndim:
            return Key(_hashable(jax.random.key_data(value)), str(jax.random.key_impl(value)))
        # The words of a key, as `PRNGKey` returns them.
        if value.dtype == np.uint32 and value.ndim == 1:
            return Key(_hashable(value))
        if jnp.issubdtype(value.dtype, jnp.integer) and not value.ndim:
            return Key(value if isinstance(value, jax.core.Tracer) else int(value))
    elif not isinstance(value, (bool, np.bool_)):
        # Accepts integers of any library, and no floats.
        try:
            return Key(operator.index(value))
        except TypeError:
            pass
    raise TypeError(
        f"{where} must be an integer or a key of jax.random.key, got {value!r}. Pass 0, for "
        "example: the same key gives the same random numbers."
    )


def _hashable(words: Array | np.ndarray[Any, Any]) -> Array | tuple[int, ...]:
    if isinstance(words, jax.core.Tracer):
        return words
    # Python integers, so that a transformation with the key is hashable.
    return tuple(np.asarray(words).tolist())


def key_at(words: Array, generator: str | None, count: Array) -> Array:
    """Returns the key for the step that follows `count` steps."""
    return jax.random.fold_in(jax.random.wrap_key_data(words, impl=generator), count)
