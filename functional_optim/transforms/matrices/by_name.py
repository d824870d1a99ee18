"""Recognizes layers by the names and shapes that Flax, Equinox, Haiku and torch give them."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

from ...core.state import KeyPath
from ...core.trees.structure import path_string
from .axes import MatrixAxes

__all__ = ["ByName", "Layer", "Unclear", "Vectors", "layers_by_name"]

Shape = tuple[int, ...]

# Leaves that are vectors in every layer; a further axis in front is of stacked layers.
VECTOR = re.compile(r"^(bias|scale|offset|gamma|beta)$|_(bias|scale)$")
NORM = re.compile(r"norm|^(ln|bn|gn)(_?\d+|_[a-z]\w*)?$", re.I)
EMBEDDING = re.compile(r"embed|(^|_)(emb|wte|wpe|vocab)(_|\d|$)", re.I)
HEAD = re.compile(
    r"^(head|lm_head|logits?|classifier|unembed\w*|readout)(_?\d+)?$|(?<!multi)_(head|classifier)$",
    re.I,
)
CONV = re.compile(r"conv", re.I)
FIRST = re.compile(r"patch_?embed|(^|_)stem(_|$)|conv_(init|in|stem|first)$", re.I)
DEPTHWISE = re.compile(r"depthwise|dw_?conv|(^|_)dw(_|$)", re.I)
EXPERTS = re.compile(r"expert", re.I)
QUERY = re.compile(r"^(query|key|value|q|k|v)(_proj)?$", re.I)
OUT = re.compile(r"^(out|o)(_proj)?$", re.I)
FUSED = {
    3: re.compile(r"^(c_attn|qkv|qkv_proj|in_proj|query_key_value|wqkv)$", re.I),
    2: re.compile(r"^(gate_up|gate_up_proj|kv|kv_proj)$", re.I),
}
WEIGHTS = ("kernel", "w", "weight", "in_proj_weight")
ROWS_ARE_OUTPUTS = ("weight", "in_proj_weight")
"""Names of torch and Equinox, whose weights are `(outputs, inputs)`."""


@dataclasses.dataclass(frozen=True)
class Vectors:
    """A parameter without matrices, and the reason: `an embedding`.

    Attributes:
      reason: why it has no matrices.
      axes: the axes of a first convolution, for rules that take it as a matrix.
    """

    reason: str
    axes: MatrixAxes | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Unclear:
    """A parameter that may or may not be matrices, and the reason."""

    reason: str


Layer = MatrixAxes | Vectors | Unclear


@dataclasses.dataclass(frozen=True)
class ByName:
    """The path and the shape of a parameter, with the names in it.

    Attributes:
      path: the keys, as text.
      shape: its shape.
    """

    path: tuple[str, ...]
    shape: Shape

    @classmethod
    def of(cls, path: KeyPath, shape: Shape) -> "ByName":
        """Writes the keys of a path as text."""
        return cls(tuple(path_string((key,)) for key in path), shape)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The keys that are names, and not numbers; Haiku's have slashes."""
        keys = [part for key in self.path for part in key.split("/")]
        return tuple(k for k in keys if k not in ("", "~") and not k.isdigit())

    @property
    def name(self) -> str:
        """The last name: `kernel`."""
        return self.names[-1] if self.names else ""

    @property
    def owner(self) -> str:
        """The name of the layer."""
        return self.names[-2] if len(self.names) > 1 else ""

    @property
    def is_vector(self) -> bool:
        """Whether it is a vector in every layer, by its name."""
        is_named = VECTOR.search(self.name) or self.name == "b" or NORM.search(self.owner)
        return bool(is_named) and bool(self.shape)


Subtrees = Mapping[tuple[str, ...], Sequence[ByName]]
"""The vectors below each node of a tree, by the keys to that node."""


def layers_by_name(leaves: Sequence[ByName]) -> list[Layer]:
    """Decides for all parameters of a tree which are matrices, by their names and shapes.

    A stack of layers has one more axis in front. It is recognized by parameters that are vectors
    in every layer, as biases and scales: first by the layer's own bias, then by the vectors of
    the smallest subtree that has some, of the same length.
    """
    vectors = _vectors_below(leaves)
    layers = [_layer(leaf, leaves, vectors) for leaf in leaves]
    # A parameter of two axes next to an unclear one of the same length may be a stack of vectors.
    unclear = {
        (leaf.path[:-1], leaf.shape[0])
        for leaf, layer in zip(leaves, layers, strict=True)
        if isinstance(layer, Unclear)
    }
    for i, (leaf, layer) in enumerate(zip(leaves, layers, strict=True)):
        may_be_vectors = len(leaf.shape) == 2 and leaf.name not in WEIGHTS
        is_next_to_unclear = leaf.shape and (leaf.path[:-1], leaf.shape[0]) in unclear
        if isinstance(layer, MatrixAxes) and may_be_vectors and is_next_to_unclear:
            layers[i] = Unclear("a matrix, or a stack of vectors")
    return layers


def _vectors_below(leaves: Sequence[ByName]) -> Subtrees:
    vectors: dict[tuple[str, ...], list[ByName]] = {}
    for leaf in leaves:
        if leaf.is_vector:
            for depth in range(len(leaf.path)):
                vectors.setdefault(leaf.path[:depth], []).append(leaf)
    return vectors


def _layer(leaf: ByName, leaves: Sequence[ByName], vectors: Subtrees) -> Layer:
    if len(leaf.shape) < 2:
        return Vectors("a vector" if leaf.shape else "a scalar")
    special = _special(leaf)
    if special is not None:
        return special
    if leaf.name not in WEIGHTS:
        if EXPERTS.search(" ".join(leaf.names)) and len(leaf.shape) == 3:
            return MatrixAxes(1, 2)
        if len(leaf.shape) == 2:
            return MatrixAxes(0, 1)
        return Unclear(f"{len(leaf.shape)} axes, and an unknown name")
    experts = bool(EXPERTS.search(" ".join(leaf.names[:-1])))
    stacked = _stacked_axes(leaf, vectors)
    if stacked is None:
        if len(leaf.shape) > 2 and not experts and not CONV.search(leaf.owner):
            return Unclear("a stack of matrices, or a kernel of several axes")
        stacked = 0
    return _weight(leaf, stacked, experts, leaves)


def _special(leaf: ByName) -> Vectors | None:
    """Returns `Vectors` for a parameter that is not a matrix by its name, else None."""
    if VECTOR.search(leaf.name) or (leaf.name == "b" and leaf.owner):
        return Vectors(f"a vector by its name {leaf.name!r}")
    if NORM.search(leaf.owner):
        return Vectors(f"of a normalization, {leaf.owner!r}")
    if FIRST.search("/".join(leaf.names)):
        return Vectors("a first layer by its name")
    for name in (leaf.name, leaf.owner):
        if EMBEDDING.search(name):
            return Vectors(f"an embedding by the name {name!r}")
        if HEAD.search(name):
            return Vectors(f"a head by the name {name!r}")
        if DEPTHWISE.search(name):
            return Vectors(f"a depthwise convolution by the name {name!r}")
    return None


def _stacked_axes(leaf: ByName, vectors: Subtrees) -> int | None:
    """Returns the number of axes of stacked layers; None if the tree does not show it."""
    own_depth = len(leaf.path) - 1
    for depth in range(own_depth, -1, -1):
        counts = {
            count
            for vector in vectors.get(leaf.path[:depth], ())
            for count in _axes_in_front(vector, leaf if depth == own_depth else None)
            # Stacks of another length are of other layers.
            if vector.shape[:count] == leaf.shape[:count]
        }
        if counts:
            return counts.pop() if len(counts) == 1 else None
    return None


def _axes_in_front(vector: ByName, weight: ByName | None) -> list[int]:
    """Lists the possible number of axes in front of a vector; an empty list if it is unknown.

    Args:
      vector: a vector of the subtree.
      weight: the weight whose bias it may be.
    """
    shape = vector.shape
    while len(shape) > 1 and shape[-1] == 1:  # Equinox has (outputs, 1, 1) for a convolution
        shape = shape[:-1]
    own_axes = 1
    if weight is not None and weight.name == "kernel" and len(shape) > 1:
        # A bias has the trailing axes of its kernel that are outputs: heads and their size.
        if QUERY.search(weight.owner) and weight.shape[-2:] == shape[-2:]:
            own_axes = 2
        if FUSED[3].search(weight.owner) and weight.shape[-3:] == shape[-3:]:
            own_axes = 3
    elif weight is None and vector.name == "bias" and QUERY.search(vector.owner):
        return []  # it may have heads
    return [len(shape) - own_axes] if len(shape) >= own_axes else []


def _weight(leaf: ByName, stacked: int, experts: bool, leaves: Sequence[ByName]) -> Layer:
    """Returns the axes of a weight whose stacked layers are known."""
    first = stacked + experts
    layer_shape = leaf.shape[first:]
    flipped = leaf.name in ROWS_ARE_OUTPUTS
    if len(layer_shape) == 2:
        rows, columns = (first + 1, first) if flipped else (first, first + 1)
        return _fused(leaf, MatrixAxes(rows, columns))
    if len(layer_shape) < 2:
        return Vectors("a vector") if len(layer_shape) == 1 else Unclear("no axes of a matrix")
    if CONV.search(leaf.owner) or (flipped and _has_conv_bias(leaf, leaves)):
        return _convolution(leaf, first, flipped, leaves)
    if len(layer_shape) == 3 and leaf.name == "kernel":
        if QUERY.search(leaf.owner):
            return MatrixAxes(first, (first + 1, first + 2))
        if OUT.search(leaf.owner):
            return MatrixAxes((first, first + 1), first + 2)
    if len(layer_shape) == 4 and FUSED[3].search(leaf.owner) and layer_shape[1] == 3:
        return MatrixAxes(first, (first + 2, first + 3))
    return Unclear(f"{len(layer_shape)} axes of one layer, and the unknown name {leaf.owner!r}")


def _fused(leaf: ByName, axes: MatrixAxes) -> Layer:
    """Splits a fused weight by its name."""
    name = leaf.owner if leaf.name in ("kernel", "w", "weight") else leaf.name
    name = "in_proj" if name == "in_proj_weight" else name
    assert isinstance(axes.inputs, int)
    assert isinstance(axes.outputs, int)
    inputs, outputs = leaf.shape[axes.inputs], leaf.shape[axes.outputs]
    for parts, names in FUSED.items():
        if names.search(name):
            if outputs % parts or (parts == 3 and outputs != 3 * inputs):
                return Unclear(f"fused by its name {name!r}, and not in {parts} equal parts")
            return dataclasses.replace(axes, split_outputs=parts)
    return axes


def _has_conv_bias(leaf: ByName, leaves: Sequence[ByName]) -> bool:
    """Tells whether a weight's bias has axes of length 1 after its outputs, as Equinox has."""
    return any(
        x.path[:-1] == leaf.path[:-1]
        and x.name == "bias"
        and len(x.shape) >= 2
        and set(x.shape[-(len(leaf.shape) - 2) :]) == {1}
        for x in leaves
    )


def _channels(leaf: ByName, first: int, flipped: bool) -> tuple[int, int]:
    """Returns the axes of the channels of a convolution, inputs and outputs."""
    last = len(leaf.shape) - 1
    return (first + 1, first) if flipped else (last - 1, last)


def _convolution(leaf: ByName, first: int, flipped: bool, leaves: Sequence[ByName]) -> Layer:
    """Returns the axes of a convolution, whose positions and input channels are joined."""
    inputs, outputs = _channels(leaf, first, flipped)
    channels = leaf.shape[inputs]
    may_be_depthwise = channels == 1 and leaf.shape[outputs] > 1
    if may_be_depthwise and not _is_followed(leaf, outputs, leaves):
        return Unclear("a depthwise convolution, or the first one of images with one channel")
    positions = [i for i in range(first, len(leaf.shape)) if i not in (inputs, outputs)]
    joined = (inputs, *positions) if flipped else (*positions, inputs)
    axes = MatrixAxes(joined, outputs)
    if channels <= 4:
        return Vectors(f"a first convolution, of {channels} channel{'s' * (channels > 1)}", axes)
    return axes


def _is_followed(leaf: ByName, outputs: int, leaves: Sequence[ByName]) -> bool:
    """Tells whether another weight takes as many inputs as this convolution has outputs."""
    size, axes = leaf.shape[outputs], len(leaf.shape)
    return any(
        x.path != leaf.path
        and len(x.shape) == axes
        and x.shape[1 if x.name in ROWS_ARE_OUTPUTS else -2] == size
        for x in leaves
    )


def text_of(shape: Sequence[int]) -> str:
    """Writes a shape: `768 x 2304`."""
    return " x ".join(map(str, shape))
