"""Arguments of a rule's maths: its slots, the scalars of the step, a parameter it cannot read."""

import types
from typing import Any, NoReturn

from ..state import State

__all__ = ["Slots", "StepContext", "UndeclaredParam"]

Slots = State
"""The slots of one parameter, as the maths reads them: `slots.mu`."""


class StepContext(types.SimpleNamespace):
    """Scalars of this step, and of this leaf, by name, as the maths of a rule reads them.

    It has the results of the rule's `step_scalars` and `tree_stats`, and the extra arguments that
    the rule needs. It also has `leaf`, the index of the leaf in the tree (int32), from which each
    leaf can derive different random numbers; with random keys, `count`, the number of updates
    before this one; and where the rule needs `params`, `param_dtype`, the dtype of the parameter
    outside of the maths.
    """

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are not set.
        if name == "rule" or name.startswith("__"):
            raise AttributeError(name)
        declared = ", ".join(sorted(vars(self).keys() - {"rule"})) or "nothing"
        raise AttributeError(
            f"{self.rule}: the maths reads ctx.{name}, which the rule does not declare; it has "
            f"{declared}. Return {name!r} from step_scalars or tree_stats, or declare it in needs."
        )


class UndeclaredParam:
    """The parameter in the maths of a rule that does not declare `needs=("params",)`.

    Any use of it raises an error that names the rule. With None, some would be errors of JAX.
    """

    def __init__(self, rule: str):
        self._rule = rule

    def refuse(self, *_: object) -> NoReturn:
        """Raises the error."""
        # Not a TypeError, which JAX would replace by another one.
        raise ValueError(
            f"{self._rule}: the maths reads the parameter p, which the rule does not declare. "
            'Declare needs=("params",).'
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = refuse
    __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = refuse
    __matmul__ = __rmatmul__ = __neg__ = __pos__ = __abs__ = __getitem__ = refuse
    __len__ = __bool__ = __float__ = __int__ = __iter__ = __lt__ = __le__ = __gt__ = refuse
    __ge__ = __eq__ = __ne__ = refuse
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> NoReturn:
        # Compiled code of JAX reads this attribute. Python 3.13 reports other errors on stderr.
        if name == "__jax_array__":
            raise AttributeError(name)
        self.refuse()
