"""Averages of parameters in a chain, and the parameters to evaluate at."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem
from ..trees import assert_close, assert_same, dtypes_of

PARAMS = problem.arrays()
GRADS = [problem.arrays(seed=i) for i in range(1, 10)]


def run(tx, grads=GRADS, params=PARAMS):
    """Trains, and gives all parameters on the way, and the last state."""
    state, seen = tx.init(params), [params]
    step = jax.jit(problem.step_of(tx))
    for g in grads:
        params, state = step(seen[-1], state, g)
        seen.append(params)
    return seen, state


def weighted(seen, weights):
    """Computes a mean of trees in float64, by weights that need not sum to 1."""
    weights = np.asarray(weights, np.float64) / np.sum(weights)
    return {
        k: sum(w * np.asarray(p[k], np.float64) for w, p in zip(weights, seen, strict=True))
        for k in seen[0]
    }


def ema_weights(n, decay, debias):
    """Returns the weights of the first n + 1 parameters, by the definition of a moving average."""
    later = [(1 - decay) * decay ** (n - i) for i in range(1, n + 1)]
    return [0.0 if debias else decay**n, *later]


EVERY = pytest.mark.parametrize("every", [1, 3])


@EVERY
@pytest.mark.parametrize("debias", [True, False])
def test_the_moving_average_has_the_weights_of_its_definition(debias, every):
    seen, state = run(fo.chain(fo.sgd(0.1), fo.params_ema(0.75, debias, every=every)))
    taken = [PARAMS, *seen[every::every]]
    expected = weighted(taken, ema_weights(len(taken) - 1, 0.75, debias))
    assert_close(fo.eval_params(state, seen[-1]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("start", "every"), [(0, 1), (4, 1), (3, 2), (2, 3)])
def test_the_mean_weights_all_parameters_from_its_start_equally(start, every):
    seen, state = run(fo.chain(fo.sgd(0.1), fo.params_swa(start, every)))
    taken = seen[start + every :: every]
    expected = weighted(taken, [1.0] * len(taken))
    assert_close(fo.eval_params(state, seen[-1]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("link", [fo.params_swa(20), fo.params_ema(0.9, every=20)])
def test_before_the_first_is_taken_the_average_follows(link):
    seen, state = run(fo.chain(fo.sgd(0.1), link))
    assert_close(fo.eval_params(state, PARAMS), seen[-1], rtol=1e-6)


def test_the_moving_average_is_that_of_the_stateful_side_from_its_start():
    averaged = optim.swa_utils.AveragedModel(
        PARAMS, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    seen, state = run(fo.chain(fo.sgd(0.1), fo.params_ema(0.9, debias=False)))
    for params in seen:
        averaged.update_parameters(params)
    assert_close(state.params_ema.average, averaged.module, rtol=1e-5, atol=1e-6)


def test_weights_sum_to_one_with_any_schedule_of_the_decay():
    decays = [0.5, 0.9, 0.0, 0.99]
    tx = fo.chain(fo.sgd(0.1), fo.params_ema(lambda step: jnp.array(decays)[step]))
    seen, state = run(tx, GRADS[:4])
    weights = [(1 - d) * np.prod(decays[i + 1 :]) for i, d in enumerate(decays)]
    expected = weighted(seen[1:], weights)
    assert_close(fo.eval_params(state, PARAMS), expected, rtol=1e-5, atol=1e-6)


def test_updates_pass_bit_for_bit_and_narrow_parameters_are_averaged_in_float32():
    params = problem.arrays(jnp.bfloat16)
    grads = [problem.arrays(jnp.bfloat16, seed=i) for i in range(3)]
    with_average, state = run(fo.chain(fo.adam(1e-2), fo.params_ema(0.999)), grads, params)
    assert_same(with_average[-1], run(fo.adam(1e-2), grads, params)[0][-1])
    assert dtypes_of(state.params_ema.average) == [jnp.float32] * 2
    assert dtypes_of(fo.eval_params(state, params)) == [jnp.bfloat16] * 2


def test_an_average_after_lookahead_leaves_its_exact_updates_exact():
    normal = np.random.default_rng(0).standard_normal((2, 2000))
    params, g = ({"w": jnp.asarray(x, jnp.bfloat16)} for x in normal)
    inner = fo.lookahead(fo.sgd(0.3), 1, 0.5)
    averaged, _ = run(fo.chain(inner, fo.params_swa()), [g], params)
    assert_same(averaged[-1], run(inner, [g], params)[0][-1])


MAKERS = {
    "chain": lambda tx: fo.chain(fo.clip(1.0), tx),
    "apply_if_finite": lambda tx: fo.apply_if_finite(tx, 3),
    "MultiSteps": lambda tx: fo.MultiSteps(tx, 1),
    "masked": lambda tx: fo.masked(tx, {"w": True, "b": True}),
    "partition": lambda tx: fo.partition({"all": tx}, {"w": "all", "b": "all"}),
    "named_chain": lambda tx: fo.named_chain(("mine", tx)),
    "nested": lambda tx: fo.apply_if_finite(fo.MultiSteps(fo.named_chain(("mine", tx)), 1), 3),
}
POINTS = {
    "ema": (fo.chain(fo.sgd(0.1), fo.params_ema(0.5)), lambda s: s.params_ema.average),
    "lookahead": (fo.lookahead(fo.sgd(0.1), 4, 0.5), lambda s: s.look_back.slow),
    "asgd": (fo.asgd(0.1, lambd=0.0, t0=-1.0), lambda s: s.scale_by_asgd.ax),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("wrap", MAKERS)
def test_the_point_to_evaluate_at_is_found_at_any_depth(wrap, point):
    tx, read = POINTS[point]
    grads = jax.tree.map(lambda g: 0.1 * g, GRADS[:2])
    expected = read(run(tx, grads)[1])
    seen, state = run(MAKERS[wrap](tx), grads)
    assert_close(fo.eval_params(state, seen[-1]), expected, rtol=1e-6)


def test_parameters_without_a_point_of_their_own_are_returned():
    tx = fo.partition({"a": fo.asgd(0.1), "rest": fo.sgd(0.1)}, {"w": "a", "b": "rest"})
    moved = jax.tree.map(lambda p: p + 1, PARAMS)
    found = fo.eval_params(tx.init(PARAMS), moved)
    assert_same(found, {"w": PARAMS["w"], "b": moved["b"]})


def test_a_partition_may_have_a_point_for_each_part():
    tx = fo.partition({"a": fo.asgd(0.1), "l": POINTS["lookahead"][0]}, {"w": "a", "b": "l"})
    moved = jax.tree.map(lambda p: p + 1, PARAMS)
    assert_same(fo.eval_params(tx.init(PARAMS), moved), PARAMS)


def test_eval_params_of_a_vmapped_state_and_within_jit():
    tx = POINTS["ema"][0]
    many = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), PARAMS)
    states = jax.vmap(tx.init)(many)
    assert_same(jax.jit(fo.eval_params)(states, many), many)


@pytest.mark.parametrize(
    ("tx", "params", "text"),
    [
        (
            fo.chain(fo.params_ema(0.9), fo.params_swa()),
            PARAMS,
            "params_ema.average and params_swa.average both have a point to evaluate 'b' at",
        ),
        (
            fo.chain(fo.params_ema(0.9), fo.scale(1.0)),
            {**PARAMS, "b": jnp.ones(2)},
            r"params_ema.average has shape \(4,\) at 'b', and the parameter \(2,\)",
        ),
        (fo.params_ema(0.9), {"w": PARAMS["w"]}, "eval_params: average has a leaf at 'b'"),
    ],
)
def test_points_that_do_not_fit(tx, params, text):
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match=text):
        fo.eval_params(state, params)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.complex64])
def test_incremental_update_goes_a_part_of_the_way(dtype):
    new, old = problem.arrays(dtype, seed=1), problem.arrays(dtype)
    for part in (0.0, 0.25, 1.0):
        found = fo.incremental_update(new, old, part)
        expected = jax.tree.map(
            lambda a, b, s=part: s * np.asarray(a, complex) + (1 - s) * np.asarray(b, complex),
            new,
            old,
        )
        assert dtypes_of(found) == [jnp.dtype(dtype)] * 2
        tolerance = 1e-2 if dtype == jnp.bfloat16 else 1e-5
        assert_close(
            jax.tree.map(lambda x: np.asarray(x, complex), found), expected, rtol=tolerance
        )
    assert fo.incremental_update({**new, "w": None}, old, 0.5)["w"] is None
    with pytest.raises(ValueError, match="incremental_update: new_tensors has no leaf at 'w'"):
        fo.incremental_update({"b": new["b"]}, old, 0.5)


def test_periodic_update_replaces_at_the_period():
    replace = jax.jit(functools.partial(fo.periodic_update, GRADS[0], PARAMS, update_period=3))
    for steps in range(1, 7):
        assert_same(replace(steps), GRADS[0] if steps % 3 == 0 else PARAMS)


@pytest.mark.parametrize("every", [0, 1.5, True, "1"])
@pytest.mark.parametrize("make", [functools.partial(fo.params_ema, 0.9), fo.params_swa])
def test_every_must_be_a_positive_integer(make, every):
    with pytest.raises(ValueError, match="every must be an integer of at least 1, got"):
        make(every=every)
