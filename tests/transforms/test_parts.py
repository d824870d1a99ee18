"""A transformation of a part of the parameters acts as if there were only this part."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim.second_order import hutchinson_estimator_diag_hessian

KINDS = {"l1": {"w": "w", "b": "b"}, "l2": {"w": "w", "b": "b"}}
MASK = jax.tree.map(lambda kind: kind == "b", KINDS)
PARAMS = {
    "l1": {"w": jnp.full((2, 3), 0.5), "b": jnp.array([1.0, -1.0])},
    "l2": {"w": jnp.full((1, 2), 2.0), "b": jnp.array([3.0])},
}


def loss(params, scale=1.0):
    """Computes a loss that couples the parts: the minimum over biases depends on the weights."""
    hidden = params["l1"]["w"].sum(1) + params["l1"]["b"]
    return scale * jnp.sum((params["l2"]["w"] @ hidden + params["l2"]["b"] - 1.0) ** 2) + jnp.sum(
        (hidden - 2.0) ** 2
    )


def part_of(tree):
    return {layer: {"b": tree[layer]["b"]} for layer in tree}


def with_part(part):
    return {layer: {"w": PARAMS[layer]["w"], "b": part[layer]["b"]} for layer in PARAMS}


SEARCH = ("value", "grad", "value_fn", "scale")
LINKS = {
    "backtracking": (
        lambda: fo.chain(fo.sgd(0.1), fo.scale_by_backtracking_linesearch(20)),
        SEARCH,
    ),
    "zoom": (lambda: fo.chain(fo.sgd(0.1), fo.scale_by_zoom_linesearch(20)), SEARCH),
    "lbfgs": (fo.lbfgs, SEARCH),
    "optax's line search": (
        lambda: fo.chain(fo.sgd(0.1), optax.scale_by_backtracking_linesearch(20)),
        SEARCH,
    ),
    "sam": (lambda: fo.sam(fo.sgd(0.1), fo.sgd(0.01), opaque_mode=True), ("grad_fn",)),
    "a Hessian's diagonal": (
        lambda: fo.chain(hutchinson_estimator_diag_hessian(0), fo.scale(0.01)),
        ("obj_fn",),
    ),
}
WRAPPERS = {
    "masked": lambda tx: fo.masked(tx, MASK, otherwise="zero"),
    "freeze": lambda tx: fo.freeze(lambda p: jax.tree.map(lambda kind: kind == "w", KINDS), tx),
    "partition": lambda tx: fo.partition({"w": fo.set_to_zero(), "b": tx}, KINDS),
    "partition in masked": lambda tx: fo.masked(
        fo.partition({"w": fo.set_to_zero(), "b": tx}, KINDS), True
    ),
}


def run(tx, params, names, value_fn, scale):
    @jax.jit
    def step(params, state, scale):
        value, grad = jax.value_and_grad(value_fn)(params, scale)
        extra = {
            "value": value,
            "grad": grad,
            "value_fn": value_fn,
            "grad_fn": lambda p, i: jax.grad(value_fn)(p, scale),
            "obj_fn": lambda p: value_fn(p, scale),
            "scale": scale,
        }
        updates, state = tx.update(grad, state, params, **{k: extra[k] for k in names})
        return fo.apply_updates(params, updates), state

    state, seen = tx.init(params), []
    for _ in range(3):
        params, state = step(params, state, scale)
        seen.append(params)
    return seen


@functools.cache
def run_alone(link):
    """Runs a transformation of the part where there is no other."""
    (make, names), scale = LINKS[link], jnp.float32(0.5)
    return run(
        make(), part_of(PARAMS), names, lambda part, scale: loss(with_part(part), scale), scale
    )


# A wrapper in another cuts the arguments of all links in the same way, and `freeze` is `masked`.
CUT = [
    (link, wrapper)
    for link in LINKS
    for wrapper in WRAPPERS
    if wrapper in ("masked", "partition") or link in ("backtracking", "lbfgs")
]


@pytest.mark.parametrize(("link", "wrapper"), CUT)
def test_a_part_is_searched_as_without_the_other_parts(link, wrapper):
    (make, names), scale = LINKS[link], jnp.float32(0.5)
    found = run(WRAPPERS[wrapper](make()), PARAMS, names, loss, scale)
    for a, b in zip(found, run_alone(link), strict=True):
        assert jnp.array_equal(a["l1"]["w"], PARAMS["l1"]["w"])
        for x, y in zip(jax.tree.leaves(part_of(a)), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5)


SEEN = []


def record(updates, state, params=None, **extra):
    SEEN.append(extra)
    return updates, state


def seen_by_the_part(**given):
    inner = fo.GradientTransformation(lambda params: (), record)
    tx = fo.masked(inner, {"x": True, "y": False})
    params = {"x": jnp.zeros(2), "y": jnp.zeros(3)}
    tx.update(params, tx.init(params), params, **given)
    return SEEN.pop()


def test_arguments_that_are_not_trees_of_the_parameters_stay_whole():
    batch = {"x": jnp.ones((8, 2)), "y": jnp.ones((8, 3))}
    other = lambda step: step  # noqa: E731
    seen = seen_by_the_part(batch=batch, other=other, value=jnp.float32(1.0), key=jax.random.key(0))
    assert seen["batch"] is batch
    assert seen["other"] is other
    assert seen["value"] == 1
    assert seen["key"].shape == ()


def test_trees_like_the_parameters_are_cut():
    seen = seen_by_the_part(curvature={"x": jnp.ones(2), "y": jnp.ones(3)})
    assert seen["curvature"]["y"] == fo.MaskedNode()
    assert seen["curvature"]["x"].shape == (2,)


@pytest.mark.parametrize("link", ["backtracking", "lbfgs", "sam"])
def test_flattened_parameters_are_searched_as_they_are(link):
    (make, names), scale = LINKS[link], jnp.float32(0.5)
    found = run(fo.flatten(make()), PARAMS, names, loss, scale)
    wanted = run(make(), PARAMS, names, loss, scale)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
