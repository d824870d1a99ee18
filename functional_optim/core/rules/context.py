"""Two arguments of a rule's maths: its slots, and the scalars of the step."""

import types
from typing import Any

from ..state import State

__all__ = ["Slots", "StepContext"]

Slots = State
"""The slots of one parameter, as the maths reads them: `slots.mu`."""


class StepContext(types.SimpleNamespace):
    """Scalars of this step, and of this leaf, by name, as the maths of a rule reads them.

    It has what the rule's `step_scalars` and `tree_stats` return and what the rule needs besides
    gradients; `leaf`, the number of the leaf (int32), which tells the random numbers of two leaves
    apart; with random keys, `count`, the number of updates before this one; and where the rule
    needs `params`, `param_dtype`, the dtype of the parameter outside of the maths.
    """

    def __getattr__(self, name: str) -> Any:
        # Called only for what is not there.
        if name == "rule" or name.startswith("__"):
            raise AttributeError(name)
        known = ", ".join(sorted(vars(self).keys() - {"rule"})) or "nothing"
        raise AttributeError(
            f"{self.rule}: the maths reads ctx.{name}, which the rule does not declare; it has "
            f"{known}. Return {name!r} from step_scalars or tree_stats, or declare it in needs."
        )
