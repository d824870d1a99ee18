"""The 124 inputs that raise in torch's own tests raise here for the same reason, class by class."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

from functional_optim import optim

from .make_bad_input import FILE

ROWS = json.loads(FILE.read_text())
KINDS = {kind.__name__: kind for kind in (RuntimeError, TypeError, UserWarning, ValueError)}

OURS = {
    "Invalid rho value: 1.1": r"rho must be in \[0, 1\], got 1\.1",
    "Invalid beta parameter at index 0: 1.0": r"betas\[0\] must be in \[0, 1\), got 1\.0",
    "Invalid beta parameter at index 1: 1.0": r"betas\[1\] must be in \[0, 1\), got 1\.0",
    "Invalid weight_decay value: -1": r"weight_decay must be in \[0, inf\), got -1",
    "Invalid weight_decay value: -0.5": r"weight_decay must be in \[0, inf\), got -0\.5",
    "Invalid lr_decay value: -0.5": r"lr_decay must be in \[0, inf\), got -0\.5",
    "Invalid momentum value: -1.0": r"momentum must be in \[0, inf\), got -1\.0",
    "Invalid momentum value: -0.5": r"momentum must be in \[0, inf\), got -0\.5",
    "Invalid momentum_decay value: -0.2": r"momentum_decay must be in \[0, inf\), got -0\.2",
    "Invalid eta values: 1.0, 0.5": r"etas\[0\] must be in .*, got 1\.0",
    "epsilon1 should be >= 0": r"eps.* must be in \[0, inf\), got -1e-30",
    "Clipping threshold d should be >= 1": r"clipping threshold d should be >= 1 but is: 0\.0",
    "Adjust learning rate function arbitrary is not supported": r"adjust_lr_fn .*'arbitrary'",
    "SparseAdam requires dense parameter tensors": "SparseAdam.* requires dense parameter tensors",
}
"""Our messages, where they differ from those of torch. All name the argument and its value."""


def decode(value, arrays):
    """Restores the arguments, with arrays in the place of tensors."""
    if isinstance(value, list):
        return [decode(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {k: decode(v, arrays) for k, v in value["dict"].items()}
    if "tuple" in value:
        return tuple(decode(v, arrays) for v in value["tuple"])
    number = value["tensor"]
    if number not in arrays:
        values = 1.0 if value["values"] is None else np.reshape(value["values"], value["shape"])
        array = jnp.full(value["shape"], values, value["dtype"])
        arrays[number] = BCOO.fromdense(array) if value["sparse"] else array
    return arrays[number]


def arguments(row):
    """Returns parameters and options of a row; if it has no parameters, any will do."""
    arrays = {}
    params = decode(row["params"], arrays)
    return [jnp.ones((1, 1))] if params is None else params, decode(row["options"], arrays)


CASES = [
    pytest.param(name, row, id=f"{name}-{row['says']}") for row in ROWS for name in row["classes"]
]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_bad_input_raises_as_in_torch(name, row):
    params, options = arguments(row)
    kind, message = KINDS[row["raises"]], OURS.get(row["says"], row["says"])
    refused = pytest.warns if issubclass(kind, Warning) else pytest.raises
    with refused(kind, match=message):
        optimizer = getattr(optim, name)(params, **options)
        if row["at"] == "step":
            optimizer.step(params)


def test_the_table_has_all_cases_of_torch():
    assert sum(len(row["classes"]) for row in ROWS) == 124
    assert len({name for row in ROWS for name in row["classes"]}) == 15
    said = {row["says"] for row in ROWS}
    assert said >= OURS.keys()
