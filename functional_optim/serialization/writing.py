"""Writes a state as a flat dictionary."""

from typing import Any, TypeVar

import jax
import numpy as np

from ..core.leaf.quantized import decode_state
from ..core.protocol import PyTree
from .names import Names
from .placing import HostArray, is_key
from .quantized_parts import split_parts
from .versions import FORMAT_VERSION, VERSION_KEY

__all__ = ["check_addressable", "named_arrays", "to_state_dict"]

T = TypeVar("T")


def to_state_dict(state: PyTree) -> dict[str, HostArray]:
    """Writes a state as a flat dictionary of NumPy arrays under readable names.

    A name is the dotted path in the state, `scale_by_adam.mu.dense.kernel`. A vector in the state
    with an element for each parameter, such as `leaf_counts`, has a name for each element:
    `scale_by_adam.leaf_counts.dense.kernel`. Arrays keep their dtypes, bfloat16 as the dtype of
    `ml_dtypes`. Random keys are written as their data, and arrays that `low_bit_state` quantized
    as their parts, `scale_by_adam.mu.dense.kernel.codes`. `_format_version` is the version of this
    format. The arrays are copies: donating the state to a step does not change them.

    Args:
      state: the state of any transformation, or any tree that contains states, such as
        `{"params": ..., "state": ...}`.

    Raises:
      ValueError: two arrays have one name, or an array is sharded over several processes.

    Example:
      >>> import functional_optim as fo
      >>> for name, x in fo.to_state_dict(fo.chain(fo.trace(0.5)).init({"w": 0.0})).items():
      ...     print(name, x)
      _format_version 2
      trace.count 0
      trace.hyperparams.decay 0.5
      trace.trace.w 0.0
    """
    named = named_arrays("to_state_dict", state)
    host = jax.device_get([check_addressable("to_state_dict", k, x) for k, x in named.items()])
    return {k: np.array(x) for k, x in zip(named, host, strict=True)}


def check_addressable(function: str, name: str, x: T) -> T:
    """Returns the array, of which this process must be able to read every element.

    Raises:
      ValueError: this process has only some of the array's shards.
    """
    if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
        raise ValueError(
            f"{function}: '{name}' is sharded over several processes, and this process has only "
            "a part of it. Use interop.orbax, where each process writes its own shards, or gather "
            "the array first: jax.experimental.multihost_utils.process_allgather(..., tiled=True)."
        )
    return x


def named_arrays(function: str, tree: PyTree) -> dict[str, Any]:
    """Returns the arrays of a tree by name.

    An array that holds items of several parameters is copied to the host, and divided. All other
    arrays stay on their devices.
    """
    names = Names(function, tree)
    arrays = [_key_data(x) for x in names.arrays]
    with_items = {name.array for name in names.names.values() if name.item is not None}
    for i in with_items:
        arrays[i] = np.asarray(jax.device_get(decode_state(arrays[i])))
    named: dict[str, Any] = {VERSION_KEY: np.array(FORMAT_VERSION, np.int32)}
    for path, name in names.names.items():
        x = arrays[name.array]
        named |= split_parts(path, x if name.item is None else np.take(x, name.item, name.axis))
    return named


def _key_data(x: Any) -> Any:
    """Returns the array, or the data of a random key."""
    return jax.random.key_data(x) if is_key(x) else x
