"""State that is divided among the devices which hold the same parameters (ZeRO, stage 1)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ..core.interning import Interned
from ..core.labels import Labeller, as_labeller
from ..core.link import Link, check_pair
from ..core.protocol import GradientTransformation, PyTree
from ..core.state import State
from .shardings import shardings_of
from .specs import WHOLE, AnyMesh, cut, spread

__all__ = ["zero1"]

Array = jax.Array


def zero1(
    tx: GradientTransformation,
    mesh: AnyMesh,
    axis: str,
    specs: PyTree | Labeller = WHOLE,
) -> GradientTransformation:
    """Divides the state of `tx` over an axis of the mesh along which parameters are replicated.

    Each device keeps 1/n of each slot, n being the size of the axis, and computes 1/n of the
    update; then the updates are gathered. The state's paths, shapes and numbers are those of
    `tx.init`: a checkpoint of one is a checkpoint of the other.

    Call `update` in a jitted step, with gradients as they are in plain data parallelism: of the
    mean loss over the whole batch, that is averaged already; nothing is summed here. Arrays are
    those of the whole mesh, not one device's, so norms and means over a leaf or over the tree are
    what they are on one device, and any transformation can be within. For a gradient that is
    reduce-scattered, and never whole on a device, take it from `scattered_value_and_grad`; one of
    `jax.grad` is reduced as XLA chooses.

    A parameter is divided along its first axis whose size n divides, if possible one that
    `specs` leaves whole. A parameter without such an axis, a bias of 10 elements on 8 devices
    say, is not: its slots are on all of them.

    Args:
      mesh: of axes that are all Auto, or all Explicit; an `AbstractMesh` to plan with.
      axis: its name in the mesh.
      specs: how the parameters are sharded, and the updates are to be: a tree of specs shaped
        like the parameters, or a prefix of that, or a function of them. The default is that
        each device has all.

    Raises:
      ValueError: the mesh has no such axis; update is called without params, or within a
        `jax.shard_map` over the axis.

    Example:
      >>> import functional_optim as fo
      >>> from functional_optim.sharding import zero1
      >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
      >>> state = zero1(fo.adam(1e-3), mesh, "data").init({"w": jnp.ones((8, 4))})
      >>> state.scale_by_adam.mu["w"].sharding.spec
      P('data',)

    Reference: Rajbhandari et al., ZeRO: Memory optimizations toward training trillion parameter
    models, SC 2020, section 5.1, arXiv:1910.02054.
    """
    init, update = check_pair("zero1: tx", tx)
    if axis not in mesh.shape:
        raise ValueError(f"zero1: axis must be one of the mesh's, {[*mesh.shape]}, got {axis!r}.")
    layout = Layout(mesh, axis, as_labeller(specs))
    return GradientTransformation(_Init(init, layout), _Update.of(Link.to(update), layout, init))


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where parameters are, and where their shares are."""

    mesh: AnyMesh
    axis: str
    labeller: Labeller

    def whole(self, params: PyTree) -> PyTree:
        """The specs of the parameters."""
        return spread("zero1", params, self.labeller(params))

    def shares(self, params: PyTree) -> PyTree:
        """The specs of the parameters, divided along the axis."""
        return jax.tree.map(
            lambda p, spec: cut(jnp.shape(p), spec, self.mesh, self.axis),
            params,
            self.whole(params),
        )

    def place(self, tree: PyTree, specs: PyTree) -> PyTree:
        """The tree's arrays, sharded by their specs; None in their place stays."""
        return jax.tree.map(lambda spec, x: x if x is None else self._one(x, spec), specs, tree)

    def _one(self, x: Any, spec: PartitionSpec) -> Array:
        known = jax.sharding.get_abstract_mesh()
        sharding = spec if known.axis_names else NamedSharding(self.mesh, spec)
        if self.explicit:
            return jax.sharding.reshard(x, sharding)
        return jax.lax.with_sharding_constraint(x, sharding)

    @property
    def explicit(self) -> bool:
        """Whether shardings are in the types of arrays, and follow from those of arguments."""
        kinds = {*self.mesh.axis_types, *jax.sharding.get_abstract_mesh().axis_types}
        return AxisType.Explicit in kinds


@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of a divided transformation."""

    init: Callable[..., Any]
    layout: Layout
    name = "zero1"

    def __call__(self, params: PyTree) -> State:
        """Makes the state, on each device only its share."""
        layout, shares = self.layout, self.layout.shares(params)
        leaves = jax.tree.leaves(params)
        traced = any(isinstance(p, jax.core.Tracer) for p in leaves)
        if traced and layout.explicit:
            return self.init(layout.place(params, shares))
        told = shardings_of(self.init, params, shares, layout.mesh)
        if traced:
            return layout.place(self.init(layout.place(params, shares)), told)
        places = jax.tree.map(lambda spec: NamedSharding(layout.mesh, spec), told)
        if any(isinstance(p, jax.ShapeDtypeStruct) for p in leaves):
            bare = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
            return jax.jit(lambda: self.init(bare), out_shardings=places)()
        return jax.jit(self.init, out_shardings=places)(params)

    def __repr__(self) -> str:
        return f"zero1({self.init!r}, {self.layout.axis!r})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of a divided transformation."""

    inner: Link
    layout: Layout
    # Asked for shapes only, which are those of any other with the same update.
    init: Callable[..., Any] = dataclasses.field(compare=False)

    @property
    def lasting(self) -> bool:
        """As long as the inner one is."""
        return getattr(self.inner.function, "lasting", False)

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Updates each device's share, and gathers the updates."""
        layout = self.layout
        if params is None:
            raise ValueError("zero1: update needs params. Call update(updates, state, params).")
        if layout.axis in jax.sharding.get_abstract_mesh().manual_axes:
            raise ValueError(
                f"zero1: update is called within a shard_map over {layout.axis!r}, where each "
                "device has a gradient of its own. Call it outside, with the gradients of "
                "scattered_value_and_grad."
            )
        shares = layout.shares(params)
        own = layout.place(updates, shares)
        new, after = self.inner(own, state, layout.place(params, shares), extra)
        if not layout.explicit:
            after = layout.place(after, shardings_of(self.init, params, shares, layout.mesh))
        return layout.place(new, layout.whole(params)), after
