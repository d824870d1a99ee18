"""The iteration as a function of arrays: schedules, exact polar factors, accuracy, layouts."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.algorithms.newton_schulz import newton_schulz
from functional_optim.algorithms.newton_schulz_schedules import COEFFICIENTS

ROUNDS = {"polar_express_8": 8, "deepseek_v4": 10}
"""The length of the schedules that do not have five rounds."""

METHODS = [{}, {"gram": True}, {"ns_coeffs": "deepseek_v4"}, {"method": "svd"}, {"method": "qdwh"}]


def graded(decades, shape=(32, 128), seed=0):
    """Returns a matrix whose singular values fall from 1 over some decades."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, min(shape))))[0] for n in shape)
    return left * np.geomspace(1, 10.0**-decades, min(shape)) @ right.T


def polar_factor(g):
    u, _, v = np.linalg.svd(g, full_matrices=False)
    return u @ v


@pytest.mark.usefixtures("x64", "eager")
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_a_schedule_has_its_own_number_of_rounds(name):
    x, rounds = jnp.asarray(graded(4)), ROUNDS.get(name, 5)
    own, same = newton_schulz(x, name), newton_schulz(x, name, rounds)
    assert (own == same).all()
    assert jnp.abs(newton_schulz(x, name, rounds + 1) - own).max() > 1e-9
    if COEFFICIENTS[name][-2] != COEFFICIENTS[name][-1]:
        with pytest.raises(
            ValueError, match=f"'{name}' has more triples than ns_steps={rounds - 1}"
        ):
            newton_schulz(x, name, rounds - 1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6), (2, 3, 5), (2, 2, 5, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("method", ["svd", "qdwh"])
def test_the_exact_methods_are_the_polar_factor(method, dtype, shape):
    rng = np.random.default_rng(0)
    g = rng.standard_normal(shape).astype(dtype)
    if dtype is np.complex128:
        g = g + 1j * rng.standard_normal(shape)
    u = jax.jit(functools.partial(newton_schulz, method=method))(g)
    np.testing.assert_allclose(u, polar_factor(g), atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_deepseeks_schedule_comes_to_the_polar_factor():
    g = graded(1.5)
    u = newton_schulz(jnp.asarray(g), "deepseek_v4", eps=0.0)
    np.testing.assert_allclose(u, polar_factor(g), atol=5e-4)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_directions_without_a_gradient_stay_zero_in_an_svd(scale):
    u, v = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0][:2]
    g = np.outer(u, v)
    out = newton_schulz(jnp.asarray(scale * g, jnp.float32), method="svd")
    np.testing.assert_allclose(out, g, atol=1e-6)


@pytest.mark.parametrize("how", METHODS, ids=str)
def test_the_largest_numbers_give_no_nan(how):
    # Their powers of two have reciprocals that the CPU takes for 0.
    jitted = jax.jit(functools.partial(newton_schulz, **how))
    for largest in (1e38, 2e38, 3e38):
        assert np.isfinite(jitted(jnp.array([[1e38, 3e36], [-1e37, largest]]))).all()


@pytest.mark.parametrize("how", METHODS, ids=str)
def test_zeros_and_empty_arrays_are_returned(how):
    x = np.zeros((2, 3, 9), np.float32)
    x[1, 0, 0] = 2.0
    jitted = jax.jit(functools.partial(newton_schulz, **how))
    assert not np.asarray(jitted(x))[0].any()
    assert newton_schulz(np.zeros((4, 0, 3), np.float32), **how).shape == (4, 0, 3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("how", METHODS, ids=str)
@pytest.mark.parametrize("shape", [(3, 5), (3, 9)])
def test_a_stack_is_its_matrices_and_a_transpose_its_transpose(shape, how):
    g = np.random.default_rng(0).standard_normal((2, 4, *shape))
    jitted = jax.jit(functools.partial(newton_schulz, **how))
    whole = np.asarray(jitted(g))
    for i in np.ndindex(2, 4):
        np.testing.assert_allclose(whole[i], jitted(g[i]), atol=1e-12)
    turned = np.asarray(jitted(g.swapaxes(-2, -1)))
    np.testing.assert_allclose(turned.swapaxes(-2, -1), whole, atol=1e-12)


@pytest.mark.usefixtures("x64", "eager")
@pytest.mark.parametrize("name", COEFFICIENTS)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_two_rounds_at_a_time_are_two_rounds(name, dtype):
    rotated = 1 + (2j if dtype is np.complex128 else 0)
    g = jnp.asarray((graded(1) + rotated * graded(1, seed=1)).astype(dtype))
    pairs, single = (newton_schulz(g, name, gram=gram) for gram in (True, False))
    np.testing.assert_allclose(pairs, single, atol=1e-12)
    assert (pairs != single).any()


@pytest.mark.parametrize(("columns", "in_pairs"), [(79, False), (80, True)])
def test_long_matrices_are_computed_two_rounds_at_a_time(columns, in_pairs):
    g = jnp.asarray(graded(1, (32, columns)), jnp.float32)
    for x in (g, g.T):
        assert (newton_schulz(x) == newton_schulz(x, gram=in_pairs)).all()
    rounded = (newton_schulz(g, ns_dtype=jnp.bfloat16, gram=gram) for gram in (None, False))
    assert (next(rounded) == next(rounded)).all()


def test_two_rounds_at_a_time_are_chosen_where_products_do_not_round():
    def program(gram, platform):
        function = jax.jit(lambda x: newton_schulz(x, gram=gram))
        lowered = function.trace(jnp.ones((8, 40))).lower(lowering_platforms=(platform,))
        return re.sub("loc[(].*", "", lowered.as_text())

    assert program(None, "cpu") == program(True, "cpu") != program(False, "cpu")
    for platform in ("cuda", "tpu"):
        assert program(None, platform) == program(False, platform) != program(True, platform)


@pytest.mark.usefixtures("x64", "eager")
@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("name", sorted(COEFFICIENTS.keys() - {"cans"}))
def test_errors_of_narrow_dtypes_are_as_stated(name, gram):
    for decades, rounded in ((1, 0.15), (3, 0.7)):
        g = np.stack([graded(decades, seed=seed) for seed in range(3)])
        exact = np.asarray(newton_schulz(jnp.asarray(g), name))
        for dtype, stated in ((None, 3e-5), (jnp.bfloat16, rounded)):
            u = newton_schulz(jnp.asarray(g, jnp.float32), name, ns_dtype=dtype, gram=gram)
            error = np.linalg.norm(np.float64(u) - exact, ord=2, axis=(-2, -1))
            assert stated / 100 < error.max() < stated, (dtype, decades)


@pytest.mark.parametrize("rounds", ["cans", COEFFICIENTS["cans"]], ids=["name", "numbers"])
def test_cans_stays_in_its_band_in_float32_and_diverges_in_bfloat16(rounds):
    rows = jnp.asarray(np.random.default_rng(0).standard_normal((64, 1, 8)), jnp.float32)
    norms = np.linalg.norm(newton_schulz(rows, rounds), axis=(-2, -1))
    assert (np.abs(norms - 1) < 0.12).all()
    if rounds != "cans":  # the name is refused
        rounded = newton_schulz(rows, rounds, ns_dtype=jnp.bfloat16)
        assert not (jnp.abs(rounded) < 100).all()


def test_polar_express_divides_by_a_little_more_than_the_norm():
    g = jnp.asarray(graded(1), jnp.float32)
    named, numbers = (newton_schulz(g, c) for c in ("polar_express", COEFFICIENTS["polar_express"]))
    assert (named != numbers).any()
    again = newton_schulz(g, COEFFICIENTS["polar_express"], safety_factor=1.02)
    assert (named == again).all()


def test_bad_options_of_the_function_name_it():
    with pytest.raises(ValueError, match="newton_schulz: ns_coeffs must be one of 'standard'"):
        newton_schulz(jnp.ones((2, 3)), "jordan")
    with pytest.raises(ValueError, match="ns_coeffs='cans' needs ns_dtype=None, got"):
        newton_schulz(jnp.ones((2, 3)), "cans", ns_dtype=jnp.float16)


def test_vectors_are_matrices_of_one_row_to_the_rule():
    g = jnp.array([3.0, 4.0])
    tx = fo.orthogonalize(method="svd")
    np.testing.assert_allclose(tx.update(g, tx.init(g))[0], [0.6, 0.8], rtol=1e-6)
