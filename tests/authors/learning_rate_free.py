"""Schedule-Free, GPA and rules that estimate their step size: name of a run -> transformation."""

import functional_optim as fo

SOON = {"b2": 0.99, "weight_decay": 0.1}
ESTIMATE = {"estim_lr0": 1e-3}

CASES = {
    "schedule_free_sgd": fo.schedule_free_sgd(0.1),
    "schedule_free_sgd-warmup": fo.schedule_free_sgd(
        0.1, 4, b1=0.8, weight_decay=0.1, weight_lr_power=1.0, r=0.5
    ),
    "schedule_free_adamw": fo.schedule_free_adamw(0.01),
    "schedule_free_adamw-warmup": fo.schedule_free_adamw(0.01, 4, b1=0.8, **SOON, r=0.5),
    "schedule_free_adamw-inner": fo.schedule_free_adamw(0.01, inner_momentum=0.9, **SOON),
    "schedule_free_radam": fo.schedule_free_radam(0.01, **SOON),
    "schedule_free_radam-sgd": fo.schedule_free_radam(0.01, silent_sgd_phase=False, **SOON),
    "schedule_free": fo.schedule_free(fo.sgd(0.1, 0.5), 0.1, r=1.0),
    "gpa": fo.generalized_primal_averaging(fo.adam(0.1, b2=0.99), 0.7, 0.9),
    "gpa-decay": fo.generalized_primal_averaging(
        fo.adam(0.1, b2=0.99), 0.7, 0.9, shrinkage=0.1 * 0.1
    ),
    "gpa-decay-of-y": fo.chain(
        fo.generalized_primal_averaging(fo.adam(0.1, b2=0.99), 0.7, 0.9),
        fo.scale(-1.0),
        fo.add_decayed_weights(0.9 * 0.1 * 0.1),
        fo.scale(-1.0),
    ),
    "prodigy": fo.prodigy(**ESTIMATE),
    "prodigy-corrected": fo.prodigy(
        0.5, (0.8, 0.99), 0.9, bias_correction=True, weight_decay=0.1, estim_lr_coef=2.0, **ESTIMATE
    ),
    "prodigy-guarded": fo.prodigy(safeguard_warmup=True, growth_rate=1.02, **ESTIMATE),
    "dadapt_adamw": fo.dadapt_adamw(**ESTIMATE),
    "dadapt_adamw-corrected": fo.dadapt_adamw(
        0.5, (0.8, 0.99), bias_correction=True, weight_decay=0.1, growth_rate=1.02, **ESTIMATE
    ),
    "dadapt_sgd": fo.dadapt_sgd(**ESTIMATE),
    "dadapt_sgd-momentum": fo.dadapt_sgd(0.5, 0.9, growth_rate=1.02, **ESTIMATE),
    "dog": fo.dog(init_step=("heuristic", 1e-3), weight_decay=0.1),
    "dog-eta": fo.dog(init_step=("learning_rate", 0.01)),
    "ldog": fo.ldog(reps_rel=1e-3, weight_decay=0.1),
    "dowg": fo.dowg(),
    "momo": fo.momo(),
    "momo-adapted": fo.momo(0.5, 0.8, -1.0, 0.1, adapt_lower_bound=True, bias_correction=True),
    "momo_adam": fo.momo_adam(weight_decay=0.1),
    "momo_adam-adapted": fo.momo_adam(
        0.1, 0.8, 0.99, lower_bound=-1.0, weight_decay=0.1, adapt_lower_bound=True, divide=False
    ),
    "cocob": fo.cocob(),
    "cocob-decay": fo.cocob(0.5, 4.0, weight_decay=0.1),
}


def loss(t: int) -> float:
    """Returns the loss that MoMo is given at step t, from 0."""
    return 2.0 / (1 + t)
