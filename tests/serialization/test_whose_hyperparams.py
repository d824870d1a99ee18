"""A restored state has the saved hyperparameters, or with `hyperparams="template"` the template's.

All else is the saved state's in both cases.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.interop import orbax, safetensors

from ..extras import need
from ..trees import assert_same

pytestmark = pytest.mark.usefixtures("eager")

PARAMS = {"w": jnp.ones((2, 3)), "bias": jnp.ones(3), "hyperparams": {"count": jnp.ones(2)}}
LABELS = fo.path_labels({"bias$": "slow"}, default="fast")


def by_state_dict(state, template, folder, **options):
    restored = fo.from_state_dict(template, fo.to_state_dict(state), **options)
    return restored if options.get("strict", True) else restored[0]


def by_safetensors(state, template, folder, **options):
    need("safetensors")
    safetensors.save(folder / "c", state=state)
    return safetensors.load(folder / "c", state=template, **options).state


def by_orbax(state, template, folder, **options):
    need("orbax")
    orbax.save(folder / "c", state=state)
    return orbax.load(folder / "c", state=template, **options).state


each_reader = pytest.mark.parametrize("read", [by_state_dict, by_safetensors, by_orbax])


def labelled(fast, slow):
    return fo.partition({"fast": fo.adamw(fast), "slow": fo.sgd(slow, momentum=0.9)}, LABELS)


def by_label(fast, slow):
    return fo.adamw(fo.by_label({"fast": fast, "slow": slow}, LABELS))


def schedule(value):
    return fo.warmup_cosine_decay_schedule(0.0, value, 1, 10)


def injected(rate):
    return fo.inject_hyperparams(fo.adam)(rate, b1=0.5)


ADAM, SCHEDULED = fo.adam(0.1), fo.adamw(schedule(0.1), b1=0.5)

# The run that was saved, and the one that continues it. Both have the same slots.
CASES = {
    "constants": (fo.adamw(0.1), fo.adamw(0.2, b1=0.5, weight_decay=0.3)),
    "numbers of a schedule": (fo.adamw(schedule(0.1)), fo.adamw(schedule(0.2))),
    "a constant that is scheduled": (fo.adamw(0.1), fo.adamw(schedule(0.2), b1=0.5)),
    "a schedule that is constant": (fo.adamw(schedule(0.1)), fo.adamw(0.2, b1=0.5)),
    "a partition": (labelled(0.1, 0.2), labelled(0.3, schedule(0.4))),
    "labels": (by_label(0.1, 0.2), by_label(0.3, 0.4)),
    "labels that are scheduled": (by_label(0.1, schedule(0.2)), by_label(0.3, schedule(0.4))),
    "a wrapper": (fo.MultiSteps(fo.adam(0.1), 2), fo.MultiSteps(fo.adam(0.2), 2)),
    "injected": (injected(0.1), injected(0.2)),
    "bits": (fo.low_bit_state(fo.adam(0.1)), fo.low_bit_state(fo.adam(0.2))),
    "other names": (fo.chain(fo.trace(0.9), fo.scale_by_learning_rate(0.1)), fo.sgd(0.2, 0.8)),
    "other optimizers": (fo.nadamw(0.1, b1=0.8), fo.adamw(0.2, b1=0.5)),
}


@functools.cache
def trained(tx, steps=3):
    state = tx.init(PARAMS)
    for _ in range(steps):
        _, state = tx.update(PARAMS, state, PARAMS)
    return state


def numbers(named):
    """Selects the hyperparameters and numbers of schedules; parameters have such a name, too."""
    fields = (".hyperparams.", ".schedules.")
    ends = (".hyperparams.count",)
    return {k for k in named if any(f".{k}".find(x) >= 0 for x in fields) and not k.endswith(ends)}


# Readers of files pass the choice on: for them, a few cases suffice.
READ = [(case, by_state_dict) for case in CASES] + [
    (case, read)
    for case in ("a constant that is scheduled", "a partition", "bits")
    for read in (by_safetensors, by_orbax)
]


@pytest.mark.parametrize(("case", "read"), READ)
def test_the_template_keeps_its_hyperparameters(case, read, tmp_path):
    before, after = CASES[case]
    state, template = trained(before), after.init(PARAMS)
    restored = read(state, template, tmp_path, hyperparams="template")
    assert_same(fo.get_hyperparams(restored), fo.get_hyperparams(template))
    found, saved, kept = map(fo.to_state_dict, (restored, state, template))
    assert found.keys() == kept.keys()
    for name in found.keys() - numbers(kept):
        np.testing.assert_array_equal(found[name], saved[name])
    # A schedule continues at the step that was reached, with the numbers of the template.
    _, expected = after.update(PARAMS, restored, PARAMS)
    _, same = after.update(PARAMS, trained(after), PARAMS)
    assert_same(fo.get_hyperparams(expected), fo.get_hyperparams(same))


@each_reader
@pytest.mark.parametrize("options", [{}, {"hyperparams": "saved"}], ids=["default", "saved"])
def test_the_saved_hyperparameters_are_restored(read, options, tmp_path):
    state = trained(SCHEDULED)
    assert_same(read(state, fo.adamw(schedule(0.2)).init(PARAMS), tmp_path, **options), state)


@each_reader
def test_other_hyperparameters_are_neither_missing_nor_unexpected(read, tmp_path):
    """A link that one of both lacks is reported, and its hyperparameters are not."""
    state, after = trained(CASES["constants"][0]), fo.chain(fo.clip(1.0), fo.adam(schedule(0.2)))
    name = r"'(state\.)?{}\.count' \(\) int32\n"
    text = f"missing: {name.format('clip')}unexpected: {name.format('add_decayed_weights')}"
    with pytest.raises(ValueError, match=text):
        read(state, after.init(PARAMS), tmp_path, hyperparams="template")
    _, report = fo.from_state_dict(
        after.init(PARAMS), fo.to_state_dict(state), strict=False, hyperparams="template"
    )
    assert [*report.missing] == ["clip.count"]
    assert [*report.unexpected] == ["add_decayed_weights.count"]
    assert "scale_by_learning_rate.schedules.learning_rate.peak_value" in report.kept
    assert "add_decayed_weights.hyperparams.weight_decay" in report.kept


@each_reader
def test_a_template_of_shapes_has_no_hyperparameters(read, tmp_path):
    shapes = jax.eval_shape(ADAM.init, PARAMS)
    text = (
        r"nothing was restored for '.*hyperparams\..*', .* only its shape\. Pass .*init\(params\)"
    )
    with pytest.raises(ValueError, match=text):
        read(trained(ADAM), shapes, tmp_path, hyperparams="template")


@each_reader
def test_another_choice_is_refused(read, tmp_path):
    with pytest.raises(ValueError, match="hyperparams must be 'saved' or 'template', got 'code'"):
        read(trained(ADAM), ADAM.init(PARAMS), tmp_path, hyperparams="code")


def rates(fast, slow, *labels):
    return fo.sgd(fo.by_label({k: {"fast": fast, "slow": slow}[k] for k in labels}, LABELS))


OF_LABELS = {
    "labels in another order": (rates(0.5, 0.25, "slow", "fast"), rates(1.0, 1.0, "fast", "slow")),
    "one number before": (fo.sgd(0.125), rates(0.5, 0.25, "slow", "fast")),
    "labels before": (rates(0.5, 0.25, "slow", "fast"), fo.sgd(0.125)),
    "more labels": (
        rates(0.5, 0.25, "slow", "fast"),
        fo.sgd(fo.by_label({"a": 1.0, "slow": 0.25, "fast": 0.5}, LABELS)),
    ),
}


@pytest.mark.parametrize("case", OF_LABELS)
def test_labels_are_the_templates(case):
    """The state has them as indices, which mean nothing where the labels have another order."""
    before, after = OF_LABELS[case]
    restored = fo.from_state_dict(after.init(PARAMS), fo.to_state_dict(before.init(PARAMS)))
    updates, _ = after.update(PARAMS, restored, PARAMS)
    slow, fast = (0.125, 0.125) if case == "labels before" else (0.25, 0.5)
    assert updates["bias"][0] == -slow
    assert updates["w"][0, 0] == -fast


def test_labels_of_parameters_in_another_order():
    tx = rates(0.5, 0.25, "fast", "slow")
    saved = fo.to_state_dict(tx.init({"bias": jnp.ones(3), "w": jnp.ones(2)}))
    params = {"a": jnp.ones(2), "bias": jnp.ones(3), "w": jnp.ones(2)}
    updates, _ = tx.update(params, fo.from_state_dict(tx.init(params), saved), params)
    assert (updates["a"][0], updates["bias"][0]) == (-0.5, -0.25)


def test_labels_of_a_template_of_shapes_are_the_saved():
    state = trained(by_label(0.1, 0.2))
    shapes = jax.eval_shape(by_label(0.1, 0.2).init, PARAMS)
    assert_same(fo.from_state_dict(shapes, fo.to_state_dict(state)), state)
