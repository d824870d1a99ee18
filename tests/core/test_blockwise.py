"""Which maths is elementwise, and what is known of devices when a program is made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim.core.leaf.elementwise import elementwise
from functional_optim.core.leaf.single_cpu import is_single_cpu
from functional_optim.core.leaf.unfused import unfused

from ..compiling import TEXT

SHAPE = (6, 4)


def scaled_by_size(x, s):
    """Reads the shape of what it is traced with."""
    return x * s / x.shape[0]


FUNCTIONS = {
    "arithmetic": lambda x, s: jnp.where(s[0] > 0, jnp.sqrt(jnp.abs(x)) * s[1], -x),
    "vectors": lambda x, s: x + jnp.sum(s) * jax.nn.relu(x),
    "constant": lambda x, s: x * 0 + jnp.zeros(SHAPE) + s[0],
    "size": lambda x, s: scaled_by_size(x, s[0]),
    "jitted": jax.jit(lambda x, s: jnp.clip(x, s[0], s[1])),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_elementwise_maths_runs_on_parts(function):
    x, s = jax.random.normal(jax.random.key(0), SHAPE), jnp.array([-0.5, 0.5])
    on_part, out = elementwise(lambda both: function(*both), SHAPE, (x, s))
    assert (out.shape, out.dtype) == (SHAPE, x.dtype)
    for part in (x[1:3], x.reshape(2, 3, 4)[1], x.reshape(-1)[5:12]):
        whole = function(x, s).reshape(-1)
        at = [np.flatnonzero(np.asarray(x).ravel() == v)[0] for v in np.ravel(part)]
        found = on_part((part, s), part.shape)
        np.testing.assert_allclose(found.ravel(), whole[np.array(at)], rtol=1e-6)


def test_known_results_are_not_computed_again():
    def function(x):
        mean = 2 * x
        return mean + 1, {"mean": mean}

    on_part, _ = elementwise(function, SHAPE, jnp.ones(SHAPE))
    part = jnp.ones((2, 4))
    found, slots = on_part(part, part.shape, (None, {"mean": 5 * part}))
    assert (found == 6).all()
    assert (slots["mean"] == 5).all()
    assert (on_part(part, part.shape)[0] == 3).all()


def test_unfused_maths_is_a_separate_computation():
    def twice_read(x):
        y = unfused(3 * x)
        return y + 1, 2 * y

    x = jnp.ones((256, 256))
    text = jax.jit(twice_read).lower(x).compile(TEXT).as_text()
    assert " call(" in text
    assert text.count("constant(3)") == 1
    assert (jax.vmap(twice_read)(x)[1] == 6).all()
    assert (jax.jacfwd(lambda x: twice_read(x)[1])(1.0) == 6).all()
    assert jax.grad(lambda x: twice_read(x)[1])(1.0) == 6


OTHERS = {
    "sum": lambda x: x - x.sum(),
    "axis": lambda x: x - x.mean(0, keepdims=True),
    "order": lambda x: jnp.sort(x),
    "turned": lambda x: x[::-1],
    "matrix": lambda x: x @ jnp.ones((4, 4)),
    "cumulative": lambda x: jnp.cumsum(x, 0),
    "place": lambda x: x + jax.lax.broadcasted_iota(jnp.float32, SHAPE, 0),
    "random": lambda x: x + jax.random.normal(jax.random.key(0), SHAPE),
    "row": lambda x: x + jnp.broadcast_to(jnp.arange(4.0), SHAPE),
    "loop": lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y + y[0, 0], x),
    "branch": lambda x: jax.lax.cond(True, lambda y: y - y.max(), jnp.sin, x),
    "smaller": lambda x: x[0],
}


@pytest.mark.parametrize("function", OTHERS.values(), ids=OTHERS)
def test_other_maths_is_not_taken_for_it(function):
    assert elementwise(function, SHAPE, jnp.ones(SHAPE)) is None


def test_a_program_knows_on_what_it_runs(mesh):
    def which(x):
        return jax.lax.cond(is_single_cpu(), lambda y: y + 1, lambda y: y + 2, x)

    x, f = jnp.zeros(8), jax.jit(which)
    spread = jax.device_put(x, jax.NamedSharding(mesh, jax.P("x")))
    mapped = jax.shard_map(which, mesh=mesh, in_specs=jax.P("x"), out_specs=jax.P("x"))
    assert (f(x) == 1).all()
    assert (f(spread) == 2).all()
    assert (jax.jit(mapped)(spread) == 2).all()
    assert (jax.vmap(f)(jnp.zeros((2, 8))) == 1).all()
    assert "conditional" not in f.lower(x).compile().as_text()
    for_cuda = jax.export.export(f, platforms=["cuda"])(x).mlir_module()
    assert "dense<false>" in for_cuda
