"""Which state of optax holds what a link holds, and in which form."""

import dataclasses
from collections.abc import Mapping

__all__ = ["LINKS", "OTHER_NAMES", "REFUSED", "Counterpart"]


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """What optax keeps for a link.

    Attributes:
      states: names of the classes of its state.
      slots: slot -> field of that state; several arrays there are one here, end to end.
      corrected: slot -> hyperparameter that is its decay: here the mean is kept that optax
        computes by dividing what it keeps by 1 - decay^count.
      scalars: number that the rule keeps of the whole tree -> field.
      kept: slots that stay as in the template; optax keeps those with the parameters.
      count: field that counts updates; None where there is none.
      period: hyperparameter after as many updates as which optax counts from 0, and has left in
        the slots what has been used.
    """

    states: tuple[str, ...]
    slots: Mapping[str, str] = dataclasses.field(default_factory=dict)
    corrected: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scalars: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kept: tuple[str, ...] = ()
    count: str | None = "count"
    period: str | None = None


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_ADAM = {"mu": "b1", "nu": "b2"}
_RMS = (
    "ScaleByRmsState",
    "ScaleByRmsWithCountState",
    "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState",
)
_WATCH = _same("scale", "best_value", "plateau_count", "cooldown_count", "avg_value")

LINKS = {
    "add_decayed_weights": Counterpart(("WeightDecaySchedule",)),
    "add_noise": Counterpart(("AddNoiseState",)),
    "apply_every": Counterpart(("ApplyEvery",), _same("grad_acc"), period="k"),
    "ema": Counterpart(("EmaState",), _same("ema"), {"ema": "decay"}),
    "look_back": Counterpart(("LookaheadState",), kept=("slow",), count="steps_since_sync"),
    "muon_momentum": Counterpart(("MuonState",), _same("mu")),
    "reduce_on_plateau": Counterpart(
        ("ReduceLROnPlateauState",), scalars=_WATCH | {"accumulated": "count"}, count=None
    ),
    "scale_by_adadelta": Counterpart(("ScaleByAdaDeltaState",), _same("e_g", "e_x")),
    "scale_by_adam": Counterpart(("ScaleByAdamState",), _same("mu", "nu"), _ADAM),
    "scale_by_adamax": Counterpart(("ScaleByAdamState",), _same("mu", "nu"), {"mu": "b1"}),
    "scale_by_amsgrad": Counterpart(("ScaleByAmsgradState",), _same("mu", "nu", "nu_max"), _ADAM),
    "scale_by_belief": Counterpart(("ScaleByBeliefState",), _same("mu", "nu"), {"mu": "b1"}),
    "scale_by_distance_over_gradients": Counterpart(
        ("ScaleByDistanceOverGradientsState",),
        _same("max_dist", "grad_sum_of_squares", "init_params"),
    ),
    "scale_by_factored_rms": Counterpart(("FactoredState",), _same("v_row", "v_col", "v")),
    "scale_by_learning_rate": Counterpart(("ScaleByScheduleState",)),
    "scale_by_lion": Counterpart(("ScaleByLionState",), _same("mu")),
    "scale_by_novograd": Counterpart(("ScaleByNovogradState",), _same("mu", "nu")),
    "scale_by_optimistic_gradient": Counterpart(
        ("ScaleByOptimisticGradientState",), {"previous": "previous_gradient"}
    ),
    "scale_by_radam": Counterpart(("ScaleByAdamState",), _same("mu", "nu"), _ADAM),
    "scale_by_rms": Counterpart(_RMS, _same("mu", "nu")),
    "scale_by_rss": Counterpart(("ScaleByRssState",), _same("sum_of_squares")),
    "scale_by_schedule": Counterpart(("ScaleByScheduleState",)),
    "scale_by_sm3": Counterpart(("ScaleBySM3State",), {"mu": "nu", "cover": "mu"}),
    "scale_by_yogi": Counterpart(("ScaleByAdamState",), _same("mu", "nu")),
    "trace": Counterpart(("TraceState",), _same("trace")),
    "zero_nans": Counterpart(("ZeroNansState",)),
}
"""Name of a link -> what optax keeps for it. A link that is not here keeps nothing there."""

_ANEW = "Start it anew: what it keeps is of a few updates."

REFUSED = {
    "ScaleByAdanState": (
        "weighs changes of the gradient by 1 - b2, and the algorithm by b2: its mean of squares is "
        "one of something else. Start it anew."
    ),
    "ScaleByLBFGSState": f"keeps pairs of negative curvature, which are left out here. {_ANEW}",
    "ScaleByRpropState": (
        "takes each step one update late, and the one that it owes would be lost. Start it anew."
    ),
    "ScaleByBacktrackingLinesearchState": f"is of another search. {_ANEW}",
    "ScaleByZoomLinesearchState": f"is of another search. {_ANEW}",
}
"""States of optax that cannot be taken over -> why, of rules that are here as well."""

OTHER_NAMES = {"momentum": ("trace", "decay")}
"""Argument of an optimizer of optax that may be injected -> the link and number that it is."""
