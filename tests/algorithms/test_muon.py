import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.algorithms.newton_schulz_schedules import COEFFICIENTS

from .. import problem

BANDS = {
    ("standard", 1e-2): (0.6818, 1.1344),
    ("standard", 1e-3): (0.4705, 1.2024),
    ("dion", 1e-2): (0.9778, 1.0318),
    ("dion", 1e-3): (0.4750, 1.1450),
    ("quintic", 1e-2): (0.9778, 1.0318),
    ("quintic", 1e-3): (0.4750, 1.1450),
    ("polar_express", 1e-2): (0.8589, 1.1411),
    ("polar_express", 1e-3): (0.8466, 1.1411),
    ("polar_express_8", 1e-2): (1.0, 1.0),
    ("polar_express_8", 1e-3): (1.0, 1.0),
    ("cans", 1e-2): (0.8844, 1.1198),
    ("cans", 1e-3): (0.8844, 1.1198),  # the optimal polynomial errs equally up and down
    ("deepseek_v4", 1e-2): (1.0, 1.0005),
    ("deepseek_v4", 1e-3): (1.0, 1.0005),
    ("cubic", 1e-2): (0.7741, 1.3),
    ("cubic", 1e-3): (0.1191, 1.3),
}
"""Least and largest that all rounds make of singular values from the given one to 1."""


def orthogonal(rows, columns, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((max(rows, columns),) * 2))
    return q[:rows, :columns]


def apply(tx, g, params=None):
    return jax.jit(tx.update)(g, tx.init(g), params)[0]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "least"), BANDS)
def test_singular_values_come_into_the_published_band(name, least):
    sigma = np.geomspace(least, 1.0, 20_001)
    # One matrix for each value, next to a value that makes its norm 1.
    matrices = np.zeros((20_001, 2, 2))
    matrices[:, 0, 0], matrices[:, 1, 1] = sigma, np.sqrt(1 - sigma**2)
    u = apply(fo.orthogonalize(name, eps=0.0), jnp.asarray(matrices))[:, 0, 0]
    np.testing.assert_allclose([u.min(), u.max()], BANDS[name, least], atol=1e-4)


def test_every_schedule_has_its_bands():
    assert {name for name, _ in BANDS} == COEFFICIENTS.keys()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("how", ["frobenius", "spectral", "schatten"])
def test_the_limit_is_the_polar_factor(how):
    rng = np.random.default_rng(0)
    gs = [rng.standard_normal(shape) for shape in [(5, 3), (3, 5), (4, 4), (2, 3, 5)]]
    tx = fo.orthogonalize((1.5, -0.5, 0.0), 25, 0.0, preconditioning=how)
    for g, found in zip(gs, apply(tx, list(map(jnp.asarray, gs))), strict=True):
        u, _, v = np.linalg.svd(g, full_matrices=False)
        np.testing.assert_allclose(found, u @ v, atol=1e-9, err_msg=str(g.shape))


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("how", ["frobenius", "spectral", "schatten", "aol"])
def test_rows_come_out_orthonormal(how, dtype):
    g = jnp.asarray(np.random.default_rng(1).standard_normal((16, 48)), dtype)
    u = apply(fo.orthogonalize("dion", preconditioning=how), g).astype(jnp.float32)
    assert jnp.abs(u @ u.T - jnp.eye(16)).max() < 0.1


def test_a_complex_matrix_comes_out_unitary():
    rng = np.random.default_rng(2)
    g = jnp.asarray(rng.standard_normal((4, 9)) + 1j * rng.standard_normal((4, 9)), jnp.complex64)
    u = apply(fo.orthogonalize("dion"), g)
    assert jnp.abs(u @ u.conj().T - jnp.eye(4, dtype=u.dtype)).max() < 0.1


def test_rounding_to_bfloat16_is_seen_in_every_element():
    g = jnp.asarray(np.random.default_rng(3).standard_normal((8, 8)), jnp.float32)
    rounded, whole = (apply(fo.orthogonalize(ns_dtype=d), g) for d in (jnp.bfloat16, None))
    assert (rounded == rounded.astype(jnp.bfloat16).astype(jnp.float32)).all()
    assert 0 < jnp.abs(rounded - whole).max() < 0.1


@pytest.mark.parametrize("how", ["frobenius", "spectral", "schatten", "aol"])
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e25])
def test_small_large_and_no_gradients_are_finite(how, scale):
    g = {"w": scale * jnp.asarray(orthogonal(3, 5), jnp.float32), "none": jnp.zeros((0, 3))}
    u = apply(fo.scale_by_muon(preconditioning=how, eps=1e-20), g)
    assert jnp.isfinite(u["w"]).all()
    assert (jnp.abs(u["w"]).max() > 0.1) == (scale > 0)


def test_the_embedding_and_the_layers_go_where_the_specs_say():
    params = {
        "embedding": jnp.ones((5, 2)),
        "layers": jnp.ones((3, 2, 4)),
        "conv": jnp.ones((3, 3, 2, 4)),
    }
    specs = {
        "embedding": None,
        "layers": fo.MuonDimensionNumbers(1, 2),
        "conv": fo.MuonDimensionNumbers((0, 1, 2), 3),
    }
    tx = fo.muon(1.0, muon_weight_dimension_numbers=specs, nesterov=False)
    state = tx.init(params)
    assert {k for k, x in state.muon_momentum.mu.items() if hasattr(x, "shape")} == {
        "layers",
        "conv",
    }
    assert state.scale_by_adam.mu["embedding"].shape == (5, 2)
    grads = jax.tree.map(
        lambda p: jnp.asarray(np.random.default_rng(0).standard_normal(p.shape), jnp.float32),
        params,
    )
    updates, _ = tx.update(grads, state, params)
    np.testing.assert_allclose(updates["embedding"], -jnp.sign(grads["embedding"]), rtol=1e-5)
    plain = fo.orthogonalize()
    for i in range(3):
        alone = 2**0.5 * apply(plain, grads["layers"][i])
        np.testing.assert_allclose(-updates["layers"][i], alone, rtol=1e-4, atol=1e-6)
    flat = apply(plain, grads["conv"].reshape(18, 4)).reshape(3, 3, 2, 4)
    np.testing.assert_allclose(-updates["conv"], flat, rtol=1e-4, atol=1e-6)


def test_a_spec_that_does_not_fit_says_so():
    params = {"w": jnp.ones((2, 3))}
    tx = fo.muon(0.1, muon_weight_dimension_numbers=fo.MuonDimensionNumbers(1, -1))
    message = r"'w': .* not fit a parameter of shape \(2, 3\). Give each"
    with pytest.raises(ValueError, match=message):
        tx.update(params, tx.init(params), params)
    with pytest.raises(TypeError, match=r"must be MatrixAxes or None, got 1\."):
        fo.muon(0.1, muon_weight_dimension_numbers={"w": (1, 0)}).init(params)


def test_one_learning_rate_is_for_all_unless_adam_has_its_own():
    one, two = (
        fo.muon(0.1, **how).init(problem.arrays()) for how in ({}, {"adam_learning_rate": 1.0})
    )
    assert float(fo.get_hyperparams(one)["learning_rate"]) == np.float32(0.1)
    assert "adam_learning_rate" in fo.get_hyperparams(two)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_a_step_has_the_root_mean_square_that_was_asked_for(name):
    g = jnp.asarray(np.random.default_rng(0).standard_normal((64, 16)), jnp.float32)
    tx = fo.muon(1.0, name, consistent_rms=0.2)
    updates, _ = tx.update(g, tx.init(g), g)
    assert abs(float(jnp.sqrt(jnp.mean(updates**2))) / 0.2 - 1) < 0.15


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("method", ["svd", "qdwh"])
def test_without_momentum_the_exact_factor_is_spectral_descent(method):
    rng = np.random.default_rng(0)
    g = {f"w{i}-{o}": rng.standard_normal((i, o)) for i, o in ((4, 6), (6, 4), (5, 5))}
    tx = fo.muon(1.0, beta=0.0, method=method, scale="match_rms", consistent_rms=1.0)
    arrays = jax.tree.map(jnp.asarray, g)
    for k, update in apply(tx, arrays, arrays).items():
        u, _, v = np.linalg.svd(g[k], full_matrices=False)
        descent = -(max(g[k].shape) ** 0.5) * u @ v
        np.testing.assert_allclose(update, descent, rtol=1e-12, atol=1e-12, err_msg=k)


FAMILY = {
    "muon": lambda axes, **how: fo.muon(0.1, muon_weight_dimension_numbers=axes, **how),
    "svd": lambda axes, **how: fo.muon(
        0.1, method="svd", muon_weight_dimension_numbers=axes, **how
    ),
    "normuon": lambda axes, **how: fo.normuon(0.1, axes=axes, **how),
    "adamuon": lambda axes, **how: fo.adamuon(0.1, axes=axes, **how),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", FAMILY)
def test_a_stack_is_separate_matrices_and_a_layout_the_transpose_of_the_other(name):
    make, rng = FAMILY[name], np.random.default_rng(1)
    start = jnp.asarray(rng.standard_normal((3, 4, 6)))
    grads = jnp.asarray(rng.standard_normal((3, 3, 4, 6)))

    def train(axes, view):
        tx, params = make({"w": axes}), {"w": view(start)}
        state = tx.init(params)
        for g in grads:
            updates, state = tx.update({"w": view(g)}, state, params)
            params = fo.apply_updates(params, updates)
        return params["w"]

    whole = train(fo.MatrixAxes(1, 2), lambda x: x)
    for i in range(3):
        alone = train(fo.MatrixAxes(0, 1), lambda x, i=i: x[i])
        np.testing.assert_allclose(whole[i], alone, atol=1e-12)
    turned = train(fo.MatrixAxes(2, 1), lambda x: jnp.swapaxes(x, 1, 2))
    np.testing.assert_allclose(jnp.swapaxes(turned, 1, 2), whole, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", FAMILY)
def test_parts_of_a_fused_weight_are_separate_matrices(name):
    rng = np.random.default_rng(2)
    p, g = (jnp.asarray(rng.standard_normal((4, 9))) for _ in range(2))
    fused = apply(FAMILY[name]({"w": fo.MatrixAxes(0, 1, 1, (5, 4))}), {"w": g}, {"w": p})["w"]
    for part in (slice(0, 5), slice(5, 9)):
        params = {"w": p[:, part]}
        alone = apply(FAMILY[name]({"w": fo.MatrixAxes(0, 1)}), {"w": g[:, part]}, params)["w"]
        np.testing.assert_allclose(fused[:, part], alone, atol=1e-12)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, lambda i, o: max(1.0, o / i) ** 0.5),
        ({"scale": "original"}, lambda i, o: max(1.0, o / i) ** 0.5),
        ({"scale": "match_rms"}, lambda i, o: 0.2 * max(i, o) ** 0.5),
        ({"scale": "match_rms", "consistent_rms": 0.5}, lambda i, o: 0.5 * max(i, o) ** 0.5),
        ({"consistent_rms": 0.5}, lambda i, o: 0.5 * max(i, o) ** 0.5),
        ({"scale": "unit_rms"}, lambda i, o: (o / i) ** 0.5),
    ],
    ids=["default", "original", "match_rms", "half of match_rms", "consistent_rms", "unit_rms"],
)
def test_scales_by_name_are_the_published_factors(how, expected):
    g = {f"w{i}-{o}": orthogonal(i, o).astype(np.float32) for i, o in ((4, 16), (16, 4), (5, 5))}
    us = apply(fo.muon(1.0, method="svd", nesterov=False, **how), g, g)
    for k, u in us.items():
        scaled = expected(*g[k].shape) * g[k]
        np.testing.assert_allclose(-u, scaled, rtol=1e-5, atol=1e-6, err_msg=k)


def test_a_preset_is_a_copy_and_bad_names_list_those_that_exist():
    fo.muon_preset("dion")["beta"] = 0.5
    assert "beta" not in fo.muon_preset("dion")
    with pytest.raises(ValueError, match="muon_preset: name must be one of 'keller_jordan'"):
        fo.muon_preset("kimi")
    for name in ("keller_jordan", "moonlight", "torch", "optax", "dion"):
        tx, params = fo.muon(1e-3, **fo.muon_preset(name)), problem.arrays()
        updates = apply(tx, params, params)
        assert all(jnp.isfinite(u).all() and u.any() for u in jax.tree.leaves(updates))


@pytest.mark.usefixtures("x64")
def test_hyperball_steps_along_muons_direction_and_keeps_the_norm():
    rng = np.random.default_rng(3)
    p, rate = rng.standard_normal((4, 6)), 0.018
    radius, tx = np.linalg.norm(p), fo.chain(fo.scale_by_muon(method="svd"), fo.hyperball(rate))
    params = {"w": jnp.asarray(p)}
    state, mean = tx.init(params), np.zeros((4, 6))

    def ball(x):
        return radius * x / np.linalg.norm(x)

    for _ in range(5):
        g = rng.standard_normal((4, 6))
        updates, state = tx.update({"w": jnp.asarray(g)}, state, params)
        params = fo.apply_updates(params, updates)
        mean = 0.95 * mean + 0.05 * g
        u, _, v = np.linalg.svd(0.95 * mean + 0.05 * g, full_matrices=False)
        p = ball(p - rate * ball(u @ v))
        np.testing.assert_allclose(params["w"], p, atol=1e-12)
