"""Wrong arguments of an optimizer give an error that says how to correct them."""

import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim

ONE = {"w": jnp.ones(2)}


def group(**options):
    return [{"params": ONE, **options}]


CONSTRUCTION = {
    "set": (lambda: optim.SGD({1.0, 2.0}), TypeError, "set, which has no fixed order"),
    "generator": (lambda: optim.SGD(x for x in [jnp.ones(1)]), TypeError, "generator"),
    "half named": (
        lambda: optim.SGD([("w", jnp.ones(1)), jnp.ones(2)]),
        ValueError,
        "SGD: group 0: all optimizer params should be with/without names. Some .* parameter 1",
    ),
    "named twice": (
        lambda: optim.SGD([("w", jnp.ones(1)), ("w", jnp.ones(2))]),
        ValueError,
        "several parameters have one name",
    ),
    "set in a group": (
        lambda: optim.SGD([{"params": {1.0, 2.0}}]),
        TypeError,
        "SGD: group 0: .* set, which has no fixed order",
    ),
    "group without a list": (
        lambda: optim.SGD({"params": jnp.ones(1), "lr": 0.5}),
        TypeError,
        r"SGD: .* the option 'lr', which is one group\. Wrap it in a list",
    ),
    "misspelt params": (
        lambda: optim.SGD([{"params": jnp.ones(1)}, {"param": jnp.ones(1)}]),
        TypeError,
        r"entry 1 has no 'params': it is the keys \['param'\]",
    ),
    "nothing": (lambda: optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
    "no array": (lambda: optim.SGD({"a": None}), ValueError, "empty parameter list"),
    "text": (lambda: optim.SGD({"a": "b"}), TypeError, r"parameter at 'a' is of type str"),
    "integers": (lambda: optim.SGD({"a": jnp.ones(1, int)}), TypeError, "'a' has dtype int32"),
    "learning rate": (
        lambda: optim.SGD(ONE, lr=-1.0),
        ValueError,
        r"SGD: lr must be in \[0, inf\), got -1\.0",
    ),
    "nan": (lambda: optim.Adam(ONE, lr=float("nan")), ValueError, "Adam: lr must be in"),
    "text for a number": (
        lambda: optim.Adam(ONE, lr="1"),
        TypeError,
        "lr must be a real",
    ),
    "none for a number": (
        lambda: optim.Adam(ONE, lr=None),
        TypeError,
        "Adam: lr must be a real number",
    ),
    "no momentum": (lambda: optim.SGD(ONE, momentum=None), TypeError, "momentum must be a real"),
    "momentum": (lambda: optim.SGD(ONE, momentum=-2), ValueError, "momentum must be in .* got -2"),
    "decay": (lambda: optim.SGD(ONE, weight_decay=-0.5), ValueError, "weight_decay must be in"),
    "nesterov": (
        lambda: optim.SGD(ONE, nesterov=True),
        ValueError,
        "Nesterov momentum requires a momentum and zero dampening",
    ),
    "nesterov with dampening": (
        lambda: optim.SGD(ONE, momentum=0.9, dampening=0.5, nesterov=True),
        ValueError,
        "Nesterov momentum requires a momentum and zero dampening",
    ),
    "b1": (
        lambda: optim.Adam(ONE, betas=(1, 0.9)),
        ValueError,
        r"betas\[0\] must be in \[0, 1\), got 1",
    ),
    "b2": (
        lambda: optim.AdamW(ONE, betas=(0.9, -0.1)),
        ValueError,
        r"betas\[1\] must be in \[0, 1\)",
    ),
    "b2 of Adamax": (
        lambda: optim.Adamax(ONE, betas=(0.0, 1.0)),
        ValueError,
        r"betas\[1\] must be in",
    ),
    "decay of RAdam": (lambda: optim.RAdam(ONE, weight_decay=-1), ValueError, "weight_decay must"),
    "momentum_decay": (
        lambda: optim.NAdam(ONE, momentum_decay=-0.2),
        ValueError,
        r"NAdam: momentum_decay must be in \[0, inf\), got -0.2",
    ),
    "no momentum_decay": (
        lambda: optim.NAdam(ONE, momentum_decay=None),
        TypeError,
        "NAdam: momentum_decay must be a real number, got None. Its default is 0.004",
    ),
    "eps": (lambda: optim.Adam(ONE, eps=-1e-8), ValueError, r"eps must be in \[0, inf\)"),
    "alpha": (lambda: optim.RMSprop(ONE, alpha=-0.1), ValueError, "alpha|decay must be in"),
    "array of two": (
        lambda: optim.SGD(ONE, lr=jnp.ones(2)),
        ValueError,
        r"Tensor lr must be 1-element, got shape \(2,\)",
    ),
    "array of two betas": (
        lambda: optim.Adam(ONE, betas=(np.ones(2), 0.9)),
        ValueError,
        "Tensor betas.* must be 1-element",
    ),
    "unknown argument": (
        lambda: optim.SGD(ONE, learning_rate=0.1),
        TypeError,
        r"SGD\.__init__\(\) got an unexpected keyword argument 'learning_rate'",
    ),
    "many arguments": (
        lambda: optim.RMSprop(ONE, *[0] * 11),
        TypeError,
        r"RMSprop\.__init__\(\) takes from 2 to",
    ),
    "fused and differentiable": (
        lambda: optim.Adam(ONE, fused=True, differentiable=True),
        RuntimeError,
        "`fused` does not support `differentiable`",
    ),
    "fused and foreach": (
        lambda: optim.Adam(ONE, fused=True, foreach=True),
        RuntimeError,
        "`fused` and `foreach` cannot be `True` together",
    ),
    "flag": (lambda: optim.Adam(ONE, foreach="yes"), TypeError, "foreach must be True, False or"),
    "option of a group": (
        lambda: optim.SGD(group(lr=-1.0)),
        ValueError,
        "SGD: group 0: lr must be in",
    ),
    "misspelt option": (
        lambda: optim.SGD(group(weight_decy=0.1)),
        ValueError,
        "group 0 has the unknown option 'weight_decy'. Did you mean 'weight_decay'",
    ),
    "option of functional names": (
        lambda: optim.SGD(group(learning_rate=0.1)),
        ValueError,
        "unknown option 'learning_rate'. Did you mean 'lr'",
    ),
    "flag of a group": (
        lambda: optim.SGD(group(differentiable=True)),
        ValueError,
        "differentiable is False for the optimizer, and cannot be True for a group",
    ),
    "static option": (lambda: optim.Adam(ONE, amsgrad="yes"), TypeError, "amsgrad must be"),
}


@pytest.mark.parametrize(("make", "kind", "message"), CONSTRUCTION.values(), ids=CONSTRUCTION)
def test_invalid_arguments_of_constructors_raise(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("betas", "kind"),
    [((0.9,), ValueError), ((), ValueError), ((0.9,) * 3, ValueError), (0.9, TypeError)],
)
@pytest.mark.parametrize("cls", [optim.Adam, optim.AdamW, optim.Lion])
def test_betas_are_two(cls, betas, kind):
    with pytest.raises(kind, match="betas must be"):
        cls(ONE, betas=betas)
