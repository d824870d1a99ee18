"""Metrics tell of the last call of `update`, also where a wrapper does not let it be a step."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

INNER = fo.chain(fo.clip_by_global_norm(2.0), fo.sgd(0.5), fo.snapshot("moved", fo.global_norm))
PARAMS = {"w": jnp.zeros(4)}
ONES, BAD = {"w": jnp.ones(4)}, {"w": jnp.full(4, jnp.inf)}

# The gradients of two calls, of which the first is a step and the second is none.
SKIPPING = {
    "MultiSteps": (
        fo.MultiSteps(INNER, lambda step: 1 + step, should_skip_update_fn=fo.skip_not_finite),
        (ONES, ONES),
    ),
    "loss_scale": (fo.loss_scale(INNER, 1.0), (ONES, BAD)),
    "conditionally_mask": (fo.conditionally_mask(INNER, lambda step: step == 0), (ONES, ONES)),
    "conditionally_transform": (
        fo.conditionally_transform(INNER, lambda step: step == 0),
        (ONES, ONES),
    ),
    "sam": (fo.sam(fo.sgd(0.1), INNER, sync_period=2, reset_state=False), (ONES, ONES)),
}


@pytest.mark.parametrize("name", SKIPPING)
@pytest.mark.parametrize("wrap", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_metrics_of_links_that_do_not_run_are_zero(name, wrap):
    tx, (first, second) = SKIPPING[name]
    update = wrap(tx.update)
    _, state = update(first, tx.init(PARAMS), PARAMS)
    found = fo.metrics(state)
    assert (found["global_norm"], found["clip_factor"], found["moved"]) == (2.0, 1.0, 1.0)
    _, state = update(second, state, PARAMS)
    found = fo.metrics(state)
    assert (found["global_norm"], found["clip_factor"], found["moved"]) == (0.0, 0.0, 0.0)


def test_metrics_of_a_rejected_step_are_those_of_this_step():
    tx = fo.apply_if_finite(INNER, 5)
    _, state = tx.update(ONES, tx.init(PARAMS), PARAMS)
    _, state = tx.update(BAD, state, PARAMS)
    found = fo.metrics(state)
    assert found["global_norm"] == jnp.inf
    assert not jnp.isfinite(found["moved"])
    assert found["last_finite"] == 0


def test_counts_are_kept_while_a_link_does_not_run():
    inner = fo.apply_if_finite(fo.sgd(0.1), 5)
    tx = fo.conditionally_mask(inner, lambda step: step == 0)
    _, state = tx.update(BAD, tx.init(PARAMS), PARAMS)
    _, state = tx.update(ONES, state, PARAMS)
    assert fo.metrics(state)["total_notfinite"] == 1
