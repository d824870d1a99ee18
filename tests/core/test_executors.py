"""Each kind of leaf has its executor, and all executors give the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.core.engine import executors, fused
from functional_optim.core.engine.executors import BLOCKWISE, SPARSE_ROWS, STACKED, XLA
from functional_optim.core.leaf.quantized import encode_like

from ..sparse import TABLE, draw
from ..trees import assert_close, assert_same

LARGE = 2**14
"""Elements of a leaf whose quantized slots are computed a block at a time."""

PATHS = fo.path_labels({"0": "x"}, default="y")

SPARSE = {
    "sgd": fo.sgd(0.1),
    "adagrad": fo.adagrad(0.1),
    "clipped": fo.chain(fo.clip_by_global_norm(0.5), fo.adagrad(0.1)),
    "by label": fo.adagrad(fo.by_label({"x": 0.1, "y": 0.2}, PATHS)),
}
"""Rules that leave rows without a gradient as they are."""

DENSE = {
    "adamw": fo.adamw(0.1),
    "momentum": fo.sgd(0.1, momentum=0.9, nesterov=True),
    "clipped": fo.chain(fo.clip_by_global_norm(0.5), fo.adam(0.1)),
    "by label": fo.adam(fo.by_label({"x": 0.1, "y": 0.2}, PATHS)),
    "per leaf": fo.per_leaf_counts(fo.adam(0.1)),
    "scheduled": fo.lion(fo.linear_schedule(0.1, 0.0, 9)),
}


@pytest.fixture
def chosen(monkeypatch):
    """Records leaf numbers -> the executor that was chosen for them."""
    found = {}
    original = executors.choose_executor

    def recording(fused_update, call):
        found[call.tree_indices] = original(fused_update, call)
        return found[call.tree_indices]

    monkeypatch.setattr(fused, "choose_executor", recording)
    return found


class Claiming:
    """A backend that claims leaves of some number of dimensions, and has XLA run them."""

    def __init__(self, ndim, *, joins_leaves=False):
        self.ndim, self.joins_leaves, self.sizes = ndim, joins_leaves, []

    def claims(self, fused_update, call):
        return call.update.ndim == self.ndim

    def run(self, fused_update, calls):
        self.sizes.append(len(calls))
        return XLA.run(fused_update, calls)


@pytest.fixture
def backend(monkeypatch):
    """Registers a backend for one test."""
    monkeypatch.setattr(executors, "BACKENDS", [])

    def register(*args, **options):
        added = Claiming(*args, **options)
        executors.BACKENDS.append(added)
        return added

    return register


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def run(tx, params, gradients):
    state = tx.init(params)
    for g in gradients:
        updates, state = tx.update(g, state, params)
        params = fo.apply_updates(params, updates)
    return params, state


def step_by_step(tx, params, gradients):
    """Runs steps in which the function of a leaf adds the update to the parameter."""
    state = tx.init(params)
    for g in gradients:
        params, state = fo.apply_gradients(tx, g, state, params)
    return params, state


def jit_anew(function):
    """Jits a function that no other test has traced."""
    return jax.jit(lambda *args: function(*args))


def test_a_dense_leaf_is_run_by_xla(chosen):
    params = {"a": jnp.ones(2), "b": jnp.ones((2, 3))}
    run(fo.adamw(0.1), params, [params])
    assert chosen == {(0,): XLA, (1,): XLA}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("tx", SPARSE.values(), ids=SPARSE)
def test_sparse_rows_have_the_numbers_of_dense_leaves(tx, chosen):
    params = {"0": normal(0, *TABLE), "1": jnp.ones(4)}
    drawn = [draw(seed) for seed in range(3)]
    sparse = run(tx, params, [{"0": g.sparse, "1": params["1"]} for g in drawn])
    assert chosen == {(0,): SPARSE_ROWS, (1,): XLA}
    dense = run(tx, params, [{"0": jnp.asarray(g.dense), "1": params["1"]} for g in drawn])
    assert chosen == {(0,): XLA, (1,): XLA}
    assert_close(sparse, dense, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("tx", DENSE.values(), ids=DENSE)
def test_stacked_leaves_have_the_numbers_of_single_ones(tx, chosen):
    params = {str(k): normal(k, 2, 3) for k in range(5)} | {"b": normal(9, 7)}
    gradients = [jax.tree.map(lambda p, k=k: jnp.sin(k + p), params) for k in range(3)]
    stacked = run(fo.packed(tx), params, gradients)
    assert chosen == {(0, 1, 2, 3, 4): STACKED, (5,): XLA}
    chosen.clear()
    single = run(tx, params, gradients)
    assert set(chosen.values()) == {XLA}
    assert_close(stacked[0], single[0], rtol=1e-6, atol=1e-7)
    assert_close(fo.unpacked(stacked[1]), single[1], rtol=1e-6, atol=1e-7)


def test_a_stack_without_all_gradients_is_run_leaf_by_leaf(chosen):
    tx = fo.per_leaf_counts(fo.packed(fo.adam(0.1)))
    params = {str(k): normal(k, 3) for k in range(5)}
    gradients = [params, {**params, "2": None}, params]
    stacked = run(tx, params, gradients[:2])
    assert chosen == {(0, 1, 2, 3, 4): STACKED} | {(k,): XLA for k in (0, 1, 3, 4)}
    stacked = run(tx, params, gradients)
    single = run(fo.adam(0.1), params, gradients)
    assert_close(stacked[0], single[0], rtol=1e-6, atol=1e-7)


QUANTIZED = [(name, (64, 512), "8bit") for name in DENSE]
QUANTIZED += [("adamw", shape, "8bit") for shape in [(LARGE + 256,), (40, 8)]]
QUANTIZED += [("adamw", shape, "bfloat16") for shape in [(64, 512), (40, 8)]]


@pytest.mark.parametrize(("name", "shape", "form"), QUANTIZED)
def test_blocks_of_a_leaf_with_quantized_slots_have_the_numbers_of_the_whole(
    name, shape, form, chosen
):
    tx = DENSE[name]
    quantized = fo.low_bit_state(tx, form, min_size=256)
    params = {"0": normal(0, *shape), "1": normal(1, 3)}
    _, state = run(quantized, params, [params])
    grads = jax.tree.map(jnp.sin, params)
    chosen.clear()
    updates, after = jit_anew(quantized.update)(grads, state, params)
    assert chosen == {(0,): BLOCKWISE, (1,): XLA}
    chosen.clear()
    expected, decoded = jit_anew(tx.update)(grads, fo.decode_state(state), params)
    assert set(chosen.values()) == {XLA}
    assert_close(updates, expected, rtol=1e-6, atol=1e-7)
    # Codes of numbers that differ in the last bit may be neighbours.
    assert_close(
        fo.decode_state(after),
        fo.decode_state(encode_like(state, decoded)),
        rtol=2**-7 if form == "bfloat16" else 0.02,
        atol=1e-3,
    )


def test_a_backend_runs_the_leaves_that_it_claims(chosen, backend):
    params = {"a": normal(0, 4), "b": normal(1, 2, 3), "c": normal(2, 5)}
    tx = fo.adamw(0.1)
    expected = step_by_step(tx, params, [params, params])
    one_by_one = backend(ndim=1)
    found = step_by_step(tx, params, [params, params])
    assert chosen == {(0,): one_by_one, (1,): XLA, (2,): one_by_one}
    assert one_by_one.sizes == [1, 1] * 2
    assert_same(found, expected)


def test_a_backend_may_have_all_its_leaves_in_one_call(chosen, backend):
    params = {"a": normal(0, 4), "b": normal(1, 2, 3), "c": normal(2, 5)}
    joining = backend(ndim=1, joins_leaves=True)
    step_by_step(fo.adamw(0.1), params, [params])
    assert chosen == {(0,): joining, (1,): XLA, (2,): joining}
    assert joining.sizes == [2]


def test_the_first_backend_that_claims_a_leaf_runs_it(chosen, backend):
    params = {"a": normal(0, 4), "b": normal(1, 2, 3)}
    first, second = backend(ndim=2), backend(ndim=1)
    backend(ndim=1)
    step_by_step(fo.adamw(0.1), params, [params])
    assert chosen == {(0,): second, (1,): first}


def test_updates_that_are_not_added_are_not_offered_to_backends(chosen, backend):
    params = {"a": normal(0, 4)}
    claiming = backend(ndim=1)
    run(fo.adamw(0.1), params, [params])
    assert chosen == {(0,): XLA}
    assert not claiming.sizes


def test_special_leaves_are_not_offered_to_backends(chosen, backend):
    params = {str(k): normal(k, 3) for k in range(4)} | {"t": normal(5, *TABLE)}
    claiming = backend(ndim=1)
    gradients = {**params, "t": draw(0).sparse}
    step_by_step(fo.packed(fo.adagrad(0.1)), params, [gradients])
    assert chosen == {(0, 1, 2, 3): STACKED, (4,): SPARSE_ROWS}
    chosen.clear()
    params = {"a": normal(0, 256)}
    step_by_step(fo.low_bit_state(fo.adam(0.1), min_size=256), params, [params])
    assert chosen == {(0,): BLOCKWISE}
    assert not claiming.sizes
