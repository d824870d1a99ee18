"""Slots of small parameters are stored as few arrays, which is not visible from outside."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.core.leaf.packing import MAX_PACKED_SIZE

from ..sparse import draw
from ..trees import assert_same
from .makers import MAKERS
from .test_compilation import compilations


def many(seed=0, **others):
    """Returns parameters of which some are small and of equal shape: 6 of one, and 5 of another."""
    rng = np.random.default_rng(seed)

    def leaf(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    return {
        "layers": [{"b": leaf(3), "w": leaf(2, 3)} for _ in range(5)],
        "large": leaf(MAX_PACKED_SIZE + 1),
        "head": leaf(3),
        **others,
    }


def stored(optimizer):
    """Returns the arrays of the first group's state, as a step left them."""
    return optimizer._groups[0].stored.arrays


def run(make):
    """Makes a run with all that a user may do between steps."""
    optimizer = make(many())
    optimizer.step(many(1))
    optimizer.step({**many(2), "head": None})
    group = optimizer.param_groups[0]
    group["lr" if "lr" in group else "learning_rate"] = 0.05
    optimizer.step(many(3))
    again = make(optimizer.copy_params())
    again.load_state_dict(optimizer.state_dict())
    again.step(many(4))
    return again.params, again.state


@pytest.mark.parametrize("name", ["SGD-momentum", "Adam-amsgrad", "ASGD", "Optimizer"])
def test_a_run_is_that_of_unstacked_slots(name, monkeypatch):
    stacked = run(MAKERS[name])
    monkeypatch.setattr("functional_optim.optim.step.state_layout.MAX_PACKED_SIZE", 0)
    for a, b in zip(*map(jax.tree.leaves, (stacked, run(MAKERS[name]))), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_step_takes_few_arrays():
    optimizer = optim.AdamW(many())
    optimizer.step(many(1))
    numbers, *slots = stored(optimizer)
    assert numbers.ndim == 1
    # Of both moments the biases, the weights, and the one that is large.
    assert sorted(x.shape for x in slots) == sorted([(5, 2, 3), (6, 3), (MAX_PACKED_SIZE + 1,)] * 2)


@pytest.mark.parametrize(("leaves", "traces"), [(3, 0), (4, 1)])
def test_init_is_traced_only_where_enough_slots_are_equal(leaves, traces, monkeypatch):
    calls = []
    eval_shape = jax.eval_shape
    monkeypatch.setattr(jax, "eval_shape", lambda *args: calls.append(args) or eval_shape(*args))
    params = [jnp.ones(7) for _ in range(leaves)]
    optim.SGD(params, momentum=0.9).step(params)
    assert len([f for f, *_ in calls if getattr(f, "name", None) == "chain"]) == traces


def test_the_state_has_a_slot_for_each_parameter():
    optimizer = optim.AdamW(many())
    for _ in range(2):
        optimizer.step(many(1))
        slot = optimizer.state[0].scale_by_adam.mu
        assert jax.tree.map(jnp.shape, slot) == jax.tree.map(jnp.shape, many())


@pytest.mark.parametrize("scalars", [1, 2, 3])
def test_an_edit_reaches_its_option_and_nothing_else(scalars):
    shapes = {"a": [(3,)] * 7, "s": [()] * scalars}
    params = jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))
    optimizer = optim.Optimizer(params, fo.chain(fo.trace(0.9), fo.adam(0.1), fo.ema(0.5)))
    optimizer.step(params)
    for i, name in enumerate(list(optimizer.defaults)):
        before = fo.to_state_dict(optimizer.state)
        optimizer.param_groups[0][name] = 0.01 * (i + 1)
        after = fo.to_state_dict(optimizer.state)
        changed = [k for k in before if not np.array_equal(before[k], after[k])]
        assert [k.rsplit(".", 1)[-1] for k in changed] == [name.rsplit(".", 1)[-1]]


@pytest.mark.parametrize("edit", [{"lr": 0.5}, {"maximize": True}], ids=["number", "flag"])
def test_an_edit_and_a_refused_step_leave_the_state_intact(edit):
    optimizer, gradients = optim.AdamW(many()), many(1)
    optimizer.step(gradients)
    optimizer.param_groups[0].update(edit)
    with pytest.raises(RuntimeError, match="trace"):
        jax.jit(lambda g: optimizer.step(g))(gradients)
    optimizer.step(gradients)
    optimizer.state_dict()
    assert int(optimizer.state[0].scale_by_adam.count) == 2


def test_a_loss_may_read_the_state():
    optimizer = optim.AdamW(many())
    optimizer.step(many(1))

    def loss(params):
        return jnp.sum(params["head"] ** 2) * int(optimizer.state[0].scale_by_adam.count)

    before = optimizer.copy_params()["head"]
    np.testing.assert_allclose(optimizer.minimize(loss), jnp.sum(before**2), rtol=1e-6)


def test_reading_the_state_leaves_the_slots_stacked():
    optimizer, gradients = optim.AdamW(many()), many(1)
    optimizer.step(gradients)
    arrays = stored(optimizer)
    first = optimizer.state
    assert stored(optimizer) is arrays
    optimizer.step(gradients)
    with compilations() as found:
        second = optimizer.state
        optimizer.step(gradients)
    assert found == []
    counts = [int(x[0].scale_by_adam.count) for x in (first, second, optimizer.state)]
    assert counts == [1, 2, 3]


@pytest.mark.parametrize("others", [{}, {"maximize": True}], ids=["numbers", "flag"])
def test_an_edited_number_leaves_the_slots_stacked_and_compiles_nothing(others):
    optimizer = optim.AdamW(many())
    optimizer.step(many(1))
    gradients = many(2)
    arrays = stored(optimizer)
    with compilations() as found:
        optimizer.param_groups[0].update(lr=0.5, betas=(0.8, 0.9), **others)
        optimizer.step(gradients)
    assert found == []
    assert [x.shape for x in stored(optimizer)] == [x.shape for x in arrays]
    assert float(fo.get_hyperparams(optimizer.state[0])["b1"]) == np.float32(0.8)


def test_each_parameter_counts_its_own_updates():
    optimizer = optim.Optimizer(many(), fo.adam(0.1))
    optimizer.step({**many(1), "head": None})
    optimizer.step(many(2))
    assert (
        sorted(np.asarray(optimizer.state[0].scale_by_adam.leaf_counts).tolist()) == [1] + [2] * 11
    )


def test_sparse_rows_among_small_tables():
    tables = {f"t{i}": jnp.ones(draw(0).shape, jnp.float32) for i in range(4)}
    one, other = (optim.Optimizer(tables, fo.adagrad(0.1)) for _ in range(2))
    rows = {k: draw(i) for i, k in enumerate(tables)}
    for _ in range(2):
        one.step({k: x.sparse for k, x in rows.items()})
        other.step({k: jnp.asarray(x.dense) for k, x in rows.items()})
    assert [x.shape[0] for x in stored(one)[1:]] == [4]
    for a, b in zip(*map(jax.tree.leaves, (one.params, other.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_an_added_group_and_a_copy():
    optimizer = optim.SGD(many(), lr=0.1, momentum=0.9)
    optimizer.step(many(1))
    optimizer.add_param_group({"params": many(5), "lr": 0.2})
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    for one in (optimizer, *others):
        one.step([many(2), many(3)])
    for other in others:
        assert_same(other.params, optimizer.params)
    assert [len(group.stored.arrays) for group in optimizer._groups] == [4, 4]


@pytest.mark.parametrize("name", ["sam", "lookahead"])
def test_wrappers_that_make_inner_states_again_work_with_stacked_slots(name):
    adversary = fo.chain(fo.normalize(), fo.sgd(0.05, momentum=0.9))
    wrapped = {
        "sam": fo.sam(fo.adam(0.1), adversary),
        "lookahead": fo.lookahead(fo.adam(0.1), 2, 0.5, reset_state=True),
    }

    def loss(params):
        return sum(jnp.sum((x - 2) ** 2) for x in params)

    optimizer = optim.Optimizer([jnp.ones((3, 4)) for _ in range(6)], wrapped[name])
    losses = [optimizer.minimize(loss) for _ in range(4)]
    assert losses[-1] < losses[0]


def test_quantized_slots_stay_quantized():
    tx = fo.low_bit_state(fo.adam(0.1))
    optimizer = optim.Optimizer(many(large=jnp.ones(5000)), tx)
    for _ in range(2):
        optimizer.step(many(1, large=jnp.ones(5000)))
    mu = optimizer.state[0].scale_by_adam.mu
    assert mu["large"].codes.dtype == jnp.uint8
    assert mu["head"].dtype == jnp.float32


@pytest.mark.parametrize(
    "read",
    [lambda x: float(jnp.max(x)), lambda x: x[x > 0].sum(), lambda x: x.addressable_shards[0].data],
    ids=["numbers", "elements", "shards"],
)
def test_a_foreign_init_that_cannot_be_traced_works_unstacked(read):
    def init(params):
        return {"first": jnp.float32(jnp.ravel(read(params["head"]))[0])}

    def update(grads, state, params=None):
        return grads, state

    foreign = optax.GradientTransformation(init, update)
    optimizer = optim.Optimizer(many(), fo.chain(foreign, fo.adam(0.1)))
    optimizer.step(many(1))
    assert len(stored(optimizer)) > 24


def test_slots_on_several_devices_are_not_stacked(mesh):
    params = jax.device_put(many(), jax.NamedSharding(mesh, jax.P()))
    optimizer = optim.AdamW(params)
    optimizer.step(jax.device_put(many(1), jax.NamedSharding(mesh, jax.P())))
    assert len(stored(optimizer)) > 24
