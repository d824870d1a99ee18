"""Limits in which rules become others, numbers of optax, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..oracles import recent as oracles

STEP = fo.scale_by_learning_rate(0.1)


def updates_of(tx, steps=20, scale=1.0, **extra):
    """Returns all updates of a run, in float64."""
    params, found = problem.arrays(np.float64, seed=1), []
    state, update = tx.init(params), jax.jit(tx.update)
    draws = problem.normal(np.float64, 0, (steps,))
    for t in range(steps):
        grads = {k: jnp.asarray(scale * g[t]) for k, g in draws.items()}
        updates, state = update(grads, state, params, **extra)
        params = jax.tree.map(jnp.add, params, updates)
        found.append(updates)
    return {k: np.stack([u[k] for u in found]) for k in params}


ADAM = {"b1": 0.8, "b2": 0.95}

EQUAL = {
    "ademamix, alpha=0: adamw": (
        fo.ademamix(0.1, **ADAM, alpha=0.0, weight_decay=0.1),
        fo.adamw(0.1, **ADAM, weight_decay=0.1),
    ),
    "ademamix, warmups of 1: none": (
        fo.ademamix(0.1, b3_warmup=1, alpha_warmup=1),
        fo.ademamix(0.1),
    ),
    "simplified_ademamix, b1=0: adam": (
        fo.simplified_ademamix(0.1, b1=0.0, b2=0.95),
        fo.adam(0.1, b1=0.0, b2=0.95),
    ),
    "laprop, b1=0: adam": (
        fo.laprop(0.1, b1=0.0, b2=0.95, eps=0.1),
        fo.adam(0.1, b1=0.0, b2=0.95, eps=0.1),
    ),
    "adam_mini of elements: adam": (
        fo.adam_mini(0.1, **ADAM, blocks=None),
        fo.adam(0.1, **ADAM),
    ),
    "adam_mini, blocks of one: adam": (
        fo.adam_mini(
            0.1, **ADAM, blocks={"w": (0, -1), "b": (0,)}, param_labels={"w": "w", "b": "b"}
        ),
        fo.adam(0.1, **ADAM),
    ),
    "spam without spikes: adam": (
        fo.spam(0.1, **ADAM, eps=0.0, threshold=1e30),
        fo.adam(0.1, **ADAM, eps=0.0),
    ),
    "mars, gamma=0: adamw": (
        fo.mars(0.1, **ADAM, gamma=0.0, weight_decay=0.1, optimize_1d=True),
        fo.adamw(0.1, **ADAM, weight_decay=0.1),
    ),
    "mars-lion, gamma=0: signum": (
        fo.scale_by_mars(0.8, gamma=0.0, base="lion"),
        fo.chain(fo.ema(0.8, debias=False), fo.scale_by_sign()),
    ),
    "grokfast, lamb=0: nothing": (fo.grokfast(lamb=0.0), fo.identity()),
    "grokfast, alpha=0: a factor": (fo.grokfast(alpha=0.0, lamb=2.0), fo.scale(3.0)),
    "grokfast_ma of one: a factor": (fo.grokfast_ma(window_size=1, lamb=2.0), fo.scale(3.0)),
    "adabound, gamma large: momentum": (
        fo.adabound(0.5, b1=0.8, final_learning_rate=0.1, gamma=1e30),
        fo.chain(fo.ema(0.8, debias=False), STEP),
    ),
    "adabound, bounds wide: adam": (
        fo.adabound(0.1, **ADAM, eps=0.0, final_learning_rate=1.0, gamma=1e-30),
        fo.adam(0.1, **ADAM, eps=0.0),
    ),
    "hypergradient, rate 0: its direction": (
        fo.adam_hd(0.1, **ADAM, hypergrad_lr=0.0),
        fo.adam(0.1, **ADAM),
    ),
    "sgd_hd, rate 0: sgd": (
        fo.sgd_hd(0.1, 0.8, True, hypergrad_lr=0.0),
        fo.sgd(0.1, 0.8, True),
    ),
    "cautious, all agree: its direction": (fo.cautious(fo.sgd(0.1)), fo.sgd(0.1)),
    "cautious: with the sign of either": (
        fo.cautious(fo.adam(0.1)),
        fo.chain(fo.cautious(fo.scale_by_adam(), flip_sign=False), STEP),
    ),
    "cautious_adamw: of its links": (
        fo.cautious_adamw(0.1, weight_decay=0.0),
        fo.cautious(fo.adam(0.1)),
    ),
    "lion, b1 = b2: signum": (
        fo.lion(0.1, 0.8, 0.8, weight_decay=0.0),
        fo.chain(fo.ema(0.8, debias=False), fo.sign_sgd(0.1)),
    ),
    "adam of one gradient: its sign": (fo.adam(0.1, 0.0, 0.0, eps=0.0), fo.sign_sgd(0.1)),
    "lookahead, a whole slow step: its optimizer": (
        fo.lookahead(fo.adam(0.1, **ADAM), 3, 1.0),
        fo.adam(0.1, **ADAM),
    ),
    "sophia without curvature: signum": (
        fo.scale_by_sophia(0.8, gamma=0.0, eps=1e-30, hessian_diagonal_fn=fo.identity()),
        fo.chain(fo.ema(0.8, debias=False), fo.scale_by_sign()),
    ),
    "primal averaging of the last alone: its optimizer": (
        fo.generalized_primal_averaging(fo.adam(0.1, **ADAM), 0.7, 0.0),
        fo.adam(0.1, **ADAM),
    ),
    "norm_constraint, far: nothing": (
        fo.chain(STEP, fo.norm_constraint(1e6, at_most=True)),
        STEP,
    ),
    "update_norm_floor, 0: nothing": (fo.update_norm_floor(0.0), fo.identity()),
    "update_norm_floor, high: a trust ratio": (
        fo.chain(fo.update_norm_floor(1e6), STEP),
        fo.chain(fo.scale_by_trust_ratio(trust_coefficient=1e6), STEP),
    ),
    "cautious_weight_decay of a decaying step: decay": (
        fo.chain(fo.set_to_zero(), fo.cautious_weight_decay(0.1), STEP),
        fo.chain(fo.set_to_zero(), fo.add_decayed_weights(0.1), STEP),
    ),
}
"""Name -> two transformations whose updates are equal, to 1e-12 relative."""

SMALL = {"mars, gamma=0: adamw": 0.05, "mars-lion, gamma=0: signum": 0.05}
"""Gradients below a norm of 1, which MARS does not scale down."""


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", EQUAL)
def test_in_a_limit_a_rule_is_another(name):
    ours, theirs = (updates_of(tx, scale=SMALL.get(name, 1.0)) for tx in EQUAL[name])
    for k, u in ours.items():
        np.testing.assert_allclose(u, theirs[k], rtol=1e-12, atol=1e-14, err_msg=k)


SAME_AS_OPTAX = {
    "ademamix": {"learning_rate": 0.1, "b3": 0.99, "weight_decay": 0.1, "eps_root": 1e-3},
    "simplified_ademamix": {"learning_rate": 0.1, "alpha": 2.0, "weight_decay": 0.1},
    "adopt": {"learning_rate": 0.1, "b2": 0.99},
    "adopt-nesterov": {"learning_rate": 0.1, "nesterov": True, "use_clipping": False},
    "madgrad": {"learning_rate": 0.1, "weight_decay": 0.1},
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", SAME_AS_OPTAX)
def test_numbers_are_those_of_optax(name):
    factory, how = name.partition("-")[0], SAME_AS_OPTAX[name]
    theirs = getattr(optax.contrib, factory)(**how)
    ours = updates_of(getattr(fo.contrib, factory)(**how))
    with jax.numpy_dtype_promotion("standard"):
        expected = updates_of(optax.with_extra_args_support(theirs))
    for k, u in ours.items():
        # optax takes the root of the count in float32.
        rtol = 1e-6 if name == "madgrad" else 1e-10
        np.testing.assert_allclose(u, expected[k], rtol=rtol, atol=rtol / 100, err_msg=k)


MATRICES = fo.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)


def of_matrices(params):
    return dict.fromkeys(params, MATRICES)


STACKED = {
    "adam_mini": (fo.adam_mini(0.1, blocks=(0, 1)), fo.adam_mini(0.1, blocks=(0,))),
    "came": (fo.came(0.1),),
    # Below a norm of 1, which MARS scales down to, for each parameter.
    "mars": (fo.mars(0.1, base="shampoo", gamma=1e-3, weight_dimension_numbers=of_matrices),),
    "muon": (fo.muon(0.1, muon_weight_dimension_numbers=of_matrices),),
}
"""Rules of matrices, for a stack of layers and, where that is another, for layers apart."""


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", STACKED)
def test_a_stack_of_matrices_is_its_matrices_apart(name):
    rng = np.random.default_rng(0)
    p, g = jnp.asarray(0.1 * rng.standard_normal((2, 3, 4, 3)))

    def updates_of_last(tx, split):
        params, state = split(p), tx.init(split(p))
        for t in range(5):
            updates, state = tx.update(split(g * (t + 1) / 10), state, params)
        return np.stack([np.asarray(updates[k]) for k in sorted(updates)]).reshape(p.shape)

    stack = updates_of_last(STACKED[name][0], lambda x: {"w": x})
    apart = updates_of_last(STACKED[name][-1], lambda x: {str(i): x[i] for i in range(3)})
    np.testing.assert_allclose(stack, apart, rtol=1e-12, atol=1e-14)


TRANSPOSED = {
    "mars": lambda spec: fo.mars(0.1, base="shampoo", weight_dimension_numbers=spec),
    "muon": lambda spec: fo.muon(0.1, muon_weight_dimension_numbers=spec),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", TRANSPOSED)
def test_outputs_by_inputs_are_the_transpose_of_inputs_by_outputs(name):
    p, g = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 3)))
    found = []
    for axes, turn in (((0, 1), jnp.asarray), ((1, 0), jnp.transpose)):
        tx = TRANSPOSED[name]({"w": fo.MuonDimensionNumbers(*axes)})
        params = {"w": turn(p)}
        found.append(turn(tx.update({"w": turn(g)}, tx.init(params), params)[0]["w"]))
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_a_constant_gradient_gives_adopt_a_geometric_sum():
    tx, params = fo.scale_by_adopt(b1=0.75), jnp.array([2.0, -3.0])
    state = tx.init(params)
    for t in range(6):
        updates, state = tx.update(params, state)
        np.testing.assert_allclose(updates, (1 - 0.75**t) * jnp.sign(params), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_gradients_of_one_size_leave_stable_adamw_as_adamw_is():
    # r is exactly 1 as long as squares are what they were.
    signs = [{"w": jnp.asarray(s)} for s in ([1.0, -1.0], [1.0, 1.0], [-1.0, 1.0])]
    txs = fo.stable_adamw(0.1, weight_decay=0.1), fo.adamw(0.1, b2=0.99, eps=1e-6, weight_decay=0.1)
    params = {"w": jnp.array([3.0, -4.0])}
    states = [tx.init(params) for tx in txs]
    for grads in signs:
        (a, b), states = zip(
            *(tx.update(grads, s, params) for tx, s in zip(txs, states, strict=True)), strict=True
        )
        np.testing.assert_allclose(a["w"], b["w"], rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_a_spike_makes_a_step_of_stable_adamw_shorter_and_one_of_adamw_longer():
    def last(tx):
        params = {"w": jnp.zeros(4)}
        state = tx.init(params)
        for size in (1.0,) * 50 + (1e3,):
            updates, state = tx.update({"w": jnp.full(4, size)}, state, params)
        return float(jnp.abs(updates["w"]).max())

    stable, plain = fo.stable_adamw(1.0, weight_decay=0.0), fo.adamw(1.0, b2=0.99, weight_decay=0.0)
    assert last(stable) < 0.2 < 0.5 < last(plain)


@pytest.mark.usefixtures("x64")
def test_came_keeps_matrices_of_rank_one_exactly():
    squares = np.outer([1.0, 4.0], [9.0, 1.0, 25.0])
    tx, params = fo.scale_by_came(b1=0.5, b3=0.5, clip_threshold=1e9), {"w": jnp.zeros((2, 3))}
    updates, state = tx.update({"w": jnp.sqrt(squares)}, tx.init(params))
    # d is 1 / sqrt(1 - b2) everywhere; the momentum strays from it by half.
    d = 1 / np.sqrt(1e-3)
    np.testing.assert_allclose(state.mu["w"], d / 2, rtol=1e-9)
    np.testing.assert_allclose(updates["w"], (d / 2) / np.sqrt(0.5 * (d / 2) ** 2), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_joined_heads_of_adam_mini_are_heads_apart():
    joined, apart = jnp.zeros((3, 8)), jnp.zeros((3, 4, 2))
    g = jax.random.normal(jax.random.key(0), (3, 8))
    a = fo.scale_by_adam_mini(blocks=((1, 4),))
    b = fo.scale_by_adam_mini(blocks=(1,))
    found, state = a.update(g, a.init(joined))
    expected, other = b.update(g.reshape(3, 4, 2), b.init(apart))
    np.testing.assert_allclose(found, expected.reshape(3, 8), rtol=1e-12)
    np.testing.assert_allclose(state.nu.ravel(), other.nu.ravel(), rtol=1e-12)
    assert state.nu.shape == (1, 4)


def test_blocks_that_do_not_fit_a_parameter_are_refused():
    with pytest.raises(ValueError, match=r"blocks=\(\(1, 3\),\) does not fit .* shape \(2, 4\)"):
        fo.scale_by_adam_mini(blocks=((1, 3),)).init({"w": jnp.zeros((2, 4))})


@pytest.mark.usefixtures("x64")
def test_exact_mars_takes_the_gradient_it_is_given():
    grads, before = {"w": jnp.array([0.5, 0.25])}, {"w": jnp.array([0.25, 0.5])}
    tx = fo.scale_by_mars(b1=0.5, gamma=0.5, base="lion", approximate=False)
    _, state = tx.update(grads, tx.init(grads), previous_grad=before)
    np.testing.assert_allclose(state.ema.ema["w"], 0.5 * np.array([0.625, 0.125]), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_rate_of_hypergradient_descent_grows_while_directions_agree():
    tx, state = fo.sgd_hd(0.1, hypergrad_lr=0.01), None
    params = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    grads, state = {"a": jnp.ones(2), "b": jnp.ones(())}, tx.init(params)
    for t in range(4):
        updates, state = tx.update(grads, state, params)
        rate = 0.1 + 0.01 * 3 * t
        np.testing.assert_allclose(fo.metrics(state)["adapted_learning_rate"], rate, rtol=1e-12)
        np.testing.assert_allclose(updates["a"], -rate, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("axis", [None, 0, (-2, -1)])
def test_on_the_hyperball_norms_stay_and_steps_are_those_of_the_formula(axis):
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.standard_normal((3, 4)))}
    tx = fo.hyperball(0.1, axis=axis)
    find = oracles.hyperball(learning_rate=0.1, axis=axis)
    state, start = tx.init(params), oracles.norm_of(np.asarray(params["w"]), axis)
    for _ in range(10):
        grads = {"w": rng.standard_normal((3, 4))}
        updates, state = tx.update(jax.tree.map(jnp.asarray, grads), state, params)
        expected = find(grads, {"w": np.asarray(params["w"])})
        np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-11, atol=1e-13)
        params = fo.apply_updates(params, updates)
        np.testing.assert_allclose(oracles.norm_of(params["w"], axis), start, rtol=1e-12)


@pytest.mark.parametrize(
    "tx",
    [
        fo.hyperball(0.1, axis=2),
        fo.norm_constraint(axis=(0, -3)),
        fo.update_norm_floor(axis=2),
        fo.adaptive_grad_clip(0.1, axis=2),
    ],
)
def test_an_axis_that_a_parameter_lacks_is_named(tx):
    params = {"w": jnp.ones((3, 2))}
    text = r"\w+: axis=.* does not fit a parameter of shape \(3, 2\), which has no axis (2|-3)\."
    with pytest.raises(ValueError, match=text):
        tx.update(params, tx.init(params), params)


def test_a_narrow_parameter_has_its_norm_to_its_own_rounding():
    tx = fo.chain(fo.sgd(0.1), fo.norm_constraint())
    params = {"w": jnp.linspace(-1, 1, 64, dtype=jnp.bfloat16)}
    state = tx.init(params)
    for _ in range(100):
        grads = {"w": jnp.ones(64, jnp.bfloat16)}
        updates, state = tx.update(grads, state, params)
        params = fo.apply_updates(params, updates)
    assert updates["w"].dtype == jnp.float32
    found = jnp.linalg.norm(params["w"].astype(jnp.float32))
    np.testing.assert_allclose(found, state.norm_constraint.radius["w"], rtol=2e-3)


@pytest.mark.usefixtures("x64")
def test_clipped_heads_have_the_threshold_as_their_largest_logit():
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (7, 5))
    params = {
        k: 3 * jax.random.normal(key, (5, 2, 4)) for k, key in zip("qk", keys[1:], strict=True)
    }

    def logits(params):
        q, k = (jnp.einsum("ti,ihd->htd", x, params[n]) for n in "qk")
        return jnp.einsum("htd,hsd->hts", q, k)

    top = logits(params).max(axis=(1, 2))
    threshold = float(top.mean())
    tx = fo.rescale_heads(threshold)
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(grads, tx.init(params), params, attention_logits={"q": top, "k": top})
    after = logits(fo.apply_updates(params, updates)).max(axis=(1, 2))
    np.testing.assert_allclose(after, jnp.minimum(top, threshold), rtol=1e-12)


def test_stacked_layers_have_logits_of_their_own():
    params = {"q": jnp.ones((2, 3, 4))}  # layers, inputs, heads times size
    logits = {"q": jnp.array([[100.0, 400.0], [1.0, 10000.0]])}
    tx = fo.rescale_heads(head_axis=-1)
    updates, _ = tx.update(params, tx.init(params), params, attention_logits=logits)
    new = fo.apply_updates(params, updates)["q"]
    np.testing.assert_allclose(new[:, 0], [[2, 2, 1, 1], [2, 2, 0.2, 0.2]], rtol=1e-6)


def test_logits_that_do_not_fit_are_refused():
    params = {"q": jnp.ones((3, 4))}
    tx = fo.rescale_heads(head_axis=-1)
    with pytest.raises(ValueError, match=r"attention_logits of shape \(3,\) do not fit"):
        tx.update(params, tx.init(params), params, attention_logits={"q": jnp.ones(3)})


def test_cautious_sees_products_that_would_underflow():
    tx, params = fo.cautious(fo.identity(), flip_sign=False), {"w": jnp.zeros(2)}
    updates, _ = tx.update({"w": jnp.array([1e-30, -1e-30])}, tx.init(params))
    np.testing.assert_allclose(updates["w"], [1e-30, -1e-30], rtol=1e-5)


def test_a_schedule_a_label_and_a_traced_value_do_in_the_place_of_a_number():
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    halves = fo.linear_schedule(0.5, 0.25, 10)
    labels = fo.by_label({"w": 0.5, "b": 0.25}, {"w": "w", "b": "b"})
    for make in (
        lambda x: fo.ademamix(0.1, b3=x, alpha=x),
        lambda x: fo.adopt(0.1, b1=x),
        lambda x: fo.laprop(x, b1=x),
        lambda x: fo.stable_adamw(0.1, b2=x),
        lambda x: fo.came(0.1, b3=x),
        lambda x: fo.madgrad(x, momentum=x),
        lambda x: fo.adam_mini(0.1, b1=x),
        lambda x: fo.mars(0.1, gamma=x),
        lambda x: fo.cautious_adamw(0.1, min_fraction=x),
        lambda x: fo.spam(0.1, b1=x),
        lambda x: fo.grokfast(alpha=x, lamb=x),
        lambda x: fo.hyperball(x),
    ):

        @jax.jit
        def all_of(x, make=make):
            txs = [make(value) for value in (halves, 0.5, x, labels)]
            return [tx.update(params, tx.init(params), params)[0] for tx in txs]

        scheduled, expected, traced, labelled = all_of(0.5)
        for k, u in expected.items():
            np.testing.assert_allclose(scheduled[k], u, rtol=1e-6)
            np.testing.assert_allclose(traced[k], u, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(labelled["w"], expected["w"], rtol=1e-6)


def test_the_elements_that_move_grow_by_no_more_than_the_least_fraction_says():
    tx, params = fo.cautious(fo.trace(0.5), 0.5, flip_sign=False), {"w": jnp.zeros(4)}
    state = tx.init(params)
    _, state = tx.update({"w": jnp.full(4, 8.0)}, state)
    some, state = tx.update({"w": jnp.array([4.0, -1.0, -1.0, -1.0])}, state)
    none, _ = tx.update({"w": jnp.array([-0.5, -0.5, -0.5, -0.5])}, state)
    np.testing.assert_allclose(some["w"], [16, 0, 0, 0])  # 8, of one in four, at most doubled
    np.testing.assert_allclose(none["w"], [0, 0, 0, 0])


@pytest.mark.usefixtures("x64")
def test_a_cautious_direction_is_scaled_by_the_share_that_moves():
    found = updates_of(fo.cautious(fo.scale_by_adam(**ADAM), flip_sign=False))
    plain = updates_of(fo.scale_by_adam(**ADAM))
    grads = problem.normal(np.float64, 0, (20,))
    for k, u in found.items():
        for t in range(20):
            expected = oracles.masked_by_gradient(plain[k][t], grads[k][t])
            np.testing.assert_allclose(u[t], expected, rtol=1e-12)


def test_logits_of_none_are_refused_where_there_is_an_update():
    params = {"query": jnp.ones((1, 4))}
    tx = fo.rescale_heads(head_axis=-1)
    with pytest.raises(ValueError, match="attention_logits is None for a parameter"):
        tx.update(params, tx.init(params), params, attention_logits={"query": None})


def test_numbers_of_mars_have_the_names_of_its_arguments():
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    tx = fo.mars(0.1, adam_b1=0.5, adam_learning_rate=0.2)
    state = fo.set_hyperparams(tx.init(params), adam_learning_rate=0.25, gamma=0.5, tx=tx)
    numbers = fo.get_hyperparams(state)
    assert float(numbers["adam_learning_rate"]) == 0.25
    assert float(numbers["adam_b1"]) == 0.5
    assert {"adam_b2", "adam_eps", "adam_weight_decay", "learning_rate"} <= numbers.keys()
