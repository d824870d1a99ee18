"""Finds the role and the ball of each parameter."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from ...core.protocol import PyTree
from ...core.rules.schedule import check_choice
from ...core.trees.labels import Labeller, as_labeller
from ...core.trees.structure import key_paths, leaf_paths, without_containers
from ...transforms.matrices import MatrixAxes, MatrixLeaves
from ...transforms.matrices.by_name import (
    CONV,
    EMBEDDING,
    FIRST,
    HEAD,
    NORM,
    OUT,
    ROWS_ARE_OUTPUTS,
    VECTOR,
    ByName,
    Layer,
    Vectors,
    layers_by_name,
)
from .balls import NORMS, Ball, ScionNorm

__all__ = ["NORMS_BY_ROLE", "RADII", "Labels", "Roles"]

NORMS_BY_ROLE: dict[str, ScionNorm] = {
    "hidden": ScionNorm("spectral"),
    "embedding": ScionNorm("sign", normalized=False),
    "head": ScionNorm("sign"),
    "vector": ScionNorm("bias_rms"),
}
"""Norms that the authors advise."""

RADII = {"hidden": 50.0, "embedding": 1.0, "head": 3000.0, "vector": 50.0}
"""Radii of the authors' GPT; the radius of embeddings is from their small GPT, whose weights
differ."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """Finds for each parameter its label, which is its role where the user gives none.

    Attributes:
      rule: the transformation to name in errors.
      leaves: the axes of the parameters.
      labeller: the user's labels, or None.
      norms: label -> norm.
    """

    rule: str
    leaves: MatrixLeaves
    labeller: Labeller | None
    norms: tuple[tuple[str, ScionNorm], ...]

    @classmethod
    def of(
        cls,
        rule: str,
        norms: Mapping[str, ScionNorm | str] | None,
        param_labels: PyTree | Labeller | None,
        axes: PyTree | Labeller | None,
    ) -> "Roles":
        """Makes a hashable object of the arguments of a factory."""
        custom_norms = {
            k: x
            if isinstance(x, ScionNorm)
            else ScionNorm(check_choice(x, f"{rule}: norms[{k!r}]", NORMS))
            for k, x in (norms or {}).items()
        }
        labeller = None if param_labels is None else as_labeller(param_labels)
        pairs = tuple((NORMS_BY_ROLE | custom_norms).items())
        return cls(rule, MatrixLeaves.of(axes, rule), labeller, pairs)

    def __repr__(self) -> str:
        return "roles"

    def labels(self, params: PyTree) -> PyTree:
        """Returns the tree of labels."""
        return _unflatten(params, [self._label(x) for x in self._parameters(params)])

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the tree of balls."""
        return _unflatten(params, [self._ball(x) for x in self._parameters(params)])

    def _parameters(self, params: PyTree) -> "list[_Parameter]":
        plain = without_containers(params)
        leaves = [ByName.of(path, jnp.shape(x)) for path, x in key_paths(params)]
        layers = jax.tree.leaves(jax.tree.broadcast(self.leaves(params), plain))
        labels = [None] * len(leaves)
        if self.labeller is not None:
            labels = jax.tree.leaves(
                jax.tree.broadcast(self.labeller(params), plain, is_leaf=_is_none),
                is_leaf=_is_none,
            )
        rows = zip(leaf_paths(params), leaves, layers, layers_by_name(leaves), labels, strict=True)
        return [_Parameter(*row) for row in rows]

    def _label(self, x: "_Parameter") -> str:
        if x.label is not None:
            return str(x.label)
        role = x.role
        if role is None:
            raise ValueError(
                f"{self.rule}: the parameter at '{x.path}', of shape {x.leaf.shape}, is not a "
                "matrix by its axes, and not an embedding, a head or a vector by its name. Pass "
                "param_labels with a label for it, or its axes."
            )
        return role

    def _ball(self, x: "_Parameter") -> Ball:
        label, norms = self._label(x), dict(self.norms)
        if label not in norms:
            raise ValueError(
                f"{self.rule}: norms has no norm for the label {label!r} of the parameter at "
                f"'{x.path}'. Its labels are: {', '.join(norms)}."
            )
        norm = norms[label]
        if norm.name == "bias_rms" or (norm.name == "sign" and not norm.normalized):
            return Ball(norm, None)
        axes = x.axes
        if axes is None:
            raise ValueError(
                f"{self.rule}: the label {label!r} has the norm {norm.name!r} of matrices, but the "
                f"parameter at '{x.path}', of shape {x.leaf.shape}, has no axes: it is "
                f"{x.reason}. Pass axes with MatrixAxes for it, or another label."
            )
        try:
            axes.parts(x.leaf.shape)
        except ValueError as error:
            raise ValueError(f"{self.rule}: axes: at '{x.path}': {error}") from None
        return Ball(norm, axes, self._window(x, axes, norm))

    def _window(self, x: "_Parameter", axes: MatrixAxes, norm: ScionNorm) -> tuple[int, ...]:
        """Returns the axes of the positions of a convolution."""
        _, inputs, _ = axes.axes(x.leaf.shape)
        if norm.window is not None:
            axes_of_window = (norm.window,) if isinstance(norm.window, int) else norm.window
            n = len(x.leaf.shape)
            window = tuple(i % n for i in axes_of_window if -n <= i < n)
            if len(window) < len(axes_of_window) or not set(window) < set(inputs) | {None}:
                raise ValueError(
                    f"{self.rule}: window={norm.window} does not fit the parameter at '{x.path}', "
                    f"of shape {x.leaf.shape}, whose inputs are its axes {inputs}. Pass the "
                    "axes of the positions, without the channels."
                )
            return window
        if len(inputs) < 2 or OUT.search(x.leaf.owner):
            return ()
        if x.by_name != axes and not CONV.search("/".join(x.leaf.names[-2:])):
            raise ValueError(
                f"{self.rule}: several axes of the parameter at '{x.path}' are its inputs, and "
                "they may be the positions and channels of a convolution. Pass, under its label, "
                "norms with ScionNorm(window=...): the axes of the positions, or ()."
            )
        # Kernels have their channels last, and torch's weights first.
        return inputs[1:] if x.leaf.name in ROWS_ARE_OUTPUTS else inputs[:-1]


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of `Roles`, as a function of the parameters."""

    roles: Roles

    def __repr__(self) -> str:
        return "roles"

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the tree of labels."""
        return self.roles.labels(params)


@dataclasses.dataclass(frozen=True)
class _Parameter:
    """A parameter, with the facts that decide its role and its axes.

    Attributes:
      path: its path.
      leaf: its names and its shape.
      layer: its axes, or the reason why it has none.
      by_name: its axes, or the reason, by its name alone.
      label: the user's label, or None.
    """

    path: str
    leaf: ByName
    layer: Layer
    by_name: Layer
    label: object

    @property
    def reason(self) -> str:
        return getattr(self.layer, "reason", "a matrix")

    @property
    def role(self) -> str | None:
        """Its role by its names; None if they do not decide it."""
        leaf = self.leaf
        if len(leaf.shape) < 2 or VECTOR.search(leaf.name) or NORM.search(leaf.owner):
            return "vector"
        if FIRST.search("/".join(leaf.names)):
            return "hidden"
        for name in (leaf.name, leaf.owner):
            if EMBEDDING.search(name):
                return "embedding"
            if HEAD.search(name):
                return "head"
        if self.axes_by_layer is not None:
            return "hidden"
        is_vector = isinstance(self.by_name, Vectors) and self.by_name.reason.startswith("a vector")
        return "vector" if is_vector else None

    @property
    def axes_by_layer(self) -> MatrixAxes | None:
        """Its axes as a layer; a first convolution is a matrix here, as in the authors' code."""
        if isinstance(self.layer, Vectors):
            return self.layer.axes
        return self.layer if isinstance(self.layer, MatrixAxes) else None

    @property
    def axes(self) -> MatrixAxes | None:
        """Its axes; for an embedding or a head, they follow from its name."""
        if self.axes_by_layer is not None:
            return self.axes_by_layer
        if len(self.leaf.shape) != 2 or self.role not in ("embedding", "head"):
            return None
        return MatrixAxes(1, 0) if self.leaf.name in ROWS_ARE_OUTPUTS else MatrixAxes(0, 1)


def _unflatten(params: PyTree, leaves: Sequence[object]) -> PyTree:
    structure: PyTreeDef = jax.tree.structure(without_containers(params))
    return structure.unflatten(leaves)


def _is_none(x: object) -> bool:
    return x is None
