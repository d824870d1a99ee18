"""SOAP, KL-Shampoo and KL-SOAP: identities that no other rule shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem

RULES = (fo.scale_by_soap, fo.scale_by_kl_shampoo, fo.scale_by_kl_soap)
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
in_float64 = pytest.mark.usefixtures("x64")


def gradients(steps, *shape, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, *shape))


def orthogonal(n, seed=0):
    return np.linalg.qr(gradients(n, n, seed=seed))[0]


def run(tx, grads, params=None):
    """Returns all updates, and the state after them."""
    state, updates = tx.init(jax.tree.map(lambda g: jnp.asarray(g[0]), grads)), []
    update = jax.jit(tx.update)
    for t in range(len(jax.tree.leaves(grads)[0])):
        u, state = update(jax.tree.map(lambda g, t=t: jnp.asarray(g[t]), grads), state)
        updates.append(u)
    return jax.tree.map(lambda *us: np.stack(us), *updates), state


@in_float64
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (5,)])
def test_without_bases_soap_is_adam_after_the_first_update(shape):
    grads = gradients(12, *shape)
    ours, _ = run(fo.scale_by_soap(0.9, 0.99, eps=0.0, max_precond_dim=0), grads)
    adam, _ = run(fo.scale_by_adam(0.9, 0.99, eps=0.0), grads[1:])
    assert (ours[0] == 0).all()
    np.testing.assert_allclose(ours[1:], adam, rtol=1e-12)


@in_float64
def test_the_authors_eps_is_that_of_adam_without_its_correction():
    grads = gradients(12, 4, 3)
    uncorrected = {"max_precond_dim": 0, "correct_bias": False, "eps": 0.1}
    ours, _ = run(fo.scale_by_soap(**uncorrected), grads)
    m = v = 0.0
    for t in range(1, 12):
        m, v = 0.95 * m + 0.05 * grads[t], 0.95 * v + 0.05 * grads[t] ** 2
        np.testing.assert_allclose(ours[t], m / (np.sqrt(v) + 0.1), rtol=1e-12)


@in_float64
@each_rule
def test_turned_gradients_have_turned_updates(rule):
    grads = gradients(9, 4, 3)
    left, right = orthogonal(4, seed=1), orthogonal(3, seed=2)
    tx = rule(precondition_frequency=2)
    turned, _ = run(tx, left @ grads @ right)
    np.testing.assert_allclose(turned, left @ run(tx, grads)[0] @ right, atol=1e-9)


@in_float64
@each_rule
@pytest.mark.parametrize("shape", [(4, 3), (3, 3), (3, 4)])
def test_transposed_gradients_have_transposed_updates(rule, shape):
    grads, tx = gradients(9, *shape), rule(precondition_frequency=2)
    there, _ = run(tx, np.swapaxes(grads, -2, -1))
    np.testing.assert_allclose(np.swapaxes(there, -2, -1), run(tx, grads)[0], atol=1e-9)


@in_float64
@each_rule
@pytest.mark.parametrize("how", [{}, {"normalize_grads": True}])
def test_a_stack_is_that_many_matrices(rule, how):
    grads, tx = gradients(9, 2, 3, 4, 3), rule(precondition_frequency=2, **how)
    together, _ = run(tx, grads)
    for i in np.ndindex(2, 3):
        alone, _ = run(tx, grads[:, *i])
        np.testing.assert_allclose(together[:, *i], alone, rtol=1e-12, atol=1e-12)


@in_float64
@each_rule
def test_bases_that_fit_all_gradients_need_no_refresh(rule):
    """All gradients have the singular vectors of the first."""
    sizes = np.array([3.0, 2.0, 1.0]) + 0.2 * gradients(9, 3)
    grads = orthogonal(3, seed=1) * sizes[:, None, :] @ orthogonal(3, seed=2)
    # With eps, the elements off the diagonal, which are 0 but for rounding, make no difference.
    often, rarely = (run(rule(precondition_frequency=k, eps=1e-3), grads)[0] for k in (1, 1000))
    np.testing.assert_allclose(often, rarely, atol=1e-9)


@in_float64
@each_rule
def test_the_bases_change_at_every_kth_update(rule):
    grads = gradients(13, 4, 3)
    tx = rule(precondition_frequency=4)
    state, changed, update = tx.init(jnp.asarray(grads[0])), [], jax.jit(tx.update)
    for g in grads:
        before = state.left_basis
        state = update(jnp.asarray(g), state)[1]
        changed.append(bool((state.left_basis != before).any()))
    assert [t for t, is_new in enumerate(changed) if is_new] == [0, 4, 8, 12]


@in_float64
@each_rule
def test_bases_stay_orthogonal(rule):
    _, state = run(rule(precondition_frequency=3), gradients(40, 2, 5, 3))
    for basis in (state.left_basis, state.right_basis):
        for q in np.asarray(basis):
            np.testing.assert_allclose(q.T @ q, np.eye(len(q)), atol=1e-12)


@each_rule
def test_other_frequencies_run_the_same_program(rule):
    params = {"w": jnp.ones((4, 3)), "v": jnp.ones((4, 3)), "b": jnp.ones(3)}
    grads = jax.tree.map(lambda p: jnp.asarray(gradients(7, *p.shape), jnp.float32), params)
    txs = [rule(precondition_frequency=k) for k in (2, 5)]
    assert txs[0].update is txs[1].update
    traces = []

    def step(state, g):
        traces.append(1)
        return txs[0].update(g, state)[::-1]

    scan = jax.jit(lambda state, grads: jax.lax.scan(step, state, grads))
    in_scan = [scan(tx.init(params), grads)[1] for tx in txs]
    assert len(traces) == 1
    one = jax.jit(step)
    for tx, expected in zip(txs, in_scan, strict=True):
        state = tx.init(params)
        for t in range(7):
            state, u = one(state, jax.tree.map(lambda g, t=t: g[t], grads))
            np.testing.assert_allclose(u["w"], expected["w"][t], rtol=2e-4, atol=2e-5)
    assert len(traces) == 2
    assert jnp.abs(in_scan[0]["w"] - in_scan[1]["w"]).max() > 0.01


@in_float64
@each_rule
def test_staggered_leaves_change_their_bases_at_different_updates(rule):
    """The tree has a bias after each matrix, so that their indices are every other number."""
    tree = {f"{i}{name}": shape for i in range(4) for name, shape in (("b", (3,)), ("w", (4, 3)))}
    params = {k: jnp.zeros(shape) for k, shape in tree.items()}
    tx, period = rule(precondition_frequency=8, stagger=True), 8
    state, times = tx.init(params), {k: [] for k in tree if k.endswith("w")}
    update = jax.jit(tx.update)
    for t in range(1 + 2 * period):
        grads = {k: jnp.asarray(gradients(1, *p.shape, seed=t)[0]) for k, p in params.items()}
        before, state = state.left_basis, update(grads, state)[1]
        for k in times:
            if (state.left_basis[k] != before[k]).any():
                times[k].append(t)
    for first, second, third in times.values():
        assert first == 0
        assert third - second == period
    assert len({second for _, second, _ in times.values()}) == len(times)


@each_rule
def test_a_failed_refresh_keeps_its_basis_and_is_counted(rule):
    grads = jnp.asarray(gradients(4, 2, 4, 3), jnp.float32)
    tx = rule(precondition_frequency=2)
    params = {"w": grads[0], "b": jnp.zeros(3)}
    state = tx.init(params)
    assert fo.metrics(state)["failed_refreshes"] == 0
    update = jax.jit(tx.update)
    for t in range(2):
        state = update({"w": grads[t], "b": jnp.ones(3)}, state)[1]
    before = state.left_basis["w"]
    # Only the first matrix of two, and one of its sides.
    broken = {**state.left, "w": state.left["w"].at[0, 1, 2].set(jnp.nan)}
    _, after = update({"w": grads[2], "b": jnp.ones(3)}, state._replace(left=broken))
    assert (after.left_basis["w"][0] == before[0]).all()
    assert (after.left_basis["w"][1] != before[1]).any()
    assert (after.right_basis["w"] != state.right_basis["w"]).any(axis=(1, 2)).all()
    assert fo.metrics(after)["failed_refreshes"] == 1
    assert after.failed_refreshes["w"] == 1
    u, after = update({"w": grads[3], "b": jnp.ones(3)}, after)
    assert jnp.isfinite(u["w"]).all()
    assert fo.metrics(after)["failed_refreshes"] == 1


@each_rule
@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_zero_gradients_and_odd_shapes_have_finite_updates(rule, eps):
    shapes = {"w": (4, 3), "row": (1, 3), "one": (1, 1), "none": (0, 3), "v": (3,), "s": ()}
    params = {k: jnp.zeros(shape) for k, shape in shapes.items()}
    tx = rule(precondition_frequency=1, eps=eps)
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(4):
        updates, state = update(params, state)
        for k, u in updates.items():
            assert u.shape == shapes[k]
            assert (u == 0).all(), k
    updates, _ = update(jax.tree.map(jnp.ones_like, params), state)
    assert all(jnp.isfinite(u).all() for u in updates.values())


@in_float64
@each_rule
def test_a_complex_matrix_of_real_numbers_is_a_real_one(rule):
    grads, tx = gradients(9, 4, 3), rule(precondition_frequency=2)
    ours, state = run(tx, grads + 0j)
    np.testing.assert_allclose(ours, run(tx, grads)[0] + 0j, atol=1e-9)
    # A unitary matrix turns it like an orthogonal one does.
    phases = np.exp(1j * np.arange(4))[:, None]
    np.testing.assert_allclose(run(tx, phases * grads)[0], phases * ours, atol=1e-9)
    assert state.left_basis.dtype == np.complex128


@in_float64
@each_rule
def test_the_state_keeps_the_mean_of_gradients(rule):
    """The authors keep it in the bases, and turn it whenever they change."""
    grads = gradients(9, 4, 3)
    _, state = run(rule(0.9, precondition_frequency=2), grads)
    m = 0.0
    for g in grads[1:]:
        m = 0.9 * m + 0.1 * g
    np.testing.assert_allclose(state.mu, m, rtol=1e-12)


def test_one_side_and_long_sides_keep_the_identity():
    params = {"wide": jnp.zeros((3, 7)), "tall": jnp.zeros((7, 3)), "square": jnp.zeros((3, 3))}

    def sides(**how):
        state = fo.scale_by_soap(**how).init(params)
        return {
            k: [hasattr(basis[k], "shape") for basis in (state.left_basis, state.right_basis)]
            for k in params
        }

    assert sides(one_sided=True) == {
        "wide": [True, False],
        "tall": [False, True],
        "square": [True, False],
    }
    assert sides(max_precond_dim=6) == sides(one_sided=True) | {"square": [True, True]}


@in_float64
def test_kl_shampoo_whitens_gradients_of_a_kronecker_covariance():
    a, b = (
        orthogonal(n, seed=n) * np.geomspace(0.3, 3, n) @ orthogonal(n, seed=n).T for n in (4, 3)
    )
    grads = a @ gradients(3000, 4, 3) @ b
    tx = fo.scale_by_kl_shampoo(b1=0.0, b2=0.998, precondition_frequency=5)
    state = tx.init(jnp.asarray(grads[0]))
    _, u = jax.jit(lambda s, g: jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], s, g))(
        state, jnp.asarray(grads)
    )
    white = np.asarray(u[1000:]).reshape(2000, -1)
    covariance = white.T @ white / 2000
    assert np.abs(covariance - np.eye(12)).max() < 0.15
    plain = grads[1000:].reshape(2000, -1)
    assert np.linalg.cond(covariance) < 2 < 100 < np.linalg.cond(plain.T @ plain)


@in_float64
def test_soap_muon_orthogonalizes_the_direction_of_soap():
    params = {"w": jnp.asarray(gradients(1, 4, 8)[0]), "b": jnp.zeros(3)}
    soap, both = fo.soap(0.1, weight_decay=0.0), fo.soap_muon(0.1)
    states = [tx.init(params) for tx in (soap, both)]
    for t in range(4):
        grads = {"w": jnp.asarray(gradients(1, 4, 8, seed=t)[0]), "b": jnp.ones(3)}
        (theirs, states[0]), (ours, states[1]) = (
            jax.jit(tx.update)(grads, s, params) for tx, s in zip((soap, both), states, strict=True)
        )
    direction = -theirs["w"] / 0.1
    expected = fo.orthogonalize().update(direction, fo.orthogonalize().init(direction))[0]
    np.testing.assert_allclose(ours["w"], -0.1 * 2**0.5 * expected, rtol=1e-9, atol=1e-9)


@each_rule
def test_bfloat16_parameters_stay_near_float32(rule):
    grads = jnp.asarray(gradients(12, 4, 3), jnp.float32)
    narrow = grads.astype(jnp.bfloat16)
    wide, _ = run(rule(precondition_frequency=3), narrow.astype(jnp.float32))
    ours, state = run(rule(precondition_frequency=3), narrow)
    assert ours.dtype == jnp.bfloat16
    assert {x.dtype for x in (state.mu, state.left, state.left_basis)} == {np.dtype("float32")}
    np.testing.assert_allclose(ours.astype(np.float32), wide, rtol=0.01, atol=1e-6)
    halves = {"mu": jnp.bfloat16, "left": jnp.bfloat16, "right": jnp.bfloat16}
    ours, state = run(rule(precondition_frequency=3, state_dtype=halves), narrow)
    assert state.left.dtype == jnp.bfloat16
    assert np.abs(ours.astype(np.float32) - wide).mean() < 0.1 * np.abs(wide).mean()


def test_moments_in_8_bits_leave_the_bases_in_float32():
    shape = (32, 24)
    grads = jnp.asarray(gradients(8, *shape), jnp.float32)
    tx = fo.scale_by_soap(precondition_frequency=3)
    exact, _ = run(tx, grads)
    ours, state = run(fo.low_bit_state(tx, min_size=256), grads)
    assert {type(x).__name__ for x in (state.mu, state.nu)} == {"Blockwise"}
    for x in (state.left, state.left_basis, state.right, state.right_basis):
        assert x.dtype == np.float32
    assert np.abs(ours - exact).mean() < 0.03 * np.abs(exact).mean()


@pytest.mark.parametrize("optimizer", [fo.soap, fo.kl_shampoo, fo.kl_soap, fo.soap_muon])
def test_adam_trains_parameters_that_are_not_matrices(optimizer):
    params = {"embedding": jnp.ones((5, 2)), "b": jnp.ones(3), "w": jnp.ones((4, 3))}
    tx = optimizer(0.1, weight_decay=0.0, adam_weight_decay=0.0, adam_eps=0.0)
    grads = jax.tree.map(lambda p: 2 * p, params)
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    for k in ("embedding", "b"):
        np.testing.assert_allclose(updates[k], -0.1 * params[k], rtol=1e-6)
    assert (updates["w"] == 0).all()


def test_a_matrix_that_two_axes_describe_is_split():
    """Query, key and value in one weight have bases of their own."""
    params = {"qkv": {"kernel": problem.normal(np.float32, 0)["w"][:, :3].astype(np.float32)}}
    axes = {"qkv": {"kernel": fo.MatrixAxes(0, 1, split_outputs=3)}}
    state = fo.soap(0.1, axes=axes).init(params)
    assert state.scale_by_soap.left["qkv"]["kernel"].shape == (3, 3, 3)
    assert state.scale_by_soap.nu["qkv"]["kernel"].shape == (3, 3)
