"""Scion: minimizers, balls, roles by names, and the errors of parameters without a role."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

CUBIC = {"ns_coeffs": (1.5, -0.5, 0.0), "ns_steps": 40}
"""Rounds that converge to the polar factor."""

NORMS = {
    "spectral": fo.ScionNorm("spectral"),
    "spectral-first": fo.ScionNorm("spectral", normalized=False),
    "spectral-images": fo.ScionNorm("spectral", at_least_one=True),
    "sign": fo.ScionNorm("sign"),
    "sign-first": fo.ScionNorm("sign", normalized=False),
    "col_norm": fo.ScionNorm("col_norm"),
    "row_norm": fo.ScionNorm("row_norm"),
}


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@functools.cache
def minimizer(norm, axes, **how):
    """Compiles one program for all tests of a norm, because compiling is slow."""
    tx = fo.scale_by_scion(
        1.0, 1.0, norms={"x": norm}, param_labels={"w": "x"}, axes={"w": axes}, **how
    )
    return jax.jit(lambda g: tx.update({"w": g}, tx.init({"w": g}), {"w": g})[0]["w"])


def direction(g, norm, axes=None, **how):
    """Returns the minimizer for one weight, without momentum."""
    return minimizer(norm, axes, **how)(g)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_no_element_of_the_ball_is_better(name, shape):
    norm, axes = NORMS[name], fo.MatrixAxes(0, 1)
    g = normal(shape)
    best = np.vdot(g, direction(g, norm, axes, **CUBIC))
    assert best > 0
    how = {"norms": {"x": norm}, "param_labels": {"w": "x"}, "axes": {"w": axes}}
    first = jax.vmap(lambda key: fo.scion_init({"w": g}, key, 1.0, **how)["w"])
    for other in np.asarray(jax.jit(first)(np.arange(20))):
        assert np.vdot(g, other) < best
        # Both are on the sphere: another gradient has the other as its best.
        np.testing.assert_allclose(direction(other, norm, axes, **CUBIC), other, rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_the_transpose_has_the_transposed_updates(name, shape):
    g, norm = normal(shape), NORMS[name]
    ours = direction(g, norm, fo.MatrixAxes(0, 1), **CUBIC)
    theirs = direction(g.T, norm, fo.MatrixAxes(1, 0), **CUBIC)
    np.testing.assert_allclose(ours, theirs.T, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NORMS)
def test_a_stack_is_separate_matrices(name):
    g, norm = normal((2, 3, 3, 5)), NORMS[name]
    together = direction(g, norm, fo.MatrixAxes(2, 3), **CUBIC)
    for i in np.ndindex(2, 3):
        alone = direction(g[i], norm, fo.MatrixAxes(0, 1), **CUBIC)
        np.testing.assert_allclose(together[i], alone, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_sign_without_constraint_is_scaled_sign_descent():
    params = {"w": normal((3, 5)), "b": normal((5,))}
    tx = fo.scion(
        0.1,
        6.0,
        1.0,
        constrained=False,
        norms={"hidden": "sign", "vector": fo.ScionNorm("sign", normalized=False)},
    )
    signs = fo.partition(
        {"w": fo.sign_sgd(0.1 * 6 / 3), "b": fo.sign_sgd(0.1 * 6)}, {"w": "w", "b": "b"}
    )
    ours, theirs = params, params
    state, other = tx.init(params), signs.init(params)
    step, step_of_signs = jax.jit(tx.update), jax.jit(signs.update)
    for t in range(5):
        grads = {"w": normal((3, 5), t), "b": normal((5,), t)}
        u, state = step(grads, state, ours)
        v, other = step_of_signs(grads, other, theirs)
        ours, theirs = fo.apply_updates(ours, u), fo.apply_updates(theirs, v)
    for k in params:
        np.testing.assert_allclose(ours[k], theirs[k], rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_constraint_is_decay_of_one_over_the_radius():
    params = {"w": normal((3, 5)), "b": normal((5,))}
    constrained = fo.scion(0.1, 4.0)
    decayed = fo.chain(
        fo.scale_by_scion(1.0), fo.add_decayed_weights(1 / 4), fo.scale_by_learning_rate(0.4)
    )
    ours, theirs = (
        jax.jit(tx.update)(params, tx.init(params), params)[0] for tx in (constrained, decayed)
    )
    for k in params:
        np.testing.assert_allclose(ours[k], theirs[k], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_parameters_that_start_in_their_balls_stay_there():
    shapes = {
        "layer": {"kernel": jnp.zeros((6, 4)), "bias": jnp.zeros(4)},
        "head": {"kernel": jnp.zeros((4, 5))},
        "embed": {"embedding": jnp.zeros((7, 6))},
    }
    radius = {"hidden": 3.0, "head": 20.0, "embedding": 2.0, "vector": 0.5}
    first = jax.jit(lambda key: fo.scion_init(shapes, key, radius))
    params = first(0)
    tx = fo.scion(0.2, radius, 0.5, **CUBIC)
    state, update = tx.init(params), jax.jit(tx.update)

    def assert_inside(params, slack):
        spectral = np.linalg.norm(params["layer"]["kernel"], 2)
        assert spectral <= 3 * (4 / 6) ** 0.5 + slack
        assert np.sqrt(np.mean(params["layer"]["bias"] ** 2)) <= 0.5 + slack
        assert np.abs(params["head"]["kernel"]).max() <= 20 / 4 + slack
        assert np.abs(params["embed"]["embedding"]).max() <= 2 + slack

    assert_inside(params, 1e-9)
    for t in range(40):
        grads = jax.tree.map(lambda p, t=t: normal(p.shape, t), params)
        updates, state = update(grads, state, params)
        params = fo.apply_updates(params, updates)
        assert_inside(params, 1e-6)
    values = np.linalg.svd(first(1)["layer"]["kernel"])[1]
    np.testing.assert_allclose(values, 3 * (4 / 6) ** 0.5, rtol=1e-9)


def test_first_parameters_keep_dtypes_and_need_shapes_alone():
    params = {"w": jnp.zeros((4, 4), jnp.bfloat16), "b": jnp.ones(3)}
    made = fo.scion_init(params, 0)
    assert made["w"].dtype == jnp.bfloat16
    assert (made["b"] == 0).all()
    again = fo.scion_init(jax.eval_shape(lambda: params), jax.random.key(0))
    assert (again["w"] == made["w"]).all()
    assert (fo.scion_init(params, 1)["w"] != made["w"]).any()
    two = fo.scion_init({"a": params["w"], "w": params["w"]}, 0)
    assert (two["a"] != two["w"]).any()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("channels", [3, 6], ids=["the first", "a later one"])
@pytest.mark.parametrize(("name", "axes"), [("kernel", (2, 3)), ("weight", (1, 0))])
def test_a_convolution_is_divided_by_its_positions(name, axes, channels):
    shape = (3, 3, channels, 8) if name == "kernel" else (8, channels, 3, 3)
    params = {"conv": {name: normal(shape), "bias": jnp.zeros(8)}}
    tx = fo.scale_by_scion(1.0, 1.0, **CUBIC)
    u = jax.jit(tx.update)(params, tx.init(params), params)[0]["conv"][name]
    inputs, outputs = axes
    matrix = jnp.moveaxis(u, (inputs, outputs), (2, 3)).reshape(9 * channels, 8)
    scale = (8 / channels) ** 0.5 / 9
    np.testing.assert_allclose(np.linalg.svd(matrix)[1], scale, rtol=1e-9)
    first = jax.jit(fo.scion_init, static_argnums=2)(params, 0, 1.0)["conv"][name]
    for i in np.ndindex(3, 3):
        kernel = jnp.moveaxis(first, (inputs, outputs), (2, 3))[i]
        np.testing.assert_allclose(np.linalg.svd(kernel)[1], scale, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_fused_weights_are_separate_matrices():
    g = {"attn": {"qkv": {"kernel": normal((4, 12))}}}
    tx = fo.scale_by_scion(1.0, 1.0, **CUBIC)
    u = tx.update(g, tx.init(g), g)[0]["attn"]["qkv"]["kernel"]
    for i in range(3):
        np.testing.assert_allclose(np.linalg.svd(u[:, 4 * i : 4 * i + 4])[1], 1.0, rtol=1e-9)


def test_roles_follow_from_names_and_radii_from_roles():
    params = {
        "wte": {"embedding": jnp.ones((9, 4))},
        "block": {
            "norm": {"scale": jnp.ones((4, 1))},
            "mlp": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)},
        },
        "lm_head": {"weight": jnp.ones((9, 4)), "bias": jnp.ones(9)},
    }
    tx = fo.scale_by_scion(alpha=1.0)
    step = jax.jit(tx.update)
    u, state = step(params, tx.init(params), params)
    assert (u["wte"]["embedding"] == 1).all()
    np.testing.assert_allclose(u["lm_head"]["weight"], 3000 / 4)
    np.testing.assert_allclose(u["lm_head"]["bias"], 50, rtol=1e-6)
    np.testing.assert_allclose(u["block"]["norm"]["scale"], 50, rtol=1e-6)
    assert abs(jnp.linalg.norm(u["block"]["mlp"]["kernel"], 2) / (50 * 2**0.5) - 1) < 0.35
    state = fo.set_hyperparams(state, {"radius.head": 4.0})
    again, _ = step(params, state, params)
    np.testing.assert_allclose(again["lm_head"]["weight"], 1.0)


def test_a_label_may_be_left_to_the_names():
    params = {"a": jnp.ones((2, 2)), "out": jnp.ones((2, 2))}
    labels = fo.path_labels({"^out": "head"}, default=None)
    tx = fo.scale_by_scion({"head": 2.0}, 1.0, param_labels=labels)
    u, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(u["out"], 1.0)
    assert (u["a"] > 10).all()


ONE = {"w": np.ones((2, 3), np.float32)}
JOINED = {"mix": {"w": np.ones((2, 2, 3), np.float32)}}
ERRORS = {
    "no role": (
        {"axes": {"w": None}},
        ONE,
        r"the parameter at 'w', of shape \(2, 3\), is not a matrix by its axes",
    ),
    "no norm": (
        {"param_labels": {"w": "middle"}, "radius": 1.0},
        ONE,
        "norms has no norm for the label 'middle' of the parameter at 'w'. Its labels are: hidden",
    ),
    "no radius": (
        {"param_labels": {"w": "middle"}, "norms": {"middle": "sign"}},
        ONE,
        "radius has no value for 'middle', the label of the parameter at 'w'",
    ),
    "no axes": (
        {"param_labels": {"b": "head"}},
        {"b": jnp.ones(2)},
        "the label 'head' has the norm 'sign' of matrices, but the parameter at 'b'",
    ),
    "window": (
        {"norms": {"hidden": fo.ScionNorm(window=1)}},
        ONE,
        r"window=1 does not fit the parameter at 'w', of shape \(2, 3\), whose inputs are its axes",
    ),
    "joined": (
        {"axes": {"mix": {"w": fo.MatrixAxes((0, 1), 2)}}},
        JOINED,
        "several axes of the parameter at 'mix.w' are its inputs",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_init(name):
    arguments, params, text = ERRORS[name]
    with pytest.raises(ValueError, match=text):
        fo.scion(0.1, **arguments).init(params)


def test_joined_inputs_that_are_not_a_convolution():
    axes = {"mix": {"w": fo.MatrixAxes((0, 1), 2)}}
    norm = fo.ScionNorm(window=())
    tx = fo.scale_by_scion(1.0, 1.0, norms={"hidden": norm}, axes=axes, **CUBIC)
    u, _ = tx.update(JOINED, tx.init(JOINED), JOINED)
    value = np.linalg.svd(u["mix"]["w"].reshape(4, 3))[1][0]
    np.testing.assert_allclose(value, (3 / 4) ** 0.5, rtol=1e-4)


def test_a_wrong_radius_or_key_of_first_parameters_says_so():
    with pytest.raises(ValueError, match=r"scion_init: radius must be in \[0, inf\), got -1"):
        fo.scion_init(ONE, 0, -1.0)
    with pytest.raises(ValueError, match="scion_init: radius has no value for the label 'x'"):
        fo.scion_init(ONE, 0, param_labels={"w": "x"}, norms={"x": "sign"})
    with pytest.raises(TypeError, match="scion_init: key must be an integer or a key"):
        fo.scion_init(ONE, None)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("scale", [0.0, 1e-25, 1e25])
def test_small_large_and_no_gradients_are_finite(name, scale):
    g = (scale * normal((3, 5))).astype(np.float32)
    u = np.asarray(direction(g, NORMS[name], fo.MatrixAxes(0, 1)))
    assert np.isfinite(u).all()
    assert scale > 0 or (u == 0).all()
    assert direction(np.zeros((0, 3), np.float32), NORMS[name], fo.MatrixAxes(0, 1)).shape == (0, 3)


def test_radii_and_rates_compile_once():
    params = {"w": jnp.ones((3, 5)), "b": jnp.ones(5)}
    txs = [fo.scion(*numbers) for numbers in ((0.1, {"hidden": 2.0}), (0.2, {"hidden": 3.0}, 0.5))]

    @jax.jit
    def step(params, state):
        updates, state = txs[0].update(params, state, params)
        return fo.apply_updates(params, updates), state

    for tx in txs:
        state, here = tx.init(params), params
        for _ in range(3):
            here, state = step(here, state)
    assert step._cache_size() == 1
    assert txs[0].update is fo.scion(0.3, {"hidden": 4.0}).update
