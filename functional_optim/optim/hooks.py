"""Hooks: functions that an optimizer calls around its steps, and around saving and loading."""

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Hook", "Hooked", "Hooks", "RemovableHandle"]

Hook = Callable[..., Any]

_numbers = itertools.count()


class Hooks:
    """Hooks of one kind, in the order of their calls.

    Copies of an optimizer call the same hooks. Pickled, it has none: most functions that
    are used as hooks do not pickle, and none belongs into a checkpoint.
    """

    def __init__(self, hooks: Mapping[int, Hook] | None = None):
        self._hooks = dict(hooks or {})

    def register(self, hook: Hook, prepend: bool = False) -> "RemovableHandle":
        """Adds a hook after those that are there, or before them."""
        handle, others = RemovableHandle(self), self._hooks
        self._hooks = {handle.id: hook, **others} if prepend else {**others, handle.id: hook}
        return handle

    def remove(self, number: int) -> None:
        """Removes a hook, if it is there; a round of calls that has begun still calls it."""
        self._hooks = {k: hook for k, hook in self._hooks.items() if k != number}

    def __iter__(self) -> Iterator[Hook]:
        return iter(self._hooks.values())

    def __deepcopy__(self, memo: Any) -> "Hooks":
        return Hooks(self._hooks)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hooks, ()


class RemovableHandle:
    """Removes the hook whose registration returned it; so does leaving it as a context."""

    def __init__(self, hooks: Hooks):
        self.id = next(_numbers)
        self._hooks = weakref.ref(hooks)

    def remove(self) -> None:
        """Removes the hook; without effect where it is removed already."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.remove(self.id)

    def __enter__(self) -> "RemovableHandle":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


class Hooked:
    """The registration of an optimizer's hooks; each returns a handle with `remove()`.

    Example:
      >>> from functional_optim import optim
      >>> import jax.numpy as jnp
      >>> opt = optim.SGD({"w": jnp.ones(1)}, lr=0.5)
      >>> handle = opt.register_step_post_hook(lambda opt, args, kwargs: print(opt.params))
      >>> opt.step({"w": jnp.ones(1)})
      {'w': Array([0.5], dtype=float32)}
      >>> handle.remove()
    """

    def _setup_hooks(self) -> None:
        self._before_step, self._after_step = Hooks(), Hooks()
        self._before_saving, self._after_saving = Hooks(), Hooks()
        self._before_loading, self._after_loading = Hooks(), Hooks()

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Has `hook(optimizer, args, kwargs)` called before each `step` and `minimize`.

        `args` are the arguments of the call, the optimizer first. A hook returns None, or the
        pair `(args, kwargs)` that the call is to have instead.
        """
        return self._before_step.register(hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Has `hook(optimizer, args, kwargs)` called after each `step` and `minimize`."""
        return self._after_step.register(hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Has `hook(optimizer)` called before `state_dict`."""
        return self._before_saving.register(hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Has `hook(optimizer, state_dict)` called with what `state_dict` is to return.

        The hook may change it, or return another.
        """
        return self._after_saving.register(hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Has `hook(optimizer, state_dict)` called before `load_state_dict`.

        The hook gets a shallow copy, which it may change, and may return another.
        """
        return self._before_loading.register(hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Has `hook(optimizer)` called after `load_state_dict`."""
        return self._after_loading.register(hook, prepend)
