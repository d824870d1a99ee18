"""describe: what is done to each parameter, known before training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo

from ..rules import cases
from ..rules.table import matrices

PARAMS = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3, jnp.bfloat16)}}


def links(tx, path, params=PARAMS):
    return {link.path: link for link in fo.describe(tx, params)[path].links}


def test_links_of_a_chain_with_hyperparameters_and_slots():
    found = links(fo.chain(fo.clip(1.0), fo.adam(0.5, b1=0.8)), "dense.bias")
    assert list(found) == ["clip", "scale_by_adam", "scale_by_learning_rate"]
    assert found["scale_by_adam"].hyperparams["b1"] == 0.8
    kept = {s.name: (s.array.shape, s.array.dtype) for s in found["scale_by_adam"].slots}
    assert kept == {"mu": ((3,), np.float32), "nu": ((3,), np.float32)}


def test_parameters_may_have_the_names_of_hyperparameters():
    params = {"b1": jnp.ones(2), "mu_product": jnp.ones(3)}
    tx = fo.per_leaf_counts(fo.nadam(0.1, momentum_decay=4e-3))
    for path in params:
        assert [slot.name for slot in links(tx, path, params)["scale_by_adam"].slots] == [
            "mu",
            "nu",
        ]


def test_a_masked_link_acts_on_its_leaves_only_and_the_record_says_why():
    tx = fo.adamw(fo.linear_schedule(0.1, 0.0, 5), mask=matrices)
    description = fo.describe(tx, PARAMS)
    assert "add_decayed_weights" in links(tx, "dense.kernel")
    assert "add_decayed_weights" not in links(tx, "dense.bias")
    assert description["dense.bias"].routes == (
        "masked(add_decayed_weights): False, so it passes, by the function matrices",
    )
    rate = links(tx, "dense.bias")["scale_by_learning_rate"].hyperparams["learning_rate"]
    assert repr(rate).startswith("linear_schedule(init_value=0.1")


def test_a_frozen_leaf_has_no_link_and_no_state():
    leaf = fo.describe(fo.freeze(matrices, fo.adam(0.1)), PARAMS)["dense.kernel"]
    assert (leaf.links, leaf.nbytes) == ((), 0)
    assert "so its update becomes zero" in str(leaf)
    assert "no link acts on it" in str(leaf)


def test_a_partition_names_the_rule_that_matched():
    labels = fo.path_labels([(r"bias$", "plain"), (lambda path, p: p.ndim > 1, "big")])
    tx = fo.partition({"plain": fo.sgd(0.1), "big": fo.adam(0.1)}, labels)
    description = fo.describe(tx, PARAMS)
    assert description["dense.bias"].routes == ("partition: 'plain', by the rule 'bias$'",)
    assert description["dense.kernel"].routes == ("partition: 'big', by the rule <lambda>",)
    assert list(links(tx, "dense.kernel")) == ["big.scale_by_adam", "big.scale_by_learning_rate"]


@pytest.mark.parametrize(
    ("tx", "path"),
    [
        (fo.apply_if_finite(fo.trace(0.9), 3), "inner_state"),
        (fo.MultiSteps(fo.trace(0.9), 2), "inner_opt_state"),
        (fo.chain(fo.conditionally_transform(fo.trace(0.9), bool), fo.scale(1.0)), "inner_state"),
    ],
    ids=["guard", "MultiSteps", "conditional"],
)
def test_a_wrapper_shows_what_it_wraps(tx, path):
    (name, link), *_ = links(tx, "dense.kernel").items()
    assert path in name
    assert [slot.name for slot in link.slots] == ["trace"]


def test_slots_of_a_wrapper_are_listed_under_the_wrapper():
    own = fo.describe(fo.MultiSteps(fo.trace(0.9), 2), PARAMS)["dense.kernel"].links[-1]
    assert [(slot.name, slot.nbytes) for slot in own.slots] == [("acc_grads", 24)]


def test_a_foreign_link_is_named_with_its_state_and_unknown_numbers():
    link = links(fo.chain(optax.scale_by_adam(), fo.scale(0.1)), "dense.kernel")["scale_by_adam"]
    assert not link.known
    assert [slot.nbytes for slot in link.slots] == [24, 24]
    assert "hyperparameters unknown" in str(link)


def test_a_pair_whose_init_fails_is_described_as_unknown():
    def fail(params):
        raise RuntimeError

    description = fo.describe(fo.GradientTransformation(fail, fail), PARAMS)
    assert description.nbytes is None
    assert "state: unknown" in str(description)


def test_shapes_are_enough_and_nothing_is_allocated():
    huge = {"w": jax.ShapeDtypeStruct((10**6, 10**6), np.float32)}
    assert fo.describe(fo.adam(0.1), huge)["w"].nbytes == 8 * 10**12


def test_a_sharded_parameter_shows_its_sharding(mesh):
    place = NamedSharding(mesh, PartitionSpec("x"))
    params = {"w": jax.device_put(jnp.ones((8, 2)), place)}
    assert f"w: float32[8, 2], {place.spec}" in str(fo.describe(fo.sgd(0.1), params))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases()])
def test_the_bytes_are_those_of_the_state(case):
    params = {"w": jnp.ones((3, 4)), "b": jnp.ones(4)}
    tx = case.make()
    state = jax.tree.leaves(tx.init(params))
    description = fo.describe(tx, params)
    assert description.nbytes == sum(x.nbytes for x in state)
    own = sum(x.nbytes for x in state if x.shape in ((3, 4), (4,)))
    assert sum(leaf.nbytes for leaf in description.leaves) >= own or case.factory is fo.flatten
