"""Checks of buffers: donation, and where the arrays of a state lie."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ..core.protocol import PyTree
from .comparing import belongs, flat
from .registry import conformance
from .subject import Subject

__all__ = ["check_donation", "check_sharding"]


@conformance("Let init copy what it keeps of the parameters, and update keep dtypes and shapes.")
def check_donation(subject: Subject) -> None:
    """Checks that a step can donate parameters and state: no buffer of theirs is shared."""
    params = jax.tree.map(jnp.copy, subject.params())
    state, grads = subject.init(params), subject.grads()
    owners: dict[int, str] = {}
    for path, x in (flat({"params": params}) | flat({"state": state})).items():
        for at in _buffers(x):
            owner = owners.setdefault(at, path)
            assert owner == path, f"{path} is the buffer of {owner}: both are donated."
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Some donated buffers were not usable")
        jax.jit(subject.step, donate_argnums=(0, 1)).lower(params, state, grads)


def _buffers(x: Any) -> list[int]:
    """Where an array lies on each of its devices."""
    if not isinstance(x, jax.Array) or not x.size:
        return []
    return [shard.data.unsafe_buffer_pointer() for shard in x.addressable_shards]


@conformance("Make slots by jnp.zeros_like(p), and scalars without a device.")
def check_sharding(subject: Subject) -> None:
    """Checks that the state of sharded parameters is sharded as they are, and stays so.

    On all devices that are there; parameters are split along their first axis where the number
    of devices divides it. With one device there is nothing to check.
    """
    devices = jax.devices()
    if len(devices) == 1:
        return
    mesh = jax.make_mesh((len(devices),), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    params, grads = (_spread(tree, mesh) for tree in (subject.params(), subject.grads()))
    state = subject.init(params)
    places = _places(state)
    for path, p in flat(params).items():
        for slot, x in flat(state).items():
            if belongs(slot, path) and x.shape == p.shape and x.dtype == p.dtype:
                assert x.sharding.is_equivalent_to(p.sharding, p.ndim), (
                    f"init puts '{slot}' at {x.sharding.spec if _named(x) else x.sharding}, "
                    f"and the parameter is at {p.sharding.spec}."
                )
    _, after = jax.jit(subject.step)(params, state, grads)
    for path, x in flat(after).items():
        old = places.get(path)
        if x.ndim and old is not None:
            assert x.sharding.is_equivalent_to(old, x.ndim), (
                f"a step moves the state's '{path}' from {old} to {x.sharding}."
            )


def _named(x: Any) -> bool:
    return isinstance(x.sharding, NamedSharding)


def _places(tree: PyTree) -> dict[str, Any]:
    """Sharding of each leaf that init put on the mesh; the others may be put anywhere."""
    return {path: x.sharding for path, x in flat(tree).items() if _named(x)}


def _spread(tree: PyTree, mesh: Any) -> PyTree:
    """The arrays split along their first axis over a mesh, or on all its devices."""

    def place(x: jax.Array) -> jax.Array:
        split = x.ndim and x.shape[0] % mesh.size == 0
        spec = PartitionSpec("d") if split else PartitionSpec()
        return jax.device_put(x, NamedSharding(mesh, spec))

    return jax.tree.map(place, tree)
