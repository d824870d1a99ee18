"""A stand-in for the parameters, by which one finds where a state keeps trees shaped like them."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["AnyParams"]


class AnyParams(NamedTuple):
    """Stands for parameters of whatever structure, as one leaf: a rule asks it for its slots.

    Masks and labels route this leaf everywhere.
    """

    leaf: Any = np.zeros((1, 1), np.float32)
