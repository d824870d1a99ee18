"""Divides the state over devices that have the same parameters (ZeRO, stage 1)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ..core.adapter import ExtraArgsAdapter, check_order, check_pair
from ..core.caching import Interned
from ..core.protocol import GradientTransformation, PyTree
from ..core.signatures import named_init
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

    Each device stores 1/n of each slot, where n is the size of the axis, and computes 1/n of the
    update; then the updates are all-gathered. The state's paths, shapes and numbers are those of
    `tx.init`: a checkpoint of one is a checkpoint of the other.

    Call `update` in a jitted step, with the gradients of plain data parallelism: the gradients of
    the mean loss over the whole batch. `update` does not average them. Arrays are global, so norms
    and means over a leaf or over the tree have the values that they have on one device, and `tx`
    can be any transformation. `scattered_value_and_grad` returns reduce-scattered gradients, which
    are never whole on a device; XLA chooses how the gradients of `jax.grad` are reduced.

    A parameter is divided along the first axis whose size is a multiple of n, preferably an axis
    that `specs` does not shard. A parameter without such an axis, such as a bias of 10 elements on
    8 devices, is not divided: its slots are replicated.

    Args:
      tx: the transformation whose state is divided.
      mesh: a mesh whose axes are all Auto, or all Explicit; an `AbstractMesh` for planning.
      axis: name of the axis in the mesh.
      specs: the sharding of the parameters, which the updates get as well: a tree of specs shaped
        like the parameters, or a prefix of that, or a function of the parameters. By default, the
        parameters are replicated.

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
        Zero1Init(init, sharder), Zero1Update.of(ExtraArgsAdapter.to(update), sharder, init)
    )


@dataclasses.dataclass(frozen=True)
class StateSharder:
    """Shards parameters by their specs, and the state along a further axis of the mesh."""

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
        self, init: Callable[[PyTree], PyTree], params: PyTree, divided: PyTree, state: PyTree
    ) -> PyTree:
        """Returns the state with the shardings of `init`.

        An array that `init` does not make is replicated, such as the leaf counts that a state gains
        when a gradient is None.
        """
        specs = shardings_of(init, params, divided, self.mesh)
        specs_by_path = {
            jax.tree_util.keystr(path): spec
            for path, spec in jax.tree_util.tree_flatten_with_path(specs)[0]
        }
        return jax.tree_util.tree_map_with_path(
            lambda path, x: self._constrain(
                x, specs_by_path.get(jax.tree_util.keystr(path), PartitionSpec())
            ),
            state,
        )

    def _constrain(self, x: Array, spec: PartitionSpec) -> Array:
        # Within `jax.set_mesh` JAX takes the mesh from the context, whose axis types may differ.
        context = jax.sharding.get_abstract_mesh()
        sharding = spec if context.axis_names else NamedSharding(self.mesh, spec)
        if self.explicit:
            return jax.sharding.reshard(x, sharding)
        return jax.lax.with_sharding_constraint(x, sharding)

    @property
    def explicit(self) -> bool:
        """Whether shardings are part of the types of arrays, and JAX propagates them."""
        kinds = {*self.mesh.axis_types, *jax.sharding.get_abstract_mesh().axis_types}
        return AxisType.Explicit in kinds


@named_init
@dataclasses.dataclass(frozen=True)
class Zero1Init:
    """`init` of a divided transformation."""

    init: Callable[[PyTree], PyTree]
    sharder: StateSharder
    name = "zero1"

    def __call__(self, params: PyTree) -> State:
        """Makes the state, of which each device stores a shard."""
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

    inner: ExtraArgsAdapter
    sharder: StateSharder
    # Used for shapes only, which are the same for every `init` that belongs to this update.
    init: Callable[[PyTree], PyTree] = dataclasses.field(compare=False)

    @property
    def is_cacheable(self) -> bool:
        """Whether the inner update may be kept alive by a cache."""
        return getattr(self.inner.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Updates each device's shard, and all-gathers the updates."""
        check_order("zero1", updates, state, params)
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
