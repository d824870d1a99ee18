"""Kernels give the results of XLA, for any leaf and within any transformation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim import optim, testing
from functional_optim.core.engine import executors, fused
from functional_optim.native import executor, gate
from functional_optim.native.call import call
from functional_optim.native.switch import recorded

from ..compiling import USUAL
from .table import LARGE, TRANSFORMATIONS, UPDATES, gradients, offer_updates, started

pytestmark = pytest.mark.usefixtures("kernels")

CALL = "functional_optim_leaf"
ADAMW, MOMENTUM = TRANSFORMATIONS["adamw"], TRANSFORMATIONS["momentum"]


def step_of(tx, **options):
    """Returns a jitted step with its own cache, so that it is compiled again."""

    def step(grads, state, params):
        return fo.apply_gradients(tx, grads, state, params)

    return jax.jit(step, **options)


def small(seed=0):
    """Draws leaves that compile quickly."""
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.standard_normal(8), jnp.float32) for k in "ab"}


def in_kernels(function, *arguments):
    """Counts the leaves that kernels run in a program."""
    return kernels_of(jax.jit(function).lower(*arguments))


def kernels_of(lowered):
    """Counts the leaves that kernels run in a lowered program."""
    text = lowered.as_text()
    return sum(map(int, re.findall(CALL + r".* numbers = dense<.*?> : tensor<(\d+)xi64>", text)))


def compare(function, *arguments):
    """Runs a function with kernels and without; returns the results with kernels."""
    with fo.native.enabled(False):
        expected = jax.jit(function)(*arguments)
    found = jax.jit(function)(*arguments)
    assert_close(found, expected)
    return found


def assert_close(found, expected):
    """Asserts equality up to two ulps of the number, or of 4, the size of slots."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape, a.weak_type) == (b.dtype, b.shape, b.weak_type)
        if not jnp.issubdtype(a.dtype, jnp.inexact):
            assert (a == b).all()
            continue
        ulps = 2 * float(jnp.finfo(a.dtype).eps)
        a, b = (np.asarray(x.astype(jnp.float32)) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=ulps, atol=4 * ulps)


@pytest.mark.parametrize("every_leaf", [True, False], ids=["one count", "a count for each leaf"])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_step_is_that_of_xla(name, every_leaf):
    """Where a leaf has no gradient, the state has a count for each."""
    tx, grads = TRANSFORMATIONS[name], gradients(3, every_leaf=every_leaf)
    step = step_of(tx)
    params, state = started(tx, step, every_leaf=every_leaf)
    lowered = step.lower(grads, state, params)
    assert kernels_of(lowered) == len(jax.tree.leaves(grads))
    with fo.native.enabled(False):
        expected = step(grads, state, params)
    assert_close(lowered.compile()(grads, state, params), expected)


def test_leaves_are_called_together_and_large_ones_alone():
    params = {str(i): jnp.ones(2**18 if i == 5 else i + 1) for i in range(34)}
    arguments = params, ADAMW.init(params), params
    text = step_of(ADAMW).lower(*arguments).as_text()
    assert text.count(CALL) == 1 + 3  # 16, 16 and 1 of the others
    assert in_kernels(step_of(ADAMW), *arguments) == 34
    compare(step_of(ADAMW), *arguments)


def test_many_steps_end_at_the_same_place():
    def many(params):
        def body(carry, _):
            params, state = carry
            grads = jax.tree.map(lambda p: 2 * p + 1, params)
            return step_of(ADAMW)(grads, state, params), None

        return jax.lax.scan(body, (params, ADAMW.init(params)), length=50)[0][0]

    assert in_kernels(many, small()) == 2
    with fo.native.enabled(False):
        expected = jax.jit(many)(small())
    for k, found in jax.jit(many)(small()).items():
        np.testing.assert_allclose(found, expected[k], rtol=1e-5, atol=1e-6)


def test_donated_arrays_are_taken_over_and_others_are_left_alone():
    params, grads = {"a": jnp.ones(LARGE)}, {"a": jnp.arange(float(LARGE))}
    state = ADAMW.init(params)
    before = jax.tree.map(np.array, (grads, state, params))
    new = step_of(ADAMW)(grads, state, params)
    for a, b in zip(jax.tree.leaves((grads, state, params)), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)

    def in_order(params, state, grads):  # JAX gives the first result the first donated memory
        return fo.apply_gradients(ADAMW, grads, state, params)

    program = jax.jit(in_order, donate_argnums=(0, 1)).lower(params, state, grads).compile(USUAL)
    assert program.memory_analysis().temp_size_in_bytes < 1024
    place = params["a"].unsafe_buffer_pointer()
    donated = program(params, state, grads)
    assert donated[0]["a"].unsafe_buffer_pointer() == place
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(donated), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_parameter_may_be_its_own_gradient():
    def step(params, state):
        return fo.apply_gradients(ADAMW, params, state, params)

    params = {"a": jnp.linspace(-1.0, 1.0, LARGE)}
    compare(step, params, ADAMW.init(params))


@pytest.mark.parametrize("dtype", ["float64", "float16", "complex64"])
def test_xla_runs_steps_without_a_kernel(dtype, x64):
    params = {"a": jnp.ones(8, dtype), "b": jnp.ones(8, "float32")}
    assert in_kernels(step_of(ADAMW), params, ADAMW.init(params), params) == 0


def test_sparse_updates_and_rules_of_the_whole_tree_are_left_to_xla():
    params = {"a": jnp.ones((8, 2))}
    rows = {"a": fo.row_sparse(jnp.ones((1, 2)), jnp.array([3]), (8, 2))}
    adagrad = TRANSFORMATIONS["adagrad"]
    assert in_kernels(step_of(adagrad), params, adagrad.init(params), params) == 1
    assert in_kernels(step_of(adagrad), rows, adagrad.init(params), params) == 0
    muon = fo.muon(0.1)
    assert in_kernels(step_of(muon), params, muon.init(params), params) == 0


def test_xla_runs_updates_that_it_can_fuse_with_their_addition():
    params = small()
    assert in_kernels(ADAMW.update, params, ADAMW.init(params), params) == 0


def test_the_stateful_interface_has_kernels(monkeypatch):
    batches = []

    def spy(plan, leaves, *found):
        batches.append(len(leaves))
        return call(plan, leaves, *found)

    monkeypatch.setattr(executor, "call_kernel", spy)
    found = {}
    for on in (True, False):
        with fo.native.enabled(on):
            optimizer = optim.AdamW(small(), lr=0.1, weight_decay=0.3)
            for seed in (1, 2):
                optimizer.step(small(seed))
            found[on] = optimizer.params
    assert batches == [2]  # one program, traced once
    assert_close(found[True], found[False])


def test_it_maps():
    def step(params):
        return fo.apply_gradients(ADAMW, params, ADAMW.init(params), params)

    compare(jax.vmap(step), {"a": jnp.arange(12.0).reshape(3, 4)})


def test_it_differentiates():
    def loss(learning_rate, params):
        state = fo.set_hyperparams(MOMENTUM.init(params), learning_rate=learning_rate)
        for _ in range(2):
            params, state = fo.apply_gradients(MOMENTUM, params, state, params)
        return sum(jnp.sum(x**2) for x in params.values())

    gradient = jax.grad(loss, argnums=(0, 1))
    found = compare(gradient, jnp.float32(0.1), small())
    assert found[0] != 0
    compare(lambda x: jax.jvp(lambda r: loss(r, small()), (x,), (x,)), jnp.float32(0.1))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_an_exported_program_does_not_call_the_library(platform):
    params = small()
    arguments = params, ADAMW.init(params), params
    exported = jax.export.export(step_of(ADAMW), platforms=[platform])(*arguments)
    assert "custom_call" not in exported.mlir_module()
    if platform == "cpu":
        assert_close(exported.call(*arguments), step_of(ADAMW)(*arguments))


def test_on_a_mesh_xla_divides_the_work(mesh):
    params = small()
    expected = step_of(ADAMW)(params, ADAMW.init(params), params)
    spread = jax.device_put(params, NamedSharding(mesh, PartitionSpec("x")))
    arguments = spread, ADAMW.init(spread), spread
    compiled = step_of(ADAMW).lower(*arguments).compile()
    assert CALL not in compiled.as_text()
    new, state = compiled(*arguments)
    assert new["a"].sharding.is_equivalent_to(spread["a"].sharding, 1)
    assert state.scale_by_adam.mu["a"].sharding.is_equivalent_to(spread["a"].sharding, 1)
    assert_close(new, expected[0])


def test_on_several_devices_xla_runs_unsharded_leaves_too(mesh):
    batch = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("x")))
    params = small()

    def step(params, state, batch):
        return fo.apply_gradients(ADAMW, params, state, params), jnp.sum(batch)

    assert in_kernels(step, params, ADAMW.init(params), np.asarray(batch)) == 2
    assert in_kernels(step, params, ADAMW.init(params), batch) == 0
    (new, _), _ = jax.jit(step)(params, ADAMW.init(params), batch)
    expected, _ = step_of(ADAMW)(params, ADAMW.init(params), params)
    assert_close(jax.device_put(new, jax.devices()[0]), expected)


@pytest.mark.parametrize("explicit", [False, True], ids=["shard_map", "explicit axes"])
def test_within_a_mesh_xla_runs_the_leaves(explicit):
    kind = jax.sharding.AxisType.Explicit if explicit else jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((2,), ("x",), axis_types=(kind,))
    params = small()

    def step(grads, state, params):
        return fo.apply_gradients(MOMENTUM, grads, state, params)[0]

    state, spec = MOMENTUM.init(params), PartitionSpec("x")
    expected = step_of(MOMENTUM)(params, state, params)[0]
    with jax.set_mesh(mesh):
        if explicit:
            arguments = jax.device_put((params, state.trace.trace), NamedSharding(mesh, spec))
            state = state._replace(trace=state.trace._replace(trace=arguments[1]))
            found = jax.jit(step)(arguments[0], state, arguments[0])
        else:
            specs = jax.tree.map(lambda x: spec if x.shape == (8,) else PartitionSpec(), state)
            mapped = jax.shard_map(step, in_specs=(spec, specs, spec), out_specs=spec)
            found = jax.jit(mapped)(params, state, params)
    assert_close(jax.device_put(found, jax.devices()[0]), expected)


def test_other_numbers_compile_nothing():
    params = small()
    step = step_of(ADAMW)
    first, _ = step(params, ADAMW.init(params), params)
    other = fo.set_hyperparams(ADAMW.init(params), b1=0.5, weight_decay=0.5)
    second, _ = step(params, other, params)
    assert step._cache_size() == 1
    assert (first["a"] != second["a"]).all()


def test_outside_of_a_trace_it_is_as_without():
    params = small()
    found = fo.apply_gradients(MOMENTUM, params, MOMENTUM.init(params), params)
    compare(step_of(MOMENTUM), params, MOMENTUM.init(params), params)
    assert_close(found, step_of(MOMENTUM)(params, MOMENTUM.init(params), params))


def test_a_thousand_shapes_are_traced_once(monkeypatch):
    traced = []

    def rule(g, slots, p, ctx, decay=0.5):
        traced.append(g.shape)
        return -decay * g, {"last": g}

    factory = fo.leaf_rule(slots=lambda p: {"last": jnp.zeros_like(p)})(rule)
    tx, params = factory(), {str(n): jnp.ones((n, 2)) for n in range(1, 20)}
    with recorded() as bodies:
        jax.eval_shape(lambda p: fo.apply_gradients(tx, p, tx.init(p), p), params)
    assert len(bodies) == 1
    # XLA traces each of the 19 leaves, because kernels are only recorded here, and traced once.
    assert len(traced) == 20


@pytest.mark.parametrize("tx", UPDATES, ids=["adamw", "momentum", "lion"])
def test_the_conformance_kit_finds_nothing(tx, monkeypatch):
    """Checks kernels for updates, which XLA would run: the kit asks for these."""
    offer_updates(monkeypatch)
    params = small()
    assert in_kernels(tx.update, params, tx.init(params), params) == 2
    if tx is UPDATES[0]:
        testing.check_transformation(tx)
    else:  # one executor runs the kernels of all rules
        for check in (testing.check_state, testing.check_jit, testing.check_traces):
            check(tx)


def test_the_native_executor_is_chosen_for_the_leaves_of_a_traced_step(monkeypatch):
    chosen = {}

    def recording(fused_update, leaf_call):
        found = executors.choose_executor(fused_update, leaf_call)
        chosen[leaf_call.tree_indices] = found
        return found

    monkeypatch.setattr(fused, "choose_executor", recording)
    params = {"a": jnp.ones(8), "b": jnp.ones(8, jnp.float16), "c": jnp.ones((2, 3))}
    arguments = params, ADAMW.init(params), params
    step_of(ADAMW).lower(*arguments)
    native, xla = gate.NATIVE, executors.XLA
    assert chosen == {(0,): native, (1,): xla, (2,): native}
    chosen.clear()
    fo.apply_gradients(ADAMW, *arguments)
    assert set(chosen.values()) == {xla}, "outside of a trace"
    with fo.native.enabled(False):
        step_of(ADAMW).lower(*arguments)
    assert set(chosen.values()) == {xla}


@pytest.mark.parametrize(
    "tx",
    [
        fo.adam(0.1),
        fo.adamw(
            fo.by_label({"x": 0.1, "y": 0.2}, fo.path_labels({"a": "x"}, default="y")),
            weight_decay=0.1,
        ),
    ],
    ids=["leaf counts", "by label"],
)
def test_kernels_read_the_scalars_of_their_leaf(tx, monkeypatch):
    """Builds kernels for scalars that differ from leaf to leaf."""
    params, grads = small(), {**small(1), "a": None}
    fo.native.build(fo.per_leaf_counts(tx), params)
    state = tx.init(params)
    with fo.native.enabled(False):
        for g in (small(2), {**small(3), "b": None}):
            params, state = step_of(tx)(g, state, params)
    assert in_kernels(step_of(tx), small(4), state, params) == 2
    compare(step_of(tx), small(4), state, params)
    assert in_kernels(step_of(tx), grads, state, params) == 1
    compare(step_of(tx), grads, state, params)
