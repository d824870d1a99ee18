"""Which state of optax holds what a link holds, and in which form."""

import dataclasses
from collections.abc import Mapping

__all__ = ["LINKS", "Counterpart"]


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """What optax keeps for a link.

    Attributes:
      states: names of the classes of its state.
      slots: slot -> field of that state.
      corrected: slot -> hyperparameter that is its decay: here the mean is kept that optax
        computes by dividing what it keeps by 1 - decay^count.
    """

    states: tuple[str, ...]
    slots: Mapping[str, str] = dataclasses.field(default_factory=dict)
    corrected: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_ADAM = {"mu": "b1", "nu": "b2"}
_RMS = (
    "ScaleByRmsState",
    "ScaleByRmsWithCountState",
    "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState",
)

LINKS = {
    "ema": Counterpart(("EmaState",), _same("ema"), {"ema": "decay"}),
    "scale_by_adadelta": Counterpart(("ScaleByAdaDeltaState",), _same("e_g", "e_x")),
    "scale_by_adam": Counterpart(("ScaleByAdamState",), _same("mu", "nu"), _ADAM),
    "scale_by_adamax": Counterpart(("ScaleByAdamState",), _same("mu", "nu"), {"mu": "b1"}),
    "scale_by_amsgrad": Counterpart(("ScaleByAmsgradState",), _same("mu", "nu", "nu_max"), _ADAM),
    "scale_by_belief": Counterpart(("ScaleByBeliefState",), _same("mu", "nu"), {"mu": "b1"}),
    "scale_by_factored_rms": Counterpart(("FactoredState",), _same("v_row", "v_col", "v")),
    "scale_by_learning_rate": Counterpart(("ScaleByScheduleState",)),
    "scale_by_lion": Counterpart(("ScaleByLionState",), _same("mu")),
    "scale_by_novograd": Counterpart(("ScaleByNovogradState",), _same("mu", "nu")),
    "scale_by_radam": Counterpart(("ScaleByAdamState",), _same("mu", "nu"), _ADAM),
    "scale_by_rms": Counterpart(_RMS, _same("mu", "nu")),
    "scale_by_rss": Counterpart(("ScaleByRssState",), _same("sum_of_squares")),
    "scale_by_schedule": Counterpart(("ScaleByScheduleState",)),
    "scale_by_yogi": Counterpart(("ScaleByAdamState",), _same("mu", "nu")),
    "trace": Counterpart(("TraceState",), _same("trace")),
}
"""Name of a link -> what optax keeps for it. A link that is not here keeps nothing there."""
