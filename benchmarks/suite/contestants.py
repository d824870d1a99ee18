"""The contestants: each makes steps on separate parameters, and waits until they are computed."""

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

import functional_optim as fo

from .rules import Rule
from .trees import Tree

__all__ = ["PHASES", "Contestant", "contestants"]

Step = Callable[[Any, Any, Any], Any]

PHASES = ("trace", "lower", "compile")


class Contestant:
    """One library on one tree.

    Attributes:
      temporary: bytes that a step needs besides its arguments and results; None if not known.
      held: bytes of the state between two steps; None if not known.
    """

    temporary: int | None = None
    held: int | None = None

    def steps(self, n: int) -> None:
        """Makes this number of steps, and waits until they are finished."""
        raise NotImplementedError

    def first(self) -> Mapping[str, float] | None:
        """Returns the seconds of each phase before the first step, with empty caches, or None."""
        return None


class Pure(Contestant):
    """A pure step, jitted, with parameters and state donated."""

    def __init__(self, tx: Any, step: Step, tree: Tree, kernels: bool = False):
        self._params, self._grads = _arrays(tree, 0.02), _arrays(tree, 1e-3)
        self._state = jax.jit(tx.init)(self._params)
        self._jitted = jax.jit(step, donate_argnums=(0, 1))
        self._kernels = kernels
        self.held = sum(x.nbytes for x in jax.tree.leaves(self._state))

    def first(self) -> Mapping[str, float]:
        jax.clear_caches()
        with fo.native.enabled(self._kernels):
            times = [time.perf_counter()]
            traced = self._jitted.trace(self._params, self._state, self._grads)
            times.append(time.perf_counter())
            lowered = traced.lower()
            times.append(time.perf_counter())
            compiled = lowered.compile()
            times.append(time.perf_counter())
        self.temporary = int(compiled.memory_analysis().temp_size_in_bytes)
        return {k: b - a for k, a, b in zip(PHASES, times, times[1:], strict=False)}

    def steps(self, n: int) -> None:
        with fo.native.enabled(self._kernels):
            for _ in range(n):
                self._params, self._state = self._jitted(self._params, self._state, self._grads)
            jax.block_until_ready((self._params, self._state))


def optax_step(tx: Any) -> Step:
    """Returns the step that users of optax write."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


def our_step(tx: Any) -> Step:
    """Returns a step with `apply_gradients`."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        return fo.apply_gradients(tx, grads, state, params)

    return step


class Stateful(Contestant):
    """`optim.AdamW(params).step(grads)`."""

    def __init__(self, rule: Rule, tree: Tree, kernels: bool = False):
        self._grads = _arrays(tree, 1e-3)
        self._optimizer = rule.stateful(_arrays(tree, 0.02))
        self._kernels = kernels

    def steps(self, n: int) -> None:
        with fo.native.enabled(self._kernels):
            for _ in range(n):
                self._optimizer.step(self._grads)
            jax.block_until_ready(self._optimizer.params)


class Torch(Contestant):
    """torch.optim, on as many threads as there are cores."""

    def __init__(self, rule: Rule, tree: Tree, **options: bool):
        import torch

        dtype = getattr(torch, tree.dtype)
        self._params = [torch.tensor(x).to(dtype) for x in tree.arrays(0.02).values()]
        for p, g in zip(self._params, tree.arrays(1e-3).values(), strict=True):
            p.grad = torch.tensor(g).to(dtype)
        assert rule.torch is not None
        self._step = getattr(torch.optim, rule.torch)(self._params, **rule.options, **options).step

    def steps(self, n: int) -> None:
        for _ in range(n):
            self._step()


def _arrays(tree: Tree, scale: float) -> dict[str, jax.Array]:
    return {k: jnp.asarray(x, tree.dtype) for k, x in tree.arrays(scale).items()}


Make = Callable[[Rule, Tree], Contestant]
Wrapper = Callable[[Any], Any]


def ours(wrapper: Wrapper = lambda tx: tx, kernels: bool = False) -> Make:
    """Returns our rule, in a wrapper."""

    def make(rule: Rule, tree: Tree) -> Contestant:
        tx = wrapper(rule.ours())
        return Pure(tx, our_step(tx), tree, kernels)

    return make


JAX: Mapping[str, Make] = {
    "optax": lambda rule, tree: Pure(rule.optax(), optax_step(rule.optax()), tree),
    "ours": ours(),
    "ours, native": ours(kernels=True),
    "ours, packed": ours(fo.packed),
    "ours, bfloat16": ours(lambda tx: fo.low_bit_state(tx, "bfloat16")),
    "ours, bfloat16 at random": ours(lambda tx: fo.low_bit_state(tx, "bfloat16", key=0)),
    "ours, 8 bits": ours(fo.low_bit_state),
    "ours, 8 bits at random": ours(lambda tx: fo.low_bit_state(tx, key=0)),
    "stateful": Stateful,
    "stateful, native": lambda rule, tree: Stateful(rule, tree, True),
}

TORCH: Mapping[str, Make] = {
    "torch fused": lambda rule, tree: Torch(rule, tree, fused=True),
    "torch foreach": lambda rule, tree: Torch(rule, tree, foreach=True),
}


def contestants(rule: Rule, tree: Tree, names: Sequence[str]) -> dict[str, Contestant]:
    """Returns the contestants with these names; torch only if it is installed and has the rule."""
    known = dict(JAX)
    if rule.torch is not None and importlib.util.find_spec("torch") is not None:
        known["torch foreach"] = TORCH["torch foreach"]
        if rule.fused:
            known["torch fused"] = TORCH["torch fused"]
    return {name: known[name](rule, tree) for name in names if name in known}
