"""Every rule, saved in every way and restored on as many devices or fewer: the same bits.

And the next step is, to the bit, that of the state which was not saved. As all rules are compiled
here for one, two and eight devices: those give the same numbers, too.
"""

import functools
import pickle

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.interop import orbax, safetensors
from functional_optim.sharding import state_shardings

from ..rules import cases, cases_with_extra, plain
from ..trees import assert_close, assert_same

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)

SHAPES = {"b": (8,), "w": (8, 4)}
CASES = {
    case.name: case
    for case in plain([*cases(), *cases_with_extra()])
    if case.name not in ("lbfgs", "soap")
}
"""Rules without variants. `lbfgs` and `soap`, which take long to compile, are chains of links that
are here."""

TXS = {name: case.make() for name, case in CASES.items()}


def on(devices, shapes):
    """Where parameters, or what has their names, are on so many devices."""
    mesh = Mesh(jax.devices()[:devices], ("x",), axis_types=(AxisType.Auto,))
    return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec("x")), shapes)


def arrays(seed, devices):
    rng = np.random.default_rng(seed)
    draw = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in SHAPES.items()}
    return jax.device_put(draw, on(devices, draw))


def step(runs, grads):
    """One step of every rule; a run is its parameters and its state."""
    after = {}
    for name, (params, state) in runs.items():
        updates, state = CASES[name].update(TXS[name], grads, state, params)
        after[name] = fo.apply_updates(params, updates), state
    return after


@functools.cache
def template(devices):
    """Shapes and shardings of all runs."""

    def like(tree, places):
        return jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree, places
        )

    params = arrays(0, devices)
    given = like(params, on(devices, params))
    return {
        name: (given, like(jax.eval_shape(tx.init, params), state_shardings(tx, params)))
        for name, tx in TXS.items()
    }


@functools.cache
def stepping(devices):
    """The step of all rules, compiled; one program takes less time than many."""
    places = jax.tree.map(lambda x: x.sharding, template(devices))
    lowered = jax.jit(step, out_shardings=places).lower(template(devices), arrays(0, devices))
    program = lowered.compile()
    return lambda runs, seed: jax.block_until_ready(program(runs, arrays(seed, devices)))


@functools.cache
def trained(devices):
    """All runs after two steps."""
    places = jax.tree.map(lambda x: x.sharding, template(devices))
    params = arrays(0, devices)
    start = jax.device_put({k: (params, tx.init(params)) for k, tx in TXS.items()}, places)
    return stepping(devices)(stepping(devices)(start, 1), 2)


@functools.cache
def unsaved(before, now):
    """What was trained on some devices, put on others; and after the next step there."""
    runs = jax.device_put(trained(before), jax.tree.map(lambda x: x.sharding, template(now)))
    return runs, stepping(now)(runs, 3)


def by_safetensors(runs, like, folder):
    safetensors.save(folder / "c", state=runs)
    return safetensors.load(folder / "c", state=like).state


def by_orbax(runs, like, folder):
    orbax.save(folder / "c", state=runs)
    return orbax.load(folder / "c", state=like).state


def by_state_dict(runs, like, folder):
    return fo.from_state_dict(like, fo.to_state_dict(runs))


def by_pickle(runs, like, folder):
    copy = pickle.loads(pickle.dumps(runs))
    return jax.device_put(copy, jax.tree.map(lambda x: x.sharding, like))


WAYS = {
    "safetensors": by_safetensors,
    "orbax": by_orbax,
    "dict": by_state_dict,
    "pickle": by_pickle,
}


@pytest.fixture(scope="module", params=[(8, 2), (1, 1)], ids=["8-to-2", "1-to-1"])
def devices(request):
    """On how many a run is saved, and on how many it is restored."""
    return request.param


@pytest.fixture(scope="module", params=WAYS)
def restored(request, devices, tmp_path_factory):
    """All runs as restored; and after the next step."""
    before, now = devices
    folder = tmp_path_factory.mktemp(request.param)
    runs = WAYS[request.param](trained(before), template(now), folder)
    return runs, stepping(now)(runs, 3)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_continues_with_the_same_bits(name, restored, devices):
    expected = unsaved(*devices)
    for got, known in zip(restored, expected, strict=True):
        assert_same(got[name], known[name])
    jax.tree.map(_assert_in_one_place, restored[0][name], expected[0][name])


def _assert_in_one_place(x, y):
    assert x.sharding.is_equivalent_to(y.sharding, y.ndim)


# The first gradient of these parameters has fewer columns than rows, so that the second moment of
# its rows is singular, and all eigenvectors of the eigenvalue 0 are as good as those of one device.
ANY_EIGENVECTORS = {"scale_by_kl_shampoo", "scale_by_kl_soap", "scale_by_soap"}


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("name", [name for name in CASES if name not in ANY_EIGENVECTORS])
def test_any_number_of_devices_gives_the_numbers_of_one(name, devices):
    """To rounding; for which bits are the same, see `tests/sharding/test_devices.py`."""
    # Orthogonalization divides what rounding adds by the least singular value.
    atol = 2e-5 if name == "scale_by_dion2" else 1e-6
    assert_close(trained(devices)[name], trained(1)[name], rtol=2e-5, atol=atol)
