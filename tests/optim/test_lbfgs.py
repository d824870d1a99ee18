"""LBFGS: one program for a step, one group, torch's state, copies that continue."""

import copy
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim import optim

from ..trees import assert_close, assert_same

STRONG = {"line_search_fn": "strong_wolfe"}


def start():
    return {"b": jnp.array([-1.2, 1.0, 0.3]), "w": jnp.array([[0.5 + 1.0j, -1.0]])}


def loss(params):
    b, w = params["b"], params["w"]
    bent = jnp.sum(100 * (b[1:] - b[:-1] ** 2) ** 2 + (1 - b[:-1]) ** 2)
    return bent + jnp.sum(jnp.abs(w - (2.0 - 1.0j)) ** 2) + jnp.sum(w.real**4)


def entry_of(opt):
    return opt.state_dict()["state"][0]


def test_steps_with_other_numbers_run_the_same_program():
    traced = []

    def closure(params):
        traced.append(1)
        return loss(params)

    opt = optim.LBFGS(start(), max_iter=3, **STRONG)
    losses = [float(opt.step(closure))]
    before = len(traced)
    for key, value in (("lr", 0.5), ("max_iter", 5), ("tolerance_grad", 1e-3), ("max_eval", 9)):
        opt.param_groups[0][key] = value
        losses.append(float(opt.step(closure)))
    assert len(traced) == before
    assert losses == sorted(losses, reverse=True)


def test_a_step_returns_the_loss_before_it_and_counts():
    opt = optim.LBFGS(start(), max_iter=4, **STRONG)
    assert opt.step(loss) == pytest.approx(float(loss(start())))
    assert entry_of(opt)["n_iter"] == 4
    evals = entry_of(opt)["func_evals"]
    opt.minimize(loss)
    assert entry_of(opt)["func_evals"] > evals
    assert opt.step_count == 2


def test_data_that_changes_is_an_argument_of_minimize():
    def fit(params, x, y):
        return jnp.mean((x @ params["w"] - y) ** 2), {"n": x.shape[0]}

    rng = np.random.default_rng(0)
    x, truth = rng.standard_normal((20, 3)).astype(np.float32), np.float32([1.0, -2.0, 0.5])
    opt = optim.LBFGS({"w": jnp.zeros(3)}, **STRONG)
    for rows in (slice(0, 10), slice(10, 20)):
        _, aux = opt.minimize(fit, x[rows], x[rows] @ truth, has_aux=True)
    np.testing.assert_allclose(opt.params["w"], truth, atol=1e-3)
    assert aux["n"] == 10


@pytest.mark.usefixtures("x64")
def test_a_saved_state_continues_the_same_run():
    opt = optim.LBFGS(start(), max_iter=3, history_size=2, **STRONG)
    for _ in range(3):
        opt.step(loss)
    saved = opt.state_dict()
    through_json = json.loads(json.dumps(saved, default=lambda x: np.asarray(x).tolist()))
    others = [optim.LBFGS(opt.copy_params(), max_iter=1) for _ in range(2)]
    for other, state in zip(others, (saved, through_json), strict=True):
        other.load_state_dict(state)
    others += [copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))]
    opt.step(loss)
    for other in others:
        other.step(loss)
        assert_close(other.params, opt.params, rtol=1e-12)
        assert_same(other.state_dict()["state"], opt.state_dict()["state"])


@pytest.mark.usefixtures("x64")
def test_a_state_of_parameters_in_another_order_is_reordered():
    def turned(params):
        return loss({"b": params["z"], "w": params["a"]})

    opt = optim.LBFGS(start(), max_iter=3, **STRONG)
    opt.step(loss)
    p = opt.copy_params()
    other = optim.LBFGS({"a": p["w"], "z": p["b"]}, max_iter=3, **STRONG)
    other.load_state_dict(opt.state_dict(), names=["z", "a"])
    opt.step(loss)
    other.step(turned)
    assert_close([other.params["z"], other.params["a"]], [opt.params["b"], opt.params["w"]])


def test_the_search_may_be_edited_and_the_memory_stays():
    opt = optim.LBFGS(start(), lr=1e-3, max_iter=3, max_eval=20)
    opt.step(loss)
    opt.param_groups[0]["line_search_fn"] = "strong_wolfe"
    opt.step(loss)
    assert entry_of(opt)["n_iter"] == 6
    assert len(entry_of(opt)["ro"]) == 5
    opt.param_groups[0]["history_size"] = 2
    value = opt.step(loss)
    assert len(entry_of(opt)["ro"]) == 2
    assert opt.step(loss) < value


def test_entries_of_the_state_appear_as_in_torch():
    opt = optim.LBFGS(start(), max_iter=1, **STRONG)
    assert opt.state_dict()["state"] == {}
    opt.step(loss)
    first = {"func_evals", "n_iter", "d", "t", "old_dirs", "old_stps", "ro", "H_diag"}
    first |= {"prev_flat_grad", "prev_loss"}
    assert set(entry_of(opt)) == first
    opt.step(loss)
    assert set(entry_of(opt)) == first | {"al"}
    assert entry_of(opt)["d"].shape == (7,)  # a complex number is two
    assert len(entry_of(opt)["old_dirs"]) == len(entry_of(opt)["ro"]) == 1


def test_at_a_minimum_nothing_changes_and_one_evaluation_is_counted():
    opt = optim.LBFGS({"x": jnp.zeros(2)})
    opt.step(lambda p: jnp.sum(p["x"] ** 2))
    assert entry_of(opt) == {"n_iter": 0, "func_evals": 1}
    np.testing.assert_array_equal(opt.params["x"], 0)


@pytest.mark.parametrize("options", [STRONG, {}], ids=["strong_wolfe", "fixed"])
def test_where_the_loss_is_nan_the_parameters_stay_finite(options):
    def cliff(params):
        return jnp.sum(jnp.where(params["x"] < 0.5, jnp.nan, params["x"] ** 2))

    opt = optim.LBFGS({"x": jnp.array([1.0, 2.0])}, lr=10.0, **options)
    for _ in range(3):
        opt.step(cliff)
    assert jnp.isfinite(opt.params["x"]).all()
    assert not options or jnp.isfinite(cliff(opt.params))


def test_pairs_are_sharded_as_their_parameters(mesh):
    traced = []

    def closure(params):
        traced.append(1)
        return jnp.sum((params["w"] - 2) ** 4)

    place = NamedSharding(mesh, PartitionSpec("x", "y"))
    opt = optim.LBFGS({"w": jax.device_put(jnp.ones((8, 4)), place)}, history_size=2, max_iter=2)
    opt.step(closure)
    before = len(traced)
    opt.step(closure)
    assert len(traced) == before
    ring = opt.state[0].search_by_lbfgs.diff_params_memory["w"]
    wanted = NamedSharding(mesh, PartitionSpec(None, "x", "y"))
    assert ring.sharding.is_equivalent_to(wanted, 3)


def test_other_optimizers_search_within_minimize():
    def bowl(params):
        return jnp.sum((params["x"] - 1) ** 2)

    for tx in (fo.lbfgs(), optax.lbfgs()):
        opt = optim.Optimizer({"x": jnp.array([-1.2, 1.0])}, tx)
        for _ in range(3):
            value = opt.minimize(bowl)
        assert value < 1e-6


ONE = "LBFGS doesn't support per-parameter options"
ERRORS = {
    "two groups": (lambda: optim.LBFGS([{"params": jnp.ones(1)}, {"params": jnp.ones(2)}]), ONE),
    "a group more": (
        lambda: optim.LBFGS([jnp.ones(1)]).add_param_group({"params": jnp.ones(2)}),
        ONE,
    ),
    "search": (
        lambda: optim.LBFGS([jnp.ones(1)], line_search_fn="armijo"),
        "line_search_fn must be 'strong_wolfe' or None",
    ),
    "lr": (lambda: optim.LBFGS([jnp.ones(1)], lr=-1.0), r"LBFGS: .*lr must be in \[0, inf\)"),
    "history": (lambda: optim.LBFGS([jnp.ones(1)], history_size=0), "history_size must be an int"),
    "gradients": (lambda: optim.LBFGS([jnp.ones(1)]).step(jnp.ones(1)), "needs a closure"),
    "nothing": (lambda: optim.LBFGS([jnp.ones(1)]).step(), "needs a closure.* got NoneType"),
    "no argument": (
        lambda: optim.LBFGS([jnp.ones(1)]).step(lambda: 1.0),
        "must take the parameters",
    ),
}


@pytest.mark.parametrize(("wrong", "text"), ERRORS.values(), ids=ERRORS)
def test_error_messages(wrong, text):
    with pytest.raises((TypeError, ValueError), match=text):
        wrong()


def fourth_powers(params):
    return jnp.sum(params[0] ** 4)


def change(**other):
    """Returns the state of two steps, with entries changed."""
    opt = optim.LBFGS([jnp.ones(2)], max_iter=1, lr=0.1)
    for _ in range(2):
        opt.step(fourth_powers)
    saved = opt.state_dict()
    saved["state"][0] |= other
    return saved


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"exp_avg": np.ones(2)}, "'exp_avg' is not kept here"),
        ({"d": np.ones(3)}, "'d' has 3 elements, the parameters 2"),
        ({"ro": []}, "lists of the lengths"),
    ],
)
def test_a_state_of_another_optimizer_is_refused(other, text):
    opt = optim.LBFGS([jnp.ones(2)])
    with pytest.raises(ValueError, match=f"LBFGS.load_state_dict: .*{text}.* Nothing was loaded"):
        opt.load_state_dict(change(**other))
    assert opt.state_dict()["state"] == {}


@pytest.mark.usefixtures("x64")
def test_the_newest_pairs_are_loaded_if_there_are_more_than_history_size():
    """torch continues to keep all pairs where history_size was lowered."""
    opt = optim.LBFGS(start(), max_iter=4, **STRONG)
    for _ in range(2):
        opt.step(loss)
    saved = opt.state_dict()
    saved["param_groups"][0]["history_size"] = 2
    entry = saved["state"][0]
    lists, n = ("old_dirs", "old_stps", "ro"), len(entry["ro"])
    newest = {k: entry[k][n - 2 : n] for k in (*lists, "al")}
    assert n > 2
    long, short = (optim.LBFGS(opt.copy_params()) for _ in range(2))
    long.load_state_dict(saved)
    short.load_state_dict({**saved, "state": {0: entry | newest}})
    for key in lists:
        np.testing.assert_array_equal(entry_of(long)[key], newest[key])
    assert long.step(loss) == short.step(loss)
    assert_same(long.params, short.params)


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_to_maximize_is_to_minimize_the_negative_loss(line_search_fn):
    def hill(params):
        return -jnp.sum((params["x"] - 3.0) ** 4)

    def valley(params):
        return -hill(params)

    options = {"line_search_fn": line_search_fn, "lr": 0.1, "max_iter": 4}
    up = optim.LBFGS({"x": jnp.arange(3.0)}, maximize=True, **options)
    down = optim.LBFGS({"x": jnp.arange(3.0)}, **options)
    for _ in range(3):
        assert up.step(hill) == -down.step(valley)
        np.testing.assert_array_equal(up.params["x"], down.params["x"])


def test_without_parameters_a_step_returns_the_loss():
    opt = optim.LBFGS([{"params": []}])
    assert opt.step(lambda params: jnp.float32(3.0)) == 3.0
    assert opt.state_dict()["state"] == {}
    opt.load_state_dict(opt.state_dict())
