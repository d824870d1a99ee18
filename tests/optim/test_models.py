"""Models and variables of other libraries raise, and the message names the parameters in them."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import functional_optim as fo
from functional_optim import optim

KEY = jax.random.key(0)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(nn.Dense(3)(x))


class Nnx(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.fc, self.norm = nnx.Linear(2, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)


class Torch:
    def named_parameters(self):
        return iter(())


def variables():
    return Linen().init(KEY, jnp.ones((2, 2)))


MAKERS = {
    "AdamW": optim.AdamW,
    "group": lambda params: optim.SGD([{"params": params}]),
    "Optimizer": lambda params: optim.Optimizer(params, fo.adamw(0.1)),
}
WRONG = {
    "linen module": (nn.Dense(3), r"module of Flax, Dense, .*variables\['params'\]"),
    "torch module": (Torch(), "module of torch, Torch.*import_model"),
    "nnx module": (Nnx(), r"variables of the kind BatchStat .*nnx\.state\(model, nnx\.Param\)"),
    "nnx state": (nnx.state(Nnx()), "variables of the kind BatchStat"),
    "Equinox module": (eqx.nn.MLP(2, 2, 2, 1, key=KEY), "at 'activation' is of type .*filter"),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(("model", "text"), WRONG.values(), ids=WRONG)
def test_models_are_refused(make, model, text):
    if make is MAKERS["Optimizer"] and isinstance(model, eqx.Module):
        return  # the transformation decides which leaves it accepts
    with pytest.raises(TypeError, match=text):
        make(model)


@pytest.mark.parametrize("make", [MAKERS["AdamW"], MAKERS["Optimizer"]])
def test_statistics_next_to_flax_parameters_raise(make):
    with pytest.raises(TypeError, match=r"contains Flax's batch_stats .*variables\['params'\]"):
        make(variables())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    "params",
    [
        lambda: variables()["params"],
        lambda: {"params": variables()["params"]},
        lambda: nnx.state(Nnx(), nnx.Param),
        lambda: eqx.filter(eqx.nn.MLP(2, 2, 2, 1, key=KEY), eqx.is_array),
        lambda: eqx.nn.Linear(2, 2, key=KEY),
        lambda: nnx.Linear(2, 2, rngs=nnx.Rngs(0)),
    ],
    ids=["linen", "variables", "nnx", "Equinox", "Equinox layer", "nnx layer"],
)
def test_their_parameters_are_accepted(make, params):
    optimizer = make(params())
    optimizer.step(optimizer.copy_params())
    assert optimizer.step_count == 1
