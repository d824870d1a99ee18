"""What the author of a rule can declare, on rules that are none of the package's."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

PARAMS = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
GRADS = {"a": jnp.array([10.0, 20.0]), "b": jnp.array(30.0)}


def one_step(tx, grads=GRADS, params=PARAMS, **extra):
    return tx.update(grads, tx.init(params), params, **extra)


@fo.leaf_rule(bounds={"factor": "(0, 1)"})
def shrink(g, slots, p, now, factor, *, offset=0.0):
    """Shrinks."""
    return factor * g + offset, {}


def test_the_factory_takes_the_hyperparameters_as_the_maths_declares_them():
    parameters = inspect.signature(shrink).parameters
    assert list(parameters) == ["factor", "offset"]
    assert parameters["factor"].default is inspect.Parameter.empty
    assert parameters["offset"].kind is inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(shrink).return_annotation is fo.GradientTransformation
    assert (shrink.__name__, shrink.__doc__) == ("shrink", "Shrinks.")


def test_a_hyperparameter_is_kept_in_the_state_and_used():
    updates, state = one_step(shrink(0.5, offset=1.0))
    assert updates["a"].tolist() == [6.0, 11.0]
    assert {k: float(v) for k, v in state.hyperparams.items()} == {"factor": 0.5, "offset": 1.0}


def test_a_schedule_may_stand_for_any_hyperparameter():
    tx = shrink(fo.linear_schedule(0.5, 0.25, 1), offset=lambda step: step)
    _, state = one_step(tx)
    updates, _ = tx.update(GRADS, state, PARAMS)
    assert updates["a"].tolist() == [0.25 * 10 + 1, 0.25 * 20 + 1]


def test_the_bounds_of_a_rule_are_checked_where_a_value_is_concrete():
    with pytest.raises(ValueError, match=r"shrink: factor must be in \(0, 1\), got 1.0"):
        shrink(1.0)
    slope = jax.grad(lambda f: one_step(shrink(f))[0]["b"])(2.0)
    assert slope == 30


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_maths_sees_float32_and_its_update_has_the_dtype_of_the_gradient(dtype):
    seen = []

    @fo.leaf_rule(slots=lambda p: {"s": p}, clock=lambda t, last, rate: ({"t": t}, {}))
    def watch(g, slots, p, now, rate=0.1):
        seen.extend([g.dtype, slots.s.dtype, rate.dtype, now.t.dtype])
        return g, {"s": slots.s}

    g = jnp.ones(2, dtype)
    updates, state = watch().update(g, watch().init(g), g)
    assert set(seen) == {jnp.dtype("float32")}
    assert (updates.dtype, state.s.dtype) == (jnp.dtype(dtype), jnp.float32)


def test_the_maths_sees_the_parameter_only_where_it_requires_it():
    seen = []

    def maths(g, slots, p, now):
        seen.append(p)
        return g, {}

    one_step(fo.leaf_rule()(maths)())
    assert seen == [None, None]


def test_slots_start_as_the_parameter_and_the_hyperparameters_say():
    @fo.leaf_rule(
        slots=lambda p, fill, twice: {"first": fill * p, **({"second": p} if twice else {})},
        initial=("fill",),
        static=("twice",),
    )
    def slotted(g, slots, p, now, fill=2.0, rate=0.1, *, twice=False):
        return g, dict(slots._asdict())

    state = slotted(3.0, twice=True).init(PARAMS)
    assert set(state._fields) == {"count", "steps", "hyperparams", "first", "second"}
    assert state.first["a"].tolist() == [3.0, 6.0]
    assert list(state.hyperparams) == ["rate"], "what only starts the slots is not kept"
    assert "second" not in slotted().init(PARAMS)


def test_a_rule_without_slots_keeps_no_clock_of_its_leaves():
    assert shrink(0.5).init(PARAMS)._fields == ("count", "hyperparams")


def test_a_static_option_reaches_the_maths_as_it_is():
    @fo.leaf_rule(static=("mode",))
    def moded(g, slots, p, now, *, mode="keep"):
        return {"keep": g, "flip": -g}[mode], {}

    assert one_step(moded(mode="flip"))[0]["b"] == -30
    assert "mode" not in moded().init(PARAMS).hyperparams


def test_none_is_absent_where_it_may_be():
    @fo.leaf_rule(optional=("bound",))
    def bounded(g, slots, p, now, bound=None):
        return g if bound is None else jnp.minimum(g, bound), {}

    assert one_step(bounded())[0]["b"] == 30
    assert one_step(bounded(5.0))[0]["b"] == 5
    assert "bound" not in bounded().init(PARAMS).hyperparams
    assert bounded().update is not bounded(5.0).update


def test_arguments_that_do_not_go_together_are_refused_by_check():
    def ordered(given):
        return "low exceeds high. Swap them." if given["low"] > given["high"] else None

    @fo.leaf_rule(check=ordered)
    def between(g, slots, p, now, low, high):
        return jnp.clip(g, low, high), {}

    between(1.0, 2.0)
    with pytest.raises(ValueError, match=r"^between: low exceeds high\. Swap them\.$"):
        between(2.0, 1.0)


def test_a_clock_computes_for_all_leaves_at_once_and_remembers():
    shapes = []

    def clock(t, last, rate):
        shapes.append((t.shape, last["sum"].shape))
        total = last["sum"] + rate
        return {"total": total}, {"sum": total}

    @fo.leaf_rule(slots=lambda p: {"s": p}, clock=clock, memory=("sum",))
    def clocked(g, slots, p, now, rate=0.5):
        return g * 0 + now.total, {"s": slots.s}

    tx = clocked()
    _, state = one_step(tx)
    updates, state = tx.update({"a": GRADS["a"], "b": None}, state, PARAMS)
    assert shapes == [((2,), (2,))] * 2
    assert updates["a"].tolist() == [1.0, 1.0]
    assert state.memory["sum"].tolist() == [1.0, 0.5], "b has rested"


@pytest.mark.parametrize(("rate", "kept"), [(None, ["sum"]), (0.5, ["sum", "total"])])
def test_what_a_clock_remembers_may_depend_on_options(rate, kept):
    def clock(t, last, rate):
        return {}, {"sum": t} if rate is None else {"sum": t, "total": last["total"] + rate}

    @fo.leaf_rule(
        slots=lambda p: {"s": p},
        clock=clock,
        memory=lambda rate: ("sum",) if rate is None else ("sum", "total"),
        optional=("rate",),
    )
    def clocked(g, slots, p, now, rate=None):
        return g, {"s": slots.s}

    _, state = one_step(clocked(rate))
    assert list(state.memory) == kept


def test_measure_and_combine_make_a_quantity_of_the_whole_tree():
    def measure(g, slots, p, now, power):
        return {"sum": jnp.sum(g**power)}

    def combine(stats, last, power):
        total = stats["sum"].sum() if stats is not None else jnp.float32(0.0)
        return {"total": total, "steps": last["steps"] + 1}

    @fo.leaf_rule(measure=measure, combine=combine, metrics=("total", "steps"))
    def whole(g, slots, p, now, power=1.0):
        return g / now.total, {}

    tx = whole()
    updates, state = one_step(tx)
    assert updates["b"] == 0.5
    assert {k: float(v) for k, v in state.metrics.items()} == {"total": 60.0, "steps": 1.0}
    _, state = tx.update({"a": None, "b": GRADS["b"]}, state, PARAMS)
    assert {k: float(v) for k, v in state.metrics.items()} == {"total": 30.0, "steps": 2.0}


def test_an_extra_argument_that_is_required_reaches_the_maths():
    @fo.leaf_rule(requires=("value",))
    def valued(g, slots, p, now):
        return g * now.value, {}

    assert one_step(valued(), value=2.0, other="ignored")[0]["b"] == 60
    assert one_step(fo.chain(fo.scale(1.0), valued()), value=jnp.float32(2.0))[0]["b"] == 60
    with pytest.raises(
        ValueError, match=r"valued: update needs value. Call update\(.*value=\.\.\."
    ):
        one_step(valued())


def test_a_scalar_that_the_rule_did_not_declare_is_an_error_that_lists_the_declared():
    @fo.leaf_rule(slots=lambda p: {"s": p}, clock=lambda t, last: ({"t": t}, {}))
    def wrong(g, slots, p, now):
        return now.tt * g, {"s": slots.s}

    with pytest.raises(AttributeError, match=r"the rule declares no 'tt'; it has \['leaf', 't'\]"):
        one_step(wrong())


def test_own_steps_count_from_one():
    @fo.leaf_rule(slots=lambda p: {"s": p}, clock=lambda t, last: ({"t": t}, {}))
    def stepper(g, slots, p, now):
        return g * 0 + now.t, {"s": slots.s}

    tx = stepper()
    updates, state = one_step(tx)
    assert updates["b"] == 1
    assert tx.update(GRADS, state, PARAMS)[0]["b"] == 2


def test_every_rule_with_slots_takes_state_dtype():
    @fo.leaf_rule(slots=lambda p: {"s": p, "n": jnp.zeros(p.shape, jnp.int32)})
    def typed(g, slots, p, now):
        return g, {"s": slots.s, "n": slots.n}

    state = typed(state_dtype="bfloat16").init(PARAMS)
    assert state.s["a"].dtype == jnp.bfloat16


def test_a_rule_in_a_function_works_under_jit_and_vmap():
    tx = shrink(0.5)
    batched = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), GRADS)
    state = tx.init(PARAMS)
    updates = jax.jit(jax.vmap(lambda g: tx.update(g, state)[0]))(batched)
    np.testing.assert_allclose(updates["b"], [15.0, 30.0])


def test_scalars_of_the_tree_go_on_from_step_to_step():
    @fo.leaf_rule(
        scalars=lambda first: {"best": first},
        measure=lambda g, slots, p, now, first: {"top": jnp.max(jnp.abs(g))},
        combine=lambda stats, last, first: {"best": jnp.maximum(last["best"], stats["top"].max())},
    )
    def by_largest(g, slots, p, now, first=1.0):
        return g / now.best, {}

    tx = by_largest(first=20.0)
    state = tx.init(PARAMS)
    assert state.scalars["best"] == 20
    updates, state = tx.update(GRADS, state, PARAMS)
    assert updates["b"] == 1
    updates, state = tx.update({"a": GRADS["a"], "b": jnp.array(6.0)}, state, PARAMS)
    np.testing.assert_allclose(updates["b"], 0.2)
    assert state.scalars["best"] == 30


def test_a_tree_that_is_required_reaches_the_maths_leaf_by_leaf():
    @fo.leaf_rule(requires_trees=("curvature",))
    def newton(g, slots, p, now):
        return g / now.curvature, {}

    curvature = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
    updates, _ = one_step(newton(), curvature=curvature)
    assert updates["a"].tolist() == [10.0, 10.0]
    assert updates["b"] == 10
    with pytest.raises(ValueError, match="newton: update needs curvature"):
        one_step(newton())
    with pytest.raises(ValueError, match=r"newton: curvature has no leaf at 'b'"):
        one_step(newton(), curvature={"a": curvature["a"]})


def test_an_exact_update_leaves_in_float32():
    @fo.leaf_rule(exact=True, requires=("params",))
    def towards_one(g, slots, p, now):
        return 1 - p, {}

    params = jnp.array([0.1, 3.0], jnp.bfloat16)
    updates, _ = towards_one().update(params, towards_one().init(params), params)
    assert updates.dtype == jnp.float32
    assert fo.apply_updates(params, updates).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("parts", "expected"), [(True, 3 + 4j), (False, 5.0)])
def test_a_complex_leaf_is_two_real_ones_unless_the_rule_says_otherwise(parts, expected):
    @fo.leaf_rule(parts=parts)
    def magnitude(g, slots, p, now, factor=1.0):
        return (factor * jnp.abs(g)).astype(g.dtype), {}

    g = jnp.array(-3 + 4j)
    assert magnitude().update(g, magnitude().init(g))[0] == expected


def test_the_maths_knows_the_number_of_its_leaf():
    @fo.leaf_rule()
    def numbered(g, slots, p, now):
        return g * 0 + now.leaf.astype(g.dtype), {}

    updates, _ = one_step(numbered())
    assert (updates["a"].tolist(), float(updates["b"])) == ([0.0, 0.0], 1.0)


@pytest.mark.parametrize("declaration", ["static", "optional", "initial", "bounds"])
def test_a_declaration_of_what_is_no_argument_is_an_error(declaration):
    value = {"typo": "[0, 1]"} if declaration == "bounds" else ("typo",)
    with pytest.raises(TypeError, match="leaf_rule: maths declares 'typo', which is no argument"):

        @fo.leaf_rule(**{declaration: value})
        def maths(g, slots, p, now, rate=0.1):
            return rate * g, {}


def test_a_slot_cannot_have_a_name_that_the_engine_keeps():
    @fo.leaf_rule(slots=lambda p: {"count": p})
    def counted(g, slots, p, now):
        return g, {"count": slots.count}

    with pytest.raises(ValueError, match="counted: 'count' cannot be the name of a slot"):
        counted().init(PARAMS)


def test_traced_numbers_pass_the_check_of_arguments():
    tx_of = jax.jit(lambda rate, decay: one_step(fo.rmsprop(rate, decay=decay))[0]["b"])
    assert tx_of(0.1, 0.5) < 0
