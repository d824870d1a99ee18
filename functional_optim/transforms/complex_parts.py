"""Complex parameters as pairs of real ones, for transformations of real parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.protocol import GradientTransformation, PyTree
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.structure import align, is_absent
from .parts import extra_of_part

__all__ = ["SplitRealAndImaginaryArrays", "split_real_and_imaginary"]


class SplitRealAndImaginaryArrays(NamedTuple):
    """A complex array as two real ones."""

    real: Any
    imaginary: Any


def split_real_and_imaginary(inner: GradientTransformation) -> GradientTransformation:
    """Passes complex parameters and updates to a transformation as pairs of real ones.

    Elementwise rules of this package split complex parameters themselves. Rules that read a whole
    parameter, such as its norm, and transformations of other libraries do not. Each part is a leaf
    of its own, so that a norm is of one part alone. Extra arguments that are trees like the
    parameters are split as well, and functions of the parameters receive complex ones. The state is
    `inner_state`.

    Args:
      inner: the transformation that receives the pairs.

    Differences: optax drops extra arguments.

    Raises:
      TypeError: inner is not a pair of functions.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.contrib.split_real_and_imaginary(fo.sign_sgd(0.5)), jnp.array(1.0 + 1.0j)
      >>> print(tx.update(jnp.array(3.0 - 2.0j), tx.init(params), params)[0])
      (-0.5+0.5j)
    """
    init, update = check_pair("split_real_and_imaginary: inner", inner)
    return GradientTransformation(_SplitInit(init), _Split.of(ExtraArgsAdapter.to(update)))


@named_init
@dataclasses.dataclass(frozen=True)
class _SplitInit:
    """`init` of a transformation of real parts."""

    inner: Callable[..., Any]
    name = "split_real_and_imaginary"

    @property
    def parts(self) -> dict[str, Callable[..., Any]]:
        """The `init` of each transformation within, by the field of its state."""
        return {"inner_state": self.inner}

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state of the parts."""
        return State(inner_state=self.inner(_parts(params)))

    def __repr__(self) -> str:
        return f"{self.name}({self.inner!r})"


@dataclasses.dataclass(frozen=True)
class _Split(Interned):
    """`update` of a transformation of real parts."""

    inner: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the parts, and puts them together."""
        check_state("split_real_and_imaginary", updates, state, params)
        # An update that is absent has no dtype, and is split where its parameter is complex.
        like = updates if params is None else params
        treedef: Any
        flat, treedef = jax.tree.flatten(like)
        gradients = align(like, updates, link="split_real_and_imaginary", name="updates")
        extra = extra_of_part(
            extra,
            treedef,
            None if params is None else flat,
            gradients,
            cut=lambda leaves: treedef.unflatten(list(map(_split, leaves))),
            whole=lambda tree: jax.tree.leaves(_joined_tree(tree)),
        )
        split = treedef.unflatten([_split_like(p, g) for p, g in zip(flat, gradients, strict=True)])
        new, inner = self.inner(split, state.inner_state, _parts(params), extra)
        return _joined_tree(new), State(inner_state=inner)


def _is_pair(x: Any) -> bool:
    return isinstance(x, SplitRealAndImaginaryArrays)


def _split(x: Any) -> Any:
    if not jnp.iscomplexobj(x):
        return x
    return SplitRealAndImaginaryArrays(jnp.real(x), jnp.imag(x))


def _parts(tree: PyTree) -> PyTree:
    return jax.tree.map(_split, tree)


def _split_like(p: Any, g: Any) -> Any:
    """Splits an update; for a complex parameter without an update, both parts are absent."""
    if is_absent(g):
        return SplitRealAndImaginaryArrays(g, g) if jnp.iscomplexobj(p) else g
    return _split(g)


def _joined(x: Any) -> Any:
    if not _is_pair(x):
        return x
    return None if is_absent(x.real) else jax.lax.complex(x.real, x.imaginary)


def _joined_tree(tree: PyTree) -> PyTree:
    return jax.tree.map(_joined, tree, is_leaf=_is_pair)
