"""Sparse updates: rules on rows, against the same rules on all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse
from jax.experimental.sparse import BCOO

import functional_optim as fo

from .. import problem
from ..compiling import TEXT
from ..rules import cases, each_of
from ..sparse import TABLE, Rows, draw
from ..trees import assert_same, leaf_types

AS_DENSE = {
    "sgd": fo.sgd(fo.linear_schedule(1.0, 0.0, 4)),
    "adagrad": fo.adagrad(0.1),
    "in a row": fo.chain(fo.clip(1.0), fo.clip_by_global_norm(0.5), fo.adagrad(0.1), fo.scale(2.0)),
    "masked": fo.masked(fo.sgd(0.1), {"table": True, "bias": False}),
    "partition": fo.partition(
        {"a": fo.adagrad(0.1), "b": fo.sgd(1.0)}, {"table": "a", "bias": "b"}
    ),
    "guarded": fo.apply_if_finite(fo.adagrad(0.1), 2),
    "conditional": fo.conditionally_mask(fo.adagrad(0.1), lambda step: step != 1),
    "gathered": fo.MultiSteps(fo.sgd(0.1), 2),
    "densify": fo.chain(fo.densify(), fo.adamw(0.1)),
}
"""Transformations that leave rows without a gradient as they are, or see all of them."""


ON_ROWS = [
    c for c in cases() if getattr(getattr(c.factory, "spec", None), "row_sparse", None) is True
]


def tree(table, dtype=np.float32):
    return {"table": table, "bias": jnp.ones(4, dtype)}


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return tree(jnp.asarray(rng.standard_normal(TABLE), dtype), dtype)


def run(tx, params, tables):
    step = jax.jit(problem.step_of(tx))
    state = tx.init(params)
    for table in tables:
        params, state = step(params, state, tree(table, params["bias"].dtype))
    return params, state


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", AS_DENSE)
def test_rows_give_what_all_rows_give(name):
    dtype = np.complex128 if name == "in a row" else np.float64
    tx, params, grads = (
        AS_DENSE[name],
        parameters(dtype),
        [draw(seed, 8, dtype) for seed in range(3)],
    )
    of_rows = run(tx, params, [g.sparse for g in grads])
    of_all = run(tx, params, [jnp.asarray(g.dense) for g in grads])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), of_rows, of_all)


@pytest.mark.usefixtures("eager")
@each_of(ON_ROWS)
def test_every_rule_gives_the_same_updates_for_sparse_and_dense_rows(case):
    g, params = draw(0, 3), tree(jnp.ones(TABLE))
    tx, bias = case.make(), jnp.ones(4)
    found, expected = (
        tx.update({"table": table, "bias": bias}, tx.init(params), params)
        for table in (g.sparse, jnp.asarray(g.dense))
    )
    rows = found[0]["table"].todense()
    np.testing.assert_allclose(rows[g.touched], expected[0]["table"][g.touched], rtol=1e-6)
    assert not np.any(np.delete(rows, g.touched, axis=0))
    assert_same(found[0]["bias"], expected[0]["bias"])
    assert leaf_types(found[1]) == leaf_types(expected[1])


def test_rows_without_a_gradient_stay_bit_for_bit():
    decayed = fo.chain(fo.add_decayed_weights(0.5), fo.sparse_adam(0.1))
    g = Rows(np.ones((2, 3), np.float32), np.array([4, 1]))
    params, state = run(decayed, tree(jnp.full(TABLE, -0.0)), [g.sparse] * 2)
    others = np.setdiff1d(np.arange(TABLE[0]), g.touched)
    assert np.signbit(params["table"][others]).all()
    assert not np.any(state.scale_by_sparse_adam.m["table"][others])
    assert np.all(params["table"][g.touched] < 0)


@pytest.mark.usefixtures("eager")
def test_weight_decay_pulls_the_rows_of_the_update():
    params = parameters()
    g = draw(0, 2)
    tx = fo.add_decayed_weights(0.5)
    updates, _ = tx.update(tree(g.sparse), tx.init(params), params)
    expected = np.zeros(TABLE)
    expected[g.touched] = (g.dense + 0.5 * params["table"])[g.touched]
    np.testing.assert_allclose(updates["table"].todense(), expected, rtol=1e-6)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("indices", [[6, 1, 100, 1], [-1, 5, 0, 5], [-7, 0, 0, 0], [2, 2, 2, 2]])
@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint32, np.int64])
def test_indices_are_read_as_todense_reads_them(indices, dtype):
    indices = np.array(indices).astype(dtype)
    table = fo.row_sparse(jnp.ones((4, 3)), jnp.asarray(indices), TABLE)
    expected = table.todense()
    updates, _ = fo.scale(1.0).update(table, fo.scale(1.0).init(jnp.zeros(TABLE)))
    assert_same(updates.todense(), expected)
    assert_same(fo.apply_updates(jnp.zeros(TABLE), table), expected)
    np.testing.assert_allclose(fo.global_norm(table), np.linalg.norm(expected), rtol=1e-6)


@pytest.mark.usefixtures("eager")
def test_rows_outside_the_table_are_ignored():
    rows = jnp.array([[1.0], [jnp.nan]])
    g = BCOO((rows, jnp.array([[0], [3]])), shape=(3, 1), unique_indices=True)
    tx = fo.clip_by_global_norm(0.5)
    updates, state = tx.update(g, tx.init(jnp.ones((3, 1))))
    assert updates.data.tolist() == [[0.5], [0.0]]
    assert state.metrics["global_norm"] == 1


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("shape", [(0, 3), (6,), (6, 0), (6, 2, 2)], ids=str)
@pytest.mark.parametrize("count", [0, 4])
def test_tables_of_any_shape_and_any_number_of_rows(shape, count):
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.add_decayed_weights(0.1), fo.adagrad(0.1))
    tx, params = fo.per_leaf_counts(tx), jnp.ones(shape)
    g = fo.row_sparse(jnp.ones((count, *shape[1:])), jnp.arange(count), shape)
    updates, state = tx.update(g, tx.init(params), params)
    moved = fo.apply_updates(params, updates)
    assert moved.shape == shape
    assert updates.nse == count
    touched = np.arange(shape[0]) < count
    np.testing.assert_array_equal(
        np.asarray(moved != 1).reshape(shape),
        np.broadcast_to(touched.reshape(-1, *[1] * (len(shape) - 1)), shape),
    )
    assert state.scale_by_rss.leaf_counts.tolist() == [1], "an update of no rows is an update"


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_rows_of_a_narrow_table_are_summed_and_added_in_float32(dtype):
    count = 600  # ones: a sum in bfloat16 stops at 256
    g = fo.row_sparse(jnp.ones((count, 1), dtype), jnp.zeros(count, int), (2, 1))
    params = jnp.ones((2, 1), dtype)
    tx = fo.sgd(1 / 1024)
    updates, _ = tx.update(g, tx.init(params), params)
    assert updates.dtype == dtype
    assert updates.data[0, 0] == dtype(-count / 1024)
    assert fo.apply_updates(params, g)[:, 0].tolist() == [dtype(601), 1]


def test_one_program_for_all_rows_and_one_for_dense_gradients():
    tx = fo.per_leaf_counts(fo.chain(fo.clip_by_global_norm(1.0), fo.adagrad(0.1)))
    params = parameters()
    traced = []

    @jax.jit
    def step(params, state, grads):
        traced.append(grads)
        return problem.step_of(tx)(params, state, grads)

    state = tx.init(params)
    start = leaf_types((params, state))
    for seed in range(4):
        params, state = step(params, state, tree(draw(seed, 5).sparse))
        assert leaf_types((params, state)) == start
    assert len(traced) == 1
    params, state = step(params, state, tree(jnp.ones(TABLE)))
    params, state = step(params, state, tree(None))
    assert len(traced) == 3
    assert leaf_types((params, state)) == start
    assert state.scale_by_rss.leaf_counts.tolist() == [6, 5], "leaves in order: bias, table"


def test_a_scan_carries_the_state():
    tx = fo.sparse_adam(0.1)
    params, grads = {"table": parameters()["table"]}, [draw(seed, 4) for seed in range(5)]
    values, indices = (jnp.asarray([getattr(g, k) for g in grads]) for k in ("values", "indices"))

    def body(carry, rows):
        return problem.step_of(tx)(*carry, {"table": fo.row_sparse(*rows, TABLE)}), None

    scanned, _ = jax.lax.scan(body, (params, tx.init(params)), (values, indices))
    step, looped = jax.jit(problem.step_of(tx)), (params, tx.init(params))
    for g in grads:
        looped = step(*looped, {"table": g.sparse})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), scanned, looped)


@pytest.mark.parametrize("tx", [fo.sparse_adam(0.1), fo.adagrad(0.1), fo.sgd(0.1)], ids=repr)
def test_memory_besides_donated_arrays_grows_with_the_rows_and_not_with_the_table(tx):
    def temporary(n, count):
        params = jax.ShapeDtypeStruct((n, 8), jnp.float32)
        state = jax.eval_shape(tx.init, params)
        grads = jax.eval_shape(
            lambda: fo.row_sparse(jnp.ones((count, 8)), jnp.zeros(count, int), (n, 8))
        )
        step = jax.jit(problem.step_of(tx), donate_argnums=(0, 1))
        found = step.lower(params, state, grads).compile(TEXT).memory_analysis()
        assert found.alias_size_in_bytes >= params.size * 4
        return found.temp_size_in_bytes

    assert temporary(1_000, 10) == temporary(100_000, 10) < temporary(100_000, 100)


@pytest.mark.usefixtures("eager")
def test_a_table_stays_where_its_rows_are(mesh):
    place = jax.NamedSharding(mesh, jax.P("x", None))
    params = jax.device_put(jnp.ones((8, 3)), place)
    tx = fo.sparse_adam(0.1)
    step, state = jax.jit(problem.step_of(tx)), tx.init(params)
    for seed in range(2):
        params, state = step(params, state, draw(seed, shape=(8, 3)).sparse)
        assert params.sharding == state.scale_by_sparse_adam.m.sharding == place


def test_gradients_that_add_up_cancel_before_they_are_clipped():
    tx = fo.clip(1.0)
    g = Rows(np.array([[5.0], [-5.0]], np.float32), np.array([0, 0]), (2, 1)).sparse
    assert not np.any(tx.update(g, tx.init(jnp.zeros((2, 1))))[0].todense())


@pytest.mark.parametrize(
    "tx",
    [fo.scale_by_adam(), fo.trace(0.9), fo.ema(0.9), fo.lion(0.1), fo.rmsprop(0.1)],
    ids=lambda tx: tx.init.name,
)
def test_a_rule_that_needs_all_rows_refuses_sparse_updates(tx):
    params = parameters()
    link = next(iter(tx.init.names)) if tx.init.name == "chain" else tx.init.name
    with pytest.raises(ValueError, match=rf"^{link}: the update at 'table' is sparse, .* densify"):
        tx.update(tree(draw(0).sparse), tx.init(params), params)


@pytest.mark.parametrize(
    "g",
    [
        BCOO.fromdense(jnp.eye(*TABLE), n_dense=0),
        BCOO.fromdense(jnp.eye(*TABLE), n_batch=1),
        sparse.BCSR.fromdense(jnp.eye(*TABLE)),
    ],
    ids=["elements", "batched", "BCSR"],
)
def test_other_sparse_arrays_are_refused(g):
    tx = fo.scale(0.1)
    with pytest.raises(ValueError, match=r"^scale: the update at 'table' is a .* row_sparse"):
        tx.update(tree(g), tx.init(parameters()))
    with pytest.raises(ValueError, match=r"^apply_updates: the update at 'table' is a "):
        fo.apply_updates(parameters(), tree(g))


def test_indices_that_a_foreign_link_has_changed_are_refused():
    def update(updates, state, params=None):
        return jax.tree.map(lambda g: g.astype(jnp.float32) * 0.5, updates), state

    tx = fo.chain(fo.GradientTransformation(lambda params: (), update), fo.sgd(0.1))
    with pytest.raises(ValueError, match=r"indices have dtype float32: .* densify\(\) in front"):
        tx.update(tree(draw(0).sparse), tx.init(parameters()))


def test_a_sparse_parameter_is_refused():
    with pytest.raises(TypeError, match=r"'table' is a sparse array\. Pass its todense"):
        fo.sgd(0.1).init(tree(draw(0).sparse))


def test_a_sparse_update_of_another_shape_is_refused():
    g = draw(0, shape=(7, 3)).sparse
    tx = fo.sgd(0.1)
    with pytest.raises(ValueError, match=r"'table' has shape \(7, 3\), and the parameter has"):
        tx.update(tree(g), tx.init(parameters()), parameters())
    with pytest.raises(ValueError, match=r"'table' the update has shape \(7, 3\)"):
        fo.apply_updates(parameters(), tree(g))


@pytest.mark.usefixtures("eager")
def test_a_frozen_table_stays_as_it_is():
    params = parameters()
    for tx in (fo.freeze({"table": True, "bias": False}, fo.sgd(0.1)), fo.set_to_zero()):
        updates, _ = tx.update(tree(draw(0).sparse), tx.init(params), params)
        assert_same(fo.apply_updates(params, updates)["table"], params["table"])


@pytest.mark.usefixtures("eager")
def test_a_step_that_is_not_finite_touches_no_row():
    tx = fo.apply_if_finite(fo.sgd(0.1), 2)
    g = Rows(np.full((2, 3), np.inf, np.float32), np.array([0, 5]))
    params = tree(jnp.full(TABLE, -0.0))
    updates, _ = tx.update(tree(g.sparse), tx.init(params), params)
    assert np.signbit(fo.apply_updates(params, updates)["table"]).all()


@pytest.mark.usefixtures("eager")
def test_labels_need_no_parameters():
    tx = fo.masked(fo.scale(-1.0), True)
    updates, _ = tx.update(tree(draw(0).sparse), tx.init(parameters()))
    assert_same(updates["table"].todense(), -draw(0).sparse.todense())


def test_rows_of_a_batch_of_indices():
    ids = jnp.array([[0, 2], [2, 5]])
    g = fo.row_sparse(jnp.ones((2, 2, 3)), ids, TABLE)
    assert g.todense().sum(axis=1).tolist() == [3, 0, 6, 0, 0, 3]


def test_rows_and_indices_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match=r"row_sparse: rows of shape \(2, 4\) .* one row of the"):
        fo.row_sparse(jnp.ones((2, 4)), jnp.zeros(2, int), TABLE)
    with pytest.raises(TypeError, match="row_sparse: shape must be the table's, a tuple, got 6"):
        fo.row_sparse(jnp.ones((2, 4)), jnp.zeros(2, int), 6)
