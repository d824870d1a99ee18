"""Any number of any class may follow a schedule, from any place where it can be given."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from ..trees import assert_close

OTHERWISE = {"LBFGS", "SparseAdam"}
"""Classes that are not stepped with dense gradients."""

RESTS = {"ScheduleFreeRAdam"}
"""Classes that do not move in the first steps."""

EDITED = {"Adam", "Muon", "SGD", "ScheduleFreeAdamW"}
"""Classes of which a group gets its schedules by an edit, that compiles another program.

An edit is made by the code that all classes share, and its schedules come to a class as those of
the constructor do.
"""

FIXED = {"initial_accumulator_value", "ns_coefficients", "ns_steps"}
"""Options that shape the program, or the state's start."""

CLASSES = [
    name
    for name in optim.__all__
    if inspect.isclass(getattr(optim, name))
    and issubclass(getattr(optim, name), optim.Optimizer)
    and name not in {"Optimizer", *OTHERWISE}
]


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plan(value, factor):
    """Returns a schedule from a value to a multiple of it; a value of 0 counts as 0.1."""
    value = float(value) or 0.1
    return fo.linear_schedule(value, factor * value, 3)


def plans(name, low, high):
    """Returns schedules for all numbers of a class."""
    found = {}
    for key, parameter in inspect.signature(getattr(optim, name)).parameters.items():
        value = parameter.default
        factor = high if key == "d" else low
        if key in FIXED:
            continue
        if isinstance(value, tuple):
            found[key] = tuple(plan(v, factor) if is_number(v) else v for v in value)
        elif is_number(value):
            found[key] = plan(value, factor)
    return found


def at(options, t):
    """Returns the numbers of a step."""
    number = lambda v: float(v(t)) if callable(v) else v  # noqa: E731
    return jax.tree.map(number, options, is_leaf=callable)


@pytest.mark.parametrize("name", CLASSES)
def test_every_number_may_be_a_schedule(name):
    """Sets schedules by the constructor, by a group, and by an edit in the middle of the run.

    Every second option is the group's own, so that one group has schedules from both.
    """
    make, edited = getattr(optim, name), name in EDITED
    first, other = plans(name, 0.95, 1.05), plans(name, 0.9, 1.1)
    own = {k: other[k] for k in list(other)[::2]}
    options = [first | own, {k: at(first, 0)[k] for k in first}][: 1 + edited]
    rng = np.random.default_rng(0)
    start = [{"w": draw(rng)} for _ in options]
    groups = [{"params": p, **given} for p, given in zip(start, (own, {}), strict=False)]
    scheduled = make(groups, **first)
    if edited:
        scheduled.param_groups[1].update(at(first, 0))
    numbers = make([{"params": p} for p in start], **at(first, 0))
    for t in range(4):
        if edited and t == 2:
            scheduled.param_groups[1].update(other)
            options[1] = other
        for group, given in zip(numbers.param_groups, options, strict=True):
            group.update(at(given, t))
        grads = [{"w": draw(rng)} for _ in start]
        scheduled.step(grads)
        numbers.step(grads)
        assert_close(scheduled.params, numbers.params, rtol=2e-5, atol=2e-6)
    if name in RESTS:
        return
    moved = jax.tree.map(lambda p, q: bool((p != q).any()), scheduled.params, start)
    assert all(jax.tree.leaves(moved))


def draw(rng):
    """Draws a matrix."""
    return jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)
