"""Hooks: functions that an optimizer calls around its steps, and around saving and loading."""

import functools
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, cast

from ..core.protocol import PyTree

__all__ = [
    "Hook",
    "Hooks",
    "RemovableHandle",
    "WithHooks",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "with_load_hooks",
    "with_state_dict_hooks",
    "with_step_hooks",
]

Method = TypeVar("Method", bound=Callable[..., PyTree])

Hook = Callable[..., PyTree]

_numbers = itertools.count()


class Hooks:
    """Hooks of one kind, in the order of their calls.

    Copies of an optimizer call the same hooks. Pickling drops them: most functions that are used
    as hooks do not pickle, and a checkpoint should not contain them.
    """

    def __init__(self, hooks: Mapping[int, Hook] | None = None):
        self._hooks = dict(hooks or {})

    def register(self, hook: Hook, prepend: bool = False) -> "RemovableHandle":
        """Adds a hook after the existing ones, or before them."""
        handle, others = RemovableHandle(self), self._hooks
        self._hooks = {handle.id: hook, **others} if prepend else {**others, handle.id: hook}
        return handle

    def remove(self, number: int) -> None:
        """Removes a hook if it is registered; calls that have begun still run it."""
        self._hooks = {k: hook for k, hook in self._hooks.items() if k != number}

    def __iter__(self) -> Iterator[Hook]:
        return iter(self._hooks.values())

    def __deepcopy__(self, memo: object) -> "Hooks":
        return Hooks(self._hooks)

    def __reduce__(self) -> tuple[object, ...]:
        return Hooks, ()


class RemovableHandle:
    """Removes the hook whose registration returned it, also on leaving a `with` block."""

    def __init__(self, hooks: Hooks):
        self.id = next(_numbers)
        self._hooks = weakref.ref(hooks)

    def remove(self) -> None:
        """Removes the hook; does nothing if it has been removed."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.remove(self.id)

    def __enter__(self) -> "RemovableHandle":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class WithHooks:
    """Registers an optimizer's hooks; each method returns a handle with `remove()`.

    Example:
      >>> from functional_optim import optim
      >>> import jax.numpy as jnp
      >>> opt = optim.SGD({"w": jnp.ones(1)}, lr=0.5)
      >>> handle = opt.register_step_post_hook(lambda opt, args, kwargs: print(opt.params))
      >>> opt.step({"w": jnp.ones(1)})
      {'w': Array([0.5], dtype=float32)}
      >>> handle.remove()
    """

    def _init_hooks(self) -> None:
        self._before_step, self._after_step = Hooks(), Hooks()
        self._before_saving, self._after_saving = Hooks(), Hooks()
        self._before_loading, self._after_loading = Hooks(), Hooks()

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Registers `hook(optimizer, args, kwargs)`, called before each `step` and `minimize`.

        `args` are the arguments of the call, the optimizer first. A hook returns None, or the
        pair `(args, kwargs)` that replaces the arguments.
        """
        return self._before_step.register(hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Registers `hook(optimizer, args, kwargs)`, called after each `step` and `minimize`."""
        return self._after_step.register(hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Registers `hook(optimizer)`, called before `state_dict`."""
        return self._before_saving.register(hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Registers `hook(optimizer, state_dict)`, called with the result of `state_dict`.

        The hook may change the result, or return another.
        """
        return self._after_saving.register(hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Registers `hook(optimizer, state_dict)`, called before `load_state_dict`.

        The hook gets a shallow copy, which it may change, and may return another.
        """
        return self._before_loading.register(hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Registers `hook(optimizer)`, called after `load_state_dict`."""
        return self._after_loading.register(hook, prepend)


_BEFORE_ALL, _AFTER_ALL = Hooks(), Hooks()


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(optimizer, args, kwargs)`, called before the steps of all optimizers.

    It is called like the hooks of `Optimizer.register_step_pre_hook`, and before them.
    """
    return _BEFORE_ALL.register(hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(optimizer, args, kwargs)`, called after the steps of all optimizers.

    It is called like the hooks of `Optimizer.register_step_post_hook`, and after them.
    """
    return _AFTER_ALL.register(hook)


def with_step_hooks(step: Method) -> Method:
    """Decorates a method that makes a step, so that it calls the hooks of steps."""

    @functools.wraps(step)
    def hooked(*args: PyTree, **kwargs: PyTree) -> PyTree:
        optimizer = args[0]
        for hook in (*_BEFORE_ALL, *optimizer._before_step):
            changed = hook(optimizer, args, kwargs)
            if changed is None:
                continue
            if not isinstance(changed, tuple) or len(changed) != 2:
                raise RuntimeError(
                    f"{type(optimizer).__name__}: a hook before a step must return None or a "
                    f"tuple of (new_args, new_kwargs), but got {changed!r}."
                )
            args, kwargs = changed
        result = step(*args, **kwargs)
        for hook in (*optimizer._after_step, *_AFTER_ALL):
            hook(optimizer, args, kwargs)
        return result

    return cast(Method, hooked)


def with_state_dict_hooks(state_dict: Method) -> Method:
    """Decorates `state_dict()`, so that it calls the hooks of saving."""

    @functools.wraps(state_dict)
    def hooked(self: "WithHooks") -> PyTree:
        for hook in self._before_saving:
            hook(self)
        state = state_dict(self)
        for hook in self._after_saving:
            changed = hook(self, state)
            state = state if changed is None else changed
        return state

    return cast(Method, hooked)


def with_load_hooks(load_state_dict: Method) -> Method:
    """Decorates `load_state_dict(state_dict, ...)`, so that it calls the hooks of loading."""

    @functools.wraps(load_state_dict)
    def hooked(self: "WithHooks", state_dict: object, **kwargs: object) -> None:
        state = dict(state_dict) if isinstance(state_dict, dict) else state_dict
        for hook in self._before_loading:
            changed = hook(self, state)
            state = state if changed is None else changed
        load_state_dict(self, state, **kwargs)
        for hook in self._after_loading:
            hook(self)

    return cast(Method, hooked)
