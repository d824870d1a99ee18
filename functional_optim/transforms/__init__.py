"""Links that are not algorithms: clipping, decay, momentum, scaling, masking."""

from ..core.chain import chain
from ..core.protocol import MaskedNode, identity
from .accumulation import MultiSteps, skip_large_updates, skip_not_finite
from .averaging import params_ema, params_swa
from .backtracking import scale_by_backtracking_linesearch
from .blocks import clip_by_block_rms, scale_by_param_block_rms
from .clipping import clip, clip_by_global_norm
from .conditional import conditionally_mask, conditionally_transform
from .constraining import keep_params_nonnegative, zero_nans
from .densify import densify
from .evaluation import eval_params
from .following import incremental_update, periodic_update
from .from_state import value_and_grad_from_state
from .guard import apply_if_finite
from .lookahead import lookahead
from .masking import freeze, masked, partition, set_to_zero
from .master import master_weights
from .matrices import MuonDimensionNumbers
from .momentum import ema, trace
from .naming import named_chain
from .normalizing import centralize, normalize_by_update_norm
from .plateau import reduce_on_plateau
from .scaling import scale, scale_by_learning_rate, scale_by_schedule
from .trust_ratio import scale_by_trust_ratio
from .unitwise import adaptive_grad_clip
from .weight_decay import add_decayed_weights
from .zoom import scale_by_zoom_linesearch

__all__ = [
    "MaskedNode",
    "MultiSteps",
    "MuonDimensionNumbers",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "apply_if_finite",
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
    "freeze",
    "identity",
    "incremental_update",
    "keep_params_nonnegative",
    "lookahead",
    "masked",
    "master_weights",
    "named_chain",
    "normalize_by_update_norm",
    "params_ema",
    "params_swa",
    "partition",
    "periodic_update",
    "reduce_on_plateau",
    "scale",
    "scale_by_backtracking_linesearch",
    "scale_by_learning_rate",
    "scale_by_param_block_rms",
    "scale_by_schedule",
    "scale_by_trust_ratio",
    "scale_by_zoom_linesearch",
    "set_to_zero",
    "skip_large_updates",
    "skip_not_finite",
    "trace",
    "value_and_grad_from_state",
    "zero_nans",
]
