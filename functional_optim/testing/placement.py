"""Checks the buffers of a state: donation and sharding."""

import warnings

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from ..core.protocol import PyTree
from .case import Case
from .comparison import is_of_parameter, leaves_by_path
from .registry import conformance

__all__ = ["check_donation", "check_sharding"]


@conformance("Let init copy the parameters that it stores, and let update keep dtypes and shapes.")
def check_donation(case: Case) -> None:
    """Checks that a step can donate parameters and state, which must not share a buffer."""
    params = jax.tree.map(jnp.copy, case.params())
    state, grads = case.init(params), case.grads()
    owners: dict[int, str] = {}
    for path, x in (leaves_by_path({"params": params}) | leaves_by_path({"state": state})).items():
        for address in _buffers(x):
            owner = owners.setdefault(address, path)
            assert owner == path, f"{path} is the buffer of {owner}: both are donated."
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Some donated buffers were not usable")
        jax.jit(case.counted_step, donate_argnums=(0, 1)).lower(params, state, grads)


def _buffers(x: object) -> list[int]:
    """Returns the addresses of an array on its devices."""
    if not isinstance(x, jax.Array) or not x.size:
        return []
    return [shard.data.unsafe_buffer_pointer() for shard in x.addressable_shards]


@conformance("Make slots with jnp.zeros_like(p), and scalars without a device.")
def check_sharding(case: Case) -> None:
    """Checks that slots are sharded like their parameters, before and after a step.

    The check uses all devices. Parameters are divided along their first axis if its size is a
    multiple of the number of devices. A single device passes.
    """
    devices = jax.devices()
    if len(devices) == 1:
        return
    mesh = jax.make_mesh((len(devices),), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    params, grads = (_shard(tree, mesh) for tree in (case.params(), case.grads()))
    state = case.init(params)
    shardings = _shardings(state)
    for path, p in leaves_by_path(params).items():
        for slot, x in leaves_by_path(state).items():
            if is_of_parameter(slot, path) and x.shape == p.shape and x.dtype == p.dtype:
                assert x.sharding.is_equivalent_to(p.sharding, p.ndim), (
                    f"init puts '{slot}' at {x.sharding.spec if _is_named(x) else x.sharding}, "
                    f"and the parameter is at {p.sharding.spec}."
                )
    # No out_shardings: the step alone must keep the shardings.
    _, after = case.jitted_step(params, state, grads)
    for path, x in leaves_by_path(after).items():
        old = shardings.get(path)
        if x.ndim and old is not None:
            assert x.sharding.is_equivalent_to(old, x.ndim), (
                f"a step moves the state's '{path}' from {old} to {x.sharding}."
            )


def _is_named(x: jax.Array) -> bool:
    return isinstance(x.sharding, NamedSharding)


def _shardings(tree: PyTree) -> dict[str, Sharding]:
    """Returns the shardings of the leaves on the mesh; init may place other leaves anywhere."""
    return {path: x.sharding for path, x in leaves_by_path(tree).items() if _is_named(x)}


def _shard(tree: PyTree, mesh: Mesh) -> PyTree:
    """Divides the arrays along their first axis over a mesh, or replicates them."""

    def place(x: jax.Array) -> jax.Array:
        divides = x.ndim and x.shape[0] % mesh.size == 0
        spec = PartitionSpec("d") if divides else PartitionSpec()
        return jax.device_put(x, NamedSharding(mesh, spec))

    return jax.tree.map(place, tree)
