"""What rules beyond the elementwise ones need of the engine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo


def run(tx, grads, params, steps=1, **extra):
    state = tx.init(params)
    for _ in range(steps):
        updates, state = jax.jit(tx.update)(grads, state, params, **extra)
    return updates, state


def anchor(g, slots, p, now):
    return g, {"start": slots.start}


def test_an_exact_rule_decides_the_narrow_parameter_itself():
    wanted = jnp.array([1.0078125, -3.0], jnp.bfloat16)

    @fo.leaf_rule(requires=("params",), exact=True)
    def go_to(g, slots, p, now):
        return wanted.astype(p.dtype) - p, {}

    params = jnp.array([1.0, 300.0], jnp.bfloat16)
    updates, _ = run(fo.chain(fo.scale(2.0), go_to()), jnp.ones(2, jnp.bfloat16), params)
    assert updates.dtype == jnp.float32
    np.testing.assert_array_equal(fo.apply_updates(params, updates), wanted)


def test_scalars_of_the_tree_start_where_the_rule_says_and_go_on():
    """A distance estimate in the manner of Prodigy: it starts at d0, and grows."""

    def measure(g, slots, p, now, d0):
        return {"dot": jnp.sum(g * (slots.start - p)), "s": jnp.sum(jnp.abs(g)) * now.d}

    def combine(stats, last, d0):
        d = jnp.maximum(last["d"], stats["dot"].sum() / stats["s"].sum())
        return {"d": d, "growth": d / last["d"]}

    @fo.leaf_rule(
        slots=lambda p: {"start": p},
        measure=measure,
        combine=combine,
        scalars=lambda d0: {"d": d0},
        metrics=("growth",),
        requires=("params",),
    )
    def estimate(g, slots, p, now, d0=0.5):
        return -now.d * g, {"start": slots.start}

    tx = estimate(d0=0.25)
    params = {"a": jnp.array([3.0, 1.0]), "b": jnp.array(2.0)}
    state = tx.init(params)
    assert float(state.scalars["d"]) == 0.25
    grads = jax.tree.map(jnp.ones_like, params)
    updates, state = tx.update(grads, state, params)
    assert float(updates["b"]) == -0.25, "no distance yet"
    moved = jax.tree.map(lambda p: p - 2.0, params)
    updates, state = tx.update(grads, state, moved)
    # dot = 2 on each of 3 elements, s = 3 * 0.25: d = 6 / 0.75
    assert float(state.scalars["d"]) == 8.0
    assert float(state.metrics["growth"]) == 32.0
    assert float(updates["b"]) == -8.0


def test_a_slot_that_starts_as_the_parameter_is_not_its_buffer():
    tx = fo.leaf_rule(slots=lambda p: {"start": p})(anchor)()
    params = jnp.ones(3)
    state = tx.init(params)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return fo.apply_updates(params, updates), state

    jax.jit(step, donate_argnums=(0, 1))(params, state, jnp.ones(3))
    assert params.is_deleted()


def test_a_tree_may_be_required_beside_the_gradients():
    @fo.leaf_rule(requires_trees=("hessian",))
    def newton(g, slots, p, now):
        return -g / now.hessian, {}

    grads = {"a": jnp.array([2.0, 3.0]), "b": jnp.array(4.0)}
    hessian = {"a": jnp.array([1.0, 3.0]), "b": jnp.array(8.0)}
    updates, _ = run(newton(), grads, grads, hessian=hessian, value=1.0)
    assert updates["a"].tolist() == [-2.0, -1.0]
    assert float(updates["b"]) == -0.5
    with pytest.raises(ValueError, match="hessian has no leaf at 'b'"):
        newton().update(grads, newton().init(grads), grads, hessian={"a": hessian["a"]})
    with pytest.raises(ValueError, match="newton: update needs hessian"):
        newton().update(grads, newton().init(grads), grads)


def test_random_numbers_of_two_leaves_of_one_shape_differ():
    @fo.leaf_rule(requires=("key",))
    def noise(g, slots, p, now):
        return jax.random.normal(jax.random.fold_in(now.key, now.leaf), g.shape), {}

    grads = {"a": jnp.ones(4), "b": jnp.ones(4)}
    first, _ = run(noise(), grads, grads, key=jax.random.key(0))
    again, _ = run(noise(), grads, grads, key=jax.random.key(0))
    assert not np.allclose(first["a"], first["b"])
    np.testing.assert_array_equal(first["a"], again["a"])


def test_a_rule_of_whole_leaves_sees_complex_numbers():
    @fo.leaf_rule(parts=False)
    def unit(g, slots, p, now, length=1.0):
        return g * (length / jnp.abs(g)).astype(g.dtype), {}

    updates, _ = run(unit(), jnp.array(3 + 4j), jnp.array(0j))
    np.testing.assert_allclose(updates, 0.6 + 0.8j, rtol=1e-6)


def test_slots_may_have_shapes_of_their_own():
    @fo.leaf_rule(slots=lambda p: {"row": jnp.zeros(p.shape[:-1]), "left": jnp.eye(p.shape[-2])})
    def factored(g, slots, p, now):
        row = slots.row + jnp.mean(g**2, axis=-1)
        return slots.left @ g / row[..., None], {"row": row, "left": slots.left}

    params = {"m": jnp.ones((3, 2))}
    updates, state = run(factored(), {"m": 2 * jnp.ones((3, 2))}, params, steps=2)
    assert state.row["m"].tolist() == [8.0] * 3
    assert updates["m"].tolist() == [[0.25, 0.25]] * 3


def test_a_leaf_may_do_without_a_slot():
    @fo.leaf_rule(slots=lambda p: {"a": p if p.ndim else None, "b": None if p.ndim else p})
    def either(g, slots, p, now):
        kept = {"a": slots.a + g} if g.ndim else {"b": slots.b + g}
        return next(iter(kept.values())), kept

    params = {"s": jnp.array(1.0), "v": jnp.ones(2)}
    updates, state = run(either(), params, params, steps=2)
    assert (updates["s"].tolist(), updates["v"].tolist()) == (3.0, [3.0, 3.0])
    assert [len(jax.tree.leaves(state[k])) for k in ("a", "b")] == [1, 1]
    assert either().update({"s": None, "v": params["v"]}, state)[0]["v"].tolist() == [4.0, 4.0]


def test_a_rule_without_slots_may_count_the_updates_of_each_parameter():
    @fo.leaf_rule(clock=lambda t, last: ({"t": t}, {}), requires=("params",))
    def counted(g, slots, p, now):
        return now.t * g, {}

    params = {"a": jnp.ones(()), "b": jnp.ones(())}
    tx = counted()
    state = tx.init(params)
    _, state = tx.update({"a": None, "b": params["b"]}, state, params)
    updates, state = tx.update(params, state, params)
    assert (float(updates["a"]), float(updates["b"])) == (1.0, 2.0)


def test_an_error_of_the_maths_stays_and_says_which_leaf():
    @fo.leaf_rule(slots=lambda p: {"norm": jnp.zeros(())})
    def broken(g, slots, p, now):
        raise RuntimeError("the author's own")

    with pytest.raises(RuntimeError, match="the author's own") as caught:
        run(broken(), {"w": jnp.ones(3)}, {"w": jnp.ones(3)})
    assert any("at the leaf 'w'" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("declared", "name"),
    [({"static": ("nope",)}, "nope"), ({"bounds": {"stpe": "[0, 1]"}}, "stpe")],
)
def test_a_declaration_of_an_argument_that_is_not_there_is_an_error(declared, name):
    with pytest.raises(TypeError, match=f"declares '{name}', which is no argument"):
        fo.leaf_rule(**declared)(anchor)


def test_a_slot_cannot_have_the_name_of_a_field_of_the_engine():
    tx = fo.leaf_rule(slots=lambda p: {"count": p})(anchor)()
    with pytest.raises(ValueError, match="'count' cannot be the name of a slot"):
        tx.init(jnp.ones(2))


def test_a_traced_number_is_in_force_whatever_state_is_given():
    params = jnp.ones(2)
    state = fo.sgd(0.1, momentum=0.5).init(params)

    @jax.jit
    def step(state, lr):
        return fo.sgd(lr, momentum=0.5).update(params, state, params)

    updates, new = step(state, 5.0)
    assert updates.tolist() == [-5.0, -5.0]
    assert float(fo.get_hyperparams(new)["learning_rate"]) == 5.0
    assert step(new, 1.0)[0].tolist() == [-1.5, -1.5]
    assert step._cache_size() == 1


def test_a_traced_number_of_a_schedule_is_in_force():
    params = jnp.ones(1)
    state = fo.sgd(fo.linear_schedule(1.0, 0.0, 4)).init(params)

    @jax.jit
    def step(state, peak):
        return fo.sgd(fo.linear_schedule(peak, 0.0, 4)).update(params, state, params)

    _, state = step(state, 8.0)
    assert step(state, 8.0)[0].tolist() == [-6.0]


def test_a_sweep_over_transformations_that_are_dropped_has_one_update():
    def made(lr):
        return id(fo.rmsprop(lr, decay=0.8765).update)

    assert len({made(lr) for lr in (0.1, 0.2, 0.3)}) == 1
