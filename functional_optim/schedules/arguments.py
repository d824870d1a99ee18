"""Sorts the arguments of a factory into hyperparameters, schedules and static values."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..core.functions import as_function, program_key
from ..core.protocol import PyTree
from ..core.rules.schedule import NumberedSchedule

__all__ = ["HashableValue", "StaticPart", "is_hyperparameter", "is_schedule", "join", "split"]

StaticPart = tuple[jax.tree_util.PyTreeDef, tuple[bool, ...], tuple[object, ...]]
"""The structure of a tree, whether each leaf is an array, and the leaves that are not."""


@dataclasses.dataclass(frozen=True)
class HashableValue:
    """A value with a hash: of its contents if they can be read, or else of its identity."""

    value: Any = dataclasses.field(compare=False)
    key: Hashable

    @classmethod
    def of(cls, value: object) -> "HashableValue":
        """Wraps a value."""
        key = program_key(value)
        return cls(value, object() if key is None else key)

    def __reduce__(self) -> tuple[Callable[[object], "HashableValue"], tuple[object]]:
        return HashableValue.of, (self.value,)


def is_schedule(name: str, value: object) -> bool:
    """Tells whether an argument is a function of the step that gives a number."""
    if isinstance(value, NumberedSchedule):
        return True
    if not callable(value) or isinstance(value, type) or "mask" in name or name.endswith("_fn"):
        return False
    try:
        with jax.numpy_dtype_promotion("standard"):
            result = jax.eval_shape(value, jax.ShapeDtypeStruct((), np.int32))
    except Exception:  # A callable that does not take a step may raise any exception.
        return False
    return getattr(result, "shape", None) == () and _is_real(result.dtype)


def is_hyperparameter(value: Any, default: object) -> bool:
    """Tells whether an argument is a number that does not change the program."""
    if not isinstance(value, (int, float)) and not _is_array(value):
        return False
    if np.shape(value) or not _is_real(jnp.result_type(value)):
        return False
    is_integer = not jnp.issubdtype(jnp.result_type(value), jnp.floating)
    return not (is_integer and isinstance(default, int))


def _is_array(x: object) -> bool:
    """Tells whether x is an array; dtypes of JAX also have a dtype, and are classes."""
    return hasattr(x, "dtype") and not isinstance(x, type)


def _is_real(dtype: np.dtype[Any]) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def split(tree: PyTree) -> tuple[list[ArrayLike], StaticPart]:
    """Splits a tree into its arrays and floats, and a static part, hashable if its leaves are."""
    leaves, treedef = jax.tree.flatten(tree)
    dynamic = [_is_array(x) or isinstance(x, (float, complex)) for x in leaves]
    arrays = [x for x, is_array in zip(leaves, dynamic, strict=True) if is_array]
    others = tuple(
        None if is_array else as_function(x) if callable(x) else x
        for x, is_array in zip(leaves, dynamic, strict=True)
    )
    return arrays, (treedef, tuple(dynamic), others)


def join(arrays: list[ArrayLike], static: StaticPart) -> PyTree:
    """Builds the tree from the results of `split`."""
    treedef, dynamic, others = static
    remaining = iter(arrays)
    pairs = zip(dynamic, others, strict=True)
    return treedef.unflatten([next(remaining) if is_array else x for is_array, x in pairs])
