"""A stand-in for the parameters, which shows where a state has trees shaped like them."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["AnyParams", "is_any_params"]


class AnyParams(NamedTuple):
    """Takes the place of parameters of any structure in a call of `init`: a tree with one leaf.

    In the state that `init` returns, an `AnyParams` is at each place of a tree shaped like the
    parameters. Masks and labels pass this leaf to all their transformations.
    """

    leaf: np.ndarray[Any, Any] = np.zeros((1, 1), np.float32)


def is_any_params(params: object) -> bool:
    """Tells whether params is a stand-in for parameters of any structure, ours or optax's.

    `optax.tree_map_params` calls `init` with an empty node of a private class.
    """
    return isinstance(params, AnyParams) or type(params).__name__ == "_ParamsPlaceholder"
