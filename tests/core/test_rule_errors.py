"""Mistakes of a rule's author are errors that name the rule and say what to write instead."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim.rules import (
    InitOnly,
    Optional_,
    RandomKey,
    SlotDtype,
    Static,
    TreeStats,
    Within,
    leaf_rule,
    tree_rule,
)

PARAMS = {"w": jnp.ones(3)}
AT_THE_LEAF = "{}: at the leaf 'w', whose update has shape (3,)."


def keep_m(p):
    return {"m": jnp.zeros_like(p)}


def maths_of(rule, **declared):
    """Makes a rule with these declarations, whose maths is called `rule` and changes nothing."""

    def maths(g, slots, p, ctx, rate=0.1):
        return g, dict(slots._asdict())

    maths.__name__ = rule
    return leaf_rule(**declared)(maths)


def one_step(rule, *args, jit=False, **extra):
    tx = rule(*args)
    update = jax.jit(tx.update) if jit else tx.update
    return update(PARAMS, tx.init(PARAMS), PARAMS, **extra)


# Arguments and results of the maths.


@leaf_rule(slots=keep_m)
def returns_only_u(g, slots, p, ctx, b=0.9):
    return g


@leaf_rule(slots=keep_m)
def returns_a_list(g, slots, p, ctx):
    return g, [slots.m]


@leaf_rule(slots=keep_m)
def returns_three(g, slots, p, ctx):
    return g, {"m": slots.m}, {}


@leaf_rule(slots=keep_m)
def returns_another_slot(g, slots, p, ctx, b=0.9):
    return g, {"n": slots.m}


@leaf_rule(slots=keep_m)
def returns_no_slot(g, slots, p, ctx):
    return g, {}


@leaf_rule()
def returns_a_slot_too_many(g, slots, p, ctx):
    return g, {"m": g}


@leaf_rule(slots=keep_m)
def reads_another_slot(g, slots, p, ctx):
    return g, {"m": slots.n}


@leaf_rule(slots=keep_m)
def reads_p(g, slots, p, ctx, b=0.9):
    return g + p, {"m": slots.m}


@leaf_rule()
def reads_ctx(g, slots, p, ctx):
    return ctx.tt * g, {}


@leaf_rule()
def shortens(g, slots, p, ctx):
    return g[:2], {}


@leaf_rule(slots=keep_m)
def shortens_a_slot(g, slots, p, ctx):
    return g, {"m": slots.m[:2]}


@leaf_rule(slots=keep_m)
def returns_a_number(g, slots, p, ctx):
    return g, {"m": 0.0}


@leaf_rule(
    tree_stats=TreeStats(
        measure=lambda g, slots, p, ctx: {"n": jnp.sum(g)},
        combine=lambda stats, last: {"a": jnp.sum(stats["n"])},
        metrics=("top",),
    )
)
def lacks_a_metric(g, slots, p, ctx):
    return g, {}


@tree_rule(slots=keep_m)
def tree_lacks_a_slot(g, slots, p, ctx):
    return g, {}, {}


@tree_rule(slots=keep_m, scalars=lambda: {"s": 0.0})
def tree_lacks_a_scalar(g, slots, p, ctx):
    return g, {"m": slots.m}, {}


@tree_rule(slots=keep_m)
def tree_lacks_a_leaf(g, slots, p, ctx):
    return [], {"m": slots.m}, {}


@leaf_rule(slots=lambda p: {"m": 0.0})
def starts_as_number(g, slots, p, ctx):
    return g, {"m": slots.m}


@leaf_rule(carry=lambda: {"s": jnp.zeros(3)}, step_scalars=lambda s: {"s": s})
def carries_an_array(g, slots, p, ctx):
    return g, {}


WRONG_MATHS = [
    (returns_only_u, TypeError, r"must return \(update, slots\), with slots a dict, got"),
    (returns_a_list, TypeError, r"must return \(update, slots\), with slots a dict, got"),
    (returns_three, TypeError, r"must return \(update, slots\), with slots a dict, got"),
    (returns_another_slot, ValueError, r"returned the slots \['n'\], and the rule keeps \['m'\]"),
    (returns_no_slot, ValueError, r"returned the slots \[\], and the rule keeps \['m'\]"),
    (returns_a_slot_too_many, ValueError, r"returned the slots \['m'\], and the rule keeps \[\]"),
    (
        reads_p,
        (TypeError, ValueError),
        r'reads the parameter p, which .* Declare needs=\("params",\)',
    ),
    (reads_ctx, AttributeError, r"reads ctx\.tt, which the rule does not declare; it has "),
    (shortens, ValueError, r"returned the update of shape \(2,\) at 'w', where .* be \(3,\)"),
    (shortens_a_slot, ValueError, r"the slot 'm' of shape \(2,\) at 'w', where it .* be \(3,\)"),
    (returns_a_number, TypeError, "returned 0.0 for the slot 'm', of type float"),
    (lacks_a_metric, ValueError, r"combine of tree_stats returned \['a'\], and not 'top', which"),
    (tree_lacks_a_slot, ValueError, r"returned the slots \[\], and not 'm', which the rule keeps"),
    (tree_lacks_a_scalar, ValueError, r"returned the scalars \[\], and not 's', which the rule"),
    (tree_lacks_a_leaf, ValueError, "returned 0 arrays for the updates, where 1 leaves have"),
    (starts_as_number, TypeError, "slots makes 0.0 for 'm', of type float, which must be an array"),
    (carries_an_array, ValueError, r"carry starts 's' with shape \(3,\), and it must be a scalar"),
]


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(
    ("rule", "error", "text"), WRONG_MATHS, ids=[rule.__name__ for rule, *_ in WRONG_MATHS]
)
def test_maths_that_returns_or_reads_undeclared_arrays(rule, error, text, jit):
    with pytest.raises(error, match=f"^{rule.__name__}: .*{text}"):
        one_step(rule, jit=jit)


def test_a_slot_that_the_rule_does_not_keep_lists_those_that_it_keeps():
    with pytest.raises(AttributeError, match="no field 'n'; it has m") as caught:
        one_step(reads_another_slot)
    assert caught.value.__notes__[-1] == AT_THE_LEAF.format("reads_another_slot")


USES = {
    "p + g": lambda p, g: p + g,
    "g - p": lambda p, g: g - p,
    "2 * p": lambda p, g: 2.0 * p,
    "p / 2": lambda p, g: p / 2.0,
    "p % 2": lambda p, g: p % 2.0,
    "p // 2": lambda p, g: p // 2.0,
    "p ** 2": lambda p, g: p**2,
    "g @ p": lambda p, g: g @ p,
    "-p": lambda p, g: -p,
    "p > 0": lambda p, g: p > 0,
    "g < p": lambda p, g: g < p,
    "p == g": lambda p, g: p == g,
    "p[0]": lambda p, g: p[0],
    "p.shape": lambda p, g: p.shape,
    "p.astype": lambda p, g: p.astype(g.dtype),
    "abs": lambda p, g: abs(p),
    "len": lambda p, g: len(p),
    "list": lambda p, g: list(p),
    "bool": lambda p, g: 1 if p else 2,
    "float": lambda p, g: float(p),
    "jnp.sum": lambda p, g: jnp.sum(p),
    "jnp.where": lambda p, g: jnp.where(g > 0, g, p),
    "jnp.zeros_like": lambda p, g: jnp.zeros_like(p),
    "lax.add": lambda p, g: jax.lax.add(g, p),
    "jit": lambda p, g: jax.jit(jnp.sin)(p),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_of_an_undeclared_parameter_is_an_error(use):
    @leaf_rule()
    def reads(g, slots, p, ctx):
        use(p, g)
        return g, {}

    text = r'^reads: the maths reads the parameter p, .* Declare needs=\("params",\)'
    with pytest.raises((TypeError, ValueError), match=text):
        one_step(reads)


def test_the_undeclared_parameter_may_be_deleted_and_passed_to_functions():
    def handed_on(p, g):
        return g

    @leaf_rule()
    def ignores(g, slots, p, ctx):
        u = handed_on(p, g)
        del p
        return u, {}

    assert one_step(ignores)[0]["w"].tolist() == [1.0] * 3


def test_an_error_of_the_maths_stays_and_says_at_which_leaf():
    @leaf_rule(slots=keep_m)
    def broken(g, slots, p, ctx):
        raise RuntimeError("the author's own")

    with pytest.raises(RuntimeError, match="the author's own") as caught:
        one_step(broken)
    assert caught.value.args == ("the author's own",)
    assert caught.value.__notes__[-1] == AT_THE_LEAF.format("broken")


@pytest.mark.parametrize("decorate", [leaf_rule(), tree_rule()], ids=["leaf_rule", "tree_rule"])
def test_maths_with_too_few_arguments(decorate, request):
    def plain(g, p):
        return g

    name = request.node.callspec.id
    text = rf"^{name}: plain must take \(g, slots, p, ctx, \.\.\.\), got 2 arguments"
    with pytest.raises(TypeError, match=text):
        decorate(plain)


# Declarations in annotations.


class Unknown:
    def __repr__(self):
        return "Unknown()"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Annotated[float, Unknown()], r"the annotation of k holds Unknown\(\), which is not a"),
        (Annotated[float, "[0, 1)"], r"the annotation of k holds '\[0, 1\)', which is not a decl"),
        (
            Annotated[float, Within],
            r"the annotation of k holds <class .*>, which is not a .* Use Within\(",
        ),
        (Annotated[Any, InitOnly, RandomKey], "the annotation of k declares two kinds. Choose one"),
        (Annotated[Static[bool], SlotDtype("m")], "the annotation of k declares two kinds"),
    ],
    ids=["unknown", "text", "class", "two kinds", "nested"],
)
def test_an_annotation_with_an_unknown_declaration(annotation, text):
    def annotated(g, slots, p, ctx, k=0.1):
        return g, {}

    annotated.__annotations__["k"] = annotation
    with pytest.raises(TypeError, match=f"^annotated: {text}"):
        leaf_rule()(annotated)


def test_an_interval_that_cannot_be_read():
    with pytest.raises(ValueError, match=r"0, 1"):
        Within("0, 1")


def test_a_slot_dtype_of_a_slot_that_is_not_kept():
    @leaf_rule(slots=keep_m)
    def typed(g, slots, p, ctx, mu_dtype: Annotated[str | None, SlotDtype("mu")] = None):
        return g, {"m": slots.m}

    with pytest.raises(ValueError, match=r"^typed: .*'mu', which this rule does not keep.* are: m"):
        typed("bfloat16").init(PARAMS)


@pytest.mark.parametrize("option", ["static", "bounds", "clock", "requires", "exact"])
def test_an_option_that_the_decorator_does_not_have(option):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
        leaf_rule(**{option: ()})


# Arguments and results of `slots`, `step_scalars`, `carry` and the functions of `tree_stats`.


@pytest.mark.parametrize("made", [None, [jnp.ones(3)], jnp.ones(3), (1, 2)], ids=repr)
def test_slots_that_are_not_a_dict(made):
    rule = maths_of("slotted", slots=lambda p: made)
    with pytest.raises(TypeError, match=r"^slotted: slots must return a dict, got \w+"):
        rule().init(PARAMS)


@pytest.mark.parametrize("name", ["count", "leaf_counts", "carry", "hyperparams", "scalars"])
def test_a_slot_with_the_name_of_a_field_of_the_engine(name):
    rule = maths_of("counted", slots=lambda p: {name: p})
    with pytest.raises(ValueError, match=f"^counted: '{name}' cannot be the name of a slot"):
        rule().init(PARAMS)


def test_slots_that_take_an_unknown_argument():
    rule = maths_of("slotted", slots=lambda p, decay: {"m": p})
    with pytest.raises(TypeError, match=r"^slotted: slots takes 'decay', which is not an argum"):
        rule().init(PARAMS)


def test_carry_without_step_scalars():
    text = "^leaf_rule: counted declares carry without step_scalars, which returns the next"
    with pytest.raises(TypeError, match=text):
        maths_of("counted", carry=lambda: {"sum": 0.0})


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_step_scalars_that_leave_out_a_carried_scalar(jit):
    rule = maths_of("counted", step_scalars=lambda sum: {"total": sum}, carry=lambda: {"sum": 0.0})
    text = "^counted: step_scalars does not return 'sum', which carry declares. Return its next"
    with pytest.raises(ValueError, match=text):
        one_step(rule, jit=jit)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_step_scalars_that_return_a_matrix(shape, jit):
    rule = maths_of("wide", step_scalars=lambda rate: {"k": jnp.full(shape, 1.0)})
    with pytest.raises(ValueError, match=r"^wide: step_scalars returned 'k' of shape \(\d, \d\)"):
        one_step(rule, jit=jit)


def test_step_scalars_that_return_a_vector_of_another_length():
    rule = maths_of("wide", step_scalars=lambda rate: {"k": jnp.ones(7)})
    with pytest.raises(ValueError, match=r"^wide: step_scalars returned 'k' of shape \(7,\)"):
        one_step(rule)


@pytest.mark.parametrize("made", [None, jnp.ones(()), [1.0]], ids=repr)
def test_step_scalars_that_are_not_a_dict(made):
    rule = maths_of("scaled", step_scalars=lambda rate: made)
    with pytest.raises(TypeError, match=r"^scaled: step_scalars must return a dict"):
        one_step(rule)


@pytest.mark.parametrize("made", [None, 0.0, [("sum", 0.0)]], ids=repr)
def test_a_carry_that_is_not_a_dict(made):
    rule = maths_of("scaled", step_scalars=lambda rate: {"k": rate}, carry=lambda: made)
    with pytest.raises(TypeError, match=r"^scaled: carry must return a dict"):
        rule().init(PARAMS)


@pytest.mark.parametrize(
    ("declared", "what"),
    [
        ({"step_scalars": lambda decay: {"k": decay}}, "step_scalars"),
        ({"step_scalars": lambda rate: {"k": rate}, "carry": lambda decay: {"k": decay}}, "carry"),
        ({"tree_stats": TreeStats(start=lambda decay: {"d": decay})}, "start of tree_stats"),
    ],
    ids=["step_scalars", "carry", "start"],
)
def test_a_function_that_asks_for_an_unknown_argument_lists_the_known(declared, what):
    rule = maths_of("asking", **declared)
    text = f"^asking: {what} takes 'decay', which is not an argument of the rule.*rate"
    with pytest.raises(TypeError, match=text):
        one_step(rule)


def test_a_branch_of_step_scalars_on_a_value_is_an_error_of_jax():
    def step_scalars(rate):
        return {"k": rate if rate > 1 else -rate}

    with pytest.raises(jax.errors.TracerBoolConversionError):
        one_step(maths_of("branching", step_scalars=step_scalars), jit=True)


def test_a_measure_that_does_not_return_what_combine_reads():
    stats = TreeStats(
        measure=lambda g, slots, p, ctx, rate: {"sum": jnp.sum(g)},
        combine=lambda stats, last, rate: {"total": stats["sum"].sum()},
        metrics=("total", "more"),
    )
    with pytest.raises((KeyError, ValueError, TypeError), match=r"more"):
        one_step(maths_of("measured", tree_stats=stats))


@pytest.mark.parametrize("name", ["leaf", "rule", "param_dtype"])
def test_a_scalar_with_a_name_of_the_engine(name):
    rule = maths_of("named", step_scalars=lambda rate: {name: rate})
    with pytest.raises((TypeError, ValueError), match=f"^named: .*'{name}'"):
        one_step(rule)


def test_a_missing_argument_that_the_rule_needs():
    rule = maths_of("needy", needs=("params", "value"), needs_trees=("hessian",))
    tx = rule()
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match=r"^needy: update needs params\. Call update\(updates, st"):
        tx.update(PARAMS, state)
    with pytest.raises(ValueError, match=r"^needy: update needs value\. Call .*params, value=\.\."):
        tx.update(PARAMS, state, PARAMS)
    with pytest.raises(ValueError, match=r"^needy: update needs hessian\. Call .*hessian=\.\.\."):
        tx.update(PARAMS, state, PARAMS, value=1.0)


# Rules of the whole tree.


def test_a_rule_of_the_whole_tree_that_returns_no_scalars():
    @tree_rule(slots=keep_m)
    def whole(g, slots, p, ctx):
        return g, {"m": slots.m}

    with pytest.raises(TypeError, match=r"^whole: the maths must return \(updates, slots, scalars"):
        one_step(whole)


def test_an_optional_number_that_is_required_is_read():
    @leaf_rule()
    def bounded(g, slots, p, ctx, bound: Annotated[float | None, Optional_]):
        return g, {}

    with pytest.raises(TypeError, match="bounded: missing a required argument: 'bound'"):
        bounded()
    assert fo.get_hyperparams(bounded(None).init(PARAMS)) == {}


def test_a_declaration_without_annotated_is_an_error():
    with pytest.raises(TypeError, match=r"scaled: the annotation of rate is .* alone"):

        @fo.leaf_rule()
        def scaled(g, slots, p, ctx, rate: Within("[0, 1)") = 0.5):
            return rate * g, {}


@pytest.mark.parametrize(
    "stats", [{"measure": lambda g, slots, p, ctx: {}}, {"metrics": ("size",)}], ids=list
)
def test_tree_stats_without_combine_are_an_error(stats):
    with pytest.raises(TypeError, match="scaled declares tree_stats without combine"):

        @fo.leaf_rule(tree_stats=TreeStats(**stats))
        def scaled(g, slots, p, ctx):
            return g, {}


@pytest.mark.parametrize("name", ["t", "count"])
def test_an_argument_that_a_number_of_the_step_would_hide_is_an_error(name):
    scope = {"fo": fo}
    text = f"def scaled(g, slots, p, ctx, {name}=1.0):\n    return ctx.k * g, {{}}"
    exec(text, scope)
    scalars = {"t": lambda t: {"k": t}, "count": lambda count: {"k": count}}[name]
    factory = fo.leaf_rule(step_scalars=scalars)(scope["scaled"])
    with pytest.raises(TypeError, match=f"scaled: step_scalars takes '{name}'"):
        factory().init(jnp.ones(2))


@pytest.mark.parametrize("name", ["t", "count", "rate"])
def test_a_carried_scalar_that_would_hide_another_is_an_error(name):
    @fo.leaf_rule(carry=lambda: {name: 0.0}, step_scalars=lambda rate: {"k": rate, name: rate})
    def scaled(g, slots, p, ctx, rate=0.5):
        return ctx.k * g, {}

    with pytest.raises(TypeError, match=f"scaled: carry declares '{name}'"):
        scaled().init(jnp.ones(2))


def test_a_slot_with_an_underscore_is_an_error():
    @fo.leaf_rule(slots=lambda p: {"_replace": p})
    def scaled(g, slots, p, ctx):
        return g, {"_replace": slots[0]}

    with pytest.raises(ValueError, match="scaled: '_replace' cannot be the name of a slot"):
        scaled().init(jnp.ones(2))


def without_ctx(g, slots, p, b=0.9):
    return g, {}


def without_p(g, slots, ctx, b: Annotated[float, Within("[0, 1)")], c: float = 1.0):
    return g, {}


@pytest.mark.parametrize("decorator", [leaf_rule, tree_rule])
@pytest.mark.parametrize("maths", [without_ctx, without_p])
def test_a_hyperparameter_in_the_place_of_the_context_is_an_error(decorator, maths):
    text = rf"^{decorator.__name__}: {maths.__name__} has the hyperparameter 'b' among its first"
    with pytest.raises(TypeError, match=text):
        decorator()(maths)


@pytest.mark.parametrize("decorator", [leaf_rule, tree_rule])
def test_a_decorator_without_parentheses_is_an_error(decorator):
    with pytest.raises(TypeError, match=r"decorates bare without parentheses\. Write @\w+\(\),"):

        @decorator
        def bare(g, slots, p, ctx):
            return g, {}


def test_the_dtype_of_a_slot_that_is_not_kept_names_the_argument():
    @leaf_rule(slots=lambda p: {"mu": p})
    def misnamed(g, slots, p, ctx, mu_dtype: Annotated[Any, SlotDtype("nu")] = None):
        return g, {"mu": slots.mu}

    with pytest.raises(ValueError, match=r"^misnamed: mu_dtype names the slot 'nu', .* are: mu"):
        misnamed("bfloat16").init(jnp.ones(2))


@pytest.mark.parametrize("value", [jnp.ones(2), [1], {"a": 1}], ids=["array", "list", "dict"])
def test_an_option_that_cannot_be_hashed_is_an_error(value):
    @leaf_rule()
    def optional(g, slots, p, ctx, n: Static[Any] = 1):
        return g, {}

    with pytest.raises(TypeError, match=r"^optional: n shapes the program, and must be hashable"):
        optional(value)


@pytest.mark.parametrize("decorate", [leaf_rule, tree_rule])
@pytest.mark.parametrize("what", ["needs", "needs_trees"])
def test_a_text_in_the_place_of_names_is_refused(decorate, what):
    with pytest.raises(TypeError, match=rf"r declares {what}='value', a text, .*=\('value',\)"):

        @decorate(**{what: "value"})
        def r(g, slots, p, ctx):
            return g, {}
