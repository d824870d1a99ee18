"""Dtypes of a state: what `init` gives a leaf, `update` returns in the same dtype and shape."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..rules import REPRESENTATIVES, RULES, cases, each_link
from ..trees import dtypes_of, leaf_types, mixed

SINGLE = ("float16", "bfloat16", "float32", "complex64")
DOUBLE = ("bfloat16", "float32", "float64", "complex128")
OF_DTYPES = {f"{case.name}-single": (case, SINGLE) for case in cases()} | {
    f"{case.name}-double": (case, DOUBLE) for case in cases() if case.name in REPRESENTATIVES
}
"""Every rule, on leaves of all narrow dtypes; with x64, the engine alone may choose others."""


@functools.cache
def shapes_of(dtypes):
    return jax.eval_shape(lambda: mixed(dtypes))


def under(dtypes):
    return jax.enable_x64(dtypes is DOUBLE)


@pytest.mark.parametrize(("case", "dtypes"), OF_DTYPES.values(), ids=OF_DTYPES)
def test_no_state_is_kept_in_less_than_float32(case, dtypes):
    if case.factory in (fo.kahan_summation, fo.master_remainder):
        pytest.skip("what they keep is the rest of a narrow parameter")
    with under(dtypes):
        state = jax.eval_shape(case.make().init, shapes_of(dtypes))
        if case.factory is fo.sam:
            state = state._replace(cache=None)  # parameters as they are
        kept = jax.tree.leaves(state)
        assert not [x.dtype for x in kept if x.dtype in (jnp.bfloat16, np.float16)]


SLOT_DTYPES = [
    (fo.scale_by_adam, {"mu_dtype": "bfloat16"}, {"mu": "bfloat16", "nu": "float32"}),
    (fo.scale_by_adam, {"state_dtype": "bfloat16"}, {"mu": "bfloat16", "nu": "bfloat16"}),
    (
        fo.scale_by_adam,
        {"state_dtype": {"nu": "float16"}, "mu_dtype": jnp.bfloat16},
        {"mu": "bfloat16", "nu": "float16"},
    ),
    (fo.scale_by_adam, {"state_dtype": np.float16, "amsgrad": True}, {"nu_max": "float16"}),
    (fo.scale_by_lion, {"mu_dtype": "bfloat16"}, {"mu": "bfloat16"}),
    (fo.trace, {"decay": 0.9, "accumulator_dtype": "bfloat16"}, {"trace": "bfloat16"}),
    (fo.ema, {"decay": 0.9, "accumulator_dtype": "float16"}, {"ema": "float16"}),
    (fo.scale_by_rms, {"centered": True, "state_dtype": {"mu": "float16"}}, {"mu": "float16"}),
]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(("factory", "arguments", "expected"), SLOT_DTYPES)
def test_a_slot_keeps_the_given_dtype(factory, arguments, expected, dtype):
    tx, params = factory(**arguments), problem.arrays(dtype)
    state = tx.init(params)
    _, after = jax.eval_shape(tx.update, params, state, params)
    for slot, kept in expected.items():
        assert dtypes_of(state[slot]) == dtypes_of(after[slot]) == [jnp.dtype(kept)] * 2


@pytest.mark.parametrize("factory", [fo.adam, fo.adamw, fo.lion])
def test_an_optimizer_hands_the_dtype_to_its_link(factory):
    state = factory(1e-3, mu_dtype="bfloat16").init(problem.arrays())
    assert dtypes_of(state[0].mu) == [jnp.bfloat16] * 2


WITH_STATE_DTYPE = [
    pytest.param(entry, id=entry.factory.__name__)
    for entry in RULES
    if "state_dtype" in inspect.signature(entry.factory).parameters
]


@pytest.mark.parametrize("entry", WITH_STATE_DTYPE)
def test_every_state_dtype_has_an_effect(entry):
    params = jax.eval_shape(lambda: problem.arrays("bfloat16"))

    def dtypes(**arguments):
        return dtypes_of(jax.eval_shape(entry.factory(**arguments).init, params))

    assert any(
        dtypes(**arguments) != dtypes(**{**arguments, "state_dtype": "float16"})
        for arguments in entry.valid.values()
    )


def test_a_complex_slot_stays_complex_if_a_real_dtype_is_given():
    state = fo.scale_by_adam(state_dtype="bfloat16").init(problem.arrays(np.complex64))
    assert dtypes_of(state.mu) == [jnp.complex64] * 2


@pytest.mark.parametrize(
    ("params", "grads", "updates"),
    [
        ("float32", "bfloat16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("bfloat16", "float16", "float32"),
        ("complex64", "float32", "complex64"),
    ],
)
@pytest.mark.parametrize("make", [lambda: fo.adamw(1e-3), lambda: fo.sgd(0.1, momentum=0.9)])
def test_gradients_of_another_dtype_leave_the_state_alone(make, params, grads, updates):
    tx, p, g = make(), problem.arrays(params), problem.arrays(grads)
    state = tx.init(p)
    out, after = jax.eval_shape(tx.update, g, state, p)
    assert leaf_types(after) == leaf_types(state)
    assert dtypes_of(out) == [jnp.dtype(updates)] * 2
    assert dtypes_of(fo.apply_updates(p, problem.arrays(updates))) == [jnp.dtype(params)] * 2


def of_parts(part, seed):
    whole = problem.normal(np.complex64, seed)
    return {k: jnp.asarray(part(x), np.float32) for k, x in whole.items()}


@pytest.mark.usefixtures("eager")
@each_link
def test_complex_leaves_are_pairs_of_real_ones(case):
    spec = getattr(case.factory, "spec", None)
    if spec is None or spec.tree_stats.measure is not None or not spec.split_complex:
        pytest.skip("a norm is over both parts, or several rules are fused")
    tx = case.make()
    # Leaves do not depend on each other, so that one update has the pairs and their parts.
    params, grads = (
        {
            "whole": problem.arrays(np.complex64, seed),
            "real": of_parts(np.real, seed),
            "imag": of_parts(np.imag, seed),
        }
        for seed in (0, 1)
    )
    updates, _ = tx.update(grads, tx.init(params), params)
    for part in (np.real, np.imag):
        for k, whole in updates["whole"].items():
            np.testing.assert_allclose(part(whole), updates[part.__name__][k], rtol=1e-6)
