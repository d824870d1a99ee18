"""A donated step needs little memory besides its arguments and results."""

import jax
import pytest

import functional_optim as fo

from ..compiling import TEXT

TRANSFORMATIONS = {
    name: getattr(fo, name)
    for name in (
        "adagrad",
        "adam",
        "adamax",
        "adamw",
        "amsgrad",
        "fromage",
        "nadam",
        "novograd",
        "radam",
        "rmsprop",
        "sign_sgd",
        "signum",
        "yogi",
    )
}
TRANSFORMATIONS["sgd"] = lambda lr: fo.sgd(lr, momentum=0.9)
TRANSFORMATIONS["nesterov"] = lambda lr: fo.sgd(lr, momentum=0.9, nesterov=True)
TRANSFORMATIONS["penalty"] = lambda lr: fo.chain(
    fo.add_decayed_weights(0.1), fo.sgd(lr, momentum=0.9)
)
TRANSFORMATIONS["clipped"] = lambda lr: fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(lr))
TRANSFORMATIONS["masked"] = lambda lr: fo.adamw(
    lr, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
)
# Rules that compute a norm of narrow gradients keep the gradients in float32 until it is known.
CASES = [(name, "float32") for name in TRANSFORMATIONS]
CASES += [(n, "bfloat16") for n in TRANSFORMATIONS if n not in ("clipped", "fromage", "novograd")]
SIDE = 128
SMALL = 2**14
"""Bytes for scalars, counts and norms, of however many leaves."""


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_temporaries_of_a_donated_step_are_at_most_one_leaf(name, dtype):
    tx = TRANSFORMATIONS[name](0.1)
    params = {f"p{i:02d}": jax.ShapeDtypeStruct((SIDE, SIDE), dtype) for i in range(6)}
    state = jax.eval_shape(tx.init, params)

    def step(params, state, grads):
        return fo.apply_gradients(tx, grads, state, params)

    jitted = jax.jit(step, donate_argnums=(0, 1))
    memory = jitted.lower(params, state, params).compile(TEXT).memory_analysis()
    assert memory.temp_size_in_bytes <= 4 * SIDE**2 + SMALL
    assert memory.alias_size_in_bytes >= sum(x.size * x.dtype.itemsize for x in params.values())
