"""Optimizers for JAX: pure update rules over pytrees, and torch.optim's interface on them."""

from typing import TYPE_CHECKING

from ._origins import ORIGINS
from .core.engine.backends import BACKENDS
from .core.lazy import lazy_names
from .native.gate import NATIVE

BACKENDS.append(NATIVE)

# Type checkers read these imports. When a program runs, a name is imported where it is first used,
# from where `_origins.py` says, which `make api` writes out of them.
if TYPE_CHECKING:
    from . import (
        assignment,
        contrib,
        linear_algebra,
        losses,
        microbatching,
        native,
        perturbations,
        projections,
        schedules,
        second_order,
        sharding,
        transforms,
        tree,
        tree_utils,
    )
    from .algorithms.acprop import acprop, scale_by_acprop
    from .algorithms.adabelief import adabelief, scale_by_belief
    from .algorithms.adabound import adabound, scale_by_adabound
    from .algorithms.adadelta import adadelta, scale_by_adadelta
    from .algorithms.adafactor import adafactor, scale_by_relative_step
    from .algorithms.adagrad import adagrad, scale_by_rss
    from .algorithms.adam import adam, adamw, scale_by_adam
    from .algorithms.adam_mini import adam_mini, scale_by_adam_mini
    from .algorithms.adamax import adamax, adamaxw, scale_by_adamax
    from .algorithms.adamuon import adamuon, scale_by_adamuon
    from .algorithms.adan import adan, scale_by_adan
    from .algorithms.ademamix import ademamix, scale_by_ademamix
    from .algorithms.adopt import adopt, scale_by_adopt
    from .algorithms.amsgrad import amsgrad, scale_by_amsgrad
    from .algorithms.apollo import apollo, apollo_mini, scale_by_apollo
    from .algorithms.asgd import asgd, scale_by_asgd
    from .algorithms.came import came, scale_by_came
    from .algorithms.cautious import cautious, cautious_adamw, cautious_lion, cautious_weight_decay
    from .algorithms.cocob import cocob, scale_by_cocob
    from .algorithms.dadapt import dadapt_adamw, dadapt_sgd
    from .algorithms.dion import dion, scale_by_dion
    from .algorithms.dion2 import dion2, scale_by_dion2
    from .algorithms.dog import (
        dog,
        dowg,
        ldog,
        scale_by_distance_over_gradients,
        scale_by_dog,
        scale_by_dowg,
    )
    from .algorithms.dpsgd import dpsgd
    from .algorithms.factored_rms import scale_by_factored_rms
    from .algorithms.fromage import fromage
    from .algorithms.galore import galore, scale_by_galore
    from .algorithms.grokfast import grokfast, grokfast_ma
    from .algorithms.hyperball import hyperball
    from .algorithms.hypergradient import adam_hd, hypergradient, sgd_hd
    from .algorithms.kl_shampoo import kl_shampoo, scale_by_kl_shampoo
    from .algorithms.kl_soap import kl_soap, scale_by_kl_soap
    from .algorithms.lamb import lamb
    from .algorithms.laprop import laprop, scale_by_laprop
    from .algorithms.lars import lars
    from .algorithms.lbfgs import lbfgs, scale_by_lbfgs
    from .algorithms.lion import lion, scale_by_lion
    from .algorithms.madgrad import madgrad, scale_by_madgrad
    from .algorithms.mars import mars, scale_by_mars
    from .algorithms.mechanic import mechanize
    from .algorithms.minimize import minimize
    from .algorithms.momo import momo, momo_adam
    from .algorithms.muon import muon, scale_by_muon
    from .algorithms.muon_presets import muon_preset
    from .algorithms.nadam import nadam, nadamw
    from .algorithms.newton_schulz import orthogonalize
    from .algorithms.noisy_sgd import noisy_sgd
    from .algorithms.normuon import normuon, scale_by_normuon
    from .algorithms.novograd import novograd, scale_by_novograd
    from .algorithms.optimistic import (
        optimistic_adam,
        optimistic_adam_v2,
        optimistic_gradient_descent,
        scale_by_optimistic_gradient,
    )
    from .algorithms.polyak import polyak_sgd, scale_by_polyak
    from .algorithms.primal_averaging import generalized_primal_averaging
    from .algorithms.prodigy import prodigy
    from .algorithms.psgd_kron import (
        precond_update_prob_schedule,
        psgd_kron,
        scale_by_psgd_kron,
    )
    from .algorithms.radam import radam, scale_by_radam
    from .algorithms.rmsprop import rmsprop, scale_by_rms, scale_by_stddev
    from .algorithms.rprop import rprop, scale_by_rprop
    from .algorithms.schedule_free import (
        schedule_free,
        schedule_free_adamw,
        schedule_free_eval_params,
        schedule_free_radam,
        schedule_free_sgd,
    )
    from .algorithms.scion import ScionNorm, scale_by_scion, scion, scion_init
    from .algorithms.sgd import sgd
    from .algorithms.shampoo import scale_by_shampoo, shampoo
    from .algorithms.sign_sgd import scale_by_sign, sign_sgd, signum
    from .algorithms.simplified_ademamix import scale_by_simplified_ademamix, simplified_ademamix
    from .algorithms.sm3 import scale_by_sm3, sm3
    from .algorithms.soap import scale_by_soap, soap
    from .algorithms.soap_muon import soap_muon
    from .algorithms.sophia import scale_by_sophia, sophia
    from .algorithms.spam import scale_by_spam, spam
    from .algorithms.sparse_adam import scale_by_sparse_adam, sparse_adam
    from .algorithms.stable_adamw import scale_by_stable_adamw, stable_adamw
    from .algorithms.yogi import scale_by_yogi, yogi
    from .core.apply_gradients import apply_gradients
    from .core.chain import chain
    from .core.decorators import leaf_rule
    from .core.hyperparams import get_hyperparams, metrics, set_hyperparams
    from .core.leaf.packing import unpacked
    from .core.leaf.quantized import decode_state
    from .core.numerics.precision import safe_increment
    from .core.numerics.precision import safe_increment as safe_int32_increment
    from .core.numerics.safe import safe_norm, safe_root_mean_squares, scale_gradient
    from .core.protocol import (
        GradientTransformation,
        MaskedNode,
        TransformInitFn,
        TransformUpdateFn,
        identity,
    )
    from .core.rules.by_label import by_label
    from .core.rules.schedule import schedule
    from .core.state import State
    from .core.state_types import (
        AdaptiveGradClipState,
        AddDecayedWeightsState,
        AddNoiseState,
        ApplyEvery,
        ApplyIfFiniteState,
        ClipByGlobalNormState,
        ClipState,
        ConditionallyMaskState,
        ConditionallyTransformState,
        EmaState,
        FactoredState,
        InjectHyperparamsState,
        InjectStatefulHyperparamsState,
        LookaheadState,
        MaskedState,
        MonitorState,
        MultiStepsState,
        MultiTransformState,
        NonNegativeParamsState,
        PartitionState,
        ScaleByAdaDeltaState,
        ScaleByAdamState,
        ScaleByAdanState,
        ScaleByAmsgradState,
        ScaleByBacktrackingLinesearchState,
        ScaleByBeliefState,
        ScaleByLBFGSState,
        ScaleByLionState,
        ScaleByNovogradState,
        ScaleByRmsState,
        ScaleByRpropState,
        ScaleByRssState,
        ScaleByRStdDevState,
        ScaleByScheduleState,
        ScaleBySM3State,
        ScaleByTrustRatioState,
        ScaleByZoomLinesearchState,
        ScaleState,
        SnapshotState,
        TraceState,
        ZeroNansState,
    )
    from .core.stateless import (
        init_empty_state,
        stateless,
        stateless_with_tree_map,
        with_extra_args_support,
    )
    from .core.trees.apply import apply_updates
    from .core.trees.labels import path_labels
    from .core.trees.norms import global_norm
    from .core.trees.sparse_rows import row_sparse
    from .core.types import (
        ArrayTree,
        EmptyState,
        GradientTransformationExtraArgs,
        MaskOrFn,
        OptState,
        Params,
        ScalarOrSchedule,
        Schedule,
        TransformUpdateExtraArgsFn,
        Updates,
    )
    from .linear_algebra import matrix_inverse_pth_root, nnls, power_iteration
    from .losses import (
        convex_kl_divergence,
        cosine_distance,
        cosine_similarity,
        ctc_loss,
        ctc_loss_with_forward_probs,
        generalized_kl_divergence,
        hinge_loss,
        huber_loss,
        kl_divergence,
        l2_loss,
        log_cosh,
        ntxent,
        safe_softmax_cross_entropy,
        sigmoid_binary_cross_entropy,
        sigmoid_focal_loss,
        smooth_labels,
        softmax_cross_entropy,
        softmax_cross_entropy_with_integer_labels,
        squared_error,
    )
    from .microbatching import micro_grad, microbatch
    from .perturbations.multi_normal import multi_normal
    from .planning.describe import describe
    from .quantization.low_bit import low_bit_state
    from .schedules.cyclic import cyclic_schedule
    from .schedules.decay import (
        constant_schedule,
        cosine_decay_schedule,
        exponential_decay,
        linear_schedule,
        polynomial_schedule,
    )
    from .schedules.injecting import inject_hyperparams
    from .schedules.injecting import inject_hyperparams as inject_stateful_hyperparams
    from .schedules.join import join_schedules, sgdr_schedule
    from .schedules.onecycle import (
        cosine_onecycle_schedule,
        linear_onecycle_schedule,
        onecycle_schedule,
    )
    from .schedules.piecewise import piecewise_constant_schedule, piecewise_interpolate_schedule
    from .schedules.restarts import cosine_restarts_schedule
    from .schedules.stable import warmup_stable_decay_schedule
    from .schedules.stateful import StatefulSchedule, WrappedSchedule
    from .schedules.table import schedule_table
    from .schedules.warmup import (
        inverse_sqrt_schedule,
        warmup_constant_schedule,
        warmup_cosine_decay_schedule,
        warmup_exponential_decay_schedule,
    )
    from .serialization.reading import from_state_dict
    from .serialization.writing import to_state_dict
    from .transforms.accumulation import MultiSteps, skip_large_updates, skip_not_finite
    from .transforms.apply_every import apply_every
    from .transforms.averaging import params_ema, params_swa
    from .transforms.backtracking import scale_by_backtracking_linesearch
    from .transforms.blocks import (
        clip_by_block_rms,
        scale_by_param_block_norm,
        scale_by_param_block_rms,
    )
    from .transforms.clipping import clip, clip_by_global_norm
    from .transforms.complex_parts import split_real_and_imaginary
    from .transforms.conditional import conditionally_mask, conditionally_transform
    from .transforms.constraints import keep_params_nonnegative, zero_nans
    from .transforms.densify import densify
    from .transforms.evaluation import eval_params
    from .transforms.flattening import flatten
    from .transforms.from_state import value_and_grad_from_state
    from .transforms.guard import apply_if_finite
    from .transforms.kahan import kahan_summation
    from .transforms.layerwise import layerwise_decay
    from .transforms.leaf_counts import per_leaf_counts
    from .transforms.lookahead import lookahead
    from .transforms.loss_scaling import loss_scale, scale_loss
    from .transforms.masking import freeze, masked, partition, set_to_zero
    from .transforms.masking import partition as multi_transform
    from .transforms.master import master_weights
    from .transforms.matrices import MatrixAxes, MuonDimensionNumbers, axes_by_name
    from .transforms.momentum import ema, trace
    from .transforms.monitoring import measure_with_ema, monitor, snapshot
    from .transforms.naming import named_chain
    from .transforms.noise import add_noise
    from .transforms.norm_constraint import norm_constraint, update_norm_floor
    from .transforms.normalizing import centralize, normalize_by_update_norm
    from .transforms.packing import packed
    from .transforms.per_example import per_example_global_norm_clip, per_example_layer_norm_clip
    from .transforms.plateau import reduce_on_plateau
    from .transforms.privacy import differentially_private_aggregate
    from .transforms.remainder import master_remainder
    from .transforms.rescale_heads import rescale_heads
    from .transforms.sam import sam
    from .transforms.scaling import scale, scale_by_learning_rate, scale_by_schedule
    from .transforms.selective import selective_transform
    from .transforms.stochastic_rounding import stochastic_rounding
    from .transforms.target_update import incremental_update, periodic_update
    from .transforms.trust_ratio import scale_by_trust_ratio
    from .transforms.unit_norm import normalize, normalize_adaptively
    from .transforms.unitwise import adaptive_grad_clip, unitwise_clip, unitwise_norm
    from .transforms.weight_decay import add_decayed_weights
    from .transforms.zoom import scale_by_zoom_linesearch
    from .tree import (
        bias_correction,
        update_infinity_moment,
        update_moment,
        update_moment_per_elem_norm,
    )
    from .tree.mapping import map_params as tree_map_params

__all__ = [
    "AdaptiveGradClipState",
    "AddDecayedWeightsState",
    "AddNoiseState",
    "ApplyEvery",
    "ApplyIfFiniteState",
    "ArrayTree",
    "ClipByGlobalNormState",
    "ClipState",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "EmaState",
    "EmptyState",
    "FactoredState",
    "GradientTransformation",
    "GradientTransformationExtraArgs",
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "LookaheadState",
    "MaskOrFn",
    "MaskedNode",
    "MaskedState",
    "MonitorState",
    "MultiSteps",
    "MultiStepsState",
    "MultiTransformState",
    "MatrixAxes",
    "MuonDimensionNumbers",
    "NonNegativeParamsState",
    "OptState",
    "Params",
    "PartitionState",
    "ScalarOrSchedule",
    "ScaleByAdaDeltaState",
    "ScaleByAdamState",
    "ScaleByAdanState",
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
    "ScaleByTrustRatioState",
    "ScaleByZoomLinesearchState",
    "ScaleState",
    "Schedule",
    "ScionNorm",
    "SnapshotState",
    "State",
    "StatefulSchedule",
    "TraceState",
    "TransformInitFn",
    "TransformUpdateExtraArgsFn",
    "TransformUpdateFn",
    "Updates",
    "WrappedSchedule",
    "ZeroNansState",
    "acprop",
    "adabelief",
    "adabound",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adam_hd",
    "adam_mini",
    "adamax",
    "adamaxw",
    "adamuon",
    "adamw",
    "adan",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_noise",
    "ademamix",
    "adopt",
    "amsgrad",
    "apollo",
    "apollo_mini",
    "apply_every",
    "apply_gradients",
    "apply_if_finite",
    "apply_updates",
    "asgd",
    "assignment",
    "axes_by_name",
    "bias_correction",
    "by_label",
    "came",
    "cautious",
    "cautious_adamw",
    "cautious_lion",
    "cautious_weight_decay",
    "centralize",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "cocob",
    "conditionally_mask",
    "conditionally_transform",
    "constant_schedule",
    "contrib",
    "convex_kl_divergence",
    "cosine_decay_schedule",
    "cosine_distance",
    "cosine_onecycle_schedule",
    "cosine_restarts_schedule",
    "cosine_similarity",
    "ctc_loss",
    "ctc_loss_with_forward_probs",
    "cyclic_schedule",
    "dadapt_adamw",
    "dadapt_sgd",
    "decode_state",
    "densify",
    "describe",
    "differentially_private_aggregate",
    "dion",
    "dion2",
    "dog",
    "dowg",
    "dpsgd",
    "ema",
    "eval_params",
    "exponential_decay",
    "flatten",
    "freeze",
    "from_state_dict",
    "fromage",
    "galore",
    "generalized_kl_divergence",
    "generalized_primal_averaging",
    "get_hyperparams",
    "global_norm",
    "grokfast",
    "grokfast_ma",
    "hinge_loss",
    "huber_loss",
    "hyperball",
    "hypergradient",
    "identity",
    "incremental_update",
    "init_empty_state",
    "inject_hyperparams",
    "inject_stateful_hyperparams",
    "inverse_sqrt_schedule",
    "join_schedules",
    "kahan_summation",
    "keep_params_nonnegative",
    "kl_divergence",
    "kl_shampoo",
    "kl_soap",
    "l2_loss",
    "lamb",
    "laprop",
    "lars",
    "layerwise_decay",
    "lbfgs",
    "ldog",
    "leaf_rule",
    "linear_algebra",
    "linear_onecycle_schedule",
    "linear_schedule",
    "lion",
    "log_cosh",
    "lookahead",
    "loss_scale",
    "losses",
    "low_bit_state",
    "madgrad",
    "mars",
    "masked",
    "master_remainder",
    "master_weights",
    "matrix_inverse_pth_root",
    "measure_with_ema",
    "mechanize",
    "metrics",
    "micro_grad",
    "microbatch",
    "microbatching",
    "minimize",
    "momo",
    "momo_adam",
    "monitor",
    "multi_normal",
    "multi_transform",
    "muon",
    "muon_preset",
    "nadam",
    "nadamw",
    "named_chain",
    "native",
    "nnls",
    "noisy_sgd",
    "norm_constraint",
    "normalize",
    "normalize_adaptively",
    "normalize_by_update_norm",
    "normuon",
    "novograd",
    "ntxent",
    "onecycle_schedule",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "orthogonalize",
    "packed",
    "params_ema",
    "params_swa",
    "partition",
    "path_labels",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "per_leaf_counts",
    "periodic_update",
    "perturbations",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polyak_sgd",
    "polynomial_schedule",
    "power_iteration",
    "precond_update_prob_schedule",
    "prodigy",
    "projections",
    "psgd_kron",
    "radam",
    "reduce_on_plateau",
    "rescale_heads",
    "rmsprop",
    "row_sparse",
    "rprop",
    "safe_increment",
    "safe_int32_increment",
    "safe_norm",
    "safe_root_mean_squares",
    "safe_softmax_cross_entropy",
    "sam",
    "scale",
    "scale_by_acprop",
    "scale_by_adabound",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_adam_mini",
    "scale_by_adamax",
    "scale_by_adamuon",
    "scale_by_adan",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_amsgrad",
    "scale_by_apollo",
    "scale_by_asgd",
    "scale_by_backtracking_linesearch",
    "scale_by_belief",
    "scale_by_came",
    "scale_by_cocob",
    "scale_by_distance_over_gradients",
    "scale_by_dion",
    "scale_by_dion2",
    "scale_by_dog",
    "scale_by_dowg",
    "scale_by_factored_rms",
    "scale_by_kl_shampoo",
    "scale_by_kl_soap",
    "scale_by_galore",
    "scale_by_laprop",
    "scale_by_lbfgs",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_madgrad",
    "scale_by_mars",
    "scale_by_muon",
    "scale_by_normuon",
    "scale_by_novograd",
    "scale_by_optimistic_gradient",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "scale_by_polyak",
    "scale_by_psgd_kron",
    "scale_by_radam",
    "scale_by_relative_step",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_shampoo",
    "scale_by_scion",
    "scale_by_sign",
    "scale_by_simplified_ademamix",
    "scale_by_sm3",
    "scale_by_soap",
    "scale_by_sophia",
    "scale_by_spam",
    "scale_by_sparse_adam",
    "scale_by_stable_adamw",
    "scale_by_stddev",
    "scale_by_trust_ratio",
    "scale_by_yogi",
    "scale_by_zoom_linesearch",
    "scale_gradient",
    "scale_loss",
    "schedule",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_radam",
    "schedule_free_sgd",
    "schedule_table",
    "schedules",
    "scion",
    "scion_init",
    "second_order",
    "selective_transform",
    "set_hyperparams",
    "set_to_zero",
    "sgd",
    "sgd_hd",
    "sgdr_schedule",
    "sharding",
    "shampoo",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "sign_sgd",
    "signum",
    "simplified_ademamix",
    "skip_large_updates",
    "skip_not_finite",
    "sm3",
    "smooth_labels",
    "snapshot",
    "soap",
    "soap_muon",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "sophia",
    "spam",
    "sparse_adam",
    "split_real_and_imaginary",
    "squared_error",
    "stable_adamw",
    "stateless",
    "stateless_with_tree_map",
    "stochastic_rounding",
    "to_state_dict",
    "trace",
    "transforms",
    "tree",
    "tree_map_params",
    "tree_utils",
    "unitwise_clip",
    "unitwise_norm",
    "unpacked",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
    "update_norm_floor",
    "value_and_grad_from_state",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_stable_decay_schedule",
    "with_extra_args_support",
    "yogi",
    "zero_nans",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a function __getattr__ would let any name pass for one of the package
    __getattr__, __dir__ = lazy_names(
        __name__, ORIGINS[__name__], also=("interop", "optim", "planning", "rules", "testing")
    )
