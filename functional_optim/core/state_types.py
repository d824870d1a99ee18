"""Types of states under the names that optax gives them, for `isinstance` and annotations."""

from typing import Any, ClassVar, NoReturn

from .rules.bound_rule import ENGINE_FIELDS
from .state import State, _StateType
from .types import EmptyState

__all__ = [
    "AdaptiveGradClipState",
    "AddDecayedWeightsState",
    "AddNoiseState",
    "ApplyEvery",
    "ApplyIfFiniteState",
    "COCOBState",
    "ClipByGlobalNormState",
    "ClipState",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "DAdaptAdamWState",
    "DifferentiallyPrivateAggregateState",
    "DoGState",
    "DoWGState",
    "EmaState",
    "FactoredState",
    "GaLoreState",
    "HutchinsonState",
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "LookaheadState",
    "MadgradState",
    "MaskedState",
    "MechanicState",
    "MomoAdamState",
    "MomoState",
    "MonitorState",
    "MultiStepsState",
    "MultiTransformState",
    "MuonState",
    "NonNegativeParamsState",
    "NormalizeState",
    "PartitionState",
    "ProdigyState",
    "ReduceLROnPlateauState",
    "SAMState",
    "ScaleByAdaDeltaState",
    "ScaleByAdamState",
    "ScaleByAdanState",
    "ScaleByAdemamixState",
    "ScaleByAmsgradState",
    "ScaleByBacktrackingLinesearchState",
    "ScaleByBeliefState",
    "ScaleByLBFGSState",
    "ScaleByLionState",
    "ScaleByNovogradState",
    "ScaleByRStdDevState",
    "ScaleByRmsState",
    "ScaleByRpropState",
    "ScaleByRssState",
    "ScaleBySM3State",
    "ScaleByScheduleState",
    "ScaleBySimplifiedAdEMAMixState",
    "ScaleByTrustRatioState",
    "ScaleByZoomLinesearchState",
    "ScaleState",
    "ScheduleFreeState",
    "SnapshotState",
    "SophiaState",
    "SplitRealAndImaginaryState",
    "TraceState",
    "ZeroNansState",
]


class _Described(_StateType):
    """The class of types whose instances are all states with certain fields, of any rule."""

    describes: Any

    # `isinstance` asks the class of the type, and so states need no class for each rule.
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, State) and bool(cls.describes(x))


class _OfLink(State, metaclass=_Described):
    """A type of states of links: of all states with exactly these slots, and with these parts.

    The states of all rules are of one class, `State`, so a type is recognized by the fields. The
    states of rules with the same fields, such as Adam and AdaBelief, are of both types.

    Attributes:
      slots: names of the slots; None for any.
      parts: fields of the engine that the state must have, or `field:name` if the field must have
        that name.
    """

    slots: ClassVar[frozenset[str] | None]
    parts: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, slots: str | None = "", parts: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Given as one text, so that the classes below read like the rows of a table.
        cls.slots = None if slots is None else frozenset(slots.split())
        cls.parts = tuple(parts.split())

    def __new__(cls, /, *args: Any, **fields: Any) -> NoReturn:
        """Refuses: only `init` makes states."""
        raise TypeError(
            f"{cls.__name__}: a state has the hyperparameters of its transformation as well, so "
            "that only `init` makes one. Call init(params), and state._replace(...) for other "
            "values."
        )

    @classmethod
    def describes(cls, x: State) -> bool:
        """Tells whether a state has the slots and the parts of this type."""
        fields = x._asdict()
        if "count" not in fields or cls.slots not in (None, fields.keys() - ENGINE_FIELDS):
            return False
        pairs = (part.partition(":") for part in cls.parts)
        return all(
            name in fields.get(field, ()) if name else field in x for field, _, name in pairs
        )


class _OfFields(State, metaclass=_Described):
    """A type of states of wrappers: of all states with these fields, and maybe others.

    Attributes:
      wanted: names of the fields, in order; empty if no state is of this type.
      exact: whether the state may have no other fields.
    """

    wanted: ClassVar[tuple[str, ...]]
    exact: ClassVar[bool]

    def __init_subclass__(cls, fields: str = "", exact: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.wanted, cls.exact = tuple(fields.split()), exact

    # A type with exact fields can be made by hand, as in code that was written for optax.
    def __new__(cls, /, *args: Any, **fields: Any) -> State:  # type: ignore[misc]
        """Makes a state of exactly these fields; types that allow others refuse."""
        if args or not cls.exact or fields.keys() != {*cls.wanted}:
            raise TypeError(
                f"{cls.__name__}: a state is made by `init`. Call init(params), and "
                "state._replace(...) for other values."
            )
        return State(**{k: fields[k] for k in cls.wanted})

    @classmethod
    def describes(cls, x: State) -> bool:
        """Tells whether a state has these fields."""
        wanted, fields = {*cls.wanted}, {*x._fields}
        return bool(wanted) and (wanted == fields if cls.exact else wanted <= fields)


# States without fields are all of one type.
AdaptiveGradClipState = EmptyState
AddDecayedWeightsState = EmptyState
ClipByGlobalNormState = EmptyState
ClipState = EmptyState
NonNegativeParamsState = EmptyState
NormalizeState = EmptyState
ScaleByTrustRatioState = EmptyState
ScaleState = EmptyState


class AddNoiseState(_OfLink, parts="keys"):
    """State of `add_noise`; optax's `rng_key` is in `keys`."""


class ApplyEvery(_OfLink, slots="grad_acc"):
    """State of `apply_every`: `count`, `grad_acc`."""


class COCOBState(_OfLink, slots="init_particles cumulative_gradients scale subgradients reward"):
    """State of `scale_by_cocob`, with optax's fields."""


class DAdaptAdamWState(_OfLink, slots="mu nu grad_sum", parts="scalars:numerator_weighted"):
    """State of `dadapt_adamw`; `exp_avg` and `exp_avg_sq` are `mu` and `nu`."""


class DoGState(_OfLink, slots="init_params", parts="scalars:max_dist"):
    """State of `scale_by_dog`; `is_init_step` is `count == 0`."""


class DoWGState(_OfLink, slots="init_params", parts="scalars:estim_sq_dist"):
    """State of `scale_by_dowg`: `init_params`, `weighted_sq_norm_grads`, `estim_sq_dist`."""


class EmaState(_OfLink, slots="ema"):
    """State of `ema`: `count`, `ema`."""


class FactoredState(_OfLink, slots="v_row v_col v"):
    """State of `scale_by_factored_rms`: `count`, `v_row`, `v_col`, `v`."""


class HutchinsonState(_OfLink, parts="keys:random_seed"):
    """State of `hutchinson_estimator_diag_hessian`; optax's `key` is in `keys`."""


class LookaheadState(_OfLink, slots="slow"):
    """State of the last link of `lookahead`, with the slow parameters; see its page."""


class MadgradState(_OfLink, slots="grad_sum_sq s x0"):
    """State of `scale_by_madgrad`: `count`, `grad_sum_sq`, `s`, `x0`."""


class MomoAdamState(_OfLink, slots="mu nu", parts="scalars:barf"):
    """State of `momo_adam`; `exp_avg` and `exp_avg_sq` are `mu` and `nu`."""


class MomoState(_OfLink, slots="mu", parts="scalars:barf"):
    """State of `momo`; `exp_avg` is `mu`."""


class MuonState(_OfLink, slots="mu", parts="hyperparams:beta"):
    """State of the momentum of `scale_by_muon`: `count`, `mu`."""


class ProdigyState(_OfLink, slots="mu nu grad_sum params0"):
    """State of `prodigy`; `exp_avg` and `exp_avg_sq` are `mu` and `nu`."""


class ScaleByAdaDeltaState(_OfLink, slots="e_g e_x"):
    """State of `scale_by_adadelta`: `e_g`, `e_x`."""


class ScaleByAdamState(_OfLink, slots="mu nu"):
    """State of `scale_by_adam`, and of rules with the same fields: `count`, `mu`, `nu`."""


class ScaleByAdanState(_OfLink, slots="mu delta nu previous"):
    """State of `scale_by_adan`; `m`, `v`, `n`, `g` are `mu`, `delta`, `nu`, `previous`."""


class ScaleByAdemamixState(_OfLink, slots="m1 m2 nu"):
    """State of `scale_by_ademamix`: `count`, `m1`, `m2`, `nu`."""


class ScaleByAmsgradState(_OfLink, slots="mu nu nu_max"):
    """State of `scale_by_amsgrad`: `count`, `mu`, `nu`, `nu_max`."""


class ScaleByBacktrackingLinesearchState(_OfLink, slots=None, parts="scalars:tried"):
    """State of `scale_by_backtracking_linesearch`: `learning_rate`, `value`, and metrics."""


class ScaleByBeliefState(_OfLink, slots="mu nu"):
    """State of `scale_by_belief`, and of rules with the same fields: `count`, `mu`, `nu`."""


class ScaleByLBFGSState(_OfLink, slots="params updates diff_params_memory diff_updates_memory"):
    """State of `scale_by_lbfgs`; `weights_memory` is `weights`."""


class ScaleByLionState(_OfLink, slots="mu"):
    """State of `scale_by_lion`, and of rules with the same fields: `count`, `mu`."""


class ScaleByNovogradState(_OfLink, slots="mu nu"):
    """State of `scale_by_novograd`, and of rules with the same fields: `count`, `mu`, `nu`."""


class ScaleByRStdDevState(_OfLink, slots="mu nu"):
    """State of `scale_by_stddev`, and of rules with the same fields: `mu`, `nu`."""


class ScaleByRmsState(_OfLink, slots="nu"):
    """State of `scale_by_rms`: `nu`."""


class ScaleByRpropState(_OfLink, slots="prev step_size"):
    """State of `scale_by_rprop`; `step_sizes` and `prev_updates` are `step_size` and `prev`."""


class ScaleByRssState(_OfLink, slots="sum_of_squares"):
    """State of `scale_by_rss`: `sum_of_squares`."""


class ScaleBySM3State(_OfLink, slots="mu cover"):
    """State of `scale_by_sm3`; `mu` and `nu` are `cover` and `mu`."""


class ScaleByScheduleState(_OfLink, parts="schedules"):
    """State of `scale_by_schedule`, or `scale_by_learning_rate` with a schedule: `count`."""


class ScaleBySimplifiedAdEMAMixState(_OfLink, slots="m nu"):
    """State of `scale_by_simplified_ademamix`; `t` and `n` are `count` and `nu`."""


class ScaleByZoomLinesearchState(_OfLink, slots="grad", parts="scalars:value"):
    """State of `scale_by_zoom_linesearch`: `learning_rate`, `value`, `grad`, and metrics."""


class ScheduleFreeState(_OfLink, slots="z", parts="carry:weight_sum"):
    """State of the last link of `schedule_free`: `z`, `weight_sum`, `max_lr`."""


class TraceState(_OfLink, slots="trace"):
    """State of `trace`: `trace`."""


class ZeroNansState(_OfLink, parts="metrics:nans"):
    """State of `zero_nans`, which counts: `nans`, and no `found_nan`."""


class ApplyIfFiniteState(_OfFields, fields="max_consecutive_errors inner_state"):
    """State of `apply_if_finite`, with optax's fields."""


class ConditionallyMaskState(_OfFields, fields="step inner_state", exact=True):
    """State of `conditionally_mask` or `conditionally_transform`: `step`, `inner_state`."""


class ConditionallyTransformState(_OfFields, fields="step inner_state", exact=True):
    """State of `conditionally_transform` or `conditionally_mask`: `inner_state`, `step`."""


class DifferentiallyPrivateAggregateState(_OfFields, fields="clip add_private_noise", exact=True):
    """State of `differentially_private_aggregate`; `rng_key` is in `add_private_noise.keys`."""


class GaLoreState(_OfFields, fields="count base_optimizer_state projector", exact=True):
    """State of `scale_by_galore`, with optax's fields."""


class InjectHyperparamsState(_OfFields, fields="count hyperparams inner_state"):
    """State of `inject_hyperparams`: `count`, `hyperparams`, `inner_state`."""


class InjectStatefulHyperparamsState(_OfFields, fields="count hyperparams inner_state"):
    """State of `inject_hyperparams`; with stateful schedules, it has `hyperparams_states`."""


class MaskedState(_OfFields):
    """Not the type of any state: `masked` has the state of its inner transformation."""


class MechanicState(_OfFields, fields="base_optimizer_state mechanic_step"):
    """State of `mechanize`: `base_optimizer_state`; other values are in `mechanic_step`."""


class MonitorState(_OfFields, fields="metrics measure_states", exact=True):
    """State of `monitor`; `measurements` is `metrics`."""


class MultiStepsState(
    _OfFields, fields="mini_step gradient_step inner_opt_state acc_grads skip_state"
):
    """State of `MultiSteps`, with optax's fields."""


class PartitionState(_OfFields):
    """Not the type of any state: the state of `partition` has the labels as its fields."""


# optax's older name.
MultiTransformState = PartitionState


class ReduceLROnPlateauState(
    _OfFields, fields="scale best_value plateau_count cooldown_count count avg_value", exact=True
):
    """State of `contrib.reduce_on_plateau`, with optax's fields in optax's order."""


class SAMState(_OfFields, fields="steps_since_sync opt_state adv_state"):
    """State of `sam`: `steps_since_sync`, `opt_state`, `adv_state`, `cache`."""


class SnapshotState(_OfFields, fields="metrics measure_states", exact=True):
    """State of `snapshot`; `measurement` is in `metrics`, under its name."""


class SophiaState(_OfFields, fields="sophia_step hessian_fn_state"):
    """State of `scale_by_sophia`: `hessian_fn_state`; other values are in `sophia_step`."""


class SplitRealAndImaginaryState(_OfFields, fields="inner_state", exact=True):
    """State of `split_real_and_imaginary`: `inner_state`."""
