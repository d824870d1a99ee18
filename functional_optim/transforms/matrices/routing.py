"""Finds the matrices among the parameters: by a user's description, or by names and shapes."""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp

from ...core.protocol import PyTree
from ...core.trees.labels import Labeller, as_labeller, as_rules, first_rules
from ...core.trees.structure import key_paths, leaf_paths, without_containers
from .axes import MatrixAxes, as_matrix_axes
from .by_name import ByName, Layer, Unclear, Vectors, layers_by_name, text_of

__all__ = ["MatrixLeaves", "OnlyMatrices", "UnclearMatrices", "axes_by_name", "shown", "two_axes"]

EXCLUDED = Vectors("by its axes, which are None")


class UnclearMatrices(ValueError):
    """Raised if names and shapes do not decide whether a parameter is a matrix.

    Attributes:
      kinds: dotted path of each parameter -> how the rules see it.
    """

    def __init__(self, message: str, kinds: dict[str, str]):
        super().__init__(message)
        self.kinds = kinds


@dataclasses.dataclass(frozen=True)
class axes_by_name:
    """Finds the matrices of a tree by rules on paths and shapes, then by the names of layers.

    The first rule that matches a parameter decides: a pattern is searched in the dotted path, a
    predicate is called with that path and the parameter. All other parameters are decided by names:

    - A `kernel` or `w` is `(inputs, outputs)`, and a `weight` is `(outputs, inputs)`: Flax, Haiku;
      Equinox, torch. Convolutions are flattened to `(positions and inputs, outputs)`. Query, key,
      value and out of Flax's attention are joined over heads; `c_attn`, `qkv` and the like are
      split in three.
    - Biases, scales, normalizations, embeddings, heads, depthwise and first convolutions (up to 4
      input channels) are not matrices. Names are searched in the last two keys of the path.
    - A stack of layers, with one more axis in front, is recognized by its biases and scales, or by
      the biases and scales of the smallest subtree that has some of the same length. Under
      `experts`, the first axis counts matrices.
    - Any other parameter of two axes is a matrix `(inputs, outputs)`.
    - Any other parameter of three or more axes is an error, which lists all parameters.

    Args:
      rules: pattern -> `MatrixAxes`; or a sequence of pairs (pattern or predicate, `MatrixAxes`).
        None in place of `MatrixAxes` for a parameter that is not a matrix.

    Raises:
      ValueError: a pattern is not a regular expression; or, when called, a rule matches no
        parameter, or a parameter is neither a matrix nor known not to be one.

    Example:
      >>> import jax.numpy as jnp
      >>> axes = axes_by_name({"layers": MatrixAxes(1, 2)})
      >>> params = {"layers": jnp.zeros((4, 8, 8)), "wte": {"embedding": jnp.zeros((9, 8))}}
      >>> axes(params)["layers"]
      MatrixAxes(inputs=1, outputs=2, split_inputs=1, split_outputs=1)
      >>> axes(params)["wte"]["embedding"]
      Vectors(reason="an embedding by the name 'embedding'")
    """

    rules: Any = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", as_rules("axes_by_name", self.rules))

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the tree of `MatrixAxes`, and of reasons where a parameter is not a matrix."""
        paths = leaf_paths(params)
        leaves = [ByName.of(path, jnp.shape(x)) for path, x in key_paths(params)]
        texts = [f"the rule {test!r}" for test, _ in self.rules]
        chosen = first_rules("axes_by_name", self.rules, texts, without_containers(params))
        layers = [
            layer if i is None else _as_layer(self.rules[i][1])
            for layer, i in zip(layers_by_name(leaves), chosen, strict=True)
        ]
        if any(isinstance(layer, Unclear) for layer in layers):
            raise _unclear_error(paths, leaves, layers)
        treedef: Any = jax.tree.structure(without_containers(params))
        return treedef.unflatten(layers)


def two_axes(params: PyTree) -> PyTree:
    """Returns plain `MatrixAxes` for each parameter with two axes, and None for all others."""
    return jax.tree.map(lambda p: MatrixAxes() if jnp.ndim(p) == 2 else None, params)


def _as_layer(axes: object) -> Layer:
    if axes is None:
        return EXCLUDED
    if isinstance(axes, Vectors):
        return axes
    spec = as_matrix_axes(axes)
    if spec is None:
        raise TypeError(
            f"each entry of a tree of axes must be MatrixAxes or None, got {axes!r}. Pass "
            "MatrixAxes(inputs, outputs)."
        )
    return spec


def _unclear_error(paths: list[str], leaves: list[ByName], layers: list[Layer]) -> UnclearMatrices:
    """Returns the error of a tree with unclear parameters, with a line that resolves it."""
    unclear = [i for i, layer in enumerate(layers) if isinstance(layer, Unclear)]
    kinds = {
        path: shown(layer, leaf.shape)
        for path, leaf, layer in zip(paths, leaves, layers, strict=True)
    }
    lines = [
        f"{'?' if i in unclear else ' '} {path}: {list(leaf.shape)}, {kind}"
        for i, ((path, kind), leaf) in enumerate(zip(kinds.items(), leaves, strict=True))
    ]
    rules = [
        f'    r"^{re.escape(paths[i])}$": fo.MatrixAxes({ndim - 2}, {ndim - 1}),'
        for i in unclear
        for ndim in [len(leaves[i].shape)]
    ]
    message = (
        f"{len(unclear)} of {len(paths)} parameters may be matrices or not, and their names do not "
        "tell:\n" + "\n".join(lines) + "\nWrite which they are: MatrixAxes with the axes of the "
        "inputs and of the outputs, or None for a parameter without matrices:\nfo.axes_by_name({\n"
        + "\n".join(rules)
        + "\n})"
    )
    return UnclearMatrices(message, kinds)


def shown(layer: Layer, shape: tuple[int, ...]) -> str:
    """Describes how the rules see a parameter: `12 matrices of 768 x 2304, split in 3`."""
    if not isinstance(layer, MatrixAxes):
        return layer.reason
    batch, rows, columns = layer.axes(shape)
    count, *sides = (math.prod(shape[i] for i in axes) for axes in (batch, rows, columns))
    which = f"{count} matrices of" if batch else "a matrix of"
    parts = [len(p) for p in layer.parts(shape)]
    split = " x ".join(str(n) for n in parts if n > 1)
    return f"{which} {text_of(sides)}" + (f", split in {split}" if split else "")


@dataclasses.dataclass(frozen=True)
class MatrixLeaves:
    """Finds for each parameter its `MatrixAxes`, or the reason why it has none.

    Attributes:
      rule: name of the rule, for errors.
      argument: name of the argument with the axes, for errors.
      labeller: function of the parameters that returns a tree of `MatrixAxes`, or a prefix of
        one, with None for a parameter that is not a matrix.
    """

    rule: str
    argument: str
    labeller: Labeller

    @classmethod
    def of(cls, axes: PyTree | Labeller, rule: str, argument: str = "axes") -> "MatrixLeaves":
        """Makes a hashable object from a tree or a function; with None, names decide."""
        if axes is None:
            return cls(rule, argument, axes_by_name())
        if isinstance(axes, axes_by_name):
            return cls(rule, argument, axes)
        return cls(rule, argument, as_labeller(_as_leaves(axes)))

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the axes of the parameters."""
        try:
            entries = self.labeller(params)
            # None is an entry too: that parameter has no matrices.
            return jax.tree.map(_as_layer, entries, is_leaf=_is_entry)
        except (TypeError, ValueError) as error:
            error.args = (f"{self.rule}: {self.argument}: {error}",)
            raise

    def where(self, matrices: bool) -> "OnlyMatrices":
        """Makes a mask of the matrices, or of all other parameters."""
        return OnlyMatrices(self, matrices)


def _is_entry(x: object) -> bool:
    return x is None or as_matrix_axes(x) is not None


def _as_leaves(axes: PyTree) -> PyTree:
    """Replaces optax's `MuonDimensionNumbers`, which are nodes of a tree, by `MatrixAxes`."""
    if callable(axes):
        return axes
    return jax.tree.map(lambda x: as_matrix_axes(x) or x, axes, is_leaf=_is_entry)


@dataclasses.dataclass(frozen=True)
class OnlyMatrices:
    """A mask of the matrices of a tree, or of all other parameters."""

    leaves: MatrixLeaves
    matrices: bool

    def __repr__(self) -> str:
        return "matrices" if self.matrices else "all but matrices"

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the mask."""
        layers = self.leaves(params)
        return jax.tree.map(lambda x: isinstance(x, MatrixAxes) == self.matrices, layers)
