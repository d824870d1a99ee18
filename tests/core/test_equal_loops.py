"""Leaves of one shape share their loops, which XLA on CPU compiles once where they are equal.

XLA numbers the arguments of a loop in the order in which it meets them. Scalars of a step are
broadcast to a shape once for all its leaves, so that XLA meets them where the first leaf needs
them, and for all other leaves before anything else. The loops are equal where the first leaf, too,
needs all scalars before it reads the second array: `scalar * (array / (scalar + array))`, and not
`scalar * array / (scalar + array)`. In a moment `b m + (1 - b) g` each array has a scalar of its
own; there a loop gets b alone, and computes 1 - b.
"""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

from ..compiling import TEXT

SHAPE = (24, 64)

RULES: dict[str, Callable[[], fo.GradientTransformation]] = {
    "adabound": lambda: fo.adabound(1e-3),
    "adadelta": lambda: fo.adadelta(1e-3),
    "adafactor": lambda: fo.adafactor(1e-3),
    "adagrad": lambda: fo.adagrad(1e-3),
    "adam": lambda: fo.adam(1e-3),
    "adam, nesterov": lambda: fo.adam(1e-3, nesterov=True),
    "adamax": lambda: fo.adamax(1e-3),
    "adamw": lambda: fo.adamw(1e-3),
    "adan": lambda: fo.adan(1e-3),
    "adaptive_grad_clip": lambda: fo.adaptive_grad_clip(1.0),
    "amsgrad": lambda: fo.amsgrad(1e-3),
    "asgd": lambda: fo.asgd(1e-3),
    "dadapt_adamw": lambda: fo.contrib.dadapt_adamw(),
    "clip": lambda: fo.chain(fo.clip(1.0), fo.sgd(1e-3, momentum=0.9)),
    "lamb": lambda: fo.lamb(1e-3),
    "laprop": lambda: fo.laprop(1e-3),
    "lion": lambda: fo.lion(1e-3),
    "params_ema": lambda: fo.chain(fo.sgd(1e-3), fo.params_ema(0.9)),
    "rmsprop": lambda: fo.rmsprop(1e-3),
    "rmsprop, centered": lambda: fo.rmsprop(1e-3, centered=True),
    "rprop": lambda: fo.rprop(1e-3),
    "sgd": lambda: fo.sgd(1e-3),
    "sgd, decay": lambda: fo.chain(fo.add_decayed_weights(0.1), fo.sgd(1e-3)),
    "sgd, momentum": lambda: fo.sgd(1e-3, momentum=0.9),
    "sgd, nesterov": lambda: fo.sgd(1e-3, momentum=0.9, nesterov=True),
    "sign_sgd": lambda: fo.sign_sgd(1e-3),
    "yogi": lambda: fo.yogi(1e-3),
}

TWICE = {
    "adabound": 2,
    "adafactor": 1,
    "adagrad": 1,
    "adam, nesterov": 1,
    "adamax": 1,
    "adan": 3,
    "clip": 1,
    "dadapt_adamw": 1,
    "lamb": 1,
    "laprop": 1,
    "rprop": 1,
}
"""Loops that are compiled twice for a shape.

A look-ahead of Nesterov has one scalar for each of two arrays, so that one of the arrays is read
before the other's scalar. The condition of a select, which Rprop computes of two arrays, precedes
the scalars of both sides.
"""


def loops(make: Callable[[], fo.GradientTransformation], leaves: int) -> int:
    """Counts the loops over a leaf in a compiled step; equal ones are compiled once."""
    params = {f"w{i}": jax.ShapeDtypeStruct(SHAPE, jnp.float32) for i in range(leaves)}
    params |= {"b": jax.ShapeDtypeStruct((29,), jnp.float32)}  # the first leaf, of another shape
    tx = make()

    def step(params, state, grads):
        return fo.apply_gradients(tx, grads, state, params)

    program = jax.jit(step).lower(params, jax.eval_shape(tx.init, params), params)
    text = re.sub(r", metadata={[^}]*}", "", program.compile(TEXT).as_text())
    names = re.findall(r"= f32\[24,64\]\S* fusion\(.*kind=kLoop, calls=(%[\w.-]+)", text)
    bodies = [re.search(rf"^{re.escape(x)} .*?\n(.*?)^}}", text, re.M | re.S) for x in names]
    return len({numbered(body[1]) for body in bodies})


def numbered(body: str) -> str:
    """Replaces the names in a computation by their order."""
    order: dict[str, str] = {}
    return re.sub(r"%[\w.-]+", lambda name: order.setdefault(name[0], f"%{len(order)}"), body)


@pytest.mark.parametrize("name", RULES)
def test_leaves_of_a_shape_share_their_loops(name):
    alone = loops(RULES[name], 1)
    assert alone > 0
    assert loops(RULES[name], 3) - alone == TWICE.get(name, 0)


def test_scalars_that_are_one_subtraction_are_left_to_the_loops():
    def scalars(b1, b2, eps, t):
        return {"one": 1 - b1, "two": b1 - b2, "power": 1 - b1**t, "given": eps, "number": 1.0}

    @fo.leaf_rule(step_scalars=scalars)
    def rule(g, slots, p, ctx, b1=0.9, b2=0.99, eps=1e-8):
        return ctx.one * ctx.power * g, {}

    (bound,) = rule().update.rules
    assert bound.inexpensive_scalars == {"one"}


def test_a_rule_may_use_its_count_as_an_index():
    rates = jnp.array([1.0, 2.0, 4.0])

    @fo.leaf_rule(step_scalars=lambda count: {"rate": rates[count]})
    def scale_by_table(g, slots, p, ctx):
        return ctx.rate * g, {}

    tx, g = scale_by_table(), [jnp.ones(2)] * 5
    state, found = tx.init(g), []
    for _ in range(3):
        u, state = tx.update(g, state)
        found.append(float(u[0][0]))
    assert found == [1.0, 2.0, 4.0]
