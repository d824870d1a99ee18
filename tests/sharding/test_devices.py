"""A step gives the same numbers on any number of devices, because norms are of whole arrays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import functional_optim as fo

from ..compiling import USUAL
from ..matrix_rules import make_all
from ..rules import cases, cases_with_extra
from ..trees import assert_close, assert_same

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)

SHAPES = {"b": (128,), "w": (16, 16)}
"""Sizes of which each device's part is a multiple of the processor's vector length: the code for
remaining elements rounds differently."""
ELEMENTWISE = (
    "adadelta",
    "adam",
    "lion",
    "rmsprop",
    "rprop",
    "schedule_free_adamw",
    "sgd-momentum",
)
"""Cases in which each element's update is a function of that element alone."""

WITH_REDUCTIONS = (
    "adafactor",
    "adaptive_grad_clip",
    "asgd",
    "centralize",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "dadapt_adamw",
    "dadapt_sgd",
    "dog",
    "dowg",
    "lamb",
    "ldog",
    "mechanize",
    "momo",
    "momo_adam",
    "novograd",
    "polyak_sgd",
    "prodigy",
    "scale_by_distance_over_gradients",
    "scale_by_factored_rms-factored",
    "scale_by_lbfgs",
    "scale_by_muon",
    "sm3",
    "sparse_adam",
)
"""Cases that compute a norm, a mean, a largest element or a product over a leaf or the tree.

The list also has cases without such a reduction whose leaves the engine does not update with the
ordinary elementwise executor.
"""

CASES = {case.name: case for case in [*cases(), *cases_with_extra()]}


def arrays(seed, mesh, leading=()):
    rng = np.random.default_rng(seed)
    place = NamedSharding(mesh, PartitionSpec(*[None] * len(leading), "x"))
    return {
        k: jax.device_put(rng.standard_normal(leading + s).astype(np.float32), place)
        for k, s in SHAPES.items()
    }


def train(names, params, grads):
    """Returns parameters and state of some rules after some steps, in one program."""
    chosen = {name: CASES[name] for name in names}
    rules = {name: case.make() for name, case in chosen.items()}

    def step(runs, g):
        after = {}
        for name, (p, state) in runs.items():
            updates, state = chosen[name].update(rules[name], g, state, p)
            after[name] = fo.apply_updates(p, updates), state
        return after, None

    start = {name: (params, tx.init(params)) for name, tx in rules.items()}
    return jax.lax.scan(step, start, grads)[0]


@functools.cache
def trained_on(devices, names, options):
    """Runs `train` on this number of the host's devices, with all parameters divided among them."""
    mesh = Mesh(jax.devices()[:devices], ("x",), axis_types=(AxisType.Auto,))
    params, grads = arrays(0, mesh), arrays(1, mesh, leading=(2,))
    lowered = jax.jit(functools.partial(train, names)).lower(params, grads)
    program = lowered.compile(dict(options))
    return jax.tree.map(np.asarray, jax.block_until_ready(program(params, grads)))


def test_eight_devices_give_the_numbers_of_one():
    actual, expected = (trained_on(n, WITH_REDUCTIONS, ()) for n in (8, 1))
    for name in WITH_REDUCTIONS:
        assert_close(actual[name], expected[name], rtol=2e-5, atol=1e-6)


def test_elementwise_rules_give_the_same_bits_on_eight_devices():
    # Compiled with the optimizations that users have, because the bits depend on them.
    actual, expected = (trained_on(n, ELEMENTWISE, tuple(USUAL.items())) for n in (8, 1))
    for name in ELEMENTWISE:
        assert_same({name: actual[name]}, {name: expected[name]})


MATRICES = {"w": (16, 16), "s": (8, 8, 8)}
"""A matrix and a stack of matrices; all other leaves are left to Adam, which is among the above.

The matrices are square, because the first gradient of one that is not does not determine all
vectors of its bases.
"""
AXES = {"w": fo.MatrixAxes(), "s": fo.MatrixAxes(1, 2)}
MATRIX_RULES = make_all(AXES)
FREE_SIGNS = ("left_basis", "right_basis", "projector")
"""Slots with eigenvectors, whose signs may differ from device to device."""


@functools.cache
def matrices_trained_on(devices, spec, names):
    """Returns parameters and states of some rules after three updates, sharded by the spec."""
    mesh = Mesh(jax.devices()[:devices], ("x",), axis_types=(AxisType.Auto,))

    def arrays(seed, leading=()):
        rng = np.random.default_rng(seed)
        place = NamedSharding(mesh, PartitionSpec(*[None] * len(leading), *spec))
        return {
            k: jax.device_put(rng.standard_normal(leading + s).astype(np.float32), place)
            for k, s in MATRICES.items()
        }

    def step(runs, g):
        after = {}
        for name, (p, state) in runs.items():
            updates, state = MATRIX_RULES[name].update(g, state, p)
            after[name] = fo.apply_updates(p, updates), state
        return after, None

    params = arrays(0)
    start = {name: (params, MATRIX_RULES[name].init(params)) for name in names}
    after = jax.jit(lambda *args: jax.lax.scan(step, *args)[0])(start, arrays(1, leading=(3,)))
    return jax.tree.map(np.asarray, after)


ALL = tuple(MATRIX_RULES)
EACH_KIND = ("dion", "galore", "muon", "psgd_kron", "soap")
"""One rule of each kind, which suffices for replicated parameters: their work is not divided."""


@pytest.mark.parametrize(
    ("spec", "names", "name"),
    [
        *(pytest.param(("x",), ALL, name, id=f"sharded-{name}") for name in ALL),
        *(pytest.param((), EACH_KIND, name, id=f"replicated-{name}") for name in EACH_KIND),
    ],
)
def test_matrix_rules_give_the_numbers_of_one_device(spec, names, name):
    (params, slots), (expected_params, expected_slots) = (
        matrices_trained_on(*x)[name] for x in ((8, spec, names), (1, (), ALL))
    )
    assert_close(params, expected_params, rtol=1e-3, atol=1e-5)
    slots, expected_slots = fo.to_state_dict(slots), fo.to_state_dict(expected_slots)
    for path, value in expected_slots.items():
        if not any(word in path for word in FREE_SIGNS):
            size = np.abs(value).max(initial=0)
            np.testing.assert_allclose(
                slots[path], value, rtol=1e-3, atol=1e-4 * size, err_msg=path
            )


@functools.cache
def privately_trained_on(devices, spec):
    """Returns parameters after three steps on gradients of 16 examples, sharded by the spec."""
    mesh = Mesh(jax.devices()[:devices], ("x",), axis_types=(AxisType.Auto,))
    rng = np.random.default_rng(0)
    draws = {k: rng.standard_normal((3, 16, *s)).astype(np.float32) for k, s in SHAPES.items()}
    grads = jax.device_put(draws, NamedSharding(mesh, PartitionSpec(None, *spec)))
    params = jax.device_put({k: np.ones(s, np.float32) for k, s in SHAPES.items()})

    tx = fo.contrib.dpsgd(0.1, 1.0, 0.5, key=0, momentum=0.9)

    def step(carry, g):
        updates, state = tx.update(g, carry[1], carry[0])
        return (fo.apply_updates(carry[0], updates), state), None

    @jax.jit
    def train(params, grads):
        return jax.lax.scan(step, (params, tx.init(params)), grads)[0][0]

    return jax.device_get(train(params, grads))


@pytest.mark.parametrize("spec", [("x",), (None, "x")], ids=["examples", "elements"])
def test_private_means_have_the_same_noise_on_eight_devices(spec):
    actual, expected = privately_trained_on(8, spec), privately_trained_on(1, ())
    assert_close(actual, expected, rtol=2e-5, atol=1e-6)
    assert not np.allclose(actual["w"], 1.0, atol=1e-3)


def test_a_norm_inside_shard_map_is_the_norm_of_the_shard():
    """As the documentation says: inside `shard_map`, a function sees only one shard."""
    mesh = Mesh(jax.devices()[:8], ("x",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("x")
    inner = jax.shard_map(
        lambda x: fo.global_norm(x)[None], mesh=mesh, in_specs=spec, out_specs=spec
    )
    assert_close(inner(jnp.ones(32)), np.full(8, 2.0, np.float32))
    assert_close(fo.global_norm(jnp.ones(32)), np.float32(32) ** 0.5, rtol=1e-6)
