"""Rules that are translated into a loop in C++, and rules that are left to XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.native.expressions import Ineligible, expression, literal
from functional_optim.native.standard import standard
from functional_optim.native.switch import recorded


def bodies_of(tx, params):
    with recorded() as bodies:
        jax.eval_shape(lambda p: fo.apply_gradients(tx, p, tx.init(p), p), params)
    return list(bodies)


def rule_of(direction):
    """Makes a rule with a slot, of this direction."""

    def maths(g, slots, p, ctx, rate=0.5):
        return direction(g, rate, ctx), {"last": g}

    rule = fo.leaf_rule(
        slots=lambda p: {"last": jnp.zeros_like(p)}, step_scalars=lambda t: {"t": t}
    )
    return rule(maths)()


@pytest.mark.parametrize("shape", [(), (5,), (0,), (3, 4), (1, 2, 1)], ids=str)
def test_the_loop_does_not_depend_on_the_shape(shape):
    expected = bodies_of(fo.adamw(0.1), {"w": jnp.ones((7, 8, 9))})
    assert len(expected) == 1
    assert bodies_of(fo.adamw(0.1), {"w": jnp.ones(shape)}) == expected


@pytest.mark.parametrize(
    "direction",
    [
        lambda g, rate, ctx: g - jnp.mean(g),
        lambda g, rate, ctx: jnp.cumsum(g, axis=0),
        lambda g, rate, ctx: g[::-1],
        lambda g, rate, ctx: g.T,
        lambda g, rate, ctx: g if g.size > 5 else -g,
        lambda g, rate, ctx: g / g.shape[0],
        lambda g, rate, ctx: jnp.sort(g),
        lambda g, rate, ctx: jnp.exp(g),
        lambda g, rate, ctx: jnp.round(g),
    ],
    ids=["mean", "cumsum", "reverse", "transpose", "size", "dimension", "sort", "exp", "round"],
)
def test_maths_that_is_not_elementwise_has_no_loop(direction):
    assert bodies_of(rule_of(direction), {"w": jnp.ones((3, 3))}) == []


def test_numbers_are_made_once_before_the_loop():
    tx = rule_of(lambda g, rate, ctx: g * jnp.exp(-rate * ctx.t))
    (text,) = bodies_of(tx, {"w": jnp.ones(3)})
    before, inside = text.split("#pragma omp simd")
    assert "std::exp" in before
    assert "std::" not in inside


def test_arrays_on_which_no_result_depends_are_not_read():
    tx = rule_of(lambda g, rate, ctx: g)
    (text,) = bodies_of(tx, {"w": jnp.ones(3)})
    # The gradient and the parameter are read, and the slot, which is only written, is not.
    inputs = [line for line in text.splitlines() if line.startswith("  const float* a")]
    assert len(inputs) == 2


def test_every_standard_optimizer_has_its_loops():
    for tx, params in standard():
        with recorded() as bodies:
            state = jax.eval_shape(tx.init, params)
            jax.eval_shape(lambda s, p, tx=tx: fo.apply_gradients(tx, p, s, p), state, params)
        # If the parameter is the only result, XLA has one loop as well.
        only_params = not any(x.shape == (2,) for x in jax.tree.leaves(state) if x.dtype != "int32")
        assert bool(bodies) != only_params, tx


@pytest.mark.parametrize("value", [0.1, -0.0, 1e-45, 3.4e38, np.nan, np.inf, -np.inf])
def test_numbers_are_written_exactly(value):
    text = literal(np.float32(value))
    if np.isfinite(value):
        read = np.float32(float.fromhex(text.removesuffix("f")))
        assert read.tobytes() == np.float32(value).tobytes()
    else:
        assert text.endswith(("quiet_NaN()", "infinity()"))
        assert text.startswith("-") == (value == -np.inf)


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [("add", ["int32", "int32"]), ("mul", ["bfloat16"] * 2), ("and", ["int32"] * 2), ("dot", [])],
)
def test_operations_that_c_does_in_another_way_are_refused(name, dtypes):
    with pytest.raises(Ineligible):
        expression(name, {}, ["a", "b"], dtypes, in_loop=True)
