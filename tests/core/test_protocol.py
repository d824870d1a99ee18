"""Every transformation is a value: it can be compared, hashed, pickled and printed."""

import pickle

import jax

import functional_optim as fo

from ..problem import arrays
from ..rules import each


@each
def test_equal_arguments_make_equal_transformations(case):
    one, two = case.make(), case.make()
    assert one == two
    assert hash(one) == hash(two)
    assert one.update is two.update


@each
def test_pickles_to_an_equal_transformation_with_the_same_update(case):
    tx = case.make()
    copy = pickle.loads(pickle.dumps(tx))
    assert copy == tx
    assert copy.update is tx.update


@each
def test_holds_no_array(case):
    leaves = jax.tree.leaves((case.make().init, case.make().update))
    assert not any(isinstance(x, jax.Array) for x in leaves)


def test_other_numbers_share_one_update_and_other_options_do_not():
    assert fo.adam(1e-3).update is fo.adam(0.5, b1=0.5).update
    assert fo.adam(1e-3).update is not fo.adam(1e-3, nesterov=True).update
    assert fo.adam(1e-3) != fo.adam(1e-2)


def test_prints_the_arguments_that_were_given():
    assert repr(fo.scale_by_adam(b2=0.99)) == "scale_by_adam(b2=0.99)"
    tx = fo.chain(fo.clip(1.0), fo.sgd(0.1, momentum=0.9))
    text = "chain(clip(max_delta=1.0), trace(decay=0.9), scale_by_learning_rate(learning_rate=0.1))"
    assert repr(tx) == text


def test_identity_returns_what_it_was_given():
    params = arrays()
    updates, state = fo.identity().update(params, fo.identity().init(params), params, value=1.0)
    assert updates is params
    assert not jax.tree.leaves(state)
