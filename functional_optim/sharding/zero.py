"""Divides the state over devices that have the same parameters (ZeRO, stage 1)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ..core.adapter import Link, check_pair
from ..core.caching import Interned
from ..core.protocol import GradientTransformation, PyTree
from ..core.state import State
from ..core.trees.labels import Labeller, as_labeller
from .shardings import shardings_of
from .specs import REPLICATED, AnyMesh, broadcast_specs, sharded_along

__all__ = ["zero1"]

Array = jax.Array


def zero1(
    tx: GradientTransformation,
    mesh: AnyMesh,
    axis: str,
    specs: PyTree | Labeller = REPLICATED,
) -> GradientTransformation:
    """Divides the state of `tx` over an axis of the mesh along which parameters are replicated.

    Each device keeps 1/n of each slot, where n is the size of the axis, and computes 1/n of the
    update; then the updates are gathered. The state's paths, shapes and numbers are those of
    `tx.init`: a checkpoint of one is a checkpoint of the other.

    Call `update` in a jitted step, with the gradients of plain data parallelism: those of the
    mean loss over the whole batch, already averaged; nothing is summed here. Arrays are those of
    the whole mesh, not one device's, so norms and means over a leaf or over the tree are what
    they are on one device, and `tx` can be any transformation. `scattered_value_and_grad` gives
    reduce-scattered gradients, which are never whole on a device; those of `jax.grad` are reduced
    as XLA chooses.

    A parameter is divided along its first axis whose size n divides, preferably one that `specs`
    does not shard. A parameter without such an axis, such as a bias of 10 elements on 8 devices,
    is not divided: its slots are replicated.

    Args:
      mesh: its axes are all Auto, or all Explicit; an `AbstractMesh` for planning.
      axis: name of the axis in the mesh.
      specs: how the parameters are sharded, and the updates will be: a tree of specs shaped
        like the parameters, or a prefix of that, or a function of them. By default they are
        replicated.

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
    sharder = StateSharder(mesh, axis, as_labeller(specs))
    return GradientTransformation(
        Zero1Init(init, sharder), Zero1Update.of(Link.to(update), sharder, init)
    )


@dataclasses.dataclass(frozen=True)
class StateSharder:
    """Knows how the parameters are sharded, and how their state is."""

    mesh: AnyMesh
    axis: str
    labeller: Labeller

    def param_specs(self, params: PyTree) -> PyTree:
        """Returns the specs of the parameters."""
        return broadcast_specs("zero1", params, self.labeller(params))

    def divided_specs(self, params: PyTree) -> PyTree:
        """Returns the specs of the parameters, divided along the axis."""
        return jax.tree.map(
            lambda p, spec: sharded_along(jnp.shape(p), spec, self.mesh, self.axis),
            params,
            self.param_specs(params),
        )

    def constrain(self, tree: PyTree, specs: PyTree) -> PyTree:
        """Returns the tree with its arrays sharded by their specs; None stays None."""
        return jax.tree.map(
            lambda spec, x: x if x is None else self._constrain(x, spec), specs, tree
        )

    def constrain_state(
        self, init: Callable[..., Any], params: PyTree, divided: PyTree, state: PyTree
    ) -> PyTree:
        """Returns the state, sharded as `init` shards it.

        An array that `init` does not make, such as the counts that a state gets when a gradient is
        None, is replicated.
        """
        specs = shardings_of(init, params, divided, self.mesh)
        known = {
            jax.tree_util.keystr(path): spec
            for path, spec in jax.tree_util.tree_flatten_with_path(specs)[0]
        }
        return jax.tree_util.tree_map_with_path(
            lambda path, x: self._constrain(
                x, known.get(jax.tree_util.keystr(path), PartitionSpec())
            ),
            state,
        )

    def _constrain(self, x: Any, spec: PartitionSpec) -> Array:
        context = jax.sharding.get_abstract_mesh()
        sharding = spec if context.axis_names else NamedSharding(self.mesh, spec)
        if self.explicit:
            return jax.sharding.reshard(x, sharding)
        return jax.lax.with_sharding_constraint(x, sharding)

    @property
    def explicit(self) -> bool:
        """Whether shardings are in the types of arrays, and follow from those of arguments."""
        kinds = {*self.mesh.axis_types, *jax.sharding.get_abstract_mesh().axis_types}
        return AxisType.Explicit in kinds


@dataclasses.dataclass(frozen=True)
class Zero1Init:
    """`init` of a divided transformation."""

    init: Callable[..., Any]
    sharder: StateSharder
    name = "zero1"

    def __call__(self, params: PyTree) -> State:
        """Makes the state, on each device only its shard."""
        sharder, divided = self.sharder, self.sharder.divided_specs(params)
        leaves = jax.tree.leaves(params)
        traced = any(isinstance(p, jax.core.Tracer) for p in leaves)
        if traced and sharder.explicit:
            return self.init(sharder.constrain(params, divided))
        state_specs = shardings_of(self.init, params, divided, sharder.mesh)
        if traced:
            return sharder.constrain(self.init(sharder.constrain(params, divided)), state_specs)
        shardings = jax.tree.map(lambda spec: NamedSharding(sharder.mesh, spec), state_specs)
        if any(isinstance(p, jax.ShapeDtypeStruct) for p in leaves):
            shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
            return jax.jit(lambda: self.init(shapes), out_shardings=shardings)()
        return jax.jit(self.init, out_shardings=shardings)(params)

    def __repr__(self) -> str:
        return f"zero1({self.init!r}, {self.sharder.axis!r})"


@dataclasses.dataclass(frozen=True)
class Zero1Update(Interned):
    """`update` of a divided transformation."""

    inner: Link
    sharder: StateSharder
    # Only gives shapes, which all `init` with the same update share.
    init: Callable[..., Any] = dataclasses.field(compare=False)

    @property
    def is_cacheable(self) -> bool:
        """Whether the inner update may be kept alive by a cache."""
        return getattr(self.inner.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Updates each device's shard, and gathers the updates."""
        sharder = self.sharder
        if params is None:
            raise ValueError("zero1: update needs params. Call update(updates, state, params).")
        if sharder.axis in jax.sharding.get_abstract_mesh().manual_axes:
            raise ValueError(
                f"zero1: update is called within a shard_map over {sharder.axis!r}, where each "
                "device has its own gradient. Call it outside, with the gradients of "
                "scattered_value_and_grad."
            )
        divided = sharder.divided_specs(params)
        updates = sharder.constrain(updates, divided)
        updates, new_state = self.inner(updates, state, sharder.constrain(params, divided), extra)
        if not sharder.explicit:
            new_state = sharder.constrain_state(self.init, params, divided, new_state)
        return sharder.constrain(updates, sharder.param_specs(params)), new_state
