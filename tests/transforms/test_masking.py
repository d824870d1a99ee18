import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from ..rules import matrices

PARAMS = {
    "dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
    "out": {"kernel": jnp.ones((3, 1)), "bias": jnp.ones(1)},
}
GRADS = jax.tree.map(lambda p: 2 * p, PARAMS)


def one_step(tx, grads=GRADS, params=PARAMS):
    return tx.update(grads, tx.init(params), params)


def kept(tree):
    """Returns the paths of the leaves that a tree has."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in flat}


KERNELS = {"dense.kernel", "out.kernel"}
MASKS = {
    "function": (matrices, KERNELS),
    "tree": (jax.tree.map(lambda p: p.ndim > 1, PARAMS), KERNELS),
    "prefix": ({"dense": True, "out": False}, {"dense.kernel", "dense.bias"}),
    "prefix in part": (
        {"dense": {"kernel": True, "bias": False}, "out": True},
        {"dense.kernel", "out.kernel", "out.bias"},
    ),
    "all": (True, kept(PARAMS)),
    "none": (False, set()),
    "numpy": ({"dense": np.True_, "out": np.False_}, {"dense.kernel", "dense.bias"}),
    "array": ({"dense": jnp.array(True), "out": jnp.array(False)}, {"dense.kernel", "dense.bias"}),
    "paths": (fo.path_labels({"kernel$": True}, default=False), KERNELS),
}
each_mask = pytest.mark.parametrize(("mask", "where"), MASKS.values(), ids=MASKS)


@each_mask
def test_masked_keeps_state_where_the_mask_is_true_and_transforms_there(mask, where):
    tx = fo.masked(fo.trace(0.9), mask)
    updates, state = jax.jit(lambda g, p: one_step(tx, g, p))(GRADS, PARAMS)
    assert kept(state.trace) == where
    flat = jax.tree_util.tree_flatten_with_path(updates)[0]
    assert len(flat) == 4
    assert jax.tree.structure(updates) == jax.tree.structure(PARAMS)


@each_mask
def test_masked_passes_or_zeroes_the_others(mask, where):
    for otherwise, rest in (("pass", 2.0), ("zero", 0.0)):
        updates, _ = one_step(fo.masked(fo.scale(-1.0), mask, otherwise=otherwise))
        for path, u in jax.tree_util.tree_flatten_with_path(updates)[0]:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            np.testing.assert_array_equal(u, -2.0 if name in where else rest, err_msg=name)


def test_the_state_of_masked_is_that_of_its_inner_transformation():
    tx = fo.masked(fo.adam(0.1), matrices)
    assert tx.init(PARAMS)._fields == ("scale_by_adam", "scale_by_learning_rate")
    assert kept(tx.init(PARAMS).scale_by_adam.mu) == KERNELS


def test_masked_agrees_with_that_of_optax():
    inner = fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(0.1))
    ours, _ = one_step(fo.masked(inner, matrices))
    theirs, _ = one_step(optax.masked(inner, matrices))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_masked_takes_a_foreign_transformation():
    with jax.numpy_dtype_promotion("standard"):  # optax's own arithmetic relies on it
        updates, _ = one_step(fo.masked(optax.scale_by_adam(), matrices))
    np.testing.assert_allclose(updates["dense"]["kernel"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(updates["dense"]["bias"], 2.0)


def test_a_mask_is_read_from_the_parameters_and_never_from_the_updates():
    seen = []

    def mask(tree):
        seen.append(jax.tree.leaves(tree)[0])
        return jax.tree.map(lambda p: p.ndim > 1, tree)

    tx = fo.masked(fo.scale(-1.0), mask)
    tx.update(GRADS, tx.init(PARAMS), PARAMS)
    assert len(seen) == 2
    assert all(leaf is PARAMS["dense"]["bias"] for leaf in seen)


def test_a_tree_of_labels_needs_no_parameters_at_update():
    tx = fo.masked(fo.scale(-1.0), {"dense": True, "out": False})
    full = fo.masked(fo.scale(-1.0), jax.tree.map(lambda p: p.ndim > 1, PARAMS))
    updates, _ = full.update(GRADS, full.init(PARAMS))
    np.testing.assert_array_equal(updates["dense"]["kernel"], -2.0)
    updates, _ = tx.update(GRADS, tx.init(PARAMS))
    np.testing.assert_array_equal(updates["dense"]["bias"], -2.0)


@pytest.mark.parametrize("otherwise", ["pass", "zero"])
def test_a_mask_of_shapes_needs_no_parameters_at_update(otherwise):
    tx = fo.masked(fo.sgd(1.0, momentum=0.9), matrices, otherwise=otherwise)
    state = tx.init(PARAMS)
    narrow = jax.tree.map(lambda g: g.astype(jnp.bfloat16), GRADS)
    for grads in (GRADS, narrow):
        given, expected = tx.update(grads, state), tx.update(grads, state, PARAMS)
        jax.tree.map(np.testing.assert_array_equal, given, expected)


def test_a_module_that_can_be_called_is_a_tree_of_masks():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Module:
        w: Any
        b: Any

        def __call__(self, x):
            return x @ self.w + self.b

    params = Module(jnp.ones((2, 2)), jnp.ones(2))
    for tx in (
        fo.masked(fo.scale(-1.0), Module(True, False)),
        fo.freeze(Module(False, True), fo.scale(-1.0)),
    ):
        updates, _ = tx.update(params, tx.init(params), params)
        assert updates.w.tolist() == [[-1.0, -1.0], [-1.0, -1.0]]
        assert jnp.all(updates.b >= 0)


def test_a_leaf_without_a_gradient_passes_a_mask():
    grads = {"dense": GRADS["dense"], "out": {"kernel": None, "bias": None}}
    for otherwise in ("pass", "zero"):
        tx = fo.masked(fo.scale_by_adam(), matrices, otherwise=otherwise)
        updates, state = one_step(tx, grads)
        assert updates["out"] == {"kernel": None, "bias": None}
        assert state.leaf_counts.tolist() == [1, 0]


class TestPartition:
    tx = fo.partition({"fast": fo.sgd(1.0, momentum=0.9), "slow": fo.sgd(0.5)}, {
        "dense": {"kernel": "fast", "bias": "slow"}, "out": "slow",
    })  # fmt: skip

    def test_keeps_the_state_of_a_leaf_under_its_label_only(self):
        state = self.tx.init(PARAMS)
        assert state._fields == ("fast", "slow")
        assert kept(state.fast.trace.trace) == {"dense.kernel"}
        assert "trace" not in state.slow.trace

    def test_routes_each_leaf_to_its_transformation(self):
        updates, _ = jax.jit(lambda g, p: one_step(self.tx, g, p))(GRADS, PARAMS)
        np.testing.assert_array_equal(updates["dense"]["kernel"], -2.0)
        np.testing.assert_array_equal(updates["dense"]["bias"], -1.0)
        np.testing.assert_array_equal(updates["out"]["kernel"], -1.0)

    def test_each_group_has_its_own_norm(self):
        tx = fo.partition(
            {True: fo.clip_by_global_norm(1.0), False: fo.clip_by_global_norm(0.5)}, matrices
        )
        updates, _ = one_step(tx)
        for kind, norm in (("kernel", 1.0), ("bias", 0.5)):
            group = [updates[k][kind] for k in updates]
            np.testing.assert_allclose(fo.global_norm(group), norm, rtol=1e-6)

    def test_hyperparameters_are_distinguished_by_label(self):
        state = fo.set_hyperparams(
            self.tx.init(PARAMS), {"slow.scale_by_learning_rate.learning_rate": 0.25}
        )
        updates, _ = self.tx.update(GRADS, state, PARAMS)
        np.testing.assert_array_equal(updates["dense"]["bias"], -0.5)
        np.testing.assert_array_equal(updates["dense"]["kernel"], -2.0)

    def test_a_label_without_leaves_keeps_an_empty_state(self):
        tx = fo.partition({"a": fo.adam(0.1), "b": fo.adam(0.1)}, "a")
        updates, state = one_step(tx)
        assert kept(state.b.scale_by_adam.mu) == set()
        assert jax.tree.structure(updates) == jax.tree.structure(PARAMS)

    def test_labels_are_read_from_the_parameters_and_never_from_the_updates(self):
        def by_size(params):
            return jax.tree.map(lambda p: "big" if p.size > 1 else "small", params)

        tx = fo.partition({"big": fo.scale(1.0), "small": fo.scale(-1.0)}, by_size)
        grads = {"dense": {"kernel": None, "bias": GRADS["dense"]["bias"]}, "out": GRADS["out"]}
        updates, _ = one_step(tx, grads)
        assert updates["dense"]["kernel"] is None
        assert updates["out"]["bias"].tolist() == [-2.0]

    def test_extra_arguments_reach_the_transformations_that_take_them(self):
        seen = {}

        def update(updates, state, params=None, *, value):
            seen["value"] = value
            return updates, state

        foreign = fo.GradientTransformation(lambda params: (), update)
        tx = fo.partition({"a": foreign, "b": fo.scale(1.0)}, {"dense": "a", "out": "b"})
        tx.update(GRADS, tx.init(PARAMS), PARAMS, value=3.0)
        assert seen == {"value": 3.0}


FROZEN = {"dense": True, "out": {"kernel": False, "bias": True}}


@pytest.mark.parametrize(
    "tx",
    [
        fo.freeze(FROZEN, fo.adamw(0.1, weight_decay=0.5)),
        fo.chain(fo.adamw(0.1, weight_decay=0.5), fo.freeze(FROZEN)),
        fo.freeze(lambda params: FROZEN, fo.adamw(0.1, weight_decay=0.5)),
        fo.partition({False: fo.adamw(0.1, weight_decay=0.5), True: fo.set_to_zero()}, FROZEN),
    ],
    ids=["inner", "last link", "function", "partition"],
)
def test_frozen_leaves_stay_as_they_are_bit_for_bit(tx):
    params = jax.tree.map(lambda p: p * jnp.float32(0.1) + jnp.float32(1e-8), PARAMS)
    params["dense"]["bias"] = jnp.array([-0.0, 1e-37, 3e38])
    state, before = tx.init(params), params
    for _ in range(3):
        updates, state = tx.update(GRADS, state, params)
        params = fo.apply_updates(params, updates)
    frozen = [*before["dense"].values(), before["out"]["bias"]]
    after = [*params["dense"].values(), params["out"]["bias"]]
    assert [np.asarray(p).tobytes() for p in frozen] == [np.asarray(p).tobytes() for p in after]
    assert not np.allclose(before["out"]["kernel"], params["out"]["kernel"])


def test_freeze_keeps_no_state_of_frozen_leaves():
    state = fo.freeze(FROZEN, fo.adam(0.1)).init(PARAMS)
    assert kept(state.scale_by_adam.mu) == {"out.kernel"}


def test_the_frozen_do_not_count_in_the_norm_of_the_trained():
    tx = fo.freeze(FROZEN, fo.clip_by_global_norm(1.0))
    _, state = one_step(tx)
    np.testing.assert_allclose(
        state.metrics["global_norm"], fo.global_norm(GRADS["out"]["kernel"]), rtol=1e-6
    )
