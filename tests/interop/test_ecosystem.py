"""The same training loop in the libraries that consume `(init, update)`."""

import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

optax = pytest.importorskip("optax")


@pytest.fixture(autouse=True)
def standard_promotion():
    """Lets the other libraries promote dtypes and ranks implicitly."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def data():
    key = jax.random.key(0)
    x = jax.random.normal(key, (32, 4))
    return x, x @ jnp.array([1.0, -2.0, 3.0, 0.5]) + 0.1


def linear_loss(params, x, y):
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


PARAMS = {"w": jnp.zeros(4), "b": jnp.zeros(())}


def tx():
    return fo.chain(
        fo.clip_by_global_norm(1.0),
        fo.adamw(fo.warmup_cosine_decay_schedule(0.0, 0.3, 5, 60), weight_decay=1e-4),
    )


def own_loop(steps=20):
    """Trains in a plain loop, as the reference for the others."""
    x, y = data()
    params, opt = PARAMS, tx()
    state = opt.init(params)
    for _ in range(steps):
        grads = jax.grad(linear_loss)(params, x, y)
        updates, state = opt.update(grads, state, params)
        params = fo.apply_updates(params, updates)
    return params, state


def assert_same(params, reference, rtol=1e-6):
    chex.assert_trees_all_close(params, reference, rtol=rtol, atol=rtol / 10)


OPTAX_ADAM = 3e-5
"""optax's float32 bias correction is off by this much."""


def test_flax_train_state():
    train_state = pytest.importorskip("flax.training.train_state")
    x, y = data()
    state = train_state.TrainState.create(apply_fn=lambda *a: None, params=PARAMS, tx=tx())

    @jax.jit
    def step(state):
        return state.apply_gradients(grads=jax.grad(linear_loss)(state.params, x, y))

    state = step(state.replace(step=jnp.zeros((), jnp.int32)))  # a Python int would recompile
    for _ in range(19):
        state = step(state)
    assert step._cache_size() == 1
    assert_same(state.params, own_loop()[0])


def test_flax_serialization_round_trip():
    serialization = pytest.importorskip("flax.serialization")
    _, state = own_loop(3)
    blob = serialization.to_bytes(state)
    restored = serialization.from_bytes(tx().init(PARAMS), blob)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    chex.assert_trees_all_equal(restored, state)


def test_nnx_optimizer():
    nnx = pytest.importorskip("flax.nnx")
    x, y = data()

    class Linear(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.zeros(4))
            self.b = nnx.Param(jnp.zeros(()))

        def __call__(self, x):
            return x @ self.w[...] + self.b[...]

    model = Linear()
    optimizer = nnx.Optimizer(model, tx(), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda m: jnp.mean((m(x) - y) ** 2))(model)
        optimizer.update(model, grads)

    for _ in range(20):
        step(model, optimizer)
    assert_same({"w": model.w[...], "b": model.b[...]}, own_loop()[0])


MANY = {
    "packed": lambda: fo.packed(fo.adamw(1e-2), max_size=10**6),
    "low_bit_state": lambda: fo.low_bit_state(fo.adamw(1e-2)),
    "both": lambda: fo.low_bit_state(fo.packed(fo.adamw(1e-2), max_size=128)),
    "partition by paths": lambda: fo.partition(
        {"plain": fo.sgd(0.1), "rest": fo.adam(0.1)},
        fo.path_labels({"bias$": "plain"}, default="rest"),
    ),
    "an average": lambda: fo.chain(fo.adam(1e-2), fo.params_ema(0.5)),
}


@pytest.mark.parametrize("make", MANY.values(), ids=MANY)
def test_nnx_optimizer_takes_every_layout_of_a_state(make):
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Sequential(*[nnx.Linear(64, 64, rngs=nnx.Rngs(i)) for i in range(5)])
    optimizer = nnx.Optimizer(model, make(), wrt=nnx.Param)
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    state = make().init(params)
    for _ in range(2):
        grads = nnx.grad(lambda m: (m(jnp.ones((4, 64))) ** 2).mean())(model)
        optimizer.update(model, grads)
        updates, state = make().update(nnx.as_pure(grads), state, params)
        params = fo.apply_updates(params, updates)
    assert_same(nnx.as_pure(nnx.state(model, nnx.Param)), params)
    assert_same(fo.to_state_dict(optimizer.opt_state), fo.to_state_dict(state))
    decoded = fo.decode_state(optimizer.opt_state)
    assert fo.to_state_dict(decoded).keys() == fo.to_state_dict(fo.decode_state(state)).keys()
    if "params_ema" in state:
        found = fo.eval_params(optimizer.opt_state, nnx.state(model, nnx.Param))
        assert_same(nnx.as_pure(found), fo.eval_params(state, params))


def test_nnx_optimizer_trains_on_after_layers_are_unfrozen():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Sequential(*[nnx.Linear(4, 4, rngs=nnx.Rngs(i)) for i in range(2)])

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda m: (m(jnp.ones((1, 4))) ** 2).sum())(model)
        optimizer.update(model, grads)

    first = fo.path_labels({r"^layers\.0": True}, default=False)
    frozen = nnx.Optimizer(model, fo.freeze(first, fo.adam(0.1)), wrt=nnx.Param)
    step(model, frozen)
    whole = nnx.Optimizer(model, fo.adam(0.1), wrt=nnx.Param)
    saved = fo.to_state_dict(frozen.opt_state)
    whole.opt_state, _ = fo.from_state_dict(whole.opt_state, saved, strict=False)
    step(model, whole)
    assert whole.opt_state.scale_by_adam.leaf_counts[...].tolist() == [1, 1, 2, 2]


def test_nnx_optimizer_takes_labels_made_of_its_parameters():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "b" if "bias" in jax.tree_util.keystr(path) else "rest",
        nnx.state(model, nnx.Param),
    )
    tx = fo.partition({"b": fo.sgd(0.5), "rest": fo.adam(0.1)}, labels)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    optimizer.update(model, nnx.grad(lambda m: m(jnp.ones((1, 4))).sum())(model))
    assert model.bias[...].tolist() == [-0.5] * 4


def test_equinox_model_with_leaves_that_are_not_trained():
    eqx = pytest.importorskip("equinox")
    x, y = data()
    mlp = eqx.nn.MLP(4, "scalar", 8, 1, key=jax.random.key(1))
    opt = tx()
    state = opt.init(eqx.filter(mlp, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        grads = eqx.filter_grad(lambda m: jnp.mean((jax.vmap(m)(x) - y) ** 2))(model)
        # The whole model, activation functions and all, may stand for the parameters.
        updates, state = opt.update(grads, state, model)
        return eqx.apply_updates(model, updates), state

    before = jnp.mean((jax.vmap(mlp)(x) - y) ** 2)
    for _ in range(40):
        mlp, state = step(mlp, state)
    assert jnp.mean((jax.vmap(mlp)(x) - y) ** 2) < 0.5 * before


def run(opt, steps=12, apply_updates=fo.apply_updates, **extra):
    x, y = data()
    params = PARAMS
    state = opt.init(params)

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(linear_loss)(params, x, y)
        given = dict.fromkeys(extra, value)
        updates, state = opt.update(grads, state, params, **given)
        return apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def test_optax_chain_takes_ours_and_ours_takes_optax():
    ours = run(fo.chain(fo.clip_by_global_norm(1.0), fo.adam(0.1)))[0]
    mixed = run(optax.chain(optax.clip_by_global_norm(1.0), fo.adam(0.1)), 12, optax.apply_updates)
    assert_same(mixed[0], ours, OPTAX_ADAM)
    params, state = run(
        fo.chain(fo.clip_by_global_norm(1.0), optax.scale_by_adam(), fo.scale(-0.1))
    )
    assert_same(params, ours, OPTAX_ADAM)
    assert state._fields == ("clip_by_global_norm", "scale_by_adam", "scale")


def test_optax_masked():
    mask = {"w": True, "b": False}
    theirs = run(optax.masked(fo.adam(0.1), mask))
    assert_same(theirs[0], run(fo.masked(fo.adam(0.1), mask))[0])
    assert_same(run(fo.masked(optax.adam(0.1), mask))[0], theirs[0], OPTAX_ADAM)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_optax_multi_steps_and_apply_if_finite(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    grads = jax.tree.map(jnp.ones_like, params)
    for wrap in (
        lambda tx: optax.MultiSteps(tx, 2),
        lambda tx: optax.apply_if_finite(tx, 3),
        lambda tx: optax.chain(optax.apply_if_finite(tx, 3), optax.scale(1.0)),
    ):
        for inner in (fo.adamw(0.1), fo.chain(fo.clip(1.0), optax.adam(0.1))):
            opt = wrap(inner)
            state = opt.init(params)
            update = jax.jit(opt.update)
            for _ in range(4):
                updates, new = update(grads, state, params)
                assert jax.tree.structure(new) == jax.tree.structure(state)
                state = new
            assert update._cache_size() == 1
            assert float(updates["w"][0]) < 0
            assert updates["w"].dtype == dtype


def test_apply_if_finite_of_optax_skips_all_of_ours():
    opt = optax.apply_if_finite(fo.adam(0.1), 5)
    state = opt.init(PARAMS)
    bad = jax.tree.map(lambda p: p * jnp.nan + jnp.nan, PARAMS)
    updates, skipped = opt.update(bad, state, PARAMS)
    chex.assert_trees_all_equal(skipped.inner_state, state.inner_state)
    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, PARAMS))


def test_extra_arguments_reach_the_links_that_take_them():
    opt = fo.chain(fo.scale_by_adam(), optax.scale_by_polyak(), fo.scale(1.0))
    assert run(opt, value=None)[0]["w"].shape == (4,)


def test_to_optax_lets_extra_arguments_through():
    from functional_optim.interop.optax import to_optax

    seen = []

    def update(updates, state, params=None, **extra):
        seen.append(extra)
        return updates, state

    pair = fo.GradientTransformation(lambda params: (), update)
    opt = optax.chain(to_optax(pair), optax.scale(1.0))
    opt.update(PARAMS, opt.init(PARAMS), PARAMS, value=1.0)
    assert seen == [{"value": 1.0}]


def test_optax_tree_tools_see_the_state():
    state = fo.adamw(1e-3).init(PARAMS)
    assert optax.tree.get(state, "nu") is state.scale_by_adam.nu
    doubled = optax.tree.map_params(fo.adamw(1e-3), lambda x: x + 1, state)
    np.testing.assert_array_equal(doubled.scale_by_adam.mu["w"], np.ones(4))


def test_hyperparameters_are_found_inside_wrappers_of_optax():
    opt = optax.MultiSteps(optax.chain(fo.adam(0.1), optax.identity()), 2)
    state = opt.init(PARAMS)
    state = fo.set_hyperparams(state, learning_rate=0.5)
    assert float(fo.get_hyperparams(state)["learning_rate"]) == 0.5


def test_orbax_round_trip(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    params, state = own_loop(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # orbax's own
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "state", state)
        with ocp.StandardCheckpointer() as checkpointer:
            target = jax.eval_shape(tx().init, PARAMS)
            restored = checkpointer.restore(tmp_path / "state", target)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    chex.assert_trees_all_equal(restored, state)
    x, y = data()
    grads = jax.grad(linear_loss)(params, x, y)
    chex.assert_trees_all_equal(
        tx().update(grads, restored, params)[0], tx().update(grads, state, params)[0]
    )
