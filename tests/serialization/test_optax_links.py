"""Every link of optax that keeps a state: there and back, whatever name or label it has."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim.interop.optax_state import from_optax, to_optax
from functional_optim.interop.optax_table import LINKS, REFUSED
from functional_optim.interop.optax_walk import states_of
from functional_optim.interop.optax_wrappers import WRAPPERS

from ..trees import assert_close
from .test_optax_state import OF_LOSSES, PAIRS

pytestmark = pytest.mark.usefixtures("eager")

PARAMS = {"w": jnp.linspace(0.5, 2.0, 6).reshape(2, 3), "b": jnp.linspace(-1.0, 1.0, 3)}
FALL = (0.5, 0.1, 10)

LINKS_OF_BOTH = {
    "add_decayed_weights": lambda lib: lib.add_decayed_weights(lib.linear_schedule(*FALL)),
    "add_noise": lambda lib: lib.add_noise(0.1, 0.5, 0),
    "apply_every": lambda lib: lib.apply_every(2),
    "contrib.reduce_on_plateau": lambda lib: lib.contrib.reduce_on_plateau(),
    "reduce_on_plateau": lambda lib: (
        optax.contrib.reduce_on_plateau() if lib is optax else fo.reduce_on_plateau()
    ),
    "contrib.scale_by_ademamix": lambda lib: lib.contrib.scale_by_ademamix(),
    "contrib.scale_by_adopt": lambda lib: lib.contrib.scale_by_adopt(),
    "contrib.scale_by_madgrad": lambda lib: lib.contrib.scale_by_madgrad(0.1),
    "contrib.scale_by_simplified_ademamix": lambda lib: lib.contrib.scale_by_simplified_ademamix(),
    "ema": lambda lib: lib.ema(0.9),
    "scale_by_adadelta": lambda lib: lib.scale_by_adadelta(),
    "scale_by_adam": lambda lib: lib.scale_by_adam(),
    "scale_by_adamax": lambda lib: lib.scale_by_adamax(),
    "scale_by_amsgrad": lambda lib: lib.scale_by_amsgrad(),
    "scale_by_belief": lambda lib: lib.scale_by_belief(),
    "scale_by_distance_over_gradients": lambda lib: lib.scale_by_distance_over_gradients(),
    "scale_by_factored_rms": lambda lib: lib.scale_by_factored_rms(min_dim_size_to_factor=2),
    "scale_by_learning_rate": lambda lib: lib.scale_by_learning_rate(lib.linear_schedule(*FALL)),
    "scale_by_lion": lambda lib: lib.scale_by_lion(),
    "scale_by_novograd": lambda lib: lib.scale_by_novograd(),
    "scale_by_optimistic_gradient": lambda lib: lib.scale_by_optimistic_gradient(),
    "scale_by_radam": lambda lib: lib.scale_by_radam(),
    "scale_by_rms": lambda lib: lib.scale_by_rms(),
    "scale_by_rms-counted": lambda lib: lib.scale_by_rms(bias_correction=True),
    "scale_by_rss": lambda lib: lib.scale_by_rss(),
    "scale_by_schedule": lambda lib: lib.scale_by_schedule(lib.cosine_decay_schedule(0.5, 50)),
    "scale_by_sm3": lambda lib: lib.scale_by_sm3(),
    "scale_by_stddev": lambda lib: (
        optax.scale_by_stddev() if lib is optax else fo.scale_by_rms(centered=True)
    ),
    "scale_by_stddev-counted": lambda lib: (
        optax.scale_by_stddev(bias_correction=True)
        if lib is optax
        else fo.scale_by_rms(centered=True, bias_correction=True)
    ),
    "scale_by_yogi": lambda lib: lib.scale_by_yogi(),
    "trace": lambda lib: lib.trace(0.9),
    "zero_nans": lambda lib: lib.zero_nans(),
}

PLACES = {
    "chain": lambda lib, link: lib.chain(lib.scale(2.0), link, lib.scale(-1.0)),
    "named chain": lambda lib, link: lib.named_chain(("x", lib.scale(2.0)), ("y", link)),
    "partition": lambda lib, link: lib.partition(
        {"a": link, "c": lib.scale_by_schedule(lib.linear_schedule(*FALL))}, {"w": "a", "b": "c"}
    ),
    "beside a constant": lambda lib, link: lib.chain(
        lib.scale_by_learning_rate(0.5), link, lib.ema(0.5)
    ),
    "alone": lambda lib, link: link,
}


@functools.cache
def gradients(seed):
    return jax.tree.map(lambda p: jnp.sin(seed + p), PARAMS)


def step(tx, state, seed):
    # optax relies on both.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return fo.with_extra_args_support(tx).update(
            gradients(seed), state, PARAMS, value=np.float32(1)
        )


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", LINKS_OF_BOTH)
def test_a_link_continues_in_both_libraries(name, place):
    theirs, ours = (PLACES[place](lib, LINKS_OF_BOTH[name](lib)) for lib in (optax, fo))
    state = theirs.init(PARAMS)
    for seed in range(2):  # a whole period of apply_every
        _, state = step(theirs, state, seed)
    mine = from_optax(state, ours.init(PARAMS), count=2)
    # The random keys differ, and optax keeps the sum that apply_every has applied.
    if name not in ("add_noise", "apply_every"):
        assert_close(to_optax(mine, theirs.init(PARAMS)), state, rtol=0.0, atol=0.0)
    expected, _ = step(theirs, state, 9)
    got, _ = step(ours, mine, 9)
    if name == "add_noise":  # whose random numbers are others
        return
    assert_close(got, expected, rtol=2e-5, atol=2e-6)


OTHERS = {
    "EmptyState": "nothing is kept",
    "MaskedState": "a mask has no level of its own here",
    "WrappedScheduleState": "a part of injected hyperparameters",
    "BacktrackingLineSearchState": "a part of a refused one",
    "ZoomLinesearchState": "a part of a refused one",
    "LookaheadState": "with its parameters, in test_optax_state",
    "SplitRealAndImaginaryState": "its inner state is converted, in test_optax_state",
    "HutchinsonState": "a key alone, which is the template's",
    "DifferentiallyPrivateAggregateState": "a key alone, which is the template's",
    "GaLoreState": "of an optimizer that is not here",
}
"""States that are not links, or are tested elsewhere -> why."""


def state_classes():
    """Finds the names of optax's classes of states, without those of experimental."""
    found = set()
    for name, module in list(sys.modules.items()):
        if not name.startswith("optax.") or name.startswith("optax.experimental"):
            continue
        for x in vars(module).values():
            fields = isinstance(x, type) and issubclass(x, tuple) and getattr(x, "_fields", None)
            is_state = fields and (x.__name__.endswith("State") or "count" in fields)
            if is_state and x.__module__ == name:
                found.add(x.__name__)
    return found


def test_every_state_of_optax_has_its_row():
    found = state_classes()
    assert len(found) > 25
    walked = {"PartitionState", "MultiTransformState", "MonitorState", "SnapshotState"}
    missing = found - set(REFUSED) - set(WRAPPERS) - walked - set(OTHERS)
    tried = set()
    made = [make(optax) for make in LINKS_OF_BOTH.values()]
    made += [tx for tx, _ in (PAIRS | OF_LOSSES).values()]
    for tx in made:
        tried |= {type(x).__name__ for x, _ in states_of(tx.init(PARAMS))}
    assert missing <= tried, missing - tried
    known = {name for about in LINKS.values() for name in about.states}
    assert tried <= known | set(WRAPPERS)
