"""Containers of one array do not occur in paths, and may differ between trees."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim


@dataclasses.dataclass
class Box:
    """As `flax.linen.Partitioned`."""

    value: Any
    names: tuple = ()

    def unbox(self):
        return self.value


jax.tree_util.register_dataclass(Box, ["value"], ["names"])


def boxed(x):
    return Box(x, ("axis",))


def param(x):
    return pytest.importorskip("flax.nnx").Param(x)


def opt_variable(x):
    return pytest.importorskip("flax.nnx.training.optimizer").OptVariable(x)


def partitioned(x):
    return pytest.importorskip("flax.linen").Partitioned(x, names=("x",) * np.ndim(x))


CONTAINERS = {f.__name__: f for f in (boxed, param, opt_variable, partitioned)}
each_container = pytest.mark.parametrize("put", CONTAINERS.values(), ids=CONTAINERS)

BARE = {
    "dense": {"kernel": jnp.linspace(-1.0, 1.0, 512).reshape(2, 256), "bias": jnp.ones(3)},
    "out": [{"kernel": jnp.full((2, 3), 0.5), "bias": jnp.ones(3)} for _ in range(5)],
}
GRADS = jax.tree.map(lambda p: p + 0.5, BARE)
IS_BIAS = jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "bias", BARE)
LABELS = jax.tree.map(lambda is_bias: "bias" if is_bias else "rest", IS_BIAS)
PARTS = {"bias": fo.sgd(0.1, momentum=0.9), "rest": fo.adam(0.1)}
TXS = {
    "adam": fo.adam(0.1),
    "packed": fo.packed(fo.adam(0.1)),
    "low_bit_state": fo.low_bit_state(fo.adamw(0.1), min_size=256),
    "low_bit_state with a key": fo.low_bit_state(fo.adamw(0.1), min_size=256, key=0),
    "packed low_bit_state": fo.low_bit_state(fo.packed(fo.adam(0.1)), min_size=256),
    "partition by paths": fo.partition(PARTS, fo.path_labels({"bias$": "bias"}, default="rest")),
    "partition by a tree": fo.partition(PARTS, LABELS),
    "masked": fo.masked(fo.adam(0.1), IS_BIAS),
    "rates by paths": fo.adam(
        fo.by_label({"b": 0.1, "k": 0.2}, fo.path_labels({"bias$": "b", "kernel$": "k"}))
    ),
    "counts": fo.per_leaf_counts(fo.packed(fo.adam(0.1))),
    "average": fo.chain(fo.sgd(0.1), fo.params_ema(0.5)),
}
each_tx = pytest.mark.parametrize("tx", TXS.values(), ids=TXS)


def leaves(tree):
    return [np.asarray(x, np.float32) for x in jax.tree.leaves(tree)]


def assert_equal(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def put_in(put, tree):
    return jax.tree.map(put, tree)


def two_steps(tx, params, grads, between=lambda tree: tree):
    state = tx.init(params)
    params, grads = between(params), between(grads)
    for _ in range(2):
        updates, new = tx.update(grads, between(state), params)
        assert jax.tree.structure(updates) == jax.tree.structure(grads)
        assert jax.tree.structure(new) == jax.tree.structure(between(state))
        state, params = new, fo.apply_updates(params, updates)
    return updates, state, params


@functools.cache
def two_bare_steps(tx):
    return two_steps(tx, BARE, GRADS)


def taken_off(put):
    """Returns a function like `nnx.as_pure`: it removes containers in a tree, not in a layout."""
    kind = type(put(jnp.ones(1)))
    is_one = lambda x: isinstance(x, kind)  # noqa: E731
    return lambda tree: jax.tree.map(
        lambda x: jax.tree.leaves(x, is_leaf=lambda y: y is not x)[0] if is_one(x) else x,
        tree,
        is_leaf=is_one,
    )


@each_container
@each_tx
def test_a_step_is_that_without_containers(tx, put):
    wanted = two_bare_steps(tx)
    params, grads = put_in(put, BARE), put_in(put, GRADS)
    assert_equal(two_steps(tx, params, grads), wanted)
    assert_equal(two_steps(tx, params, grads, taken_off(put)), wanted)


@each_container
@each_tx
def test_names_of_a_saved_state_have_no_containers(tx, put):
    bare, contained = tx.init(BARE), tx.init(put_in(put, BARE))
    saved = fo.to_state_dict(two_bare_steps(tx)[1])
    assert fo.to_state_dict(bare).keys() == fo.to_state_dict(contained).keys() == saved.keys()
    restored = fo.from_state_dict(contained, saved)
    assert jax.tree.structure(restored) == jax.tree.structure(contained)
    assert_equal(
        fo.from_state_dict(bare, fo.to_state_dict(restored)), fo.from_state_dict(bare, saved)
    )


@each_container
def test_states_that_were_saved_with_containers_in_their_names_are_read(put):
    tx = TXS["low_bit_state"]
    contained = two_steps(tx, put_in(put, BARE), put_in(put, GRADS))[1]
    saved = fo.to_state_dict(contained)
    old = {}
    for name, x in saved.items():
        path, _, part = name.rpartition(".")
        is_part = part in ("codes", "scales")
        old[f"{path}.value.{part}" if is_part else f"{name}.value"] = x
    old["_format_version"] = old.pop("_format_version.value")
    assert_equal(fo.from_state_dict(tx.init(put_in(put, BARE)), old), contained)


@each_container
@pytest.mark.parametrize("make", [fo.adam, fo.asgd], ids=["adam", "asgd, which has a carry"])
def test_counts_that_a_restored_state_gains_are_in_the_container_of_the_count(put, make):
    tx, head = make(0.1), {"dense": BARE["dense"]}
    params, state = head, tx.init(head)
    for _ in range(2):
        updates, state = tx.update(head, state, params)
        params = fo.apply_updates(params, updates)
    template = put_in(put, tx.init(BARE))
    restored, report = fo.from_state_dict(template, fo.to_state_dict(state), strict=False)
    link = restored[report.leaf_counts[0]]._asdict()
    gained = [link["leaf_counts"], *link.get("carry", {}).values()]
    assert {type(x) for x in gained} == {type(put(0))}
    bare, _ = fo.from_state_dict(tx.init(BARE), fo.to_state_dict(state), strict=False)
    assert_equal(restored, bare)


@each_container
def test_labels_and_masks_may_have_them(put):
    for labels in (put_in(put, LABELS), lambda params: put_in(put, LABELS)):
        tx = fo.partition(PARTS, labels)
        assert_equal(two_steps(tx, BARE, GRADS), two_steps(TXS["partition by a tree"], BARE, GRADS))
    for mask in (put_in(put, IS_BIAS), lambda params: put_in(put, IS_BIAS)):
        tx = fo.masked(fo.adam(0.1), mask)
        assert_equal(two_steps(tx, BARE, GRADS), two_steps(TXS["masked"], BARE, GRADS))


@each_container
def test_averages_are_found_in_other_containers(put):
    tx = TXS["average"]
    _, state, params = two_steps(tx, BARE, GRADS)
    found = fo.eval_params(put_in(opt_variable, state), put_in(put, params))
    assert jax.tree.structure(found) == jax.tree.structure(put_in(put, params))
    assert_equal(found, fo.eval_params(state, params))


@each_container
def test_errors_and_descriptions_show_the_paths_of_parameters(put):
    params = put_in(put, {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}})
    with pytest.raises(ValueError, match=r"The paths are dense\.bias, dense\.kernel\."):
        fo.path_labels({"value$": 1}, default=2)(params)
    with pytest.raises(ValueError, match=r"has 'x' at 'dense\.bias'"):
        fo.partition({"y": fo.sgd(0.1)}, "x").init(params)
    assert optim.SGD(params, lr=0.1).state_dict()["param_groups"][0]["param_names"] == [
        "dense.bias",
        "dense.kernel",
    ]


def test_a_module_with_one_array_is_not_a_container():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Gain:
        value: Any

    params = {"gain": Gain(jnp.ones(2))}
    assert "trace.gain.value" in fo.to_state_dict(fo.trace(0.9).init(params))
    assert fo.path_labels({"gain.value$": 1})(params)["gain"].value == 1
