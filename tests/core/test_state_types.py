"""Types of states under optax's names find the states that optax gives those types."""

import inspect
import json
import pickle

import jax
import jax.numpy as jnp
import optax
import pytest

import functional_optim as fo
from functional_optim.core.state import nested_states

PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}

SAME = {
    "AddNoiseState": ("add_noise", (0.1, 0.5, 0)),
    "ApplyEvery": ("apply_every", (2,)),
    "ApplyIfFiniteState": ("apply_if_finite", "inner, 2"),
    "COCOBState": ("contrib.scale_by_cocob", ()),
    "ConditionallyMaskState": ("conditionally_mask", "inner, fn"),
    "ConditionallyTransformState": ("conditionally_transform", "inner, fn"),
    "DAdaptAdamWState": ("contrib.dadapt_adamw", ()),
    "DoGState": ("contrib.dog", (1.0,)),
    "DoWGState": ("contrib.dowg", ()),
    "EmaState": ("ema", (0.9,)),
    "FactoredState": ("scale_by_factored_rms", ()),
    "GaLoreState": ("contrib.scale_by_galore", ()),
    "HutchinsonState": ("contrib.hutchinson_estimator_diag_hessian", ()),
    "MadgradState": ("contrib.madgrad", (1.0,)),
    "MechanicState": ("contrib.mechanize", "inner"),
    "MomoAdamState": ("contrib.momo_adam", ()),
    "MomoState": ("contrib.momo", ()),
    "MonitorState": ("monitor", "measures"),
    "MuonState": ("contrib.scale_by_muon", ()),
    "ProdigyState": ("contrib.prodigy", ()),
    "ReduceLROnPlateauState": ("contrib.reduce_on_plateau", ()),
    "SAMState": ("contrib.sam", "inner, inner"),
    "ScaleByAdaDeltaState": ("scale_by_adadelta", ()),
    "ScaleByAdamState": ("scale_by_adam", ()),
    "ScaleByAdanState": ("scale_by_adan", ()),
    "ScaleByAdemamixState": ("contrib.scale_by_ademamix", ()),
    "ScaleByAmsgradState": ("scale_by_amsgrad", ()),
    "ScaleByBacktrackingLinesearchState": ("scale_by_backtracking_linesearch", (5,)),
    "ScaleByBeliefState": ("scale_by_belief", ()),
    "ScaleByLBFGSState": ("scale_by_lbfgs", ()),
    "ScaleByLionState": ("scale_by_lion", ()),
    "ScaleByNovogradState": ("scale_by_novograd", ()),
    "ScaleByRStdDevState": ("scale_by_stddev", ()),
    "ScaleByRmsState": ("scale_by_rms", ()),
    "ScaleByRpropState": ("scale_by_rprop", (0.1,)),
    "ScaleByRssState": ("scale_by_rss", ()),
    "ScaleBySM3State": ("scale_by_sm3", ()),
    "ScaleByScheduleState": ("scale_by_learning_rate", "schedule"),
    "ScaleBySimplifiedAdEMAMixState": ("contrib.scale_by_simplified_ademamix", ()),
    "ScaleByZoomLinesearchState": ("scale_by_zoom_linesearch", (5,)),
    "ScheduleFreeState": ("contrib.schedule_free", "inner, 1.0"),
    "SnapshotState": ("snapshot", "name, fn"),
    "SophiaState": ("contrib.sophia", (0.1,)),
    "SplitRealAndImaginaryState": ("contrib.split_real_and_imaginary", "inner"),
    "TraceState": ("trace", (0.9,)),
    "ZeroNansState": ("zero_nans", ()),
}
"""Type -> a factory in both libraries whose state has it."""

READ_OTHERWISE = {
    "AddNoiseState": {"rng_key"},
    "DAdaptAdamWState": {"exp_avg", "exp_avg_sq"},
    "DoGState": {"is_init_step"},
    "HutchinsonState": {"key"},
    "MechanicState": {"count", "r", "m", "v", "s", "x0"},
    "MomoAdamState": {"exp_avg", "exp_avg_sq"},
    "MomoState": {"exp_avg"},
    "MonitorState": {"measurements"},
    "MuonState": {"ns_coeffs"},
    "ProdigyState": {"exp_avg", "exp_avg_sq"},
    "ScaleByAdanState": {"m", "v", "n", "g", "t"},
    "ScaleByAdemamixState": {"count_m2"},
    "ScaleByBacktrackingLinesearchState": {"grad", "info"},
    "ScaleByLBFGSState": {"weights_memory"},
    "ScaleByRpropState": {"step_sizes", "prev_updates"},
    "ScaleBySM3State": {"nu"},
    "ScaleBySimplifiedAdEMAMixState": {"t", "n"},
    "ScaleByZoomLinesearchState": {"info"},
    "ScheduleFreeState": {"b1", "step_count", "base_optimizer_state"},
    "SnapshotState": {"measurement"},
    "SophiaState": {"count", "mu", "nu"},
    "ZeroNansState": {"found_nan"},
}
"""Type -> fields of optax's that have other names here, or are in another place."""

EMPTY_OR_NOWHERE = {
    "EmptyState": "the same in both",
    "DifferentiallyPrivateAggregateState": "tests/transforms/test_privacy.py",
    "InjectHyperparamsState": "tests below",
    "InjectStatefulHyperparamsState": "tests below",
    "LookaheadState": "optax needs LookaheadParams",
    "MaskedState": "masked has no state of its own",
    "MultiStepsState": "tests below",
    "MultiTransformState": "partition has no state of its own",
    "OptState": "any tree",
    "PartitionState": "partition has no state of its own",
}


def value_of(library, name, arguments):
    for part in name.split("."):
        library = getattr(library, part)
    if isinstance(arguments, tuple):
        return library(*arguments)
    root = fo if library.__module__.startswith("functional_optim") else optax
    known = {
        "inner": root.identity(),
        "fn": lambda *args, **kwargs: jnp.array(True),
        "measures": {"a": lambda *args, **kwargs: jnp.zeros(())},
        "name": "norm",
        "schedule": lambda count: 0.1,
    }
    return library(*(known[k] if k in known else json.loads(k) for k in arguments.split(", ")))


def type_of(library, name):
    return getattr(library, name, None) or getattr(library.contrib, name)


def found(state, kind):
    return [node for _, node in nested_states(state) if isinstance(node, kind)]


@pytest.mark.parametrize("name", SAME)
def test_a_state_is_of_the_type_that_optax_gives_it(name):
    factory, arguments = SAME[name]
    theirs = value_of(optax, factory, arguments).init(PARAMS)
    state = jax.tree.leaves(theirs, is_leaf=lambda x: isinstance(x, type_of(optax, name)))
    assert any(isinstance(x, type_of(optax, name)) for x in state), "optax's has it"
    (ours,) = found(value_of(fo, factory, arguments).init(PARAMS), type_of(fo, name))
    elsewhere = READ_OTHERWISE.get(name, set())
    fields = type_of(optax, name)._fields
    assert {k for k in fields if not hasattr(ours, k)} == elsewhere & {*fields}


def test_every_state_type_of_optax_is_importable():
    for there, here in (
        (optax, fo),
        (optax.contrib, fo.contrib),
        (optax.transforms, fo.transforms),
    ):
        kinds = {
            name
            for name, value in vars(there).items()
            if name.endswith("State") and name[0] != "_" and inspect.isclass(value)
        }
        assert not {name for name in kinds if not hasattr(here, name)}
        tuples = {n for n in kinds if getattr(there, n)._fields}
        assert tuples <= SAME.keys() | EMPTY_OR_NOWHERE.keys()


def test_states_of_wrappers_have_their_types():
    steps = fo.MultiSteps(fo.sgd(0.1), 2).init(PARAMS)
    assert isinstance(steps, fo.MultiStepsState)
    injected = fo.inject_hyperparams(fo.sgd)(0.1).init(PARAMS)
    assert isinstance(injected, fo.InjectHyperparamsState)
    assert isinstance(injected, fo.InjectStatefulHyperparamsState)
    slow = fo.lookahead(fo.sgd(0.1), 2, 0.5).init(PARAMS)
    assert isinstance(slow.look_back, fo.LookaheadState)


def test_other_states_and_values_are_not_of_a_type():
    state = fo.adam(0.1).init(PARAMS)
    assert len(found(state, fo.ScaleByAdamState)) == 1
    for kind in (fo.TraceState, fo.MaskedState, fo.MultiStepsState, fo.ScaleByAmsgradState):
        assert not found(state, kind)
    assert not isinstance(state, fo.ScaleByAdamState), "the chain's own"
    assert not isinstance((1, 2), fo.ScaleByAdamState)
    masked = fo.masked(fo.adam(0.1), {"w": True, "b": False}).init(PARAMS)
    assert len(found(masked, fo.ScaleByAdamState)) == 1


def test_a_type_finds_its_state_in_the_result_of_a_jitted_step():
    tx = fo.adamw(0.1)
    _, state = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
    (adam,) = found(state, fo.ScaleByAdamState)
    assert adam.count == 1
    assert jnp.allclose(adam.mu["w"], 0.1)


def test_a_type_that_is_called_says_who_makes_states():
    with pytest.raises(TypeError, match=r"ScaleByAdamState: .* only `init` makes one"):
        fo.ScaleByAdamState(count=0, mu=0, nu=0)
    with pytest.raises(TypeError, match=r"MultiStepsState: a state is made by `init`"):
        fo.MultiStepsState(mini_step=0)


def test_types_survive_pickle():
    assert pickle.loads(pickle.dumps(fo.TraceState)) is fo.TraceState
