"""Leaves of one shape that a rule's declaration stacks: one program for each shape."""

import re
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.rules import RandomKey, leaf_rule

from ..compiling import TEXT


def tree(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {f"w{i}": jnp.asarray(rng.standard_normal(s)) for i, s in enumerate(shapes)}


def rules(stack):
    """Makes the same rule, with stacked leaves or without."""

    @leaf_rule(
        slots=lambda p: {"gram": jnp.zeros((*p.shape[:-1], p.shape[-2]))},
        step_scalars=lambda b, t: {"gain": 1 - b, "bc": 1 - b**t},
        split_complex=False,
        stack_leaves=stack,
    )
    def gram_of_gradients(g, slots, p, ctx, b=0.9):
        """Multiplies by a mean of Gram matrices."""
        del p
        gram = b * slots.gram + ctx.gain * (g @ jnp.swapaxes(g, -2, -1))
        return gram @ g / ctx.bc, {"gram": gram}

    return gram_of_gradients


# Five of one shape; two of another, which are too few to be stacked.
SHAPES = [(2, 3), (4, 4), (2, 3), (2, 3), (4, 4), (5, 1), (2, 3), (2, 3)]


def run(tx, grads, params, jit):
    update, state, out = jax.jit(tx.update) if jit else tx.update, tx.init(params), []
    for g in grads:
        updates, state = update(g, state, params)
        out.append(updates)
    return out, state


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("missing", [(), ("w2",), ("w0", "w2", "w3")])
def test_a_stack_has_the_results_of_its_leaves(jit, missing):
    params = tree(SHAPES)
    grads = [tree(SHAPES, seed) for seed in (1, 2, 3)]
    grads[1] |= dict.fromkeys(missing)
    stacked = run(rules(True)(), grads, params, jit)
    separate = run(rules(False)(), grads, params, jit)
    assert jax.tree.structure(stacked) == jax.tree.structure(separate)
    for x, y in zip(jax.tree.leaves(stacked), jax.tree.leaves(separate), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_numbers_of_each_leaf_stay_its_own():
    params, grads = tree(SHAPES), [tree(SHAPES, 1)] * 2
    labels = {k: "slow" if k in ("w0", "w4") else "fast" for k in params}
    results = [
        run(rules(stack)(fo.by_label({"slow": 0.9, "fast": 0.5}, labels)), grads, params, True)
        for stack in (True, False)
    ]
    for x, y in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_each_leaf_of_a_stack_has_its_own_key():
    @leaf_rule(stack_leaves=True)
    def noise(g, slots, p, ctx, key: Annotated[Any, RandomKey] = 0):
        """Returns noise."""
        del slots, p, ctx
        return jax.random.normal(key, g.shape, g.dtype), {}

    params = tree([(3, 2)] * 4)
    updates, _ = noise().update(params, noise().init(params), params)
    assert len({float(x[0, 0]) for x in updates.values()}) == 4


def products(shapes):
    """Counts the products of matrices in a step of Muon."""
    params = {k: jnp.zeros(x.shape, jnp.float32) for k, x in tree(shapes).items()}
    tx = fo.muon(0.1)
    return jax.jit(tx.update).lower(params, tx.init(params), params).as_text().count("dot_general")


def test_a_step_of_muon_has_each_shape_once():
    shapes = [(8, 8), (8, 16), (4, 6), (3, 8)]
    once = products(shapes)
    assert once > 0
    assert products(shapes * 12) == once


def test_few_leaves_of_a_shape_are_not_stacked():
    params = {k: jnp.zeros((8, 16), jnp.float32) for k in "abc"}
    tx = fo.muon(0.1)
    text = jax.jit(tx.update).lower(params, tx.init(params), params).as_text()
    assert "concatenate" not in text
    assert "<3x" not in text


def loops(leaves):
    """Returns the loops over a whole leaf in a compiled step of Muon, equal ones only once."""
    params = {f"w{i}": jnp.zeros((128, 256), jnp.float32) for i in range(leaves)}
    tx = fo.muon(0.1)

    def step(params, state, grads):
        return fo.apply_gradients(tx, grads, state, params)

    program = jax.jit(step, donate_argnums=(0, 1)).lower(params, tx.init(params), params)
    text = re.sub(r", metadata={[^}]*}", "", program.compile(TEXT).as_text())
    names = re.findall(r"= f32\[128,256\]\S* fusion\(.*kind=kLoop, calls=(%[\w.-]+)", text)
    bodies = [re.search(rf"^{re.escape(x)} .*?^}}", text, re.M | re.S).group() for x in names]
    return {re.sub(r"%[\w.-]+", "", x.split("\n", 1)[1]) for x in bodies}


def test_few_leaves_of_a_shape_share_the_loops_of_one():
    assert 0 < len(loops(1)) <= 4
    assert len(loops(3)) == len(loops(1))


def test_a_leaf_in_low_bits_is_not_stacked():
    params = {k: jnp.zeros((64, 64), jnp.float32) for k in "abcd"}
    tx = fo.low_bit_state(fo.scale_by_muon(), min_size=256)
    updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    assert updates["a"].shape == (64, 64)
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(params))
