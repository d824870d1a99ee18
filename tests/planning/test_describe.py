"""`describe` lists, before training, the links that act on each parameter."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo

from ..rules import cases, each_of, plain
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
def test_a_wrapper_shows_the_links_within_it(tx, path):
    (name, link), *_ = links(tx, "dense.kernel").items()
    assert path in name
    assert [slot.name for slot in link.slots] == ["trace"]


def test_slots_of_a_wrapper_are_listed_under_the_wrapper():
    own = fo.describe(fo.MultiSteps(fo.trace(0.9), 2), PARAMS)["dense.kernel"].links[-1]
    assert [(slot.name, slot.nbytes) for slot in own.slots] == [("acc_grads", 24)]


EVERY_KIND = {
    "sophia": fo.sophia(0.1),
    "mechanize": fo.mechanize(fo.sgd(1.0)),
    "dpsgd": fo.contrib.dpsgd(0.1, 1.0, 1.0, 0),
    "sam": fo.contrib.sam(fo.sgd(0.1), fo.sgd(0.1)),
    "split": fo.split_real_and_imaginary(fo.adam(0.1)),
    "plateau": fo.contrib.reduce_on_plateau(),
    "MultiSteps": fo.MultiSteps(fo.adam(0.1), 2),
    "injected": fo.inject_hyperparams(fo.adam)(0.1),
    "hypergradient": fo.adam_hd(0.1),
    "averaged": fo.schedule_free(fo.adam(0.1), 0.1),
}


@pytest.mark.parametrize("name", EVERY_KIND)
def test_numbers_of_all_kinds_of_links_are_known(name):
    text = str(fo.describe(EVERY_KIND[name], PARAMS))
    assert "unknown" not in text
    assert not re.search(r"\b_[A-Z]|object at|Key\(", text), "no private objects"


def test_both_parts_of_sophia_are_described():
    found = links(fo.sophia(0.1, gamma=0.5), "dense.kernel")
    step = found["scale_by_sophia.sophia_step"]
    assert step.hyperparams["gamma"] == 0.5
    assert [slot.name for slot in step.slots] == ["mu", "nu"]
    estimate = str(found["scale_by_sophia.hessian_fn_state"])
    assert estimate.endswith("hutchinson_estimator_diag_hessian(0)")


def test_a_foreign_link_is_named_with_its_state_and_unknown_numbers():
    link = links(fo.chain(optax.scale_by_adam(), fo.scale(0.1)), "dense.kernel")["scale_by_adam"]
    assert not link.known
    assert [slot.nbytes for slot in link.slots] == [24, 24]
    assert "hyperparameters unknown" in str(link)


@pytest.mark.parametrize(
    ("tx", "error", "text"),
    [
        (fo.partition({"a": fo.sgd(0.1)}, "missing"), ValueError, "param_labels has 'missing'"),
        (fo.masked(fo.sgd(0.1), {"w": True}), ValueError, "mask does not fit the parameters"),
        (fo.GradientTransformation(lambda params: 1 / 0, None), ZeroDivisionError, "division"),
    ],
)
def test_describe_raises_the_errors_of_init(tx, error, text):
    with pytest.raises(error, match=text):
        fo.describe(fo.chain(tx) if tx.update else tx, PARAMS)


def test_shapes_are_enough_and_nothing_is_allocated():
    huge = {"w": jax.ShapeDtypeStruct((10**6, 10**6), np.float32)}
    assert fo.describe(fo.adam(0.1), huge)["w"].nbytes == 8 * 10**12


def test_a_sharded_parameter_shows_its_sharding(mesh):
    place = NamedSharding(mesh, PartitionSpec("x"))
    params = {"w": jax.device_put(jnp.ones((8, 2)), place)}
    assert f"w: float32[8, 2], {place.spec}" in str(fo.describe(fo.sgd(0.1), params))


@each_of(plain(cases()))
def test_the_bytes_are_those_of_the_state(case):
    params = {"w": jnp.ones((3, 4)), "b": jnp.ones(4)}
    tx = case.make()
    state = jax.tree.leaves(tx.init(params))
    description = fo.describe(tx, params)
    assert description.nbytes == sum(x.nbytes for x in state)
    own = sum(x.nbytes for x in state if x.shape in ((3, 4), (4,)))
    assert sum(leaf.nbytes for leaf in description.leaves) >= own or case.factory is fo.flatten


def test_a_vector_has_no_links_of_matrices():
    params = {"w": jnp.ones((8, 4)), "b": jnp.ones(4), "stack": jnp.ones((3, 8, 4))}
    described = fo.describe(fo.muon(0.02), {k: params[k] for k in "wb"})
    assert [x.path for x in described["w"].links] == [
        "muon_momentum",
        "orthogonalize",
        "scale_by_shape",
        "add_decayed_weights",
        "scale_by_learning_rate",
    ]
    of_others = ["scale_by_adam", "add_decayed_weights_1", "scale_by_learning_rate"]
    assert [x.path for x in described["b"].links] == of_others
    assert described["w"].routes == ("muon: a matrix of 8 x 4",)
    assert described["b"].routes == ("adam: a vector",)
    stacked = fo.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    described = fo.describe(
        fo.muon(0.02, muon_weight_dimension_numbers={"stack": stacked, "b": None, "w": None}),
        params,
    )
    assert described["stack"].routes == ("muon: 3 matrices of 8 x 4",)
    assert described["w"].routes == ("adam: by its axes, which are None",)


def test_an_ambiguous_stack_of_matrices_is_shown_as_a_question():
    params = {"w": jnp.ones((8, 4)), "b": jnp.ones(4), "stack": jnp.ones((3, 8, 4))}
    inner = fo.partition({"all": fo.muon(0.02)}, jax.tree.map(lambda _: "all", params))
    for tx in (fo.muon(0.02), fo.chain(fo.clip(1.0), fo.muon(0.02)), inner):
        with pytest.raises(ValueError, match="may be matrices or not") as caught:
            tx.init(params)
        described = fo.describe(tx, params)
        assert described.question == str(described) == str(caught.value)
        assert 'r"^stack$": fo.MatrixAxes(1, 2)' in str(described)
        assert described["w"].routes == ("a matrix of 8 x 4",)
        assert described["b"].routes == ("a vector",)
        assert described["stack"].routes == ("3 axes, and an unknown name",)
        assert not described["w"].links
        assert described.nbytes == 0


class Chosen:
    """A mask that prints with its address."""

    def __call__(self, params):
        return matrices(params)

    def method(self, params):
        return matrices(params)


ADDRESSES = {
    "an object": fo.masked(fo.adam(0.1), Chosen()),
    "a method": fo.masked(fo.adam(0.1), Chosen().method),
    "a partial": fo.masked(fo.adam(0.1), functools.partial(lambda scale, p: matrices(p), 1.0)),
    "a frozen part": fo.freeze(lambda params: matrices(params), fo.adam(0.1)),
    "a schedule": fo.sgd(lambda step: 0.1),
    "within a wrapper": fo.MultiSteps(fo.adamw(0.1, mask=lambda p: matrices(p)), 2),
    "of optax": fo.masked(optax.sgd(0.1), matrices),
}
EACH = {case.name: case.make for case in cases()} | {
    k: lambda tx=tx: tx for k, tx in ADDRESSES.items()
}


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_nothing_private_is_shown(make):
    text = str(fo.describe(make(), {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}))
    assert " at 0x" not in text
    assert not re.search(r"\b_[A-Za-z]\w*\(|<(function|bound method)", text), text
