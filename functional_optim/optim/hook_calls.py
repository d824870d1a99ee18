"""Where hooks are called: around the methods of an optimizer that they are registered for."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .hooks import Hook, Hooks, RemovableHandle

__all__ = [
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "with_load_hooks",
    "with_state_dict_hooks",
    "with_step_hooks",
]

Method = TypeVar("Method", bound=Callable[..., Any])

_BEFORE_ALL, _AFTER_ALL = Hooks(), Hooks()


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Has `hook(optimizer, args, kwargs)` called before the steps of all optimizers.

    As `Optimizer.register_step_pre_hook`, and before the hooks of the optimizer.
    """
    return _BEFORE_ALL.register(hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Has `hook(optimizer, args, kwargs)` called after the steps of all optimizers.

    As `Optimizer.register_step_post_hook`, and after the hooks of the optimizer.
    """
    return _AFTER_ALL.register(hook)


def with_step_hooks(step: Method) -> Method:
    """Calls the hooks of steps around a method that makes one."""

    @functools.wraps(step)
    def hooked(*args: Any, **kwargs: Any) -> Any:
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
    """Calls the hooks of saving around `state_dict()`."""

    @functools.wraps(state_dict)
    def hooked(self: Any) -> Any:
        for hook in self._before_saving:
            hook(self)
        state = state_dict(self)
        for hook in self._after_saving:
            changed = hook(self, state)
            state = state if changed is None else changed
        return state

    return cast(Method, hooked)


def with_load_hooks(load_state_dict: Method) -> Method:
    """Calls the hooks of loading around `load_state_dict(state_dict, ...)`."""

    @functools.wraps(load_state_dict)
    def hooked(self: Any, state_dict: Any, **kwargs: Any) -> None:
        state = dict(state_dict) if isinstance(state_dict, dict) else state_dict
        for hook in self._before_loading:
            changed = hook(self, state)
            state = state if changed is None else changed
        load_state_dict(self, state, **kwargs)
        for hook in self._after_loading:
            hook(self)

    return cast(Method, hooked)
