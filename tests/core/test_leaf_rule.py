"""Declarations that the author of a rule can make, shown on rules defined here."""

import inspect
import pickle
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.rules import (
    InitOnly,
    NonNegative,
    Optional_,
    RandomKey,
    SlotDtype,
    StateDtype,
    Static,
    TreeStats,
    Within,
    leaf_rule,
    renamed,
)

PARAMS = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
GRADS = {"a": jnp.array([10.0, 20.0]), "b": jnp.array(30.0)}


def one_step(tx, grads=GRADS, params=PARAMS, **extra):
    return tx.update(grads, tx.init(params), params, **extra)


def some_steps(tx, grads, params, steps=1, **extra):
    state = tx.init(params)
    for _ in range(steps):
        updates, state = jax.jit(tx.update)(grads, state, params, **extra)
    return updates, state


def floats(scalars):
    return {k: float(v) for k, v in scalars.items()}


@leaf_rule()
def shrink(g, slots, p, ctx, factor: Annotated[float, Within("(0, 1)")], *, offset=0.0):
    """Shrinks."""
    return factor * g + offset, {}


def test_the_factory_takes_the_hyperparameters_as_the_maths_declares_them():
    parameters = inspect.signature(shrink).parameters
    assert list(parameters) == ["factor", "offset"]
    assert parameters["factor"].default is inspect.Parameter.empty
    assert parameters["factor"].annotation is float, "the plain type, without the declarations"
    assert parameters["offset"].kind is inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(shrink).return_annotation is fo.GradientTransformation
    assert (shrink.__name__, shrink.__doc__) == ("shrink", "Shrinks.")


def test_a_hyperparameter_is_kept_in_the_state_and_used():
    updates, state = one_step(shrink(0.5, offset=1.0))
    assert updates["a"].tolist() == [6.0, 11.0]
    assert floats(state.hyperparams) == {"factor": 0.5, "offset": 1.0}


def test_any_hyperparameter_may_be_a_schedule():
    tx = shrink(fo.linear_schedule(0.5, 0.25, 1), offset=lambda step: step)
    _, state = one_step(tx)
    updates, _ = tx.update(GRADS, state, PARAMS)
    assert updates["a"].tolist() == [0.25 * 10 + 1, 0.25 * 20 + 1]


def test_the_bounds_of_an_argument_are_checked_where_a_value_is_concrete():
    with pytest.raises(ValueError, match=r"shrink: factor must be in \(0, 1\), got 1.0"):
        shrink(1.0)
    slope = jax.grad(lambda f: one_step(shrink(f))[0]["b"])(2.0)
    assert slope == 30


def test_renamed_arguments_are_those_of_messages_and_state():
    rule = renamed(shrink, factor="momentum")
    assert list(inspect.signature(rule).parameters) == ["momentum", "offset"]
    assert floats(rule(0.5).init(PARAMS).hyperparams) == {"momentum": 0.5, "offset": 0.0}
    assert repr(rule(0.5)) == "shrink(factor=0.5)", "as the rule itself is called"
    twin = pickle.loads(pickle.dumps(renamed(fo.trace, decay="momentum")(0.5)))
    assert twin.update is fo.sgd(0.1, momentum=0.9).update.links[0].function
    with pytest.raises(ValueError, match=r"shrink: momentum must be in \(0, 1\), got 1.0"):
        rule(1.0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_maths_sees_float32_and_its_update_has_the_dtype_of_the_gradient(dtype):
    seen = []

    @leaf_rule(slots=lambda p: {"s": p}, step_scalars=lambda t: {"t": t})
    def watch(g, slots, p, ctx, rate=0.1):
        seen.extend([g.dtype, slots.s.dtype, rate.dtype, ctx.t.dtype])
        return g, {"s": slots.s}

    g = jnp.ones(2, dtype)
    updates, state = watch().update(g, watch().init(g), g)
    assert set(seen) == {jnp.dtype("float32")}
    assert (updates.dtype, state.s.dtype) == (jnp.dtype(dtype), jnp.float32)


def test_the_maths_sees_the_parameter_where_it_needs_it():
    seen = []

    @leaf_rule(needs=("params",))
    def watch(g, slots, p, ctx):
        seen.append((p.shape, p.dtype, jnp.dtype(ctx.param_dtype)))
        return g, {}

    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    one_step(watch(), params=params)
    assert seen == [(shape, jnp.float32, jnp.bfloat16) for shape in ((2,), ())]
    with pytest.raises(ValueError, match=r"watch: update needs params. Call update\(updates, st"):
        watch().update(GRADS, watch().init(PARAMS))


def test_slots_start_as_the_parameter_and_the_hyperparameters_say():
    @leaf_rule(slots=lambda p, fill, twice: {"first": fill * p, **({"second": p} if twice else {})})
    def slotted(
        g,
        slots,
        p,
        ctx,
        fill: Annotated[float, InitOnly] = 2.0,
        rate=0.1,
        *,
        twice: Static[bool] = False,
    ):
        return g, dict(slots._asdict())

    state = slotted(3.0, twice=True).init(PARAMS)
    assert set(state._fields) == {"count", "hyperparams", "first", "second"}
    assert state.first["a"].tolist() == [3.0, 6.0]
    assert list(state.hyperparams) == ["rate"], "what only starts the slots is not kept"
    assert "second" not in slotted().init(PARAMS)


def test_slots_may_ask_for_the_dtype_of_the_parameter():
    seen = []

    @leaf_rule(slots=lambda p, param_dtype: seen.append((p.dtype, param_dtype)) or {"s": p})
    def slotted(g, slots, p, ctx):
        return g, {"s": slots.s}

    params = jnp.ones(2, jnp.bfloat16)
    slotted().update(params, slotted().init(params))
    assert seen[-1] == (jnp.dtype("float32"), jnp.dtype("bfloat16"))


def test_a_slot_that_starts_as_the_parameter_is_not_its_buffer():
    @leaf_rule(slots=lambda p: {"start": p, "again": p})
    def anchor(g, slots, p, ctx):
        return g, {"start": slots.start, "again": slots.again}

    tx, params = anchor(), jnp.ones(3)
    state = tx.init(params)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return fo.apply_updates(params, updates), state

    jax.jit(step, donate_argnums=(0, 1))(params, state, jnp.ones(3))
    assert params.is_deleted()


def test_slots_may_have_shapes_of_their_own():
    @leaf_rule(slots=lambda p: {"row": jnp.zeros(p.shape[:-1]), "left": jnp.eye(p.shape[-2])})
    def factored(g, slots, p, ctx):
        row = slots.row + jnp.mean(g**2, axis=-1)
        return slots.left @ g / row[..., None], {"row": row, "left": slots.left}

    params = {"m": jnp.ones((3, 2))}
    updates, state = some_steps(factored(), {"m": 2 * jnp.ones((3, 2))}, params, steps=2)
    assert state.row["m"].tolist() == [8.0] * 3
    assert updates["m"].tolist() == [[0.25, 0.25]] * 3


def test_a_leaf_may_do_without_a_slot():
    @leaf_rule(slots=lambda p: {"a": p if p.ndim else None, "b": None if p.ndim else p})
    def either(g, slots, p, ctx):
        kept = {"a": slots.a + g} if g.ndim else {"b": slots.b + g}
        return next(iter(kept.values())), kept

    params = {"s": jnp.array(1.0), "v": jnp.ones(2)}
    updates, state = some_steps(either(), params, params, steps=2)
    assert (updates["s"].tolist(), updates["v"].tolist()) == (3.0, [3.0, 3.0])
    assert [len(jax.tree.leaves(state[k])) for k in ("a", "b")] == [1, 1]
    assert either().update({"s": None, "v": params["v"]}, state)[0]["v"].tolist() == [4.0, 4.0]


@pytest.mark.parametrize("declared", [True, False])
def test_every_rule_with_slots_takes_state_dtype(declared):
    def typed(g, slots, p, ctx):
        return g, {"s": slots.s, "n": slots.n}

    def declaring(g, slots, p, ctx, *, state_dtype: StateDtype = None):
        return g, {"s": slots.s, "n": slots.n}

    make_slots = leaf_rule(slots=lambda p: {"s": p, "n": jnp.zeros(p.shape, jnp.int32)})
    rule = make_slots(declaring if declared else typed)
    assert inspect.signature(rule).parameters["state_dtype"].kind is inspect.Parameter.KEYWORD_ONLY
    state = rule(state_dtype="bfloat16").init(PARAMS)
    assert (state.s["a"].dtype, state.n["a"].dtype) == (jnp.bfloat16, jnp.int32)
    assert rule(state_dtype={"s": "float16"}).init(PARAMS).s["a"].dtype == jnp.float16
    assert not rule().init(PARAMS).hyperparams


def test_a_rule_whose_slots_are_integers_need_not_take_state_dtype():
    @leaf_rule(slots=lambda p: {"n": jnp.zeros(p.shape, jnp.int32)}, state_dtype=False)
    def counting(g, slots, p, ctx):
        return g, {"n": slots.n + 1}

    assert not inspect.signature(counting).parameters
    with pytest.raises(TypeError, match="counting: got an unexpected keyword argument 'state_dty"):
        counting(state_dtype="bfloat16")


def test_an_argument_may_be_the_dtype_of_one_slot():
    @leaf_rule(slots=lambda p: {"mu": p, "nu": p})
    def typed(g, slots, p, ctx, mu_dtype: Annotated[str | None, SlotDtype("mu")] = None):
        return g, {"mu": slots.mu, "nu": slots.nu}

    state = typed("bfloat16").init(PARAMS)
    assert (state.mu["a"].dtype, state.nu["a"].dtype) == (jnp.bfloat16, jnp.float32)
    assert not state.hyperparams


def test_a_static_option_reaches_the_maths_as_it_is():
    @leaf_rule()
    def moded(g, slots, p, ctx, *, mode: Static[str] = "keep"):
        return {"keep": g, "flip": -g}[mode], {}

    assert one_step(moded(mode="flip"))[0]["b"] == -30
    assert "mode" not in moded().init(PARAMS).hyperparams


def test_none_is_absent_where_it_may_be():
    @leaf_rule()
    def bounded(g, slots, p, ctx, bound: Annotated[float | None, Optional_] = None):
        return g if bound is None else jnp.minimum(g, bound), {}

    assert one_step(bounded())[0]["b"] == 30
    assert one_step(bounded(5.0))[0]["b"] == 5
    assert "bound" not in bounded().init(PARAMS).hyperparams
    assert bounded().update is not bounded(5.0).update


def test_an_optional_number_may_have_bounds():
    @leaf_rule()
    def bounded(g, slots, p, ctx, bound: Annotated[float | None, Within("[0, inf)"), Optional_]):
        return g, {}

    bounded(None)
    with pytest.raises(ValueError, match=r"bounded: bound must be in \[0, inf\), got -1"):
        bounded(-1.0)


def test_arguments_that_do_not_go_together_are_refused_by_check():
    def ordered(given):
        return "low exceeds high. Swap them." if given["low"] > given["high"] else None

    @leaf_rule(check=ordered)
    def between(g, slots, p, ctx, low, high):
        return jnp.clip(g, low, high), {}

    between(1.0, 2.0)
    with pytest.raises(ValueError, match=r"^between: low exceeds high\. Swap them\.$"):
        between(2.0, 1.0)


def test_step_scalars_are_computed_once_for_all_leaves():
    shapes = []

    def step_scalars(t, rate, half, count):
        shapes.append((t.shape, rate.shape))
        return {"k": rate * t / (2 if half else 1), "before": count.astype(t.dtype)}

    @leaf_rule(step_scalars=step_scalars)
    def scaled(g, slots, p, ctx, rate: NonNegative = 0.5, *, half: Static[bool] = False):
        return ctx.k * g + ctx.before, {}

    tx = scaled(half=True)
    tx.init(PARAMS)
    shapes.clear()
    state = tx.init(PARAMS)
    for expected in (0.25 * 30, 0.5 * 30 + 1):
        updates, state = tx.update(GRADS, state, PARAMS)
        assert updates["b"] == expected
    # Once at each step, and perhaps once to find out whether anything depends on t.
    assert set(shapes) == {((), ())}
    assert len(shapes) in (2, 3)


@pytest.mark.parametrize(("rate", "kept"), [(None, ["sum"]), (0.5, ["sum", "total"])])
def test_carried_scalars_may_depend_on_options(rate, kept):
    def step_scalars(t, sum, rate, total=None):
        assert (total is None) == (rate is None)
        return {"sum": sum + t, **({} if total is None else {"total": total + rate})}

    @leaf_rule(
        step_scalars=step_scalars,
        carry=lambda rate: {"sum": 0.0} if rate is None else {"sum": 0.0, "total": rate},
    )
    def counted(g, slots, p, ctx, rate: Annotated[float | None, Optional_] = None):
        return g * ctx.sum, {}

    tx = counted(rate)
    updates, state = one_step(tx)
    assert list(state.carry) == kept
    updates, state = tx.update(GRADS, state, PARAMS)
    assert updates["b"] == 3 * 30
    assert floats(state.carry) == dict(zip(kept, (3.0, 1.5), strict=False))


def test_scalars_are_carried_from_step_to_step_and_for_each_leaf_where_one_has_no_gradient():
    shapes = []

    def step_scalars(rate, sum):
        shapes.append(sum.shape)
        return {"sum": sum + rate}

    @leaf_rule(
        slots=lambda p: {"s": p}, step_scalars=step_scalars, carry=lambda rate: {"sum": 0.0 * rate}
    )
    def summed(g, slots, p, ctx, rate=0.5):
        return g * 0 + ctx.sum, {"s": slots.s}

    tx = summed()
    _, state = one_step(tx)
    assert floats(state.carry) == {"sum": 0.5}
    updates, state = tx.update({"a": GRADS["a"], "b": None}, state, PARAMS)
    assert shapes == [(), (2,)]
    assert updates["a"].tolist() == [1.0, 1.0]
    assert state.carry["sum"].tolist() == [1.0, 0.5], "b had one update"


def test_the_number_of_a_leafs_updates_counts_from_one():
    @leaf_rule(step_scalars=lambda t: {"t": t})
    def stepper(g, slots, p, ctx):
        return g * 0 + ctx.t, {}

    tx = stepper()
    updates, state = one_step(tx)
    assert updates["b"] == 1
    assert tx.update(GRADS, state, PARAMS)[0]["b"] == 2


def test_measure_and_combine_make_a_quantity_of_the_whole_tree():
    def measure(g, slots, p, ctx, power):
        return {"sum": jnp.sum(g**power)}

    def combine(stats, last, power):
        total = stats["sum"].sum() if stats is not None else jnp.float32(0.0)
        return {"total": total, "steps": last["steps"] + 1}

    @leaf_rule(
        tree_stats=TreeStats(measure=measure, combine=combine, metrics=("total", "steps")),
    )
    def whole(g, slots, p, ctx, power=1.0):
        return g / ctx.total, {}

    tx = whole()
    updates, state = one_step(tx)
    assert updates["b"] == 0.5
    assert floats(state.metrics) == {"total": 60.0, "steps": 1.0}
    _, state = tx.update({"a": None, "b": GRADS["b"]}, state, PARAMS)
    assert floats(state.metrics) == {"total": 30.0, "steps": 2.0}
    _, state = tx.update({"a": None, "b": None}, state, PARAMS)
    assert floats(state.metrics) == {"total": 0.0, "steps": 3.0}


def test_quantities_of_the_tree_go_on_from_step_to_step():
    @leaf_rule(
        tree_stats=TreeStats(
            start=lambda first: {"best": first},
            measure=lambda g, slots, p, ctx, first: {"top": jnp.max(jnp.abs(g))},
            combine=lambda stats, last, first: {
                "best": jnp.maximum(last["best"], stats["top"].max())
            },
        )
    )
    def by_largest(g, slots, p, ctx, first=1.0):
        return g / ctx.best, {}

    tx = by_largest(first=20.0)
    state = tx.init(PARAMS)
    assert state.scalars["best"] == 20
    updates, state = tx.update(GRADS, state, PARAMS)
    assert updates["b"] == 1
    updates, state = tx.update({"a": GRADS["a"], "b": jnp.array(6.0)}, state, PARAMS)
    np.testing.assert_allclose(updates["b"], 0.2)
    assert state.scalars["best"] == 30


def test_quantities_may_be_of_slots_parameters_and_their_own_last_values():
    """A distance estimate in the manner of Prodigy: it starts at d0, and grows."""

    def measure(g, slots, p, ctx, d0):
        return {"dot": jnp.sum(g * (slots.start - p)), "s": jnp.sum(jnp.abs(g)) * ctx.d}

    def combine(stats, last, d0):
        d = jnp.maximum(last["d"], stats["dot"].sum() / stats["s"].sum())
        return {"d": d, "growth": d / last["d"]}

    @leaf_rule(
        slots=lambda p: {"start": p},
        tree_stats=TreeStats(
            measure=measure, combine=combine, start=lambda d0: {"d": d0}, metrics=("growth",)
        ),
        needs=("params",),
    )
    def estimate(g, slots, p, ctx, d0=0.5):
        return -ctx.d * g, {"start": slots.start}

    tx = estimate(d0=0.25)
    params = {"a": jnp.array([3.0, 1.0]), "b": jnp.array(2.0)}
    state = tx.init(params)
    assert float(state.scalars["d"]) == 0.25
    grads = jax.tree.map(jnp.ones_like, params)
    updates, state = tx.update(grads, state, params)
    assert float(updates["b"]) == -0.25, "no distance yet"
    moved = jax.tree.map(lambda p: p - 2.0, params)
    updates, state = tx.update(grads, state, moved)
    # dot = 2 on each of 3 elements, s = 3 * 0.25: d = 6 / 0.75
    assert float(state.scalars["d"]) == 8.0
    assert float(state.metrics["growth"]) == 32.0
    assert float(updates["b"]) == -8.0


def test_scalars_before_the_measurements_reach_all_that_follows():
    def prepare(last, rate, **_):
        assert last["count"].dtype == jnp.int32
        return {"k": rate * (last["count"] + 1).astype(jnp.float32)}

    @leaf_rule(
        tree_stats=TreeStats(
            prepare=prepare,
            measure=lambda g, slots, p, ctx, **_: {"sum": ctx.k * jnp.sum(g)},
            combine=lambda stats, last, **_: {"sum": stats["sum"].sum() + last["k"], "two": 2.0},
            metrics=("sum",),
        )
    )
    def prepared(g, slots, p, ctx, rate=1.0, gain=1.0):
        return gain * ctx.k * ctx.two * g, {}

    tx = prepared(rate=0.5)
    state = tx.init(PARAMS)
    updates, state = tx.update(GRADS, state, PARAMS)
    assert updates["b"] == 30
    assert floats(state.metrics) == {"sum": 30.5}
    updates, state = tx.update(GRADS, state, PARAMS)
    assert updates["b"] == 60
    assert floats(state.metrics) == {"sum": 61.0}
    assert "scalars" not in state
    # A hyperparameter may differ by label if only the maths reads it, but not if `measure` does.
    by_label = fo.by_label({"x": 1.0, "y": 2.0}, {"a": "x", "b": "y"})
    tx = prepared(rate=0.5, gain=by_label)
    assert tx.update(GRADS, tx.init(PARAMS), PARAMS)[0]["b"] == 60
    with pytest.raises(
        TypeError, match="prepared: rate cannot be given by label, because the rule"
    ):
        prepared(rate=by_label)


def test_quantities_may_start_with_the_parameters():
    @leaf_rule(
        tree_stats=TreeStats(
            start=lambda params, unit: {"size": unit * sum(jnp.sum(jnp.abs(p)) for p in params)},
            combine=lambda stats, last, unit: {"size": last["size"]},
        )
    )
    def sized(g, slots, p, ctx, unit=2.0):
        return ctx.size * g, {}

    params = {"a": jnp.array([3.0, -1.0], jnp.bfloat16), "b": jnp.array(2.0)}
    state = sized().init(params)
    assert state.scalars["size"] == 12.0
    assert state.scalars["size"].dtype == jnp.float32
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert jax.tree.map(jnp.shape, sized().init(shapes)) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(("size", "times"), [(1.0, 1), (1e3, 2)])
def test_a_measurement_is_repeated_where_rescale_asks_for_it(wrap, size, times):
    @leaf_rule(
        tree_stats=TreeStats(
            measure=lambda g, slots, p, ctx: {"sum": jnp.sum(getattr(ctx, "scale", 1.0) * g)},
            rescale=lambda stats: jnp.where(jnp.sum(stats["sum"]) > 100, 0.5, 1.0),
            combine=lambda stats, last: {"sum": jnp.sum(stats["sum"]), "factor": last["scale"]},
            metrics=("sum", "factor"),
        )
    )
    def measured(g, slots, p, ctx):
        return g, {}

    tx, grads = measured(), {"a": jnp.array([size, size])}
    _, state = wrap(tx.update)(grads, tx.init(grads))
    assert floats(state.metrics) == {"sum": 2 * size / times, "factor": 1 / times}


def test_an_extra_argument_that_is_needed_reaches_the_maths():
    @leaf_rule(needs=("value",))
    def valued(g, slots, p, ctx):
        return g * ctx.value, {}

    assert one_step(valued(), value=2.0, other="ignored")[0]["b"] == 60
    assert one_step(fo.chain(fo.scale(1.0), valued()), value=jnp.float32(2.0))[0]["b"] == 60
    with pytest.raises(
        ValueError, match=r"valued: update needs value. Call update\(.*value=\.\.\."
    ):
        one_step(valued())


def test_a_tree_that_is_needed_reaches_the_maths_leaf_by_leaf():
    @leaf_rule(needs_trees=("curvature",))
    def newton(g, slots, p, ctx):
        return g / ctx.curvature, {}

    curvature = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
    updates, _ = some_steps(newton(), GRADS, PARAMS, curvature=curvature, value=1.0)
    assert updates["a"].tolist() == [10.0, 10.0]
    assert updates["b"] == 10
    with pytest.raises(ValueError, match="newton: update needs curvature"):
        one_step(newton())
    with pytest.raises(ValueError, match=r"newton: curvature has no leaf at 'b'"):
        one_step(newton(), curvature={"a": curvature["a"]})


def test_an_update_that_keeps_the_precision_of_the_computation_leaves_in_float32():
    @leaf_rule(keep_compute_dtype=True, needs=("params",))
    def towards_one(g, slots, p, ctx):
        return 1 - p, {}

    params = jnp.array([0.1, 3.0], jnp.bfloat16)
    updates, _ = towards_one().update(params, towards_one().init(params), params)
    assert updates.dtype == jnp.float32
    assert fo.apply_updates(params, updates).tolist() == [1.0, 1.0]


def test_such_a_rule_decides_the_narrow_parameter_behind_other_links():
    wanted = jnp.array([1.0078125, -3.0], jnp.bfloat16)

    @leaf_rule(needs=("params",), keep_compute_dtype=True)
    def go_to(g, slots, p, ctx):
        return wanted.astype(p.dtype) - p, {}

    params = jnp.array([1.0, 300.0], jnp.bfloat16)
    updates, _ = some_steps(fo.chain(fo.scale(2.0), go_to()), jnp.ones(2, jnp.bfloat16), params)
    assert updates.dtype == jnp.float32
    np.testing.assert_array_equal(fo.apply_updates(params, updates), wanted)


@pytest.mark.parametrize(("split", "expected"), [(True, 3 + 4j), (False, 5.0)])
def test_a_complex_leaf_is_two_real_ones_unless_the_rule_says_otherwise(split, expected):
    @leaf_rule(split_complex=split)
    def magnitude(g, slots, p, ctx, factor=1.0):
        return (factor * jnp.abs(g)).astype(g.dtype), {}

    g = jnp.array(-3 + 4j)
    assert magnitude().update(g, magnitude().init(g))[0] == expected


def test_a_rule_of_whole_leaves_sees_complex_numbers():
    @leaf_rule(split_complex=False)
    def unit(g, slots, p, ctx, length=1.0):
        return g * (length / jnp.abs(g)).astype(g.dtype), {}

    updates, _ = some_steps(unit(), jnp.array(3 + 4j), jnp.array(0j))
    np.testing.assert_allclose(updates, 0.6 + 0.8j, rtol=1e-6)


def test_the_maths_knows_the_number_of_its_leaf():
    @leaf_rule()
    def numbered(g, slots, p, ctx):
        return g * 0 + ctx.leaf.astype(g.dtype), {}

    updates, _ = one_step(numbered())
    assert (updates["a"].tolist(), float(updates["b"])) == ([0.0, 0.0], 1.0)
    updates, _ = numbered().update({"a": None, "b": GRADS["b"]}, numbered().init(PARAMS), PARAMS)
    assert updates["b"] == 1, "as if the other had a gradient"


def test_a_random_key_is_another_at_each_update_and_leaf():
    @leaf_rule()
    def noise(g, slots, p, ctx, key: Annotated[int, RandomKey]):
        return jax.random.normal(key, g.shape) + 100 * ctx.count.astype(g.dtype), {}

    grads = {"a": jnp.ones(4), "b": jnp.ones(4)}
    tx = noise(0)
    first, state = one_step(tx, grads, grads)
    second, _ = tx.update(grads, state)
    drawn = [first["a"], first["b"], second["a"] - 100, second["b"] - 100]
    assert len({round(float(x[0]), 4) for x in drawn}) == 4
    np.testing.assert_array_equal(first["a"], one_step(noise(0), grads, grads)[0]["a"])
    assert jnp.abs(jnp.stack(drawn)).max() < 10, "the second update has the count 1"


def test_random_numbers_of_two_leaves_differ_with_a_key_that_is_needed():
    @leaf_rule(needs=("key",))
    def noise(g, slots, p, ctx):
        return jax.random.normal(jax.random.fold_in(ctx.key, ctx.leaf), g.shape), {}

    grads = {"a": jnp.ones(4), "b": jnp.ones(4)}
    first, _ = some_steps(noise(), grads, grads, key=jax.random.key(0))
    again, _ = some_steps(noise(), grads, grads, key=jax.random.key(0))
    assert not np.allclose(first["a"], first["b"])
    np.testing.assert_array_equal(first["a"], again["a"])


def test_a_rule_in_a_function_works_under_jit_and_vmap():
    tx = shrink(0.5)
    batched = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), GRADS)
    state = tx.init(PARAMS)
    updates = jax.jit(jax.vmap(lambda g: tx.update(g, state)[0]))(batched)
    np.testing.assert_allclose(updates["b"], [15.0, 30.0])


def test_traced_numbers_pass_the_check_of_arguments():
    tx_of = jax.jit(lambda rate, decay: one_step(fo.rmsprop(rate, decay=decay))[0]["b"])
    assert tx_of(0.1, 0.5) < 0


def test_a_renamed_rule_prepares_its_statistics_by_the_names_of_its_own():
    @leaf_rule(
        tree_stats=TreeStats(
            prepare=lambda last, rate: {"half": rate / 2},
            combine=lambda stats, last, rate: {"whole": 2 * last["half"]},
        )
    )
    def halved(g, slots, p, ctx, rate=1.0):
        return ctx.whole * ctx.half * g, {}

    updates, _ = one_step(renamed(halved, rate="learning_rate")(learning_rate=4.0))
    np.testing.assert_allclose(updates["b"], 4.0 * 2.0 * 30.0)
