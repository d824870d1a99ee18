"""After a step, parameters and state have the same sharding as before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from functional_optim import optim

from ..trees import assert_same
from .makers import each, quadratic
from .test_compilation import compilations

SPECS = {"w": PartitionSpec("x", "y"), "b": PartitionSpec()}


@pytest.fixture
def params(mesh):
    """Provides a matrix over all devices, and a vector on each."""
    arrays = {"w": jnp.arange(32.0).reshape(8, 4), "b": jnp.ones(4)}
    return {k: jax.device_put(x, NamedSharding(mesh, SPECS[k])) for k, x in arrays.items()}


def places(tree):
    """Returns the sharding of each array that has a parameter's shape."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(k): x.sharding for k, x in flat if x.shape in ((8, 4), (4,))}


@each
def test_a_step_keeps_all_shardings_and_compiles_once(make, params):
    optimizer = make(params)
    gradients = jax.tree.map(jnp.ones_like, params)
    before = places((optimizer.params, optimizer.state))
    assert places(optimizer.params) == places(params)
    with compilations() as found:
        for _ in range(3):
            optimizer.step(gradients)
    assert found.count("jit(optimizer_step)") <= 1
    assert places((optimizer.params, optimizer.state)) == before
    assert {sharding.spec for sharding in before.values()} == set(SPECS.values())


@each
def test_loading_and_assigning_keep_all_shardings(make, params):
    optimizer, other = make(params), make(params)
    optimizer.minimize(quadratic, 1.0)
    before = places((other.params, other.state))
    other.load_state_dict(optimizer.state_dict())
    other.params = jax.tree.map(np.asarray, optimizer.params)
    assert places((other.params, other.state)) == before
    optimizer.minimize(quadratic, 1.0)
    other.minimize(quadratic, 1.0)
    assert_same(other.params, optimizer.params)


def test_a_slot_that_an_option_starts_is_sharded_as_its_parameter(params):
    optimizer = optim.SGD(params, lr=0.1)
    optimizer.step(jax.tree.map(jnp.ones_like, params))
    optimizer.param_groups[0]["momentum"] = 0.9
    optimizer.step(jax.tree.map(jnp.ones_like, params))
    assert optimizer.state[0].trace.trace["w"].sharding == params["w"].sharding
