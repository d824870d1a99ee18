"""A stand-in for the parameters, by which one finds where a state keeps trees shaped like them."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["AnyParams", "is_any_params"]


class AnyParams(NamedTuple):
    """Stands for parameters of whatever structure, as one leaf: a rule asks it for its slots.

    Masks and labels route this leaf everywhere.
    """

    leaf: Any = np.zeros((1, 1), np.float32)


def is_any_params(params: Any) -> bool:
    """Tells whether these stand for parameters of whatever structure: ours, or those of optax.

    `optax.tree_map_params` calls `init` with an empty node of a class of its own.
    """
    return isinstance(params, AnyParams) or type(params).__name__ == "_ParamsPlaceholder"
