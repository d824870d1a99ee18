"""Links that are not algorithms: clipping, decay, momentum, scaling, masking."""

from typing import TYPE_CHECKING

from .._origins import ORIGINS
from ..core.lazy import lazy_names
from .apply_every import apply_every
from .densify import densify
from .lookahead import lookahead
from .norm_constraint import norm_constraint, update_norm_floor
from .rescale_heads import rescale_heads
from .sam import sam
from .stochastic_rounding import stochastic_rounding

if TYPE_CHECKING:  # the others when they are first used, see `lazy_names`
    from ..core.chain import chain
    from ..core.protocol import MaskedNode, identity
    from ..core.state_types import (
        AddNoiseState,
        ApplyIfFiniteState,
        ConditionallyMaskState,
        ConditionallyTransformState,
        EmaState,
        MaskedState,
        MonitorState,
        MultiStepsState,
        NonNegativeParamsState,
        PartitionState,
        SnapshotState,
        TraceState,
        ZeroNansState,
    )
    from .accumulation import MultiSteps, skip_large_updates, skip_not_finite
    from .averaging import params_ema, params_swa
    from .backtracking import scale_by_backtracking_linesearch
    from .blocks import (
        clip_by_block_rms,
        scale_by_param_block_norm,
        scale_by_param_block_rms,
    )
    from .clipping import clip, clip_by_global_norm
    from .conditional import conditionally_mask, conditionally_transform
    from .constraints import keep_params_nonnegative, zero_nans
    from .evaluation import eval_params
    from .flattening import flatten
    from .from_state import value_and_grad_from_state
    from .guard import apply_if_finite
    from .kahan import kahan_summation
    from .leaf_counts import per_leaf_counts
    from .loss_scaling import loss_scale, scale_loss
    from .masking import freeze, masked, partition, set_to_zero
    from .master import master_weights
    from .matrices import MatrixAxes, MuonDimensionNumbers, axes_by_name
    from .momentum import ema, trace
    from .monitoring import measure_with_ema, monitor, snapshot
    from .naming import named_chain
    from .noise import add_noise
    from .normalizing import centralize, normalize_by_update_norm
    from .packing import packed
    from .per_example import per_example_global_norm_clip, per_example_layer_norm_clip
    from .plateau import reduce_on_plateau
    from .remainder import master_remainder
    from .scaling import scale, scale_by_learning_rate, scale_by_schedule
    from .selective import selective_transform
    from .target_update import incremental_update, periodic_update
    from .trust_ratio import scale_by_trust_ratio
    from .unit_norm import normalize, normalize_adaptively
    from .unitwise import adaptive_grad_clip, unitwise_clip, unitwise_norm
    from .weight_decay import add_decayed_weights
    from .zoom import scale_by_zoom_linesearch

__all__ = [
    "AddNoiseState",
    "ApplyIfFiniteState",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "EmaState",
    "MaskedNode",
    "MaskedState",
    "MonitorState",
    "MultiSteps",
    "MultiStepsState",
    "MatrixAxes",
    "MuonDimensionNumbers",
    "NonNegativeParamsState",
    "PartitionState",
    "SnapshotState",
    "TraceState",
    "ZeroNansState",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_noise",
    "apply_every",
    "apply_if_finite",
    "axes_by_name",
    "centralize",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "conditionally_mask",
    "conditionally_transform",
    "densify",
    "ema",
    "eval_params",
    "flatten",
    "freeze",
    "identity",
    "incremental_update",
    "kahan_summation",
    "keep_params_nonnegative",
    "lookahead",
    "loss_scale",
    "masked",
    "master_remainder",
    "master_weights",
    "measure_with_ema",
    "monitor",
    "named_chain",
    "norm_constraint",
    "normalize",
    "normalize_adaptively",
    "normalize_by_update_norm",
    "packed",
    "params_ema",
    "params_swa",
    "partition",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "per_leaf_counts",
    "periodic_update",
    "reduce_on_plateau",
    "rescale_heads",
    "sam",
    "scale",
    "scale_by_backtracking_linesearch",
    "scale_by_learning_rate",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "scale_by_schedule",
    "scale_by_trust_ratio",
    "scale_by_zoom_linesearch",
    "scale_loss",
    "selective_transform",
    "set_to_zero",
    "skip_large_updates",
    "skip_not_finite",
    "snapshot",
    "stochastic_rounding",
    "trace",
    "unitwise_clip",
    "unitwise_norm",
    "update_norm_floor",
    "value_and_grad_from_state",
    "zero_nans",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, ORIGINS[__name__])
