"""Named states: what is called how, and what a saved state is restored to."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.serialization import versions

from ..trees import assert_same

pytestmark = pytest.mark.usefixtures("eager")

SHAPES = {"dense": {"kernel": (2, 3), "bias": (3,)}, "out": {"kernel": (3, 2)}}


def arrays(seed, shapes=SHAPES, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s), dtype), shapes, is_leaf=is_shape)


def trained(tx, steps=2, params=None):
    """A state that is not as it was made."""
    params = arrays(0) if params is None else params
    state = tx.init(params)
    for _ in range(steps):
        _, state = tx.update(params, state, params)
    return state


def test_names_are_the_dotted_paths():
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(fo.linear_schedule(0.1, 0.0, 10)))
    names = fo.to_state_dict(tx.init({"dense": {"kernel": jnp.ones(2)}}))
    assert list(names) == [
        "_format_version",
        "clip_by_global_norm.count",
        "clip_by_global_norm.hyperparams.max_norm",
        "clip_by_global_norm.metrics.clip_factor",
        "clip_by_global_norm.metrics.global_norm",
        "scale_by_adam.count",
        "scale_by_adam.steps.dense.kernel",
        "scale_by_adam.hyperparams.b1",
        "scale_by_adam.hyperparams.b2",
        "scale_by_adam.hyperparams.eps",
        "scale_by_adam.hyperparams.eps_root",
        "scale_by_adam.memory.b1.dense.kernel",
        "scale_by_adam.memory.b2.dense.kernel",
        "scale_by_adam.mu.dense.kernel",
        "scale_by_adam.nu.dense.kernel",
        "add_decayed_weights.count",
        "add_decayed_weights.hyperparams.weight_decay",
        "scale_by_learning_rate.count",
        "scale_by_learning_rate.hyperparams.learning_rate",
        "scale_by_learning_rate.schedules.learning_rate.end_value",
        "scale_by_learning_rate.schedules.learning_rate.init_value",
        "scale_by_learning_rate.schedules.learning_rate.transition_begin",
        "scale_by_learning_rate.schedules.learning_rate.transition_steps",
    ]
    assert all(type(x) is np.ndarray for x in names.values())


def test_a_link_that_only_counts_has_the_names_of_the_one_before_it():
    names = fo.to_state_dict(fo.adafactor().init({"w": jnp.ones((2, 3))}))
    assert "scale_by_relative_step.steps.w" in names


def test_what_is_saved_outlives_a_step_that_takes_the_memory():
    tx, params = fo.adam(0.1), arrays(0)
    state = tx.init(params)
    saved = fo.to_state_dict(state)
    with jax.disable_jit(False):
        jax.jit(tx.update, donate_argnums=1)(arrays(1), state, params)
    assert not saved["scale_by_adam.mu.out.kernel"].any()


def test_two_arrays_of_one_name_are_refused():
    state = fo.trace(0.9).init({"a.b": jnp.ones(2), "a": {"b": jnp.ones(3)}})
    with pytest.raises(ValueError, match=r"to_state_dict: two arrays have the name 'steps.a.b'"):
        fo.to_state_dict(state)


def test_numbers_of_parameters_follow_them_to_another_place():
    tx, params = fo.scale_by_adam(), {"b": jnp.ones(2), "c": jnp.ones(2)}
    state = tx.init(params)
    _, state = tx.update(params, state, params)
    _, state = tx.update({"b": params["b"], "c": None}, state, params)
    saved = fo.to_state_dict(state)

    more = {"a": jnp.ones(2), **params}
    restored, report = fo.from_state_dict(tx.init(more), saved, strict=False)
    assert restored.steps.tolist() == [0, 2, 1]
    assert_same((restored.mu["b"], restored.mu["c"]), (state.mu["b"], state.mu["c"]))
    assert [*report.missing] == [f"{k}.a" for k in ("steps", "memory.b1", "memory.b2", "mu", "nu")]
    assert not report.unexpected

    fewer, report = fo.from_state_dict(tx.init({"c": params["c"]}), saved, strict=False)
    assert fewer.steps.tolist() == [1]
    assert [*report.unexpected] == [
        f"{k}.b" for k in ("steps", "memory.b1", "memory.b2", "mu", "nu")
    ]


def test_strict_lists_all_that_does_not_fit():
    saved = fo.to_state_dict(fo.trace(0.9).init({"a": jnp.ones(2), "b": jnp.ones(3)}))
    template = fo.trace(0.9).init({"b": jnp.ones(4), "c": jnp.ones(5)})
    with pytest.raises(ValueError, match="from_state_dict: what was saved") as error:
        fo.from_state_dict(template, saved)
    lines = str(error.value).split("\n")
    own = "'steps.{0}' () int32, 'memory.started.{0}' () float32, 'trace.{0}' {1} float32"
    assert lines[1] == f"missing: {own.format('c', '(5,)')}"
    assert lines[2] == f"unexpected: {own.format('a', '(2,)')}"
    assert lines[3] == "mismatched: 'trace.b' (3,) float32 there, (4,) float32 here"


def test_a_constant_becomes_a_schedule_which_goes_on_at_the_count():
    constant, scheduled = fo.adam(0.1), fo.adam(fo.linear_schedule(1.0, 0.0, 10))
    state = fo.from_state_dict(scheduled.init(arrays(0)), fo.to_state_dict(trained(constant, 3)))
    _, state = scheduled.update(arrays(1), state)
    assert fo.get_hyperparams(state)["learning_rate"] == pytest.approx(0.7)


def test_a_schedule_becomes_a_constant_of_the_templates_value():
    constant, scheduled = fo.adam(0.1), fo.adam(fo.linear_schedule(1.0, 0.0, 10))
    saved = fo.to_state_dict(trained(scheduled))
    state, report = fo.from_state_dict(constant.init(arrays(0)), saved, strict=False)
    assert fo.get_hyperparams(state)["learning_rate"] == np.float32(0.1)
    assert report.complete
    fo.from_state_dict(constant.init(arrays(0)), saved)


def test_numbers_of_the_same_kind_are_the_saved_ones():
    edited = fo.set_hyperparams(trained(fo.adam(0.1)), learning_rate=0.25, b1=0.5)
    state = fo.from_state_dict(fo.adam(0.1).init(arrays(0)), fo.to_state_dict(edited))
    assert_same(state, edited)


def test_a_link_in_front_is_reported_and_one_taken_out_too():
    plain, clipped = fo.adam(0.1), fo.chain(fo.clip_by_global_norm(1.0), fo.adam(0.1))
    state = trained(plain)
    more, report = fo.from_state_dict(
        clipped.init(arrays(0)), fo.to_state_dict(state), strict=False
    )
    assert_same(more[1:], tuple(state))
    assert all(name.startswith("clip_by_global_norm.") for name in report.missing)
    assert len(report.missing) == 4
    back, report = fo.from_state_dict(plain.init(arrays(0)), fo.to_state_dict(more), strict=False)
    assert_same(back, state)
    assert len(report.unexpected) == 4
    with pytest.raises(ValueError, match=r"missing: 'clip_by_global_norm.count' \(\) int32"):
        fo.from_state_dict(clipped.init(arrays(0)), fo.to_state_dict(state))


def labelled(rules, **rates):
    labels = fo.path_labels(rules, default="rest")
    return fo.partition({k: fo.adam(v) for k, v in rates.items()}, labels)


def test_regrouped_parameters_keep_what_is_theirs():
    one = trained(fo.adam(0.1), 3)
    tx = labelled({"bias": "plain"}, plain=0.5, rest=0.25)
    two, report = fo.from_state_dict(tx.init(arrays(0)), fo.to_state_dict(one), strict=False)
    assert report.complete
    assert report.moved["plain.scale_by_adam.mu.dense.bias"] == "scale_by_adam.mu.dense.bias"
    assert_same(two.plain.scale_by_adam.mu["dense"]["bias"], one.scale_by_adam.mu["dense"]["bias"])
    assert two.plain.scale_by_adam.steps.tolist() == [3]
    rates = [two[k].scale_by_learning_rate.hyperparams["learning_rate"] for k in ("plain", "rest")]
    assert rates == [0.5, 0.25]
    assert two.plain.scale_by_learning_rate.count == 3

    with_clip = {k: fo.chain(fo.clip(1.0), fo.adam(0.5)) for k in ("plain", "rest")}
    clipped = fo.partition(with_clip, fo.path_labels({"bias": "plain"}, default="rest"))
    _, report = fo.from_state_dict(clipped.init(arrays(0)), fo.to_state_dict(one), strict=False)
    new = [f"{k}.clip.{field}" for k in ("plain", "rest") for field in ("count", "max_delta")]
    assert [name.replace("hyperparams.", "") for name in report.missing] == new

    other = labelled({"out": "head", "bias": "plain"}, head=0.1, plain=0.5, rest=0.25)
    three = fo.from_state_dict(other.init(arrays(0)), fo.to_state_dict(two))
    assert three.head.scale_by_adam.steps.tolist() == [3]
    assert three.head.scale_by_learning_rate.count == 3
    assert_same(fo.from_state_dict(fo.adam(0.1).init(arrays(0)), fo.to_state_dict(three)), one)


def test_a_wrapper_around_the_link_changes_nothing():
    state = trained(fo.adam(0.1))
    tx = fo.apply_if_finite(fo.adam(0.1), 3)
    wrapped, report = fo.from_state_dict(tx.init(arrays(0)), fo.to_state_dict(state), strict=False)
    assert_same(wrapped.inner_state, state)
    assert not any("scale_by_adam" in name for name in report.missing)


def layers(n, stacked):
    each = [arrays(i, {"kernel": (2, 3), "scale": ()}) for i in range(n)]
    return {"layers": jax.tree.map(lambda *xs: jnp.stack(xs), *each) if stacked else each}


def test_layers_are_stacked_and_taken_apart():
    tx, name = fo.adamw(0.1), {"layers.*": "layers"}
    apart = trained(tx, params=layers(3, stacked=False))
    together = trained(tx, params=layers(3, stacked=True))
    template = tx.init(layers(3, stacked=True))
    assert_same(fo.from_state_dict(template, fo.to_state_dict(apart), stacked=name), together)
    template = tx.init(layers(3, stacked=False))
    assert_same(fo.from_state_dict(template, fo.to_state_dict(together), stacked=name), apart)
    template = tx.init(layers(2, stacked=False))
    with pytest.raises(ValueError, match=r"unexpected: 'scale_by_adam.mu.layers.kernel' \(3, 2, 3"):
        fo.from_state_dict(template, fo.to_state_dict(together), stacked=name)


def test_layers_of_different_ages_are_not_stacked():
    tx, params = fo.scale_by_adam(), layers(2, stacked=False)
    grads = {"layers": [params["layers"][0], {"kernel": None, "scale": None}]}
    _, state = tx.update(grads, tx.init(params), params)
    with pytest.raises(ValueError, match=r"one 'steps.layers.kernel', and the layers have 1, 0"):
        fo.from_state_dict(
            tx.init(layers(2, stacked=True)),
            fo.to_state_dict(state),
            stacked={"layers.*": "layers"},
        )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"stacked": {"blocks.*": "blocks"}}, "stacked: there are no layers 'blocks.*'"),
        ({"stacked": {"blocks": "blocks"}}, "has one '\\*' for its number, got 'blocks'"),
        ({"rename": {"encoder": "backbone"}}, "rename: 'encoder' stands in no name"),
        ({"rename": {"dense.kernel": "dense.bias"}}, "two arrays of the saved state one name"),
    ],
)
def test_a_renaming_that_does_nothing_is_an_error(argument, message):
    state = fo.adam(0.1).init(arrays(0))
    with pytest.raises(ValueError, match=message):
        fo.from_state_dict(state, fo.to_state_dict(state), **argument)


def test_a_renamed_parameter_keeps_what_is_its():
    state = trained(fo.adam(0.1))
    params = {"trunk": arrays(0)["dense"], "out": arrays(0)["out"]}
    new = fo.from_state_dict(
        fo.adam(0.1).init(params), fo.to_state_dict(state), rename={"dense": "trunk"}
    )
    assert_same(new.scale_by_adam.mu["trunk"], state.scale_by_adam.mu["dense"])
    assert new.scale_by_adam.steps.tolist() == [2, 2, 2]


def test_another_rule_takes_over_the_first_moment():
    adam = trained(fo.adamw(0.1))
    lion, report = fo.from_state_dict(
        fo.lion(0.01).init(arrays(0)),
        fo.to_state_dict(adam),
        strict=False,
        rename={"scale_by_adam.mu": "scale_by_lion.mu"},
    )
    assert_same(lion.scale_by_lion.mu, adam.scale_by_adam.mu)
    assert fo.get_hyperparams(lion)["b2"] == np.float32(0.99)
    assert "scale_by_adam.nu.out.kernel" in report.unexpected
    assert "scale_by_lion.count" in report.missing


def test_a_rule_with_the_same_moments_takes_over_all():
    adam = trained(fo.adamw(0.1))
    nadam = fo.from_state_dict(fo.nadamw(0.1).init(arrays(0)), fo.to_state_dict(adam))
    assert_same(nadam, adam)


def test_parameters_that_come_are_made_and_those_that_go_are_said():
    tx, fewer = fo.adamw(0.1), {"dense": arrays(0)["dense"]}
    state = trained(tx, 3)
    less, report = fo.from_state_dict(tx.init(fewer), fo.to_state_dict(state), strict=False)
    assert_same(less.scale_by_adam.nu["dense"], state.scale_by_adam.nu["dense"])
    assert {name.removeprefix("scale_by_adam.") for name in report.unexpected} == {
        f"{kind}.out.kernel" for kind in ("steps", "memory.b1", "memory.b2", "mu", "nu")
    }
    more, report = fo.from_state_dict(tx.init(arrays(0)), fo.to_state_dict(less), strict=False)
    assert not report.unexpected
    assert more.scale_by_adam.steps.tolist() == [3, 3, 0]
    assert not more.scale_by_adam.mu["out"]["kernel"].any()


def test_a_parameter_that_lacks_a_slot_starts_anew():
    saved = fo.to_state_dict(trained(fo.adam(0.1), 5))
    del saved["scale_by_adam.nu.out.kernel"]
    state, _ = fo.from_state_dict(fo.adam(0.1).init(arrays(0)), saved, strict=False)
    assert state.scale_by_adam.steps.tolist() == [5, 5, 0]
    assert state.scale_by_adam.memory["b2"][2] == 0


def test_dtypes_and_shardings_are_the_templates(mesh):
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    params = {"w": jax.device_put(jnp.ones((4, 2), jnp.bfloat16), sharding)}
    tx = fo.scale_by_adam(state_dtype=jnp.bfloat16)
    state = tx.update(params, tx.init(params), params)[1]
    saved = fo.to_state_dict(state)
    assert saved["mu.w"].dtype == ml_dtypes.bfloat16
    new = fo.from_state_dict(tx.init(params), saved)
    assert new.mu["w"].sharding == sharding
    assert jax.tree.map(jax.typeof, new) == jax.tree.map(jax.typeof, state)
    assert_same(new, state)
    shapes = jax.eval_shape(tx.init, {"w": jnp.ones((4, 2))})
    assert fo.from_state_dict(shapes, saved).mu["w"].dtype == jnp.bfloat16
    wide = fo.scale_by_adam().init(params)
    assert fo.from_state_dict(wide, saved).mu["w"].dtype == jnp.float32


def test_what_cannot_be_held_is_a_mismatch():
    template = fo.trace(0.9).init({"w": jnp.ones(2)})
    saved = fo.to_state_dict(template) | {"trace.w": np.ones(2, np.complex64)}
    with pytest.raises(ValueError, match=r"'trace.w' \(2,\) complex64 there, \(2,\) float32 here"):
        fo.from_state_dict(template, saved)


def test_numbers_of_python_and_numpy_are_leaves():
    tree = {"a": 1.5, "b": np.float32(2), "c": np.arange(3), "d": True}
    new = fo.from_state_dict(
        {"a": 0.0, "b": np.float32(0), "c": np.zeros(3, int), "d": False}, fo.to_state_dict(tree)
    )
    assert_same(new, tree)
    assert type(new["b"]) is np.float32


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_keys_are_restored(impl):
    keys = {"key": jax.random.key(3, impl=impl), "keys": jax.random.split(jax.random.key(1), 2)}
    saved = fo.to_state_dict(keys)
    assert saved["key"].dtype == np.uint32
    fresh = {"key": jax.random.key(0, impl=impl), "keys": jax.random.split(jax.random.key(0), 2)}
    for template in (fresh, jax.eval_shape(lambda: fresh)):
        new = fo.from_state_dict(template, saved)
        assert jax.tree.map(jax.typeof, new) == jax.tree.map(jax.typeof, keys)
        assert_same(jax.tree.map(jax.random.key_data, new), jax.tree.map(jax.random.key_data, keys))


def test_a_batch_of_runs_is_restored():
    tx, batch = fo.adam(0.1), jax.tree.map(lambda x: jnp.stack([x, x]), arrays(0))
    state = jax.vmap(tx.init)(batch)
    state = state._replace(
        scale_by_adam=state.scale_by_adam._replace(
            steps=jnp.arange(6, dtype=jnp.int32).reshape(2, 3)
        )
    )
    saved = fo.to_state_dict(state)
    assert saved["scale_by_adam.steps.dense.kernel"].tolist() == [1, 4]
    assert_same(fo.from_state_dict(jax.vmap(tx.init)(batch), saved), state)


def test_a_template_of_shapes_has_no_values_to_stay():
    tx = fo.adam(0.1)
    shapes = jax.eval_shape(tx.init, {**arrays(0), "new": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"nothing for 'scale_by_adam.steps.new'.*init\(params\)"):
        fo.from_state_dict(shapes, fo.to_state_dict(trained(tx)), strict=False)


def test_older_formats_are_migrated_step_by_step(monkeypatch):
    state = trained(fo.trace(0.9))
    old = {k.replace("trace.", "momentum."): x for k, x in fo.to_state_dict(state).items()}
    old["momentum.out.kernel"] = old["momentum.out.kernel"] / 2
    monkeypatch.setattr(versions, "FORMAT_VERSION", 3)
    monkeypatch.setitem(
        versions.MIGRATIONS,
        1,
        lambda d: {k.replace("momentum.", "trace."): x for k, x in d.items()},
    )
    monkeypatch.setitem(
        versions.MIGRATIONS, 2, lambda d: d | {"trace.out.kernel": 2 * d["trace.out.kernel"]}
    )
    assert_same(fo.from_state_dict(fo.trace(0.9).init(arrays(0)), old), state)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1], TypeError, "from_state_dict: the saved state must be a dict, got list"),
        ({"w": 1.0}, ValueError, "from_state_dict: the saved state has no '_format_version'"),
        ({"_format_version": 7}, ValueError, "is of format 7, and .* reads formats 1 to 1"),
        ({"_format_version": 0}, ValueError, "is of format 0"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_named_state_is_refused(given, error, message, strict):
    with pytest.raises(error, match=message):
        fo.from_state_dict(fo.trace(0.9).init(arrays(0)), given, strict=strict)
