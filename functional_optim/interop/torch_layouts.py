"""Names and layouts of the arrays of layers in torch, Flax and Equinox."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["LAYOUTS", "Layout", "Source", "is_statistic", "reshaped", "sources"]

Array = np.ndarray


class Layout(NamedTuple):
    """The conventions of a library.

    Attributes:
      leaves: name of an array in the library -> name in torch, where they differ.
      transposes: names of arrays in the library whose last axes are inputs and outputs, in this
        order, after the axes of space; in torch, outputs and inputs are first.
    """

    leaves: Mapping[str, str]
    transposes: frozenset[str]


LAYOUTS = {
    "flax": Layout(
        {
            **dict.fromkeys(("kernel", "scale", "embedding"), "weight"),
            "mean": "running_mean",
            "var": "running_var",
        },
        frozenset({"kernel"}),
    ),
    "equinox": Layout({}, frozenset()),
    "torch": Layout({}, frozenset()),
}

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

_OF_ATTENTION = {
    **dict.fromkeys(("query", "query_proj", "q_proj"), "q"),
    **dict.fromkeys(("key", "key_proj", "k_proj"), "k"),
    **dict.fromkeys(("value", "value_proj", "v_proj"), "v"),
    **dict.fromkeys(("out", "output_proj", "out_proj"), "out"),
}
"""Modules within an attention layer -> their names in torch's MultiheadAttention."""


class Source(NamedTuple):
    """The place of an array in a model of torch.

    Attributes:
      name: name of the parameter or buffer.
      third: index of a third of the rows, if one array projects to queries, keys and values.
    """

    name: str
    third: int | None = None

    def of(self, x: Array) -> Array:
        """Returns the part of an array of torch that belongs to this source."""
        return x if self.third is None else np.split(x, 3)[self.third]


def is_statistic(name: str) -> bool:
    """Tells whether an entry of a model is a statistic of normalization, not a parameter."""
    return name.rpartition(".")[2] in _STATISTICS


def sources(module: str, leaf: str) -> list[Source]:
    """Lists the sources for the array `leaf` of a module; the first that exists is used."""
    parent, _, name = module.rpartition(".")
    candidates = [Source(_join(module, leaf))]
    part = _OF_ATTENTION.get(name)
    if part == "out":
        candidates.append(Source(_join(parent, f"out_proj.{leaf}")))
    elif part is not None:
        candidates.append(Source(_join(parent, f"{part}_proj_{leaf}")))
        candidates.append(Source(_join(parent, f"in_proj_{leaf}"), "qkv".index(part)))
    return candidates


def _join(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def reshaped(x: Array, shape: tuple[int, ...], transpose: bool) -> Array | None:
    """Returns an array of torch with the given shape; None if it does not fit.

    The outputs and inputs of a kernel, and a bias, may have several axes in the new shape: heads,
    or axes of length 1.
    """
    if transpose and x.ndim > 1:
        x = np.moveaxis(x, (0, 1), (-1, -2))
    return x.reshape(shape) if _splits(x.shape, shape) else None


def _splits(shape: tuple[int, ...], parts: tuple[int, ...]) -> bool:
    """Tells whether each axis is a product of consecutive axes of `parts`."""
    if shape == parts:
        return True
    if not shape:
        return all(n == 1 for n in parts)
    sizes = [math.prod(parts[:i]) for i in range(1, len(parts) + 1)]
    heads = [i + 1 for i, n in enumerate(sizes) if n == shape[0]]
    return any(_splits(shape[1:], parts[i:]) for i in heads)
