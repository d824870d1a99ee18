"""Sparse gradients in the stateful interface."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from ..sparse import TABLE, draw
from ..trees import assert_same

START = {"bias": jnp.ones(2), "table": jnp.ones(TABLE)}

MAKERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "SGD-momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5),
    "SGD-nesterov": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "Adagrad": lambda params: optim.Adagrad(params, lr=0.1, lr_decay=0.1),
    "Optimizer": lambda params: optim.Optimizer(
        params, fo.chain(fo.clip_by_global_norm(1.0), fo.sgd(0.1))
    ),
}
each = pytest.mark.parametrize("make", [pytest.param(v, id=k) for k, v in MAKERS.items()])


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


@each
def test_sparse_dense_and_no_gradients_may_alternate(make):
    of_rows, of_all = make(START), make(START)
    for seed in range(6):
        g = draw(seed)
        dense = jnp.asarray(g.dense)
        table = [(g.sparse, dense), (dense, dense), (None, None)][seed % 3]
        of_rows.step({"bias": jnp.ones(2), "table": table[0]})
        of_all.step({"bias": jnp.ones(2), "table": table[1]})
    assert_close(of_rows.params, of_all.params)


def test_weight_decay_pulls_the_rows_of_the_gradient():
    optimizer = optim.SGD({"table": START["table"]}, lr=0.5, weight_decay=0.5)
    optimizer.step({"table": fo.row_sparse(jnp.zeros((1, 3)), jnp.array([4]), TABLE)})
    assert optimizer.params["table"][:, 0].tolist() == [1, 1, 1, 1, 0.75, 1]


def test_none_for_a_subtree_next_to_a_sparse_gradient():
    optimizer = optim.SGD({"head": {"w": jnp.ones(2)}, "table": START["table"]}, lr=1.0)
    g = draw(0)
    optimizer.step({"head": None, "table": g.sparse})
    np.testing.assert_allclose(optimizer.params["table"], 1 - g.dense, rtol=1e-6, atol=1e-6)


def test_backward_adds_to_a_sparse_gradient():
    optimizer = optim.SGD({"table": START["table"]}, lr=1.0)
    g = draw(0)
    optimizer.grads = {"table": g.sparse}
    optimizer.backward(lambda params: params["table"].sum())
    assert_close(optimizer.grads["table"], 1 + g.dense)


def test_a_zeroed_sparse_gradient_touches_no_row():
    optimizer = optim.SparseAdam({"table": START["table"]})
    g = {"table": draw(0).sparse}
    optimizer.step(g)
    before = optimizer.state_dict()["state"][0]
    optimizer.grads = g
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    after = optimizer.state_dict()["state"][0]
    assert_same(after, {**before, "step": 2})


def test_accumulated_gradients_are_clipped_by_their_sums():
    g = {"table": fo.row_sparse(jnp.array([3.0, -1.0, 4.0]), jnp.array([1, 1, 0]), (3,))}
    assert float(optim.get_total_norm(g)) == pytest.approx(np.sqrt(4 + 16))
    clipped, _ = optim.clip_grad_norm(g, 1.0)
    np.testing.assert_allclose(clipped["table"].todense(), [4 / 20**0.5, 2 / 20**0.5, 0], rtol=1e-5)
    assert optim.clip_grad_value(g, 2.5)["table"].todense().tolist() == [2.5, 2.0, 0.0]


def test_steps_of_as_many_rows_compile_once(caplog):
    optimizer = optim.SparseAdam({"table": jnp.ones((11, 3))}, lr=0.1)
    with jax.log_compiles():
        for seed in range(4):
            optimizer.param_groups[0]["lr"] = 0.1 / (seed + 1)
            optimizer.step({"table": draw(seed, shape=(11, 3)).sparse})
    compiled = [r.message for r in caplog.records if "Compiling" in r.message]
    assert sum("optimizer_step" in message for message in compiled) == 1


@pytest.mark.parametrize("copied", [False, True], ids=["read", "copied"])
def test_sparse_adam_continues_bit_for_bit(copied):
    ours = optim.SparseAdam({"table": START["table"]}, lr=0.1, betas=(0.5, 0.9))
    for seed in range(3):
        ours.step({"table": draw(seed).sparse})
    if copied:
        again = copy.deepcopy(ours)
    else:
        again = optim.SparseAdam(ours.copy_params())
        again.load_state_dict(ours.state_dict())
    for optimizer in (ours, again):
        optimizer.step({"table": draw(3).sparse})
    assert_same(ours.params, again.params)
    entry = again.state_dict()["state"][0]
    assert (entry["step"], type(entry["step"])) == (4, int), "torch counts these in an int"


def test_sparse_adam_ascends_with_maximize():
    optimizer = optim.SparseAdam({"table": jnp.zeros((2, 1))}, lr=0.5, maximize=True)
    optimizer.step({"table": fo.row_sparse(jnp.array([[3.0]]), jnp.array([1]), (2, 1))})
    np.testing.assert_allclose(optimizer.params["table"][:, 0], [0, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, r"SparseAdam: lr must be in \(0, inf\), got 0\.0"),
        ({"lr": -1.0}, r"SparseAdam: lr must be in \(0, inf\), got -1\.0"),
        ({"lr": float("nan")}, r"SparseAdam: lr must be in \(0, inf\), got nan"),
        ({"eps": 0.0}, r"SparseAdam: eps must be in \(0, inf\), got 0\.0"),
        ({"betas": (1.0, 0.9)}, r"SparseAdam: betas\[0\] must be in \[0, 1\), got 1\.0"),
        ({"betas": (0.9, -0.1)}, r"SparseAdam: betas\[1\] must be in \[0, 1\), got -0\.1"),
    ],
    ids=str,
)
def test_sparse_adam_refuses_the_options_that_torch_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        optim.SparseAdam(START, **options)


def test_sparse_adam_refuses_dense_gradients_and_complex_or_sparse_parameters():
    with pytest.raises(RuntimeError, match="does not support dense gradients, got one at 'bias'"):
        optim.SparseAdam(START).step({"bias": jnp.ones(2), "table": draw(0).sparse})
    with pytest.raises(ValueError, match="does not support complex parameters, got one at 'w'"):
        optim.SparseAdam({"w": jnp.ones(2, complex)})
    with pytest.raises(ValueError, match=r"requires dense parameter tensors, and .* 'table' is"):
        optim.SparseAdam({"table": draw(0).sparse})


def test_an_optimizer_that_needs_all_rows_refuses_sparse_gradients():
    optimizer = optim.AdamW(START)
    with pytest.raises(ValueError, match="scale_by_adam: the update at 'table' is sparse"):
        optimizer.step({"bias": jnp.ones(2), "table": draw(0).sparse})
    optimizer.step({"bias": jnp.ones(2), "table": draw(0).sparse.todense()})
