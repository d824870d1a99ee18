"""Step size estimates: invariants, limits, numbers of optax, and bfloat16 parameters."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..oracles import learning_rate_free as oracles
from ..trees import assert_close


def descend(tx, loss, params, steps):
    """Returns parameters and state after some steps, and the metrics of each update."""

    def one(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params, value=value)
        return (fo.apply_updates(params, updates), state), fo.metrics(state)

    run = jax.jit(lambda *carry: jax.lax.scan(one, carry, None, length=steps))
    (params, state), metrics = run(params, tx.init(params))
    return params, state, metrics


def assert_numbers_of_optax(ours, theirs, **extra):
    params = problem.arrays(np.float64)
    grads = jax.tree.map(jnp.asarray, problem.normal(np.float64, 1, (20,)))

    def one(carry, g):
        state, other, here = carry
        updates, state = ours.update(g, state, here, **extra)
        with jax.numpy_dtype_promotion("standard"):
            expected, other = theirs.update(g, other, here, **extra)
        return (state, other, fo.apply_updates(here, updates)), (updates, expected)

    first = ours.init(params), theirs.init(params), params
    updates, expected = jax.jit(lambda *xs: jax.lax.scan(one, *xs)[1])(first, grads)
    assert_close(updates, expected, rtol=1e-10, atol=1e-13)


CORRECTED = {"bias_correction": True}
SAME: dict[str, list[tuple[dict, dict]]] = {
    "cocob": [({}, {}), ({"alpha": 3.0, "weight_decay": 0.1}, {})],
    "dadapt_adamw": [({"estim_lr0": 0.01, "weight_decay": 0.1}, CORRECTED)],
    "dog": [
        ({"weight_decay": 0.1}, {}),
        ({"init_step": ("distance", 0.1)}, {}),
        ({"init_step": ("learning_rate", 0.1)}, {}),
    ],
    "dowg": [({}, {}), ({"init_estim_sq_dist": 0.5}, {})],
    "momo": [({}, {}), ({"lower_bound": -1.0, "adapt_lower_bound": True}, {})],
    "momo_adam": [({}, {}), ({"lower_bound": -1.0, "adapt_lower_bound": True}, {})],
    "prodigy": [
        ({"estim_lr0": 0.01, "weight_decay": 0.1}, CORRECTED),
        ({"estim_lr0": 0.01, "beta3": 0.9, "safeguard_warmup": True}, CORRECTED),
    ],
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "arguments", "own"), [(k, *pair) for k, pairs in SAME.items() for pair in pairs]
)
def test_numbers_are_those_of_optax(name, arguments, own):
    ours = getattr(fo.contrib, name)(**arguments, **own)
    theirs = optax.with_extra_args_support(getattr(optax.contrib, name)(**arguments))
    assert_numbers_of_optax(ours, theirs, value=1.5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("arguments", [{"s_init": 0.01}, {"s_init": 0.1, "weight_decay": 0.0}])
@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_a_mechanized_optimizer_gives_the_numbers_of_optax(base, arguments):
    ours = fo.mechanize(getattr(fo, base)(0.5), **arguments)
    theirs = optax.contrib.mechanize(getattr(optax, base)(0.5), **arguments)
    assert_numbers_of_optax(ours, theirs)


@pytest.mark.parametrize("name", [*SAME, "mechanize", "schedule_free", "schedule_free_adamw",
                                  "schedule_free_sgd", "scale_by_cocob"])  # fmt: skip
def test_arguments_are_those_of_optax_in_their_order(name):
    ours, theirs = (
        inspect.signature(getattr(library, name)).parameters
        for library in (fo.contrib, inspect.getmodule(optax.contrib))
    )
    pairs = list(zip(ours.values(), theirs.values(), strict=False))
    assert len(pairs) == len(theirs)
    assert [(a.name, a.default) for a, _ in pairs] == [(b.name, b.default) for _, b in pairs]
    rest = list(ours.values())[len(theirs) :]
    assert all(p.kind is p.KEYWORD_ONLY for p in rest)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("distance", [1.0, 10.0])
@pytest.mark.parametrize(("make", "reached"), [(fo.prodigy, 0.169), (fo.dadapt_adamw, 1.28)])
def test_estimates_grow_in_proportion_to_the_distance(make, reached, distance):
    """The estimates never fall; those of Adam's D-Adaptation exceed the largest coordinate."""
    target = distance * jnp.asarray(np.random.default_rng(0).uniform(-1, 1, 8))
    tx = make(estim_lr0=1e-6 * distance)
    _, _, metrics = descend(tx, lambda x: jnp.sum(jnp.abs(x - target)), jnp.zeros(8), 3000)
    assert (np.diff(metrics["d"]) >= 0).all()
    assert metrics["d"][-1] / distance == pytest.approx(reached, rel=0.02)


@pytest.mark.usefixtures("x64")
def test_the_estimate_of_sgd_is_below_the_distance():
    """Checks the bound of Theorem 1, of a convex function, without the decay that Adam's has."""
    target = jnp.array([1.0, -2.0, 3.0])
    _, _, metrics = descend(
        fo.dadapt_sgd(), lambda x: jnp.linalg.norm(x - target), jnp.zeros(3), 2000
    )
    d = metrics["d"]
    assert (np.diff(d) >= 0).all()
    assert 0.05 < d[-1] / jnp.linalg.norm(target) <= 1


@pytest.mark.usefixtures("x64")
def test_a_growth_rate_bounds_each_factor():
    for make in (fo.prodigy, fo.dadapt_adamw, fo.dadapt_sgd):
        d = descend(make(growth_rate=1.02), lambda x: jnp.sum(jnp.abs(x - 3)), jnp.zeros(4), 1000)[
            2
        ]["d"]
        # The first estimate of Prodigy is taken whole.
        assert (d[2:] / d[1:-1] <= 1.02 * (1 + 1e-12)).all()
        assert d[-1] > 2 * d[1]


@pytest.mark.usefixtures("x64")
def test_an_estimate_that_does_not_change_is_adam():
    """With estim_lr_coef near 0, Prodigy's d stays, and cancels in m / sqrt(v)."""
    d = 0.01
    params, grads = problem.arrays(np.float64), problem.normal(np.float64, 1, (10,))
    grads = jax.tree.map(jnp.asarray, grads)
    prodigy = fo.prodigy(
        estim_lr0=d, estim_lr_coef=1e-300, bias_correction=True, weight_decay=0.1, eps=0.0
    )
    _, state, ours = problem.train(prodigy, params, grads)
    assert state.prodigy_step.scalars["estim_lr"] == d
    _, _, adam = problem.train(fo.adam(d, eps=0.0), params, grads)
    first = jax.tree.map(lambda u, p: u[0] + d * _bias(1) * 0.1 * p, ours, params)
    assert_close(first, jax.tree.map(lambda u: u[0], adam), rtol=1e-12, atol=1e-15)
    dadapt = fo.dadapt_adamw(estim_lr0=d, growth_rate=1.0, bias_correction=False)
    _, state, ours = problem.train(dadapt, params, grads)
    assert state.dadapt_adamw_step.scalars["estim_lr"] == d
    for t in range(10):
        rate = d / _bias(t + 1)
        assert_close(
            jax.tree.map(lambda u, t=t: u[t], ours),
            jax.tree.map(lambda u, r=rate / d, t=t: r * u[t], adam),
            rtol=1e-5,
        )


def _bias(t):
    return np.sqrt(1 - 0.999**t) / (1 - 0.9**t)


@pytest.mark.usefixtures("x64")
def test_one_parameter_is_its_own_tree():
    """DoG of one parameter is L-DoG."""
    grads = jnp.asarray(np.random.default_rng(0).standard_normal((20, 5)))
    pair = fo.dog(init_step=("heuristic", 1e-3)), fo.ldog(reps_rel=1e-3)
    tree, layer = (problem.train(tx, jnp.ones(5), grads)[2] for tx in pair)
    assert_close(tree, layer, rtol=1e-12)


@pytest.mark.parametrize(
    ("factory", "arguments", "name"),
    [
        (fo.prodigy, {"estim_lr0": 1e-3}, "numerator_weighted"),
        (fo.dadapt_adamw, {"estim_lr0": 1e-3}, "numerator_weighted"),
        (fo.dog, {}, "sum_sq_norm_grads"),
        (fo.dowg, {}, "weighted_sq_norm_grads"),
    ],
)
def test_sums_in_bfloat16_parameters_are_those_of_float64(factory, arguments, name):
    """Updates are within 1% for equal parameters and gradients; optax's sums are off by more."""
    steps = 1000  # a sum of equal numbers in bfloat16 stops at 256 of them
    params = problem.arrays(jnp.bfloat16)
    noise = problem.normal(np.float32, 1, (steps,))
    noise = jax.tree.map(lambda x: jnp.asarray(0.3 * x, jnp.bfloat16), noise)

    def train(tx):
        def one(carry, noise):
            params, state = carry
            grads = jax.tree.map(lambda p, x: p + 1 + x, params, noise)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), (params, grads, updates)

        run = jax.jit(lambda carry: jax.lax.scan(one, carry, noise))
        with jax.numpy_dtype_promotion("standard"):
            return run((params, tx.init(params)))

    (_, state), (points, grads, updates) = train(factory(**arguments))
    oracle, expected = getattr(oracles, factory.__name__)(**arguments), []
    points, grads = (
        {k: np.asarray(x, np.float64) for k, x in tree.items()} for tree in (points, grads)
    )
    for t in range(steps):
        step = oracle({k: g[t] for k, g in grads.items()}, {k: p[t] for k, p in points.items()})
        expected.append(step)
    for k, u in updates.items():
        last = np.asarray(u[-1], np.float64)
        scale = np.abs(expected[-1][k]).max()
        assert scale > 1e-9
        np.testing.assert_allclose(last, expected[-1][k], rtol=0.01, atol=0.01 * scale)
    kept = [s for s in jax.tree.leaves(fo.decode_state(state)) if s.ndim == 0]
    assert all(x.dtype in (jnp.float32, jnp.int32) for x in kept)
    with jax.numpy_dtype_promotion("standard"):
        other = getattr(optax.contrib, factory.__name__)(**arguments).init(params)
    nodes = jax.tree.leaves(other, is_leaf=lambda x: hasattr(x, name))
    narrow = [getattr(x, name).dtype for x in nodes if hasattr(x, name)]
    assert narrow == [jnp.bfloat16]


def test_no_gradient_says_nothing_of_the_distance():
    """optax divides 0 by 0, and never finds out of NaN."""
    params = {"w": jnp.ones(3)}
    for make in (fo.prodigy, fo.dadapt_adamw, fo.dadapt_sgd, fo.dog, fo.dowg):
        tx = make(fo.linear_schedule(0.0, 1.0, 4))
        state, here, update = tx.init(params), params, jax.jit(tx.update)
        for g in (0.0, 0.0, 1.0, 2.0):
            updates, state = update({"w": np.full(3, g, np.float32)}, state, here)
            here = fo.apply_updates(here, updates)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((here, state)))
        assert (here["w"] < 1).all()


def test_parts_have_an_estimate_each():
    """Each part of a partition has an estimate; the authors' code refuses one for each group."""
    params = {"near": jnp.zeros(3), "far": jnp.zeros(3)}
    tx = fo.partition({k: fo.prodigy(estim_lr0=1e-3) for k in params}, {k: k for k in params})

    def loss(p):
        return jnp.sum(jnp.abs(p["near"] - 0.1)) + jnp.sum(jnp.abs(p["far"] - 10))

    _, state, _ = descend(tx, loss, params, 500)
    d = {k: float(v) for k, v in fo.metrics(state).items()}
    assert len(d) == 2
    near, far = sorted(d.values())
    assert far > 5 * near


def test_decay_may_differ_by_label_where_the_estimate_is_of_all():
    params, grads = problem.arrays(), problem.arrays(seed=1)
    by_label = fo.by_label({"none": 0.0, "some": 0.5}, {"b": "none", "w": "some"})
    tx = fo.prodigy(estim_lr0=0.1, weight_decay=by_label)
    plain = fo.prodigy(estim_lr0=0.1)
    updates, state = tx.update(grads, tx.init(params), params)
    without, same = plain.update(grads, plain.init(params), params)
    assert_close(updates["b"], without["b"])
    assert_close(updates["w"], without["w"] - 0.1 * 0.5 * params["w"], rtol=1e-5)
    assert fo.metrics(state)["d"] == fo.metrics(same)["d"]


OF_THE_TREE = {
    fo.prodigy: ("learning_rate", "estim_lr0", "estim_lr_coef", "growth_rate"),
    fo.dadapt_adamw: ("learning_rate", "estim_lr0", "growth_rate"),
    fo.dadapt_sgd: ("learning_rate", "estim_lr0", "growth_rate"),
    fo.dog: ("eps",),
    fo.dowg: ("eps", "init_estim_sq_dist"),
    fo.momo: ("learning_rate", "beta", "lower_bound", "weight_decay"),
    fo.momo_adam: ("learning_rate", "b1", "lower_bound", "weight_decay"),
    fo.polyak_sgd: ("max_learning_rate", "f_min"),
}
"""Numbers on which the step size of all parameters depends."""


@pytest.mark.parametrize(
    ("make", "name"), [(make, name) for make, names in OF_THE_TREE.items() for name in names]
)
def test_numbers_of_the_whole_tree_cannot_differ_by_label(make, name):
    by_label = fo.by_label({"x": 0.25, "y": 0.5}, {"b": "x", "w": "y"})
    text = rf"\w+: {name} cannot be given by label, because the rule reads the whole tree\. Give "
    with pytest.raises(TypeError, match=text):
        make(**{name: by_label})


def test_steps_of_one_estimate_may_be_scaled_by_label():
    params, grads = problem.arrays(), problem.arrays(seed=1)
    factor = fo.scale(fo.by_label({"x": 0.25, "y": 1.0}, {"b": "x", "w": "y"}))
    plain = fo.prodigy(estim_lr0=0.1)
    tx = fo.chain(plain, factor)
    updates, state = tx.update(grads, tx.init(params), params)
    expected, same = plain.update(grads, plain.init(params), params)
    assert_close(updates, {"b": 0.25 * expected["b"], "w": expected["w"]})
    assert fo.metrics(state)["d"] == fo.metrics(same)["d"]


def test_decays_may_be_scheduled_and_traced():
    params, grads = problem.arrays(), problem.arrays(seed=1)
    for make in (fo.prodigy, fo.dadapt_adamw):
        plain = make(betas=(0.5, 0.875), estim_lr0=0.1)
        expected, _ = plain.update(grads, plain.init(params), params)

        @jax.jit
        def update(b1, make=make):
            tx = make(betas=(b1, fo.linear_schedule(0.875, 0.5, 4)), estim_lr0=0.1)
            return tx.update(grads, tx.init(params), params)

        updates, state = update(0.5)
        assert_close(updates, expected, rtol=1e-6)
        assert fo.get_hyperparams(state)["b2"] == 0.875


# MoMo, whose oracle needs the loss.

MOMO = [
    (fo.momo, {}),
    (fo.momo, {"beta": 0.5, "bias_correction": True, "weight_decay": 0.1}),
    (fo.momo, {"learning_rate": 0.1, "lower_bound": -3.0, "adapt_lower_bound": True}),
    (fo.momo_adam, {}),
    (fo.momo_adam, {"learning_rate": 0.1, "weight_decay": 0.1}),
    (
        fo.momo_adam,
        {"learning_rate": 0.1, "weight_decay": 0.1, "divide": False, "adapt_lower_bound": True},
    ),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("factory", "arguments"), MOMO)
def test_momo_agrees_with_its_oracle(factory, arguments):
    def value(p):
        return sum(float(np.sum((x - 1) ** 2)) for x in p.values())

    tx, params = factory(**arguments), problem.arrays(np.float64)
    oracle, state = getattr(oracles, factory.__name__)(**arguments, value=value), tx.init(params)
    update = jax.jit(tx.update)
    for _ in range(20):
        here = {k: np.asarray(p) for k, p in params.items()}
        grads = {k: 2 * (p - 1) for k, p in here.items()}
        updates, state = update(grads, state, params, value=value(here))
        assert_close(updates, oracle(grads, here), rtol=1e-10, atol=1e-13)
        params = fo.apply_updates(params, updates)


@pytest.mark.usefixtures("x64")
def test_momo_without_memory_is_polyaks_step():
    params, value = problem.arrays(np.float64), 3.0
    grads = problem.arrays(np.float64, 1)
    momo, polyak = fo.momo(beta=0.0, lower_bound=0.5), fo.polyak_sgd(f_min=0.5, variant="sps+")
    ours, _ = momo.update(grads, momo.init(params), params, value=value)
    theirs, _ = polyak.update(grads, polyak.init(params), params, value=value)
    assert_close(ours, theirs, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_momo_with_a_small_learning_rate_is_momentum():
    """A cap below Polyak's step gives plain SGD with an average of gradients, or Adam."""
    params, grads = problem.arrays(np.float64), problem.normal(np.float64, 1, (10,))

    def updates_of(tx):
        state, here, found = tx.init(params), params, []
        update = jax.jit(tx.update)
        for t in range(10):
            g = {k: x[t] for k, x in grads.items()}
            updates, state = update(g, state, here, value=1e3)
            here, found = fo.apply_updates(here, updates), [*found, updates]
        return found

    pairs = [
        (fo.momo(1e-3, bias_correction=True), fo.chain(fo.ema(0.9), fo.scale(-1e-3))),
        (fo.momo_adam(1e-3), fo.adam(1e-3)),
    ]
    for ours, theirs in pairs:
        assert_close(updates_of(ours), updates_of(theirs), rtol=1e-10, atol=1e-15)


# COCOB.


@pytest.mark.usefixtures("x64")
def test_bets_on_a_constant_gradient_grow():
    """With g = -1 and alpha = 0, wealth grows by the share t / (t + 1) of it at each round."""
    tx, p = fo.cocob(alpha=0.0), jnp.array(0.0)
    state, wealth, update = tx.init(p), 1.0, jax.jit(tx.update)
    for t in range(1, 20):
        updates, state = update(jnp.array(-1.0), state, p)
        p = fo.apply_updates(p, updates)
        np.testing.assert_allclose(p, t / (t + 1) * wealth, rtol=1e-12)
        wealth += float(p)


def test_small_gradients_are_bet_on_as_large_ones():
    """Gradients of 1e-25, whose squares are 0 in float32, move the parameter as those of 1 do."""
    grads = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    ends = []
    for scale in (1.0, 1e-25):
        tx, p = fo.cocob(eps=1e-30), jnp.zeros(3)
        state, update = tx.init(p), jax.jit(tx.update)
        for g in grads:
            updates, state = update(jnp.asarray(scale * g), state, p)
            p = fo.apply_updates(p, updates)
        ends.append(p)
    assert_close(ends[1], ends[0], rtol=1e-4)


@pytest.mark.parametrize("make", [fo.momo, fo.momo_adam, fo.polyak_sgd, fo.reduce_on_plateau])
def test_a_loss_of_several_numbers_is_refused(make):
    tx, params = make(), {"w": jnp.ones((2, 3))}
    with pytest.raises(ValueError, match=r"value must be the loss, one number, got shape \(3,\)"):
        tx.update(params, tx.init(params), params, value=jnp.ones(3))


@pytest.mark.parametrize(
    ("value", "got"), [("x", "str"), (1j, "complex"), (np.complex64(1j), "complex64")]
)
@pytest.mark.parametrize("make", [fo.momo, fo.polyak_sgd, fo.contrib.reduce_on_plateau])
def test_a_loss_that_is_not_a_real_number_is_refused(make, value, got):
    tx, params = make(), {"w": jnp.ones((2, 3))}
    with pytest.raises(TypeError, match=rf"value must be the loss, a real number, got {got}\. Pa"):
        tx.update(params, tx.init(params), params, value=value)
