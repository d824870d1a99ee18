"""From a state to a flat dictionary."""

from typing import Any

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.stored import decode_state
from .forms import parts_of
from .naming import Names
from .placing import is_key
from .versions import FORMAT_VERSION, VERSION_KEY

__all__ = ["named_arrays", "to_state_dict", "whole"]

Host = np.ndarray[Any, Any]


def to_state_dict(state: PyTree) -> dict[str, Host]:
    """Writes a state as a flat dictionary of NumPy arrays under readable names.

    A name is the dotted path in the state, `scale_by_adam.mu.dense.kernel`. What a link counts
    and remembers of each parameter, a vector in the state, has a name for each parameter:
    `scale_by_adam.steps.dense.kernel`. Arrays keep their dtypes, bfloat16 as that of
    `ml_dtypes`; of random keys stands their data, and of what `low_bit_state` holds in fewer bits
    its parts, `scale_by_adam.mu.dense.kernel.codes`. `_format_version` says which version of this
    format it is. The arrays are copies: a step that is given the state's memory leaves them alone.

    Args:
      state: of any transformation, or any tree that holds states: `{"params": ..., "state": ...}`.

    Raises:
      ValueError: two arrays have one name, or an array is spread over several processes.

    Example:
      >>> import functional_optim as fo
      >>> for name, x in fo.to_state_dict(fo.chain(fo.trace(0.5)).init({"w": 0.0})).items():
      ...     print(name, x)
      _format_version 1
      trace.count 0
      trace.steps.w 0
      trace.hyperparams.dampening 0.0
      trace.hyperparams.decay 0.5
      trace.memory.started.w 0.0
      trace.trace.w 0.0
    """
    named = named_arrays("to_state_dict", state)
    host = jax.device_get([whole("to_state_dict", k, x) for k, x in named.items()])
    return {k: np.array(x) for k, x in zip(named, host, strict=True)}


def whole(who: str, name: str, x: Any) -> Any:
    """The array itself.

    Raises:
      ValueError: this process has only parts of it.
    """
    if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
        raise ValueError(
            f"{who}: '{name}' is spread over several processes, and this one has a part of it. Use "
            "interop.orbax, where each writes what it has, or gather it first: "
            "jax.experimental.multihost_utils.process_allgather(..., tiled=True)."
        )
    return x


def named_arrays(who: str, tree: PyTree) -> dict[str, Any]:
    """The arrays of a tree under their names, where they are; those of several parameters come
    to the host."""
    known = Names(who, tree)
    arrays = [_data(x) for x in known.arrays]
    shared = {name.array for name in known.names.values() if name.item is not None}
    for i in shared:
        arrays[i] = np.asarray(jax.device_get(decode_state(arrays[i])))
    named = {VERSION_KEY: np.array(FORMAT_VERSION, np.int32)}
    for path, name in known.names.items():
        x = arrays[name.array]
        named |= parts_of(path, x if name.item is None else np.take(x, name.item, name.axis))
    return named


def _data(x: Any) -> Any:
    """The array, or what a random key consists of."""
    return jax.random.key_data(x) if is_key(x) else x
