"""Transformations that are wrong in one way each, in the words of optax: pairs of closures."""

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo
from functional_optim import State


def pair(update, init=None):
    """Makes a pair of functions; by default with a trace as state."""
    init = init or (lambda params: jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), params))
    return fo.GradientTransformation(init, update)


def added(state, updates):
    return jax.tree.map(lambda s, g: s + g.astype(s.dtype), state, updates)


def drift(updates, state, params=None, **extra):
    """Keeps its state in the dtype of the gradients."""
    state = jax.tree.map(lambda s, g: s.astype(g.dtype) + g, state, updates)
    return state, state


def structure(updates, state, params=None, **extra):
    """Returns a tuple where init made a dict."""
    return updates, tuple(jax.tree.leaves(state))


def weak(updates, state, params=None, **extra):
    return updates, state * 0.5


def scalar_updates(updates, state, params=None, **extra):
    return jax.tree.map(jnp.sum, updates), state


def no_pair(updates, state, params=None, **extra):
    return updates


def init_by_value(params):
    return jax.tree.map(lambda p: jnp.asarray(np.asarray(p)), params)


def branch(updates, state, params=None, **extra):
    """Looks at a value."""
    if sum(float(jnp.sum(g)) for g in jax.tree.leaves(updates)) > 0:
        return updates, state
    return updates, state


def trace_time(updates, state, params=None, **extra):
    """Does another thing within a trace."""
    traced = any(isinstance(g, jax.core.Tracer) for g in jax.tree.leaves(updates))
    return jax.tree.map(lambda g: 2 * g if traced else g, updates), state


def by_ndim(updates, state, params=None, **extra):
    """Treats a batch of runs as one: its batching rule takes a norm over the batch as well."""

    @jax.custom_batching.custom_vmap
    def normalized(g):
        return g / jnp.linalg.norm(g)

    @normalized.def_vmap
    def _(size, batched, g):
        return g / jnp.linalg.norm(g.ravel()), batched[0]

    return jax.tree.map(normalized, updates), state


def python_number(rate=0.5):
    """Reads a hyperparameter when the step is traced, so that a new value has no effect."""

    def init(params):
        return State(count=jnp.int32(0), hyperparams={"rate": jnp.float32(rate)})

    def update(updates, state, params=None, **extra):
        return jax.tree.map(lambda g: g * float(state.hyperparams["rate"]), updates), state

    return pair(update, init)


def growing(updates, state, params=None, **extra):
    """Keeps a history as long as the run."""
    return updates, [*state, jnp.zeros(())]


def unrolled(updates, state, params=None, **extra):
    """Repeats its maths for each leaf."""

    def maths(g):
        for _ in range(10):
            g = g - 0.1 * g
        return g

    return jax.tree.map(maths, updates), state


def shared(params):
    """Keeps the parameters themselves."""
    return params


def on_one_device(params):
    device = jax.devices()[0]
    return jax.tree.map(lambda p: jax.device_put(jnp.zeros(p.shape, p.dtype), device), params)


def gathered(updates, state, params=None, **extra):
    """Puts the state on all devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("d",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return updates, jax.lax.with_sharding_constraint(state, everywhere)


def root_of_nothing(updates, state, params=None, **extra):
    """Has an infinite derivative where it is finite itself."""
    return jax.tree.map(lambda g: jnp.sqrt(jnp.abs(g - g)), updates), state


def root_of_a_number():
    def init(params):
        return State(count=jnp.int32(0), hyperparams={"rate": jnp.float32(0.0)})

    def update(updates, state, params=None, **extra):
        rate = jnp.sqrt(state.hyperparams["rate"])
        return jax.tree.map(lambda g: g * rate.astype(g.dtype), updates), state

    return pair(update, init)


def closure(updates, state, params=None, **extra):
    return updates, state


class Local:
    """A container that cannot be pickled."""

    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        raise TypeError("cannot pickle this state")


jax.tree_util.register_pytree_node(Local, lambda s: ((s.x,), None), lambda _, xs: Local(*xs))


@jax.tree_util.register_pytree_with_keys_class
class TwoOfOneName:
    """A container of two leaves with one path."""

    def __init__(self, a, b):
        self.a, self.b = a, b

    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey("x")
        return ((key, self.a), (key, self.b)), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def not_on_tpu(updates, state, params=None, **extra):
    """Uses a decomposition that the hosts have, and TPUs have not."""
    values = jnp.linalg.eigvals(updates["w"].T @ updates["w"])
    return {**updates, "w": updates["w"] * values.real.max()}, state


def all_leaves(updates, state, params=None, **extra):
    """Reads the dtype of each leaf, also of one that is None."""
    flat, treedef = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
    return treedef.unflatten([g.astype(g.dtype) for g in flat]), state


def filled(updates, state, params=None, **extra):
    """Updates a parameter that has no gradient."""
    filled = jax.tree.map(
        lambda g, p: p if g is None else g, updates, params, is_leaf=lambda x: x is None
    )
    return filled, state


def growing_counts():
    """Gets counts of parameters at the first None, and more of them at each one after it."""

    def init(params):
        return State(count=jnp.int32(0), hyperparams={})

    def update(updates, state, params=None, **extra):
        count, old = state.count, state._asdict().get("leaf_counts", jnp.zeros(0, jnp.int32))
        n = jnp.zeros(old.size + 2, jnp.int32)
        return updates, State(count=count + 1, leaf_counts=n, hyperparams={})

    return pair(update, init)


def aging():
    """Counts an update of a parameter without a gradient."""

    def init(params):
        return State(count=jnp.int32(0), hyperparams={})

    def update(updates, state, params=None, **extra):
        counts = jnp.full(2, state.count + 1)
        return updates, State(count=state.count + 1, leaf_counts=counts, hyperparams={})

    return pair(update, init)


def first_leaf(updates, state, params=None, **extra):
    """Takes for granted that there is a leaf."""
    scale = jnp.max(jax.tree.leaves(updates)[0])
    return jax.tree.map(lambda g: g * scale.astype(g.dtype), updates), state


def zero_by_zero(updates, state, params=None, **extra):
    """Normalizes with an eps that float16 does not have."""
    return jax.tree.map(
        lambda g: g / (jnp.sqrt(g * g) + jnp.asarray(1e-8, g.dtype)), updates
    ), state


def python_counter():
    """Counts its calls outside of its state."""
    calls = []

    def update(updates, state, params=None, **extra):
        calls.append(None)
        return jax.tree.map(lambda g: g * len(calls), updates), state

    return pair(update)


def in_place(updates, state, params=None, **extra):
    """Changes the list that it was given."""
    state[0] = state[0] + 1
    return updates, state


def no_extra(updates, state, params=None):
    """Takes no extra arguments."""
    return updates, state


def reads_extra(updates, state, params=None, **extra):
    """Takes any extra argument for its own."""
    return jax.tree.map(lambda g: g * (1 + len(extra)), updates), state


def ascending(updates, state, params=None, **extra):
    return jax.tree.map(lambda g: 0.01 * g, updates), state


def zeros(params):
    return jax.tree.map(jnp.zeros_like, params)


def zeros_list(params):
    return [jnp.zeros(())]


BROKEN = [
    ("state", pair(drift), "float16 parameters and float32 gradients"),
    ("state", pair(structure), "has no leaf at 'b' after update"),
    ("state", pair(weak, lambda params: 1), "raised AttributeError|int"),
    ("updates", pair(scalar_updates), r"update at 'b' has shape \(\), not \(8,\)"),
    ("updates", pair(no_pair), "not a pair"),
    ("shapes", pair(closure, init_by_value), "raised TracerArrayConversionError"),
    ("jit", pair(branch), "raised ConcretizationTypeError"),
    ("jit", pair(trace_time), "the result of jit is off"),
    ("scan", pair(growing, zeros_list), "the state|carry"),
    ("vmap", pair(by_ndim), "the result of vmap over seeds is off"),
    ("vmap_hyperparams", python_number(), "raised ConcretizationTypeError"),
    ("recompilation", pair(growing, zeros_list), "call 2 of a jitted step traced it again"),
    ("traces", pair(unrolled), "adds 20 operations"),
    ("differentiation", pair(root_of_nothing), "derivative by the gradients is not finite at"),
    ("hyperparam_derivatives", root_of_a_number(), "derivative of a step by rate"),
    ("donation", pair(closure, shared), "is the buffer of params"),
    ("sharding", pair(closure, on_one_device), "init puts 'b' at"),
    ("pickling", pair(closure), "local object|pickle"),
    ("state_pickling", pair(closure, lambda p: Local(jnp.zeros(()))), "cannot pickle this state"),
    (
        "checkpoint",
        pair(closure, lambda p: TwoOfOneName(jnp.zeros(()), jnp.ones(()))),
        "two leaves of the state have the same path",
    ),
    ("lowering", pair(not_on_tpu), "for tpu: raised"),
    ("none_parameters", pair(all_leaves), "raised AttributeError"),
    ("none_gradients", pair(filled), "there is an update at 'w', whose gradient is None"),
    ("none_gradients", growing_counts(), r"int32 \(4,\) at 'leaf_counts' after another update"),
    ("none_gradients", aging(), "the state of a leaf .* differs at '.root..leaf_counts' after"),
    ("empty_trees", pair(first_leaf), "raised IndexError"),
    ("zero_gradients", pair(zero_by_zero), "in float16, the update is not finite at 'b'"),
    ("purity", python_counter(), "when update is called again"),
    ("purity", pair(in_place, zeros_list), "the tree of the old state differs at '0' after update"),
    ("extra_arguments", pair(no_extra), "raised TypeError.* unexpected keyword argument"),
    ("extra_arguments", pair(reads_extra), "with an unknown extra argument"),
]
"""Name of the check that must fail, the pair, and the text of the message."""
