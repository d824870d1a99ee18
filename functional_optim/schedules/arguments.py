"""Which arguments of a call are numbers, which are schedules, and what must be hashed as it is."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.functions import as_function, program_key
from ..core.protocol import PyTree
from ..core.rules.schedule import NumberedSchedule

__all__ = ["Held", "is_hyperparameter", "is_schedule", "join", "split"]


@dataclasses.dataclass(frozen=True)
class Held:
    """Any value as one that can be hashed: by what can be read of it, or else by its identity."""

    value: Any = dataclasses.field(compare=False)
    key: Any

    @classmethod
    def of(cls, value: Any) -> "Held":
        """Holds a value."""
        key = program_key(value)
        return cls(value, object() if key is None else key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Held.of, (self.value,)


def is_schedule(name: str, value: Any) -> bool:
    """Tells whether an argument is a function of the step that gives a number."""
    if isinstance(value, NumberedSchedule):
        return True
    if not callable(value) or isinstance(value, type) or "mask" in name or name.endswith("_fn"):
        return False
    try:
        with jax.numpy_dtype_promotion("standard"):
            found = jax.eval_shape(value, jax.ShapeDtypeStruct((), np.int32))
    except Exception:  # whatever it was written for, it is not for a step
        return False
    return getattr(found, "shape", None) == () and _is_real(found.dtype)


def is_hyperparameter(value: Any, default: Any) -> bool:
    """Tells whether an argument is a number that does not shape the program."""
    if not isinstance(value, (int, float)) and not _is_array(value):
        return False
    if np.shape(value) or not _is_real(jnp.result_type(value)):
        return False
    whole = not jnp.issubdtype(jnp.result_type(value), jnp.floating)
    return not (whole and isinstance(default, int))


def _is_array(x: Any) -> bool:
    """Tells whether x is an array; a dtype of JAX, which also has a dtype, is not one."""
    return hasattr(x, "dtype") and not isinstance(x, type)


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def split(tree: PyTree) -> tuple[list[Any], Any]:
    """Splits a tree into its arrays and floats, and the rest, hashable if its parts are."""
    leaves, treedef = jax.tree.flatten(tree)
    dynamic = [_is_array(x) or isinstance(x, (float, complex)) for x in leaves]
    arrays = [x for x, is_array in zip(leaves, dynamic, strict=True) if is_array]
    rest = tuple(
        None if is_array else as_function(x) if callable(x) else x
        for x, is_array in zip(leaves, dynamic, strict=True)
    )
    return arrays, (treedef, tuple(dynamic), rest)


def join(arrays: list[Any], rest: Any) -> PyTree:
    """Joins a tree that was split."""
    treedef, dynamic, others = rest
    found = iter(arrays)
    pairs = zip(dynamic, others, strict=True)
    return treedef.unflatten([next(found) if is_array else x for is_array, x in pairs])
