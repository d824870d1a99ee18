"""Parameters in a `chex.dataclass` are parameters as any others."""

import chex
import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.sharding import state_shardings


@chex.dataclass
class Mapping:
    """Which chex also makes a mapping, whose keys are its paths."""

    kernel: chex.Array
    bias: chex.Array | None


@chex.dataclass(frozen=True, mappable_dataclass=False)
class Plain:
    kernel: chex.Array
    bias: chex.Array | None


@chex.dataclass
class Nested:
    dense: Mapping
    scale: chex.Array


def params_of(kind):
    fields = {"kernel": jnp.linspace(-1.0, 2.0, 12).reshape(4, 3), "bias": jnp.arange(1.0, 4.0)}
    if kind is Nested:
        return Nested(dense=Mapping(**fields), scale=jnp.float32(2.0))
    return kind(**fields)


def as_dict(tree, separator="_"):
    """Returns the same arrays in a dictionary."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(k, simple=True, separator=separator): x for k, x in flat}


each_kind = pytest.mark.parametrize("kind", [Mapping, Plain, Nested])


@each_kind
@pytest.mark.parametrize(
    "tx",
    [
        fo.adamw(0.1, weight_decay=0.1, mask=fo.path_labels({"bias": False}, default=True)),
        fo.partition(
            {"a": fo.sgd(0.1, momentum=0.9), "b": fo.lion(0.1)},
            fo.path_labels({"bias": "b"}, default="a"),
        ),
        fo.MultiSteps(fo.apply_if_finite(fo.adam(0.1), 3), 2),
        fo.packed(fo.adam(0.1)),
        fo.flatten(fo.adam(0.1)),
        fo.low_bit_state(fo.adam(0.1), min_size=256),
    ],
    ids=["masked", "partition", "wrappers", "packed", "flatten", "8-bit"],
)
def test_steps_are_those_of_the_same_arrays_in_a_dictionary(kind, tx):
    params = params_of(kind)
    plain = as_dict(params)

    @jax.jit
    def train(params):
        def body(carry, _):
            params, state = carry
            grads = jax.tree.map(jnp.sin, params)
            updates, state = tx.update(grads, state, params)
            return (fo.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, tx.init(params)), length=4)[0]

    found, state = train(params)
    assert type(found) is kind
    chex.assert_trees_all_close(as_dict(found), as_dict(train(plain)[0]), rtol=1e-6)
    chex.assert_trees_all_equal(fo.from_state_dict(state, fo.to_state_dict(state)), state)


@pytest.mark.parametrize("kind", [Mapping, Plain])
def test_a_parameter_without_a_gradient_stays(kind):
    params, tx = params_of(kind), fo.adam(0.1)
    grads = params.replace(bias=None)
    updates, state = tx.update(grads, tx.init(params), params)
    after = fo.apply_updates(params, updates)
    assert updates.bias is None
    chex.assert_trees_all_equal(after.bias, params.bias)
    assert state[0].leaf_counts.tolist().count(0) == 1


@each_kind
def test_the_stateful_interface_takes_and_returns_the_class(kind):
    params = params_of(kind)
    opt = optim.AdamW(params, lr=0.1)
    opt.backward(lambda p: sum(jnp.sum(x**2) for x in jax.tree.leaves(p)))
    opt.step()
    assert type(opt.params) is kind
    again = optim.AdamW(params, lr=0.1)
    again.load_state_dict(opt.state_dict())
    chex.assert_trees_all_equal(again.state_dict()["state"], opt.state_dict()["state"])


@each_kind
def test_a_state_is_planned_and_described(kind):
    params, tx = params_of(kind), fo.adam(0.1)
    spec = jax.tree.map(lambda _: jax.P(), params)
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    planned = state_shardings(tx, params, spec, mesh)
    assert type(planned[0].mu) is kind
    text = str(fo.describe(tx, params))
    for name in as_dict(params, "."):
        assert name in text
