"""A donated step needs little memory beside its arguments and results."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

TRANSFORMATIONS = {
    name: getattr(fo, name)
    for name in (
        "adagrad",
        "adam",
        "adamax",
        "adamw",
        "amsgrad",
        "nadam",
        "radam",
        "rmsprop",
        "sign_sgd",
        "signum",
        "yogi",
    )
}
TRANSFORMATIONS["sgd"] = lambda lr: fo.sgd(lr, momentum=0.9)
TRANSFORMATIONS["nesterov"] = lambda lr: fo.sgd(lr, momentum=0.9, nesterov=True)
TRANSFORMATIONS["masked"] = lambda lr: fo.adamw(
    lr, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
)
SIDE = 128
SMALL = 2**14
"""Bytes for scalars, clocks and norms, of however many leaves."""


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("make", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_temporaries_of_a_donated_step_are_at_most_one_leaf(make, dtype):
    tx = make(0.1)
    params = {f"p{i:02d}": jax.ShapeDtypeStruct((SIDE, SIDE), dtype) for i in range(12)}
    state = jax.eval_shape(tx.init, params)

    def step(params, state, grads):
        return fo.apply_gradients(tx, grads, state, params)

    jitted = jax.jit(step, donate_argnums=(0, 1))
    memory = jitted.lower(params, state, params).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= 4 * SIDE**2 + SMALL
    assert memory.alias_size_in_bytes >= sum(x.size * x.dtype.itemsize for x in params.values())
