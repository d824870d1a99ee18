"""Checks of the ways out of a process: pickles and checkpoints."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from .comparing import equal, flat
from .registry import conformance
from .subject import Subject

__all__ = ["check_checkpoint", "check_pickling", "check_state_pickling"]


@conformance(
    "Make init and update functions of a module or objects of a class, not closures.", eager=True
)
def check_pickling(subject: Subject) -> None:
    """Checks that the transformation pickles, and that the copy does what it does."""
    copy = pickle.loads(pickle.dumps(subject.tx))
    twin = Subject(copy, subject.given, subject.extra, subject.dtypes)
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    equal(state, twin.init(params), "the state", "when made by the copy")
    ours, theirs = (x.update(grads, state, params) for x in (subject, twin))
    equal(ours, theirs, "the result", "when computed by the copy")


@conformance("Keep arrays in the state, in containers whose class can be imported.", eager=True)
def check_state_pickling(subject: Subject) -> None:
    """Checks that a state pickles."""
    state = subject.init(subject.params())
    equal(state, pickle.loads(pickle.dumps(state)), "the state", "after pickling")


@conformance("Keep arrays in the state, each under a path of its own.")
def check_checkpoint(subject: Subject) -> None:
    """Checks that a run goes on from NumPy arrays by path, as checkpoints keep them.

    The state is restored to the structure of `jax.eval_shape(init, params)`.
    """
    params, state = subject.run(subject.params(), steps=1)
    saved = {path: np.asarray(x) for path, x in flat(state).items()}
    assert len(saved) == len(jax.tree.leaves(state)), "two leaves of the state have one path."
    restored = _restore(saved, jax.eval_shape(subject.init, params))
    grads = subject.grads(seed=2)
    here, there = (subject.jitted_step(params, s, grads) for s in (state, restored))
    equal(here, there, "the next step", "after restoring")


def _restore(saved: dict[str, np.ndarray], target: PyTree) -> PyTree:
    for path, x in flat(target).items():
        assert path in saved, f"'{path}' is in the state of init, and not after update."
        assert saved[path].dtype == x.dtype, f"'{path}' is {saved[path].dtype}, not {x.dtype}."
    treedef = jax.tree.structure(target)
    return jax.tree.unflatten(treedef, [jnp.asarray(saved[path]) for path in flat(target)])
