"""Lists the state of optax that corresponds to each link."""

import dataclasses
from collections.abc import Mapping

from ..core.rules.bound_rule import ENGINE_FIELDS
from ..core.state import State
from ..core.types import OptState

__all__ = ["LINKS", "OTHER_NAMES", "REFUSED", "Counterpart"]


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """The state of optax that corresponds to a link.

    Attributes:
      states: names of the classes of optax's state.
      slots: slot -> field of optax's state; several arrays of optax may form one slot, end to end.
      scalars: scalar of the rule for the whole tree -> field.
      carry: scalar that the rule carries from step to step -> field.
      kept: slots that keep the template's value, because optax has them with the parameters.
      count: field that counts updates; None if there is none.
      first_count: the count before the first update.
      other_counts: fields with the same count.
      period: hyperparameter with the number of updates after which optax counts from 0 again. It
        then does not clear the slots that it has used, which are zeros here.
      marks: fields that identify a link without slots.
      absorbs: names of states of optax whose only content is the count of this link.
    """

    states: tuple[str, ...]
    slots: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scalars: Mapping[str, str] = dataclasses.field(default_factory=dict)
    carry: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kept: tuple[str, ...] = ()
    count: str | None = "count"
    first_count: int = 0
    other_counts: tuple[str, ...] = ()
    period: str | None = None
    marks: tuple[str, ...] = ()
    absorbs: tuple[str, ...] = ()

    @property
    def counts_all_updates(self) -> bool:
        """Whether the count includes all updates, and not only the updates of a period."""
        return self.count in ("count", "step_count") and not self.period

    def describes(self, theirs: OptState, link: State) -> bool:
        """Tells whether a link has the slots and scalars for a state of optax."""
        slots = {k for k, field in self.slots.items() if field in theirs._fields} | {*self.kept}
        if {k for k in link._fields if k not in ENGINE_FIELDS} != slots:
            return False
        known = link._asdict()
        scalars = {*self.scalars} <= {*known.get("scalars", ())}
        carry = {*self.carry} <= {*known.get("carry", ())}
        return scalars and carry and all(mark in link for mark in self.marks)

    def is_used_up(self, count: int) -> bool:
        """Tells whether the values in the slots have been used, `count` updates into a period."""
        return self.period is not None and count == 0


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_RMS = (
    "ScaleByRmsState",
    "ScaleByRmsWithCountState",
    "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState",
)
_WATCH = _same("scale", "best_value", "plateau_count", "cooldown_count", "avg_value")

_ADAM = {"mu": "exp_avg", "nu": "exp_avg_sq"}
_MODEL = _same("barf", "gamma", "lb")
_ESTIMATE = _same("estim_lr", "numerator_weighted")

LINKS = {
    "add_decayed_weights": Counterpart(("WeightDecaySchedule",), marks=("schedules",)),
    "add_noise": Counterpart(("AddNoiseState",), marks=("keys",)),
    "apply_every": Counterpart(("ApplyEvery",), _same("grad_acc"), period="k"),
    "dadapt_adamw_step": Counterpart(
        ("DAdaptAdamWState",), _ADAM | _same("grad_sum"), scalars=_ESTIMATE
    ),
    "ema": Counterpart(("EmaState",), _same("ema")),
    "look_back": Counterpart(("LookaheadState",), kept=("slow",), count="steps_since_sync"),
    "mechanic_step": Counterpart(
        ("MechanicState",), _same("x0"), scalars=_same("r", "m", "v", "s")
    ),
    "momo": Counterpart(("MomoState",), {"mu": "exp_avg"}, scalars=_MODEL),
    "momo_adam": Counterpart(("MomoAdamState",), _ADAM, scalars=_MODEL),
    "muon_momentum": Counterpart(("MuonState",), _same("mu")),
    "prodigy_step": Counterpart(
        ("ProdigyState",),
        _ADAM | _same("grad_sum", "params0"),
        # Without a growth rate, which optax does not have, the estimate is the largest one.
        scalars={"estim_lr_max": "estim_lr"} | _ESTIMATE,
    ),
    "reduce_on_plateau": Counterpart(
        ("ReduceLROnPlateauState",), scalars=_WATCH | {"accumulated": "count"}, count=None
    ),
    "scale": Counterpart(("ScaleByScheduleState",), marks=("schedules",)),
    "scale_by_adadelta": Counterpart(("ScaleByAdaDeltaState",), _same("e_g", "e_x")),
    "scale_by_adam": Counterpart(("ScaleByAdamState",), _same("mu", "nu")),
    "scale_by_adamax": Counterpart(("ScaleByAdamState",), _same("mu", "nu")),
    "scale_by_ademamix": Counterpart(
        ("ScaleByAdemamixState",), _same("m1", "m2", "nu"), other_counts=("count_m2",)
    ),
    "scale_by_adopt": Counterpart(("ScaleByAdamState",), _same("mu", "nu")),
    "scale_by_amsgrad": Counterpart(("ScaleByAmsgradState",), _same("mu", "nu", "nu_max")),
    "scale_by_belief": Counterpart(("ScaleByBeliefState",), _same("mu", "nu")),
    "scale_by_cocob": Counterpart(
        ("COCOBState",),
        _same("init_particles", "cumulative_gradients", "scale", "subgradients", "reward"),
        count=None,
    ),
    "scale_by_distance_over_gradients": Counterpart(
        ("ScaleByDistanceOverGradientsState",),
        _same("max_dist", "grad_sum_of_squares", "init_params"),
    ),
    "scale_by_dog": Counterpart(
        ("DoGState",),
        _same("init_params"),
        scalars=_same("max_dist", "sum_sq_norm_grads"),
        count=None,
    ),
    "scale_by_dowg": Counterpart(
        ("DoWGState",),
        _same("init_params"),
        scalars=_same("estim_sq_dist", "weighted_sq_norm_grads"),
        count=None,
    ),
    "scale_by_factored_rms": Counterpart(("FactoredState",), _same("v_row", "v_col", "v")),
    "scale_by_learning_rate": Counterpart(("ScaleByScheduleState",), marks=("schedules",)),
    "scale_by_lion": Counterpart(("ScaleByLionState",), _same("mu")),
    "scale_by_madgrad": Counterpart(("MadgradState",), _same("grad_sum_sq", "s", "x0")),
    "scale_by_novograd": Counterpart(("ScaleByNovogradState",), _same("mu", "nu")),
    "scale_by_optimistic_gradient": Counterpart(
        ("ScaleByOptimisticGradientState",), {"previous": "previous_gradient"}
    ),
    "scale_by_radam": Counterpart(("ScaleByAdamState",), _same("mu", "nu")),
    "scale_by_rms": Counterpart(_RMS, _same("mu", "nu")),
    "scale_by_rss": Counterpart(("ScaleByRssState",), _same("sum_of_squares")),
    "scale_by_simplified_ademamix": Counterpart(
        ("ScaleBySimplifiedAdEMAMixState",), {"m": "m", "nu": "n"}, count="t"
    ),
    "scale_by_sm3": Counterpart(("ScaleBySM3State",), {"mu": "nu", "cover": "mu"}),
    "scale_by_yogi": Counterpart(("ScaleByAdamState",), _same("mu", "nu")),
    "schedule_free_step": Counterpart(
        ("ScheduleFreeState",),
        _same("z"),
        carry={"interpolation": "b1"} | _same("weight_sum", "max_lr"),
        count="step_count",
        first_count=1,
        # A warmup is a schedule of the optimizer within.
        absorbs=("ScaleByScheduleState",),
    ),
    "sophia_step": Counterpart(("SophiaState",), _same("mu", "nu")),
    "trace": Counterpart(("TraceState",), _same("trace")),
    "zero_nans": Counterpart(("ZeroNansState",), marks=("metrics",)),
}
"""Name of a link -> the corresponding state. Links that are not listed have no state in optax."""

_RESTART = "Start it again: it keeps only the last few updates."

REFUSED = {
    "ScaleByAdanState": (
        "weighs changes of the gradient by 1 - b2, and the algorithm by b2: its mean of squares is "
        "of another quantity. Start it again."
    ),
    "ScaleByLBFGSState": f"keeps pairs of negative curvature, which are left out here. {_RESTART}",
    "ScaleByRpropState": (
        "takes each step one update late, and the last step would be lost. Start it again."
    ),
    "SAMState": (
        "keeps the parameters and gradients of both points. Convert the states of its optimizers, "
        "`opt_state` and `adv_state`, after a step of the outer one."
    ),
    "ScaleByBacktrackingLinesearchState": f"belongs to another search. {_RESTART}",
    "ScaleByZoomLinesearchState": f"belongs to another search. {_RESTART}",
}
"""States of optax that cannot be converted, although the rule exists here -> why."""

OTHER_NAMES = {"momentum": ("trace", "decay")}
"""Argument of an optimizer of optax that may be injected -> link and hyperparameter."""
