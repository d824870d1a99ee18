"""Named states: the names, and restoring to templates that differ."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.serialization import versions

from ..trees import assert_same, leaf_types

pytestmark = pytest.mark.usefixtures("eager")

SHAPES = {"dense": {"kernel": (2, 3), "bias": (3,)}, "out": {"kernel": (3, 2)}}


def arrays(seed, shapes=SHAPES, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s), dtype), shapes, is_leaf=is_shape)


def trained(tx, steps=2, params=None):
    """Returns a state after some updates."""
    params = arrays(0) if params is None else params
    state = tx.init(params)
    for _ in range(steps):
        _, state = tx.update(params, state, params)
    return state


@pytest.mark.parametrize("rate", [0.9, fo.linear_schedule(0.9, 0.5, 10)], ids=["number", "plan"])
def test_a_number_is_found_by_each_of_its_names(rate):
    """The hyperparameter `decay` of `trace` is called `momentum` in `sgd`."""
    one = fo.chain(fo.trace(rate), fo.scale_by_learning_rate(0.1))
    other = fo.sgd(0.1, momentum=rate)
    state = trained(one)
    moved = fo.from_state_dict(other.init(arrays(0)), fo.to_state_dict(state))
    assert_same(moved.trace.trace, state.trace.trace)
    assert moved.trace.hyperparams["momentum"] == state.trace.hyperparams["decay"]
    back = fo.from_state_dict(one.init(arrays(0)), fo.to_state_dict(moved))
    assert_same(back, state)


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
        "scale_by_adam.hyperparams.b1",
        "scale_by_adam.hyperparams.b2",
        "scale_by_adam.hyperparams.eps",
        "scale_by_adam.hyperparams.eps_root",
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


def without_out(params):
    """Returns gradients of which one is None."""
    return {**params, "out": {"kernel": None}}


def aged(tx, steps=2):
    """Returns a state whose last step had no gradient of `out.kernel`."""
    params, state = arrays(0), trained(tx, steps - 1)
    return tx.update(without_out(params), state, params)[1]


def test_numbers_of_a_parameter_have_its_name():
    saved = fo.to_state_dict(aged(fo.nadam(0.1, momentum_decay=4e-3)))
    assert saved["scale_by_adam.leaf_counts.dense.kernel"] == 2
    assert saved["scale_by_adam.leaf_counts.out.kernel"] == 1
    assert saved["scale_by_adam.carry.mu_product.out.kernel"] > 0
    saved = fo.to_state_dict(trained(fo.nadam(0.1, momentum_decay=4e-3)))
    assert saved["scale_by_adam.carry.mu_product"].shape == ()


def test_a_link_without_slots_takes_names_from_the_link_before_it():
    names = fo.to_state_dict(aged(fo.adafactor(min_dim_size_to_factor=2)))
    assert "scale_by_relative_step.leaf_counts.out.kernel" in names


def test_saved_arrays_survive_donation_of_the_state():
    tx, params = fo.adam(0.1), arrays(0)
    state = tx.init(params)
    saved = fo.to_state_dict(state)
    with jax.disable_jit(False):
        jax.jit(tx.update, donate_argnums=1)(arrays(1), state, params)
    assert not saved["scale_by_adam.mu.out.kernel"].any()


def test_two_arrays_of_one_name_are_refused():
    state = {"s": fo.trace(0.9).init({"w": jnp.ones(2)}), "s.trace": {"w": jnp.ones(3)}}
    with pytest.raises(ValueError, match=r"to_state_dict: two arrays have the name 's.trace.w'"):
        fo.to_state_dict(state)


def test_counts_follow_their_parameters_to_another_position():
    tx, params = fo.scale_by_adam(), {"b": jnp.ones(2), "c": jnp.ones(2)}
    state = tx.init(params)
    _, state = tx.update(params, state, params)
    _, state = tx.update({"b": params["b"], "c": None}, state, params)
    saved = fo.to_state_dict(state)

    more = {"a": jnp.ones(2), **params}
    restored, report = fo.from_state_dict(tx.init(more), saved, strict=False)
    assert restored.leaf_counts.tolist() == [0, 2, 1]
    assert_same((restored.mu["b"], restored.mu["c"]), (state.mu["b"], state.mu["c"]))
    assert [*report.missing] == ["mu.a", "nu.a"]
    assert not report.unexpected

    fewer, report = fo.from_state_dict(tx.init({"c": params["c"]}), saved, strict=False)
    assert fewer.leaf_counts.tolist() == [1]
    assert [*report.unexpected] == ["leaf_counts.b", "mu.b", "nu.b"]


@pytest.mark.parametrize("tx", [fo.sgd(0.1, 0.9), fo.lion(0.1), fo.adam(0.1)])
def test_a_parameter_that_is_added_is_counted_in_every_link_with_slots(tx):
    """As `per_leaf_counts` counts: a saved state does not say whether its rule reads the count."""
    params = {"w": jnp.ones(2)}
    _, state = tx.update(params, tx.init(params), params)
    more = {"v": jnp.ones(3), **params}
    restored, _ = fo.from_state_dict(tx.init(more), fo.to_state_dict(state), strict=False)
    assert leaf_types(restored) == leaf_types(fo.per_leaf_counts(tx).init(more))
    updates, after = tx.update(more, restored, more)
    assert leaf_types(after) == leaf_types(restored)
    alone, _ = tx.update({"v": more["v"]}, tx.init({"v": more["v"]}), {"v": more["v"]})
    assert_same(updates["v"], alone["v"])


def test_strict_lists_all_differences():
    saved = fo.to_state_dict(fo.trace(0.9).init({"a": jnp.ones(2), "b": jnp.ones(3)}))
    template = fo.trace(0.9).init({"b": jnp.ones(4), "c": jnp.ones(5)})
    with pytest.raises(ValueError, match="from_state_dict: the saved state does") as error:
        fo.from_state_dict(template, saved)
    lines = str(error.value).split("\n")
    assert lines[1] == "missing: 'trace.c' (5,) float32"
    assert lines[2] == "unexpected: 'trace.a' (2,) float32"
    assert lines[3] == "mismatched: 'trace.b' (3,) float32 saved, (4,) float32 in the template"


def test_a_constant_becomes_a_schedule_that_continues_at_the_count():
    constant, scheduled = fo.adam(0.1), fo.adam(fo.linear_schedule(1.0, 0.0, 10))
    state = fo.from_state_dict(scheduled.init(arrays(0)), fo.to_state_dict(trained(constant, 3)))
    _, state = scheduled.update(arrays(1), state)
    assert fo.get_hyperparams(state)["learning_rate"] == pytest.approx(0.7)


def test_a_schedule_becomes_the_templates_constant():
    constant, scheduled = fo.adam(0.1), fo.adam(fo.linear_schedule(1.0, 0.0, 10))
    saved = fo.to_state_dict(trained(scheduled))
    state, report = fo.from_state_dict(constant.init(arrays(0)), saved, strict=False)
    assert fo.get_hyperparams(state)["learning_rate"] == np.float32(0.1)
    assert report.complete
    fo.from_state_dict(constant.init(arrays(0)), saved)


def test_edited_hyperparameters_are_restored():
    edited = fo.set_hyperparams(trained(fo.adam(0.1)), learning_rate=0.25, b1=0.5)
    state = fo.from_state_dict(fo.adam(0.1).init(arrays(0)), fo.to_state_dict(edited))
    assert_same(state, edited)


def test_added_and_removed_links_are_reported():
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


def test_regrouped_parameters_keep_their_state():
    one = trained(fo.adam(0.1), 3)
    tx = labelled({"bias": "plain"}, plain=0.5, rest=0.25)
    two, report = fo.from_state_dict(tx.init(arrays(0)), fo.to_state_dict(one), strict=False)
    assert report.complete
    assert report.moved["plain.scale_by_adam.mu.dense.bias"] == "scale_by_adam.mu.dense.bias"
    assert_same(two.plain.scale_by_adam.mu["dense"]["bias"], one.scale_by_adam.mu["dense"]["bias"])
    assert two.plain.scale_by_adam.count == 3
    assert "leaf_counts" not in two.plain.scale_by_adam
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
    assert three.head.scale_by_adam.count == 3
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


def test_layers_are_stacked_and_unstacked():
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


def test_layers_with_different_counts_are_not_stacked():
    tx, params = fo.scale_by_adam(), layers(2, stacked=False)
    grads = {"layers": [params["layers"][0], {"kernel": None, "scale": None}]}
    _, state = tx.update(grads, tx.init(params), params)
    with pytest.raises(ValueError, match=r"one 'leaf_counts.layers.kernel', .* layers have 1, 0"):
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
        ({"rename": {"encoder": "backbone"}}, "rename: 'encoder' is in no name"),
        ({"rename": {"dense.kernel": "dense.bias"}}, "two arrays of the saved state one name"),
    ],
)
def test_a_renaming_that_does_nothing_is_an_error(argument, message):
    state = fo.adam(0.1).init(arrays(0))
    with pytest.raises(ValueError, match=message):
        fo.from_state_dict(state, fo.to_state_dict(state), **argument)


def test_a_renamed_parameter_keeps_its_state():
    state = trained(fo.adam(0.1))
    params = {"trunk": arrays(0)["dense"], "out": arrays(0)["out"]}
    new = fo.from_state_dict(
        fo.adam(0.1).init(params), fo.to_state_dict(state), rename={"dense": "trunk"}
    )
    assert_same(new.scale_by_adam.mu["trunk"], state.scale_by_adam.mu["dense"])
    assert new.scale_by_adam.count == 2


def test_another_rule_uses_the_first_moment():
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


def test_a_rule_with_the_same_moments_uses_all():
    adam = trained(fo.adamw(0.1))
    nadam = fo.from_state_dict(fo.nadamw(0.1).init(arrays(0)), fo.to_state_dict(adam))
    assert_same(nadam, adam)


def test_added_parameters_start_from_zero_and_removed_ones_are_reported():
    tx, fewer = fo.adamw(0.1), {"dense": arrays(0)["dense"]}
    state = trained(tx, 3)
    less, report = fo.from_state_dict(tx.init(fewer), fo.to_state_dict(state), strict=False)
    assert_same(less.scale_by_adam.nu["dense"], state.scale_by_adam.nu["dense"])
    assert {name.removeprefix("scale_by_adam.") for name in report.unexpected} == {
        f"{kind}.out.kernel" for kind in ("mu", "nu")
    }
    more, report = fo.from_state_dict(tx.init(arrays(0)), fo.to_state_dict(less), strict=False)
    assert not report.unexpected
    assert more.scale_by_adam.leaf_counts.tolist() == [3, 3, 0]
    assert report.leaf_counts == ("scale_by_adam",)
    assert "in 'scale_by_adam'" in str(report)
    assert not more.scale_by_adam.mu["out"]["kernel"].any()


def test_a_parameter_that_lacks_a_slot_starts_from_zero():
    saved = fo.to_state_dict(trained(fo.adam(0.1), 5))
    del saved["scale_by_adam.nu.out.kernel"]
    state, _ = fo.from_state_dict(fo.adam(0.1).init(arrays(0)), saved, strict=False)
    assert state.scale_by_adam.leaf_counts.tolist() == [5, 5, 0]


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


def test_a_wider_kind_of_dtype_is_a_mismatch():
    template = fo.trace(0.9).init({"w": jnp.ones(2)})
    saved = fo.to_state_dict(template) | {"trace.w": np.ones(2, np.complex64)}
    with pytest.raises(ValueError, match=r"'trace.w' \(2,\) complex64 saved, \(2,\) float32 in"):
        fo.from_state_dict(template, saved)


def test_python_and_numpy_numbers_are_leaves():
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
    update = jax.vmap(lambda g, s, p: tx.update(g, s, p)[1])
    even = update(batch, jax.vmap(tx.init)(batch), batch)
    assert_same(fo.from_state_dict(jax.vmap(tx.init)(batch), fo.to_state_dict(even)), even)
    state = update(without_out(batch), even, batch)
    saved = fo.to_state_dict(state)
    assert saved["scale_by_adam.leaf_counts.out.kernel"].tolist() == [1, 1]
    assert_same(fo.from_state_dict(jax.vmap(tx.init)(batch), saved), state)


NADAM = fo.nadam(0.1, momentum_decay=4e-3)
"""Counts updates, and carries a scalar."""


@pytest.mark.parametrize("tx", [fo.adam(0.1), NADAM, fo.adafactor()], ids=["", "carry", "no slots"])
def test_a_shared_count_fills_the_counts_of_parameters(tx):
    state = trained(tx)
    template = fo.per_leaf_counts(tx).init(arrays(0))
    restored, report = fo.from_state_dict(template, fo.to_state_dict(state), strict=False)
    assert report.complete
    assert leaf_types(restored) == leaf_types(template)
    assert not report.leaf_counts
    for link in restored:
        assert set(link._asdict().get("leaf_counts", jnp.array([2])).tolist()) == {2}
    assert_same(fo.from_state_dict(tx.init(arrays(0)), fo.to_state_dict(restored)), state)


@pytest.mark.parametrize("tx", [fo.adam(0.1), NADAM, fo.asgd(0.1)], ids=["", "carry", "asgd"])
@pytest.mark.parametrize("only_shapes", [True, False])
def test_counts_that_differ_are_restored_where_the_template_has_none(tx, only_shapes):
    state = aged(tx)
    template = jax.eval_shape(tx.init, arrays(0)) if only_shapes else tx.init(arrays(0))
    restored, report = fo.from_state_dict(template, fo.to_state_dict(state), strict=False)
    assert report.complete
    assert report.leaf_counts == (tx.init.names[0],)
    assert leaf_types(restored) == leaf_types(state)
    assert_same(restored, state)


def test_a_shared_carried_scalar_is_repeated_for_each_parameter():
    state, template = trained(NADAM), fo.per_leaf_counts(NADAM).init(arrays(0))
    many = fo.from_state_dict(template, fo.to_state_dict(state)).scale_by_adam.carry["mu_product"]
    assert many.tolist() == [float(state.scale_by_adam.carry["mu_product"])] * 3


def test_a_carried_scalar_that_was_not_saved_is_missing():
    saved = fo.to_state_dict(trained(fo.nadam(0.1)))
    _, report = fo.from_state_dict(NADAM.init(arrays(0)), saved, strict=False)
    names = ["hyperparams.momentum_decay", "carry.mu_product"]
    assert [*report.missing] == [f"scale_by_adam.{name}" for name in names]
    _, report = fo.from_state_dict(
        fo.nadam(0.1).init(arrays(0)), fo.to_state_dict(aged(NADAM)), strict=False
    )
    assert len([k for k in report.unexpected if "carry.mu_product" in k]) == 3


def test_labels_with_different_counts_are_joined():
    tx = labelled({"bias": "plain"}, plain=0.5, rest=0.25)
    state = trained(tx, 2)
    bias = jax.tree.map(lambda _: None, arrays(0)) | {"dense": {"kernel": None}}
    bias["dense"]["bias"] = arrays(0)["dense"]["bias"]
    _, state = tx.update(bias, state, arrays(0))
    adam = fo.from_state_dict(fo.adam(0.1).init(arrays(0)), fo.to_state_dict(state)).scale_by_adam
    assert adam.count == 3
    assert adam.leaf_counts.tolist() == [3, 2, 2]


def test_parameters_may_have_the_names_of_fields():
    params = {"carry": {"count": jnp.ones(2)}, "leaf_counts": jnp.ones(3), "count": jnp.ones(())}
    state = trained(NADAM, params=params)
    _, state = NADAM.update({**params, "count": None}, state, params)
    assert_same(fo.from_state_dict(NADAM.init(params), fo.to_state_dict(state)), state)


def test_a_template_of_shapes_needs_every_array():
    tx = fo.adam(0.1)
    shapes = jax.eval_shape(tx.init, {**arrays(0), "new": jnp.ones(2)})
    with pytest.raises(
        ValueError, match=r"nothing was .* for 'scale_by_adam.mu.new'.*init\(params\)"
    ):
        fo.from_state_dict(shapes, fo.to_state_dict(trained(tx)), strict=False)


def test_older_formats_are_migrated_step_by_step(monkeypatch):
    state = trained(fo.trace(0.9))
    old = {k.replace("trace.", "momentum."): x for k, x in fo.to_state_dict(state).items()}
    old["momentum.out.kernel"] = old["momentum.out.kernel"] / 2
    old["needless"] = np.ones(3)

    def rename(old):
        names = {k.replace("momentum.", "trace."): x for k, x in old.arrays.items()}
        return versions.Migrated(names, old.optional | {"needless"})

    def double(old):
        doubled = {"trace.out.kernel": 2 * old.arrays["trace.out.kernel"]}
        return versions.Migrated(old.arrays | doubled, old.optional)

    monkeypatch.setattr(versions, "FORMAT_VERSION", 4)
    monkeypatch.setitem(versions.MIGRATIONS, 2, rename)
    monkeypatch.setitem(versions.MIGRATIONS, 3, double)
    assert_same(fo.from_state_dict(fo.trace(0.9).init(arrays(0)), old), state)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1], TypeError, "from_state_dict: the saved state must be a dict, got list"),
        ({"w": 1.0}, ValueError, "from_state_dict: the saved state has no '_format_version'"),
        ({"_format_version": 7}, ValueError, "is of format 7, and .* reads formats 1 to 2"),
        ({"_format_version": 0}, ValueError, "is of format 0"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_other_dicts_are_refused(given, error, message, strict):
    with pytest.raises(error, match=message):
        fo.from_state_dict(fo.trace(0.9).init(arrays(0)), given, strict=strict)


@pytest.mark.parametrize("tx", [fo.adam(0.1), NADAM])
def test_only_the_shapes_are_reported_for_a_parameter_of_another_shape(tx):
    """Its count and carried scalars go with its slots, and are not unexpected."""
    tx = fo.per_leaf_counts(tx)
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    _, state = tx.update({"w": jnp.ones(3), "b": None}, tx.init(params), params)
    other = tx.init({"w": jnp.ones(4), "b": jnp.ones(2)})
    _, report = fo.from_state_dict(other, fo.to_state_dict(state), strict=False)
    assert not report.unexpected
    assert not report.missing
    assert {k.rpartition(".")[2] for k in report.mismatched} == {"w"}


def test_arrays_without_elements_are_restored_from_json():
    tx = fo.chain(fo.low_bit_state(fo.adam(0.1)), fo.add_noise(0.1, 0.5, 0))
    params = {"a": jnp.ones(2), "b": jnp.zeros((0, 3, 2)), "c": jnp.zeros((2, 0, 3))}
    state = tx.init(params)
    text = json.dumps(fo.to_state_dict(state), default=lambda x: x.tolist())
    read = {k: np.asarray(x) for k, x in json.loads(text).items()}
    assert_same(fo.from_state_dict(tx.init(params), read), state)
    wide = tx.init({**params, "c": jnp.zeros((3, 0, 3))})
    with pytest.raises(ValueError, match=r"mismatched: .*\(2, 0\) .* saved, \(3, 0, 3\)"):
        fo.from_state_dict(wide, read)


@pytest.mark.parametrize("form", ["8bit", "bfloat16"])
def test_quantized_arrays_are_restored_from_json(form):
    tx = fo.low_bit_state(fo.adam(0.1), form=form)
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(64, 128)), jnp.float32)}
    _, state = tx.update(params, tx.init(params))
    saved = fo.to_state_dict(state)
    text = json.dumps(saved, default=lambda x: x.tolist())
    read = {k: np.asarray(x) for k, x in json.loads(text).items()}
    assert any(x.dtype != read[k].dtype for k, x in saved.items())
    assert_same(fo.from_state_dict(tx.init(params), read), state)
