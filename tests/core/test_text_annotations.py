"""Rules in a module whose annotations are texts."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from functional_optim.rules import Decay, Static, leaf_rule


@leaf_rule()
def scaled(g, slots, p, ctx, rate: Decay = 0.5, *, flip: Static[bool] = False):
    return (-rate if flip else rate) * g, {}


def test_declarations_are_read():
    with pytest.raises(ValueError, match=r"scaled: rate must be in \[0, 1\), got 1.5"):
        scaled(1.5)
    tx = scaled(0.25, flip=True)
    assert list(tx.init(jnp.ones(2)).hyperparams) == ["rate"]
    assert tx.update(jnp.ones(2), tx.init(jnp.ones(2)))[0].tolist() == [-0.25, -0.25]


def test_an_annotation_that_cannot_be_evaluated_is_an_error():
    with pytest.raises(TypeError, match="the annotations of unknown cannot be evaluated: name"):

        @leaf_rule()
        def unknown(g, slots, p, ctx, rate: Nowhere = 0.5):  # noqa: F821
            return rate * g, {}
