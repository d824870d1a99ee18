"""Links that measure: their values, and that they do not change the updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_same, leaf_types

PARAMS = problem.arrays()
GRADS = [problem.arrays(seed=i) for i in range(1, 5)]
NORMS = [np.sqrt(sum(np.sum(np.asarray(x, float) ** 2) for x in g.values())) for g in GRADS]


def run(tx, grads=GRADS, params=PARAMS):
    state, step = tx.init(params), jax.jit(tx.update)
    for g in grads:
        updates, state = step(g, state, params)
    return updates, state


def test_a_snapshot_is_of_the_updates_at_its_place():
    tx = fo.chain(
        fo.snapshot("before", fo.global_norm), fo.scale(2.0), fo.snapshot("after", fo.global_norm)
    )
    updates, state = run(tx)
    assert_same(updates, jax.tree.map(lambda g: 2 * g, GRADS[-1]))
    found = fo.metrics(state)
    np.testing.assert_allclose(found["before"], NORMS[-1], rtol=1e-6)
    np.testing.assert_allclose(found["after"], 2 * NORMS[-1], rtol=1e-6)
    assert optax.tree.get(state, "before") == found["before"]


@pytest.mark.parametrize("debias", [True, False])
def test_an_averaged_measure_is_the_average_of_the_measures(debias):
    tx = fo.monitor({"mean": fo.measure_with_ema(fo.global_norm, 0.75, debias)})
    weights = [0.25 * 0.75 ** (len(NORMS) - 1 - i) for i in range(len(NORMS))]
    expected = np.dot(weights, NORMS) / (sum(weights) if debias else 1)
    np.testing.assert_allclose(fo.metrics(run(tx)[1])["mean"], expected, rtol=1e-5)


def test_conditions_are_averaged_as_numbers_and_trees_have_names():
    large = {
        "is": lambda g: fo.global_norm(g) > NORMS[1],
        "max": lambda g: jax.tree.map(jnp.max, g),
    }
    tx = fo.monitor(large | {"often": fo.measure_with_ema(large["is"], 0.5)})
    found = fo.metrics(run(tx)[1])
    assert found["is"].dtype == bool
    hits = [norm > NORMS[1] for norm in NORMS]
    expected = np.dot([0.125, 0.25, 0.5, 1.0], hits) / 1.875
    np.testing.assert_allclose(found["often"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["max.w"], GRADS[-1]["w"].max())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float32])
def test_the_state_has_one_form_from_the_start(dtype):
    params = problem.arrays(dtype)
    measures = {
        "norm": fo.global_norm,
        "number": lambda g: 1.0,
        "ema": fo.measure_with_ema(lambda g: g["w"], 0.5, accumulator_dtype=dtype),
    }
    tx = fo.monitor(measures)
    state = tx.init(jax.eval_shape(lambda: params))
    assert leaf_types(run(tx, [problem.arrays(dtype, 1)], params)[1]) == leaf_types(state)
    assert not any(np.any(x) for x in state.metrics.values())


def test_a_measure_that_is_a_transformation_gets_parameters_and_extra_arguments():
    ratio = fo.GradientTransformation(
        lambda p: (), lambda u, s, p=None, *, loss: (loss * fo.global_norm(p), s)
    )
    tx = fo.monitor({"ratio": ratio})
    with pytest.raises(TypeError, match="loss"):
        tx.init(PARAMS)
    tx = fo.monitor({"ratio": ratio._replace(update=lambda u, s, p=None, loss=1.0: (loss, s))})
    _, state = tx.update(GRADS[0], tx.init(PARAMS), PARAMS, loss=jnp.float32(3.0))
    assert fo.metrics(state)["ratio"] == 3.0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: fo.snapshot("a", 3), "snapshot: the measure 'a' must be a function"),
        (lambda: fo.measure_with_ema(3, 0.5), "measure_with_ema: measure must be a function"),
    ],
)
def test_measures_that_are_not_functions_are_refused(make, text):
    with pytest.raises(TypeError, match=text):
        make()
