"""The states of all rules of matrices, on a mesh where shardings are in types."""

import jax
import pytest
from jax.sharding import PartitionSpec

import functional_optim as fo

from .. import matrix_rules
from .explicit import arrays as arrays_on
from .explicit import make_mesh
from .explicit import types as types_on

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)

P = PartitionSpec
SHAPES = {"w": (8, 4), "t": (4, 16), "s": (2, 8, 4), "b": (4,)}
SPECS = {"w": P("x", "y"), "t": P("y", "x"), "s": P(None, "x", "y"), "b": P("y")}
AXES = {"w": fo.MatrixAxes(), "t": fo.MatrixAxes(), "s": fo.MatrixAxes(1, 2), "b": None}
RULES = matrix_rules.make_all(AXES)


@pytest.fixture(scope="module")
def explicit():
    return make_mesh()


def types(mesh):
    return types_on(mesh, SHAPES, SPECS)


def arrays(mesh):
    return arrays_on(mesh, SHAPES, SPECS)


def with_predicted_shardings(tx, mesh):
    """Initializes a state with the shardings of one that was only traced."""
    traced = jax.eval_shape(tx.init, types(mesh))
    shardings = jax.tree.map(lambda x: x.sharding, traced)
    return jax.jit(tx.init, out_shardings=shardings)(arrays(mesh))


MADE = {
    "eagerly": lambda tx, mesh: tx.init(arrays(mesh)),
    "in jit": lambda tx, mesh: jax.jit(tx.init)(arrays(mesh)),
    "with predicted shardings": with_predicted_shardings,
    "traced": lambda tx, mesh: jax.eval_shape(tx.init, types(mesh)),
}


def types_of(state):
    """Returns the mesh and the spec of each array by its path; a scalar needs neither."""
    flat, _ = jax.tree_util.tree_flatten_with_path(jax.tree.map(jax.typeof, state))
    return {
        jax.tree_util.keystr(path): (x.sharding.mesh.axis_names, x.sharding.spec)
        for path, x in flat
        if x.ndim
    }


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("name", RULES)
def test_an_update_keeps_the_shardings_that_init_gives(name, made, explicit):
    tx, like = RULES[name], types(explicit)
    state = MADE[made](tx, explicit)
    wanted = types_of(state)
    assert wanted == types_of(MADE["traced"](tx, explicit))
    assert {axes for axes, _ in wanted.values()} == {("x", "y")}
    assert types_of(jax.eval_shape(tx.update, like, state, like)[1]) == wanted


@pytest.mark.parametrize("made", ["eagerly", "in jit", "with predicted shardings"])
@pytest.mark.parametrize("name", RULES)
def test_init_writes_shardings_as_an_update_does(name, made, explicit):
    """Otherwise jit compiles the second step again, for an equal sharding with another spec."""
    state = MADE[made](RULES[name], explicit)
    for path, x in jax.tree_util.tree_flatten_with_path(state)[0]:
        assert len(x.sharding.spec) == x.ndim, jax.tree_util.keystr(path)
