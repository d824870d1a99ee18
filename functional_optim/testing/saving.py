"""Checks that transformations and states can be pickled, and states saved and restored."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from .case import Case
from .comparison import assert_equal, leaves_by_path
from .registry import conformance

__all__ = ["check_checkpoint", "check_pickling", "check_state_pickling"]


@conformance(
    "Make init and update functions of a module or objects of a class, not closures.", eager=True
)
def check_pickling(case: Case) -> None:
    """Checks that the transformation pickles, and that the copy gives the same results."""
    copy = pickle.loads(pickle.dumps(case.tx))
    other = dataclasses.replace(case, tx=copy)
    params = case.params()
    state, result = case.first_update
    assert_equal(state, other.init(params), "the state", "when made by the copy")
    result_of_copy = other.update(case.grads(), state, params)
    assert_equal(result, result_of_copy, "the result", "when computed by the copy")


@conformance("Keep arrays in the state, in containers whose class can be imported.", eager=True)
def check_state_pickling(case: Case) -> None:
    """Checks that a state can be pickled and unpickled."""
    state = case.state
    assert_equal(state, pickle.loads(pickle.dumps(state)), "the state", "after pickling")


@conformance("Keep arrays in the state, each under a distinct path.")
def check_checkpoint(case: Case) -> None:
    """Checks that a run continues from the state's NumPy arrays by path, as checkpoints have it.

    The state is restored to the structure of `jax.eval_shape(init, params)`.
    """
    params, state = case.run(steps=1)
    saved = {path: np.asarray(x) for path, x in leaves_by_path(state).items()}
    assert len(saved) == len(jax.tree.leaves(state)), "two leaves of the state have the same path."
    # Checkpoint libraries have only the shapes of init when they restore.
    restored = _restore(saved, jax.eval_shape(case.init, params))
    grads = case.grads(seed=2)
    expected, actual = (case.jitted_step(params, s, grads) for s in (state, restored))
    assert_equal(expected, actual, "the next step", "after restoring")


def _restore(saved: dict[str, np.ndarray], target: PyTree) -> PyTree:
    """Returns the saved arrays in the structure of the target."""
    for path, x in leaves_by_path(target).items():
        assert path in saved, f"'{path}' is in the state of init, and missing after update."
        assert saved[path].dtype == x.dtype, f"'{path}' is {saved[path].dtype}, not {x.dtype}."
    treedef = jax.tree.structure(target)
    return jax.tree.unflatten(
        treedef, [jnp.asarray(saved[path]) for path in leaves_by_path(target)]
    )
