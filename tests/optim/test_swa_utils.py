"""Averages of parameters over a run, and the statistics of their batches."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim
from functional_optim.optim.swa_utils import (
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
    update_bn,
)

from .. import problem
from ..trees import assert_close, assert_same


def models(count, dtype=np.float32):
    return [problem.arrays(dtype, seed=i) for i in range(count)]


def mean_of(trees):
    """Returns the mean of trees, in float64."""
    return {k: np.mean([np.asarray(t[k], np.complex128) for t in trees], 0) for k in trees[0]}


def ema_of(trees, decay):
    """Returns the exponential moving average of trees, which starts at the first."""
    average = {k: np.asarray(x, np.complex128) for k, x in trees[0].items()}
    for tree in trees[1:]:
        average = {k: decay * a + (1 - decay) * np.asarray(tree[k]) for k, a in average.items()}
    return average


FUNCTIONS = {
    "default": ({}, mean_of),
    "swa": ({"avg_fn": get_swa_avg_fn()}, mean_of),
    "swa-multi": ({"multi_avg_fn": get_swa_multi_avg_fn()}, mean_of),
    "ema": ({"avg_fn": get_ema_avg_fn(0.75)}, lambda trees: ema_of(trees, 0.75)),
    "ema-multi": ({"multi_avg_fn": get_ema_multi_avg_fn(0.75)}, lambda trees: ema_of(trees, 0.75)),
    "ema-default": ({"avg_fn": get_ema_avg_fn()}, lambda trees: ema_of(trees, 0.999)),
    "first": ({"avg_fn": get_ema_avg_fn(1.0)}, lambda trees: ema_of(trees, 1.0)),
    "last": ({"avg_fn": get_ema_avg_fn(0.0)}, lambda trees: ema_of(trees, 0.0)),
    "users": ({"avg_fn": lambda a, x, n: (a * n + x) / (n + 1)}, mean_of),
    "users-multi": (
        {"multi_avg_fn": lambda a, x, n: [0.75 * a + 0.25 * x for a, x in zip(a, x, strict=True)]},
        lambda trees: ema_of(trees, 0.75),
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.complex64], ids=str)
@pytest.mark.parametrize(("options", "oracle"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_average_is_that_of_all_models(options, oracle, dtype):
    shown = models(6, dtype)
    average = AveragedModel(problem.arrays(dtype, seed=99), **options)
    assert_same(average.module, problem.arrays(dtype, seed=99))
    for model in shown:
        average.update_parameters(model)
    assert average.n_averaged == 6
    assert_close(average.module, oracle(shown), rtol=1e-5, atol=1e-6)
    assert {x.dtype for x in jax.tree.leaves(average.params)} == {np.dtype(dtype)}


def test_averaging_functions_run_on_arrays_alone():
    old, new = np.zeros(2, np.float32), np.ones(2, np.float32)
    np.testing.assert_allclose(get_ema_avg_fn(0.9)(old, new, 7), [0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(get_swa_avg_fn()(old, new, 3), [0.25, 0.25])
    np.testing.assert_allclose(get_swa_multi_avg_fn()([old, new], [new, old], 3)[1], [0.75, 0.75])


def test_the_average_of_a_narrow_dtype_is_kept_in_float32():
    average = AveragedModel({"w": jnp.ones(1, jnp.bfloat16)}, avg_fn=get_ema_avg_fn(0.999))
    average.update_parameters({"w": jnp.ones(1, jnp.bfloat16)})
    for _ in range(1000):
        average.update_parameters({"w": jnp.zeros(1, jnp.bfloat16)})
    assert average.module["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(float(average.module["w"][0]), 0.999**1000, rtol=2**-8)


def test_a_step_of_the_optimizer_does_not_change_the_average():
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    average = AveragedModel(optimizer.params)
    for _ in range(3):
        average.update_parameters(optimizer.params)
        optimizer.step({"w": jnp.ones(2)})
    np.testing.assert_allclose(average.module["w"], np.mean([1.0, 0.5, 0.0]))


def test_an_averaging_function_may_return_its_argument():
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    average = AveragedModel(optimizer.params, avg_fn=lambda averaged, current, n: current)
    for _ in range(2):
        average.update_parameters(optimizer.params)
        optimizer.step({"w": jnp.ones(2)})
    np.testing.assert_array_equal(average.module["w"], [0.5, 0.5])


def test_leaves_that_are_not_floating_arrays_are_those_of_the_last_model():
    average = AveragedModel({"w": jnp.zeros(1), "n": jnp.array(1), "f": "tanh"})
    for i in (3, 5):
        average.update_parameters({"w": jnp.full(1, float(i)), "n": jnp.array(i), "f": "tanh"})
    assert average.module["w"].tolist() == [4.0]
    assert (int(average.module["n"]), average.module["f"]) == (5, "tanh")
    again = AveragedModel({"w": jnp.zeros(1), "n": jnp.array(0), "f": "relu"})
    again.load_state_dict(average.state_dict())
    assert (int(again.module["n"]), again.module["f"]) == (5, "relu")


@pytest.mark.parametrize(("use_buffers", "expected"), [(False, 6.0), (True, 3.0)])
def test_buffers_are_copied_or_averaged(use_buffers, expected):
    average = AveragedModel(
        {"w": jnp.zeros(1)}, use_buffers=use_buffers, buffers={"mean": jnp.zeros(1)}
    )
    for x in (1.0, 2.0, 6.0):
        average.update_parameters({"w": jnp.full(1, x)}, {"mean": jnp.full(1, x)})
    assert average.module["w"].tolist() == [3.0]
    assert average.buffers["mean"].tolist() == [expected]


def test_the_average_is_kept_on_its_device():
    device = jax.devices()[1]
    average = AveragedModel({"w": jnp.zeros(1)}, device)
    for x in (1.0, 3.0):
        average.update_parameters({"w": jnp.full(1, x)})
    assert average.module["w"].devices() == {device}
    assert average.module["w"].tolist() == [2.0]


WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda average: pickle.loads(pickle.dumps(average)),
    "state_dict": lambda average: loaded(average),
}


def loaded(average):
    again = AveragedModel(problem.arrays(seed=98), multi_avg_fn=get_ema_multi_avg_fn(0.75))
    again.load_state_dict(average.state_dict())
    return again


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_copy_continues_independently(way):
    average = AveragedModel(problem.arrays(), multi_avg_fn=get_ema_multi_avg_fn(0.75))
    shown = models(6)
    for model in shown[:3]:
        average.update_parameters(model)
    other = way(average)
    average.update_parameters(problem.arrays(seed=97))
    for model in shown[3:]:
        other.update_parameters(model)
    assert other.n_averaged == 6
    assert_close(other.module, ema_of(shown, 0.75), rtol=1e-5, atol=1e-6)


def test_state_dict_has_the_names_of_torch():
    average = AveragedModel({"layer": {"weight": jnp.ones(2)}}, buffers={"mean": jnp.zeros(1)})
    state = average.state_dict()
    assert set(state) == {"n_averaged", "module.layer.weight", "buffers.mean"}
    assert all(isinstance(x, np.ndarray) for x in state.values())
    assert state["n_averaged"].dtype == np.int64
    message = r"(?s)missing: 'buffers\.mean'.* 'module\.layer\.weight' \(3,\)"
    with pytest.raises(ValueError, match=message):
        average.load_state_dict({"n_averaged": 3, "module.layer.weight": np.ones(3)})
    assert average.n_averaged == 0


BAD = {
    "both": (
        lambda: AveragedModel({}, avg_fn=get_swa_avg_fn(), multi_avg_fn=get_swa_multi_avg_fn()),
        "Only one of avg_fn and multi_avg_fn should be provided",
    ),
    "decay": (lambda: get_ema_avg_fn(1.1), r"Invalid decay value 1.1 provided.* in \[0,1\] range"),
    "decay-multi": (lambda: get_ema_multi_avg_fn(-0.1), "Invalid decay value -0.1"),
    "other": (
        lambda: AveragedModel({"w": jnp.ones(2)}).update_parameters({"v": jnp.ones(2)}),
        "AveragedModel: the model has no leaf at 'w'",
    ),
    "shape": (
        lambda: AveragedModel({"w": jnp.ones(2)}).update_parameters({"w": jnp.ones(3)}),
        r"AveragedModel: the model has shape \(3,\) at 'w'",
    ),
    "buffers": (
        lambda: AveragedModel(1.0, buffers={"m": jnp.ones(1)}).update_parameters(1.0),
        "AveragedModel: buffers: the model has no leaf at 'm'",
    ),
    "empty": (lambda: update_bn([], {}, lambda p, x: x), "the loader is empty"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_misuse_raises(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_function_that_writes_in_place_is_an_error():
    average = AveragedModel({"w": jnp.ones(1)}, multi_avg_fn=lambda averaged, current, n: None)
    average.update_parameters({"w": jnp.ones(1)})
    with pytest.raises(TypeError, match=r"must return the list of the 1 averages, got NoneType"):
        average.update_parameters({"w": jnp.ones(1)})


def test_an_average_may_be_called_as_its_model_is():
    linear = jax.tree_util.Partial(lambda w, x: w @ x, jnp.eye(2))
    average = AveragedModel(linear)
    average.update_parameters(jax.tree.map(lambda w: 2 * w, linear))
    average.update_parameters(jax.tree.map(lambda w: 4 * w, linear))
    assert average(jnp.array([1.0, -1.0])).tolist() == [3.0, -3.0]


def test_statistics_are_the_mean_over_batches():
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((5, 3)).astype(np.float32) for _ in range(4)]

    def statistics(scale, x):
        return {"mean": jnp.mean(scale * x, 0), "var": jnp.var(scale * x, 0, ddof=1)}

    expected = {
        "mean": np.mean([2 * x.astype(np.float64).mean(0) for x in batches], 0),
        "var": np.mean([4 * x.astype(np.float64).var(0, ddof=1) for x in batches], 0),
    }
    for loader in (batches, [(x, 0) for x in batches], ([x] for x in batches)):
        assert_close(update_bn(loader, 2.0, statistics), expected, rtol=1e-5)
    found = update_bn(batches, 2.0, statistics, device=jax.devices()[1])
    assert found["mean"].devices() == {jax.devices()[1]}


def test_a_tree_without_arrays_is_refused():
    with pytest.raises(TypeError, match=r"AveragedModel needs a tree of arrays.*got SGD.*params"):
        optim.swa_utils.AveragedModel(optim.SGD({"w": jnp.ones(2)}))
