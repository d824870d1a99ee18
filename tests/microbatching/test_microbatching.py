"""A batch in parts gives the results of the whole batch, in the memory of a part."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim.microbatching import (
    AccumulationType,
    Accumulator,
    micro_grad,
    micro_vmap,
    microbatch,
    reshape_batch_axis,
)

from ..compiling import USUAL
from ..trees import assert_close, assert_same

SUM, MEAN = AccumulationType.SUM, AccumulationType.MEAN
RUNNING_MEAN, CONCAT = AccumulationType.RUNNING_MEAN, AccumulationType.CONCAT

ROWS = 12
PARAMS = {"w": jnp.linspace(-1.0, 1.0, 3), "b": jnp.float32(0.5)}
X = jnp.asarray(np.random.default_rng(0).standard_normal((ROWS, 3)), jnp.float32)
Y = jnp.asarray(np.random.default_rng(1).standard_normal(ROWS), jnp.float32)


def errors(params, x, y):
    return jnp.tanh(x @ params["w"] + params["b"]) - y


def mean_loss(params, x, y):
    return jnp.mean(jnp.square(errors(params, x, y)))


def sum_loss(params, x, y):
    return jnp.sum(jnp.square(errors(params, x, y)))


# The same function for the same loss, so that JAX finds its program.
GRADIENT = functools.cache(jax.value_and_grad)

LOSSES = {"mean": (mean_loss, MEAN), "running": (mean_loss, RUNNING_MEAN), "sum": (sum_loss, SUM)}


@pytest.mark.parametrize("size", [1, 4, 5, 7, 12, 50])
@pytest.mark.parametrize(("loss", "kind"), LOSSES.values(), ids=LOSSES)
def test_gradients_are_those_of_the_batch_also_with_a_smaller_last_part(loss, kind, size):
    with jax.enable_x64(True):
        params, x, y = jax.tree.map(lambda a: a.astype(np.float64), (PARAMS, X, Y))
        in_parts = jax.jit(microbatch(jax.value_and_grad(loss), (1, 2), size, kind))
        whole = jax.jit(GRADIENT(loss))(params, x, y)
        assert_close(in_parts(params, x, y), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("loss", "kind"), LOSSES.values(), ids=LOSSES)
def test_the_derivative_of_a_microbatched_loss_is_that_of_the_loss(loss, kind):
    in_parts = microbatch(loss, (1, 2), 5, kind)
    found = jax.jit(jax.grad(in_parts))(PARAMS, X, Y)
    assert_close(found, jax.grad(loss)(PARAMS, X, Y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("differentiated", ["within", "outside"])
def test_the_memory_is_that_of_one_part(differentiated):
    def loss(w, x):
        for _ in range(4):
            x = jnp.tanh(x @ w)
        return jnp.mean(x)

    def bytes_of(function):
        shapes = jnp.zeros((32, 32)), jnp.zeros((4096, 32))
        return jax.jit(function).lower(*shapes).compile(USUAL).memory_analysis().temp_size_in_bytes

    if differentiated == "within":
        in_parts = microbatch(jax.grad(loss), 1, 64, MEAN)
    else:
        in_parts = jax.grad(microbatch(loss, 1, 64, MEAN))
    # The rows in the order of their parts are a second copy.
    assert bytes_of(in_parts) < bytes_of(jax.grad(loss)) / 2


@pytest.mark.parametrize("kind", [SUM, MEAN])
def test_narrow_results_are_gathered_in_float32(kind):
    x = jnp.full(4096, 1.0 + 2**-7, jnp.bfloat16)
    found = microbatch(jnp.mean if kind is MEAN else jnp.sum, 0, 1, kind)(x)
    expected = (1.0 + 2**-7) * (4096 if kind is SUM else 1)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(found), expected, rtol=2**-8)


def test_integers_and_booleans_are_counted():
    counts = microbatch(lambda x: {"n": (x > 0).any(), "i": x.astype(jnp.int8).sum()}, 0, 1)
    found = counts(jnp.full(300, 1.0))
    assert found["n"] == 300
    assert found["i"] == 300


@pytest.mark.parametrize("size", [1, 3, 5])
def test_rows_keep_their_order_and_parts_of_a_tree_may_have_different_kinds(size):
    def fun(x, scale):
        return {"rows": scale * x, "of all": (x.sum(), x.max())}

    first = Accumulator(lambda s: jnp.zeros(s.shape), lambda c, v, i: jnp.maximum(c, v), abs, None)
    kinds = {"rows": CONCAT, "of all": (SUM, first if ROWS % size == 0 else SUM)}
    found = jax.jit(microbatch(fun, 0, size, kinds))(X, 2.0)
    assert_same(found["rows"], 2 * X)
    assert_close(found["of all"][0], X.sum(), rtol=1e-5)
    if ROWS % size == 0:
        assert_same(found["of all"][1], X.max())


def test_batches_by_name_and_along_other_axes():
    def fun(scale, x, *, y):
        return scale * x, y["y"].sum()

    in_parts = microbatch(fun, 1, 4, (CONCAT, SUM), argnames="y", in_axes=(0, 1))
    rows, total = in_parts(2.0, X, y={"y": jnp.stack([Y, Y])})
    assert_same(rows, 2 * X)
    assert_close(total, 2 * Y.sum(), rtol=1e-5)


def test_keys_of_random_numbers_are_batches_too():
    keys = jax.random.split(jax.random.key(0), 6)
    draw = jax.vmap(lambda key: jax.random.normal(key, (2,)))
    assert_close(microbatch(draw, 0, 4, CONCAT)(keys), draw(keys), rtol=1e-6)


@pytest.mark.parametrize(("kind", "expected"), [(SUM, 6.0), (RUNNING_MEAN, 3.0), (MEAN, 1.5)])
def test_only_so_many_parts_are_evaluated(kind, expected):
    x = jnp.array([1.0, 5.0, jnp.nan, jnp.nan])
    run = jax.jit(lambda n: microbatch(jnp.sum, 0, 1, kind, num_real_microbatches=n)(x))
    assert run(2) == expected


def test_vmap_over_parameters():
    many = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), PARAMS)
    found = jax.vmap(microbatch(jax.grad(mean_loss), (1, 2), 5, MEAN), (0, None, None))(many, X, Y)
    expected = jax.vmap(jax.grad(mean_loss), (0, None, None))(many, X, Y)
    assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_sharded_batch_stays_where_it_is(mesh):
    spec = jax.sharding.PartitionSpec("x", None)
    x = jax.device_put(jnp.ones((32, 8)), jax.sharding.NamedSharding(mesh, spec))
    text = jax.jit(microbatch(lambda x: x.sum(0), 0, 8)).lower(x).compile(USUAL).as_text()
    assert "all-gather" not in text
    assert "all-to-all" not in text


def of_a_row(params, x, y):
    return jax.grad(mean_loss)(params, x[None], y[None])


@pytest.mark.parametrize("size", [None, 1, 4, 5])
def test_gradients_of_examples_are_clipped_one_by_one(size):
    def clipped(g):
        norm = fo.global_norm(g)
        return jax.tree.map(lambda x: x / jnp.maximum(norm, 1.0), g)

    run = micro_grad(
        mean_loss,
        batch_argnums=(1, 2),
        microbatch_size=size,
        transform_fn=clipped,
        metrics_fn=fo.global_norm,
    )
    found, each = jax.jit(run)(PARAMS, X, Y)
    rows = jax.device_get(jax.jit(jax.vmap(of_a_row, (None, 0, 0)))(PARAMS, X, Y))
    rows = [{k: g[i] for k, g in rows.items()} for i in range(ROWS)]
    norms = [np.sqrt(sum(np.sum(x**2) for x in g.values())) for g in rows]
    for k in PARAMS:
        total = sum(g[k] / max(norm, 1.0) for g, norm in zip(rows, norms, strict=True))
        np.testing.assert_allclose(found[k], total, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(each.metrics, norms, rtol=1e-5)
    assert_close(each.values, errors(PARAMS, X, Y) ** 2, rtol=1e-5)
    assert each.aux is None


def test_micro_grad_equals_that_of_optax():
    arguments = {"batch_argnums": (1, 2), "microbatch_size": 4, "has_aux": True}

    def fun(params, x, y):
        return mean_loss(params, x, y), x.sum()

    ours = micro_grad(fun, **arguments)(PARAMS, X, Y)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = optax.microbatching.micro_grad(fun, **arguments)(PARAMS, X, Y)
    assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)
    assert_close(tuple(ours[1]), tuple(theirs[1]), rtol=1e-5)


def test_examples_without_a_batch_axis_and_arguments_that_are_not_batched():
    def one(params, x, scale):
        return scale * jnp.tanh(x @ params["w"])

    run = micro_grad(one, batch_argnums=1, keep_batch_dim=False, microbatch_size=4)
    found, _ = run(PARAMS, X, 3.0)
    expected = jax.grad(lambda p: 3.0 * jnp.tanh(X @ p["w"]).sum())(PARAMS)
    assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [None, 4, 5])
def test_micro_vmap_equals_vmap_and_may_reduce(size):
    def fun(x, y, *, z):
        return x * y, x + z

    run = functools.partial(micro_vmap, fun, (0, None), microbatch_size=size)
    expected = jax.vmap(fun, (0, None))(Y, 2.0, z=Y)
    assert_same(run()(Y, 2.0, z=Y), expected)
    reduced = run(accumulator=(MEAN, SUM))(Y, 2.0, z=Y)
    assert_close(reduced, (expected[0].mean(), expected[1].sum()), rtol=1e-5)


def test_axes_are_split_as_optax_splits_them():
    for axis in (0, 1, -1):
        found = reshape_batch_axis({"x": jnp.arange(24).reshape(4, 6)}, 2, axis)["x"]
        theirs = optax.microbatching.reshape_batch_axis(jnp.arange(24).reshape(4, 6), 2, axis % 2)
        assert_same(found, theirs)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(SUM, np.zeros(3)), (MEAN, np.full(3, np.nan)), (RUNNING_MEAN, np.zeros(3))],
)
def test_a_batch_without_rows_has_no_microbatch(kind, expected):
    found = jax.jit(microbatch(lambda x: jnp.sum(x, 0), 0, 2, kind))(jnp.ones((0, 3)))
    np.testing.assert_array_equal(found, expected)


def test_concatenated_results_of_no_rows_have_no_rows():
    assert micro_vmap(lambda x: 2 * x, microbatch_size=2)(jnp.ones((0, 3))).shape == (0, 3)
    grads, each = micro_grad(sum_loss, batch_argnums=(1, 2), microbatch_size=2)(
        PARAMS, jnp.ones((0, 3)), jnp.ones(0)
    )
    assert_same(grads, jax.tree.map(jnp.zeros_like, PARAMS))
    assert each.values.shape == (0,)


def test_profiles_name_the_microbatches():
    text = jax.jit(micro_grad(mean_loss, batch_argnums=(1, 2), microbatch_size=5)).lower(
        PARAMS, X, Y
    )
    text = text.as_text(debug_info=True)
    for name in ("micro_grad_size_5", "micro_vmap_size_5", "microbatch_size_5", "2_microbatches"):
        assert name in text


@pytest.mark.parametrize("spec", [jax.P(), jax.P("x")])
def test_results_are_sharded_as_those_of_the_batch_on_a_mesh_of_explicit_axes(spec):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        data = jnp.arange(32, out_sharding=spec)
        in_parts = microbatch(lambda x: (x + 1, jnp.sum(x)), 0, 16, (CONCAT, SUM))
        found, expected = in_parts(data), (data + 1, jnp.sum(data))
        assert jax.tree.map(jax.typeof, found) == jax.tree.map(jax.typeof, expected)
        assert_same(found, expected)


OWN = Accumulator(lambda s: 0.0, lambda c, v, i: c + v, lambda c: c, None)
BAD = {
    "size": ({"argnums": 0, "microbatch_size": 0}, ValueError, "an integer of at least 1, got 0"),
    "kind": (
        {"argnums": 0, "microbatch_size": 2, "accumulator": "sum"},
        TypeError,
        "must be an Accum",
    ),
    "lengths": (
        {"argnums": (0, 1), "microbatch_size": 2},
        ValueError,
        r"one length.* got \[3, 4\]",
    ),
    "axes": (
        {"argnums": 0, "microbatch_size": 2, "in_axes": (0, 1)},
        ValueError,
        "one for each of",
    ),
    "rows": (
        {"argnums": 0, "microbatch_size": 2, "accumulator": CONCAT},
        ValueError,
        "without dimens",
    ),
    "own": (
        {"argnums": 0, "microbatch_size": 3, "accumulator": OWN},
        ValueError,
        "size must divide",
    ),
    "real": (
        {"argnums": 0, "microbatch_size": 3, "num_real_microbatches": 1},
        ValueError,
        "got 3 and 4",
    ),
}


@pytest.mark.parametrize(("arguments", "error", "text"), BAD.values(), ids=BAD)
def test_misuse(arguments, error, text):
    with pytest.raises(error, match=f"microbatch: .*{text}"):
        microbatch(lambda x, y: x.sum(), **arguments)(jnp.ones(4), jnp.ones(3))


def test_a_mean_of_integers_is_refused():
    with pytest.raises(TypeError, match="a result of dtype int32 has no mean"):
        microbatch(jnp.sum, 0, 2, MEAN)(jnp.arange(4))


CALLS = {
    "positions": lambda f: f(PARAMS, X, Y),
    "one-by-name": lambda f: f(PARAMS, X, y=Y),
    "names": lambda f: f(params=PARAMS, x=X, y=Y),
    "names-in-another-order": lambda f: f(y=Y, x=X, params=PARAMS),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("argnums", "argnames"), [((1, 2), ()), (1, "y"), ((), ("x", "y"))])
@pytest.mark.parametrize("of", [lambda f: f, GRADIENT], ids=["loss", "gradient"])
def test_batches_are_found_however_they_are_given(call, argnums, argnames, of):
    """They may be given by name, although JAX differentiates only arguments by position."""
    parts = microbatch(of(mean_loss), argnums, 4, MEAN, argnames=argnames)
    expected = jax.jit(of(mean_loss))(PARAMS, X, Y)
    assert_close(jax.jit(lambda: call(parts))(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_gradients_of_examples_however_these_are_given(call):
    found, _ = call(micro_grad(mean_loss, batch_argnums=(1, 2), microbatch_size=4))
    assert_close(found, micro_grad(mean_loss, batch_argnums=(1, 2))(PARAMS, X, Y)[0], rtol=1e-5)
    mapped = micro_vmap(errors, (None, 0, 0), microbatch_size=4, accumulator=CONCAT)
    assert_close(call(mapped), errors(PARAMS, X, Y), rtol=1e-5)


def test_errors_name_a_missing_batch():
    with pytest.raises(TypeError, match="no argument 'z' in a call with params, x, y"):
        microbatch(mean_loss, 1, 4, argnames="z")(PARAMS, X, y=Y)
