"""Classes that torch.optim does not have, with the signatures of their authors' code: one table.

A class is a row: its options with their defaults, the links that they make, and where the entries
of its state are kept.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ...algorithms.adabelief import scale_by_belief
from ...algorithms.adabound import adabound
from ...algorithms.adan import scale_by_adan
from ...algorithms.ademamix import scale_by_ademamix
from ...algorithms.adopt import scale_by_adopt
from ...algorithms.dadapt import dadapt_adamw
from ...algorithms.lamb import lamb
from ...algorithms.laprop import laprop
from ...algorithms.madgrad import madgrad
from ...algorithms.prodigy import prodigy
from ...algorithms.schedule_free import (
    schedule_free_adamw,
    schedule_free_radam,
    schedule_free_sgd,
)
from ...algorithms.sophia import sophia_step_of_examples
from ...algorithms.stable_adamw import stable_adamw
from ...core.chain import chain
from ...core.numerics.moments import interpolate
from ...core.protocol import GradientTransformation, PyTree
from ...core.state import State
from ...core.trees.structure import align, is_absent
from ...core.types import Params, ScalarOrSchedule, Updates
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import negate_if, pair, with_decay

__all__ = [
    "ADOPT",
    "LAMB",
    "MADGRAD",
    "AdEMAMix",
    "AdaBelief",
    "AdaBound",
    "Adan",
    "DAdaptAdam",
    "LaProp",
    "Prodigy",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "SophiaG",
    "StableAdamW",
]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Row:
    """A class of the table.

    Attributes:
      options: option -> default, in the order of the signature.
      make: makes the transformation from the options, without the sign for `maximize`.
      entries: name of an entry of the state -> link and slot.
    """

    options: Mapping[str, Any]
    make: Callable[[Options], GradientTransformation]
    entries: Mapping[str, tuple[str, str]]


_FLAGS: Mapping[str, Any] = {
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
}
"""Options that all classes have, by name only."""


def _parameter(name: str, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY if name in _FLAGS else _BY_POSITION
    annotation: Any = ScalarOrSchedule
    if isinstance(default, bool) or name in _FLAGS:
        annotation = bool | None if name == "foreach" else bool
    elif isinstance(default, tuple):
        annotation = tuple[ScalarOrSchedule, ...]
    elif default is None:
        annotation = ScalarOrSchedule | None
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


_BY_POSITION = inspect.Parameter.POSITIONAL_OR_KEYWORD


class _Recent(TorchOptimizer):
    """A class of the table."""

    _signature: ClassVar[inspect.Signature]

    def __init_subclass__(cls, row: Row | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if row is None:  # a subclass of a class of the table has its options
            return
        parameters = [_parameter(k, v) for k, v in {**row.options, **_FLAGS}.items()]
        cls._option_parameters = {p.name: p for p in parameters}
        first = inspect.Parameter("params", _BY_POSITION, annotation=Params)
        cls._signature = inspect.Signature([first, *parameters])
        cls.__signature__ = cls._signature  # type: ignore[attr-defined]
        cls.entries = {k: StateEntry(link, slot) for k, (link, slot) in row.entries.items()}
        cls.transformation = staticmethod(  # type: ignore[method-assign]
            functools.partial(_signed, row.make)
        )

    def __init__(self, params: Params, *options: Any, **named: Any) -> None:
        try:
            bound = self._signature.bind(params, *options, **named)
        except TypeError as error:
            raise TypeError(
                f"{type(self).__name__}: {error}. It takes {self._signature}."
            ) from None
        bound.apply_defaults()
        self._initialize(params, bound.arguments)


def _signed(make: Callable[[Options], GradientTransformation], options: Options) -> Any:
    """Makes the whole transformation of a row, with the sign for `maximize`."""
    return chain(negate_if(options["maximize"]), make(options))


def _three(value: Any) -> tuple[Any, Any, Any]:
    """Checks that `betas` is three numbers, and returns it."""
    if not isinstance(value, tuple) or len(value) != 3:
        raise TypeError(f"betas must be three numbers, got {value!r}. Pass a tuple of three.")
    return value


def _moments(link: str, **others: str) -> dict[str, tuple[str, str]]:
    """Returns the entries of a link with two moments, and others."""
    names = {"exp_avg": "mu", "exp_avg_sq": "nu"} | others
    return {k: (link, slot) for k, slot in names.items()}


def _averaged(link: str | None) -> dict[str, tuple[str, str]]:
    """Returns the entries of a schedule-free optimizer, with a link's second moment."""
    numbers = {"z": "z", "weight_sum": "weight_sum", "lr_max": "max_lr", "beta": "interpolation"}
    entries = {k: ("schedule_free_step", slot) for k, slot in numbers.items()}
    return entries if link is None else {"exp_avg_sq": (link, "nu"), **entries}


def _decayed(
    rule: GradientTransformation, o: Options, *, decoupled: bool = True
) -> GradientTransformation:
    """Chains a rule, weight decay, and a step of minus `lr`."""
    return chain(*with_decay(rule, o["weight_decay"], decoupled), scale_by_learning_rate(o["lr"]))


SCHEDULE_FREE = {"warmup_steps": 0, "r": 0.0, "weight_lr_power": 2.0}


class ScheduleFreeAdamW(
    _Recent,
    row=Row(
        {"lr": 0.0025, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, **SCHEDULE_FREE},
        lambda o: schedule_free_adamw(
            o["lr"],
            o["warmup_steps"],
            *pair(o["betas"]),
            o["eps"],
            o["weight_decay"],
            o["weight_lr_power"],
            r=o["r"],
        ),
        _averaged("scale_by_rms"),
    ),
):
    """Schedule-Free AdamW, with the options of `schedulefree.AdamWScheduleFree`.

    See `functional_optim.schedule_free_adamw`. `params` are the training point; evaluate at
    `eval_params()`, which replaces the authors' `train()` and `eval()`.

    Args:
      betas: `b1` of `schedule_free`, and decay of the second moment.
      See `schedule_free_adamw`, `schedule_free_sgd`, `schedule_free` and `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.ScheduleFreeAdamW({"w": jnp.ones(2)}, lr=0.5)
      >>> for _ in range(2):
      ...     opt.step({"w": jnp.array([3.0, -0.2])})
      >>> [f"{x:.3f}" for x in (*opt.params["w"], *opt.eval_params()["w"])]
      ['0.225', '1.775', '0.250', '1.750']
    """


class ScheduleFreeSGD(
    _Recent,
    row=Row(
        {"lr": 1.0, "momentum": 0.9, "weight_decay": 0.0, **SCHEDULE_FREE},
        lambda o: schedule_free_sgd(
            o["lr"],
            o["warmup_steps"],
            o["momentum"],
            o["weight_decay"],
            o["weight_lr_power"],
            r=o["r"],
        ),
        _averaged(None),
    ),
):
    """Schedule-Free SGD, with the options of `schedulefree.SGDScheduleFree`.

    See `functional_optim.schedule_free_sgd`; evaluate at `eval_params()`.

    Args:
      momentum: `b1` of `schedule_free`.
      See `schedule_free_sgd`, `schedule_free` and `Adam` for the others.
    """


class ScheduleFreeRAdam(
    _Recent,
    row=Row(
        {
            "lr": 0.0025,
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "weight_decay": 0.0,
            "r": 0.0,
            "weight_lr_power": 2.0,
            "silent_sgd_phase": True,
        },
        lambda o: schedule_free_radam(
            o["lr"],
            *pair(o["betas"]),
            o["eps"],
            o["weight_decay"],
            o["weight_lr_power"],
            r=o["r"],
            silent_sgd_phase=o["silent_sgd_phase"],
        ),
        _averaged("scale_by_known_rms"),
    ),
):
    """Schedule-Free RAdam, with the options of `schedulefree.RAdamScheduleFree`.

    See `functional_optim.schedule_free_radam`; evaluate at `eval_params()`.

    Args:
      betas: `b1` of `schedule_free`, and decay of the second moment.
      See `schedule_free_radam`, `schedule_free_adamw`, `schedule_free` and `Adam` for the others.
    """


class Prodigy(
    _Recent,
    row=Row(
        {
            "lr": 1.0,
            "betas": (0.9, 0.999),
            "beta3": None,
            "eps": 1e-8,
            "weight_decay": 0.0,
            "use_bias_correction": False,
            "safeguard_warmup": False,
            "d0": 1e-6,
            "d_coef": 1.0,
            "growth_rate": None,
        },
        lambda o: prodigy(
            o["lr"],
            pair(o["betas"]),
            o["beta3"],
            o["eps"],
            o["d0"],
            o["d_coef"],
            o["weight_decay"],
            o["safeguard_warmup"],
            bias_correction=o["use_bias_correction"],
            growth_rate=o["growth_rate"],
        ),
        _moments(
            "prodigy_step",
            s="grad_sum",
            p0="params0",
            d="estim_lr",
            d_max="estim_lr_max",
            d_numerator="numerator_weighted",
        ),
    ),
):
    """Prodigy, with the options of `prodigyopt.Prodigy`; see `functional_optim.prodigy`.

    Each group has a separate d; weight decay is decoupled; a `growth_rate` of None sets no limit.

    Args:
      lr: `learning_rate` of `prodigy`.
      use_bias_correction: `bias_correction` of `prodigy`.
      d0, d_coef: `estim_lr0` and `estim_lr_coef` of `prodigy`.
      See `prodigy` and `Adam` for the others.
    """


class DAdaptAdam(
    _Recent,
    row=Row(
        {
            "lr": 1.0,
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "weight_decay": 0.0,
            "use_bias_correction": False,
            "d0": 1e-6,
            "growth_rate": None,
        },
        lambda o: dadapt_adamw(
            o["lr"],
            pair(o["betas"]),
            o["eps"],
            o["d0"],
            o["weight_decay"],
            bias_correction=o["use_bias_correction"],
            growth_rate=o["growth_rate"],
        ),
        _moments(
            "dadapt_adamw_step", s="grad_sum", d="estim_lr", numerator_weighted="numerator_weighted"
        ),
    ),
):
    """D-Adaptation of Adam, with the options of `dadaptation.DAdaptAdam`.

    See `functional_optim.dadapt_adamw`. Each group has a separate d; weight decay is decoupled.

    Args:
      lr: `learning_rate` of `dadapt_adamw`.
      use_bias_correction: `bias_correction` of `dadapt_adamw`.
      d0: `estim_lr0` of `dadapt_adamw`.
      See `dadapt_adamw` and `Adam` for the others.
    """


class ADOPT(
    _Recent,
    row=Row(
        {
            "lr": 1e-3,
            "betas": (0.9, 0.9999),
            "eps": 1e-6,
            "weight_decay": 0.0,
            "decouple": False,
        },
        lambda o: _decayed(scale_by_adopt(*pair(o["betas"]), o["eps"]), o, decoupled=o["decouple"]),
        _moments("scale_by_adopt"),
    ),
):
    """ADOPT, with the options of the authors' code; see `functional_optim.adopt`.

    Weight decay is an L2 penalty, or decoupled with `decouple`.

    Args:
      decouple: whether weight decay is decoupled.
      See `scale_by_adopt` and `Adam` for the others.
    """


class AdEMAMix(
    _Recent,
    row=Row(
        {
            "lr": 1e-3,
            "betas": (0.9, 0.999, 0.9999),
            "alpha": 2.0,
            "beta3_warmup": None,
            "alpha_warmup": None,
            "eps": 1e-8,
            "weight_decay": 0.0,
        },
        lambda o: _decayed(
            scale_by_ademamix(
                *_three(o["betas"]),
                o["alpha"],
                o["eps"],
                b3_warmup=o["beta3_warmup"],
                alpha_warmup=o["alpha_warmup"],
            ),
            o,
        ),
        {
            k: ("scale_by_ademamix", slot)
            for k, slot in (("exp_avg_fast", "m1"), ("exp_avg_slow", "m2"), ("exp_avg_sq", "nu"))
        },
    ),
):
    """AdEMAMix, with the options of the authors' code; see `functional_optim.ademamix`.

    Args:
      betas: `b1`, `b2` and `b3` of `scale_by_ademamix`.
      beta3_warmup: `b3_warmup` of `scale_by_ademamix`.
      See `scale_by_ademamix`, `AdamW` and `Adam` for the others.
    """


class StableAdamW(
    _Recent,
    row=Row(
        {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.0, "eps": 1e-6},
        lambda o: stable_adamw(
            o["lr"], *pair(o["betas"]), o["eps"], weight_decay=o["weight_decay"]
        ),
        _moments("scale_by_stable_adamw"),
    ),
):
    """StableAdamW, with the options of `optimi.StableAdamW`.

    See `functional_optim.stable_adamw`.

    Args:
      See `scale_by_stable_adamw` and `Adam`.
    """


class AdaBelief(
    _Recent,
    row=Row(
        {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-16, "weight_decay": 0.0},
        lambda o: _decayed(scale_by_belief(*pair(o["betas"]), o["eps"]), o),
        {"exp_avg": ("scale_by_belief", "mu"), "exp_avg_var": ("scale_by_belief", "nu")},
    ),
):
    """AdaBelief without rectification, with the options of the authors' code.

    See `functional_optim.adabelief`. Weight decay is decoupled.

    Args:
      See `AdamW` and `Adam`.
    """


class AdaBound(
    _Recent,
    row=Row(
        {
            "lr": 1e-3,
            "betas": (0.9, 0.999),
            "final_lr": 0.1,
            "gamma": 1e-3,
            "eps": 1e-8,
            "weight_decay": 0.0,
            "amsbound": False,
        },
        lambda o: adabound(
            o["lr"],
            *pair(o["betas"]),
            o["eps"],
            o["final_lr"],
            o["gamma"],
            o["weight_decay"],
            amsbound=o["amsbound"],
        ),
        _moments("scale_by_adabound", max_exp_avg_sq="nu_max"),
    ),
):
    """AdaBound, with the options of the authors' code; see `functional_optim.adabound`.

    `final_lr` does not change with `lr`.

    Args:
      final_lr: `final_learning_rate` of `scale_by_adabound`.
      See `scale_by_adabound` and `Adam` for the others.
    """


class Adan(
    _Recent,
    row=Row(
        {"lr": 1e-3, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.0},
        lambda o: _decayed(scale_by_adan(*_three(o["betas"]), o["eps"]), o),
        {
            k: ("scale_by_adan", slot)
            for k, slot in (
                ("exp_avg", "mu"),
                ("exp_avg_diff", "delta"),
                ("exp_avg_sq", "nu"),
                ("neg_pre_grad", "previous"),
            )
        },
    ),
):
    """Adan, with the options of the authors' code; see `functional_optim.adan`.

    Weight decay is as with the authors' `no_prox=True`; `neg_pre_grad` is the last gradient, which
    is not negated here.

    Args:
      betas: `b1`, `b2` and `b3` of `scale_by_adan`.
      See `AdamW` and `Adam` for the others.
    """


class LaProp(
    _Recent,
    row=Row(
        {"lr": 4e-4, "betas": (0.9, 0.999), "eps": 1e-15, "weight_decay": 0.0},
        lambda o: laprop(o["lr"], *pair(o["betas"]), o["eps"], weight_decay=o["weight_decay"]),
        _moments("scale_by_laprop"),
    ),
):
    """LaProp, with the options of the authors' code; see `functional_optim.laprop`.

    Args:
      See `AdamW` and `Adam`.
    """


class MADGRAD(
    _Recent,
    row=Row(
        {"lr": 1e-2, "momentum": 0.9, "weight_decay": 0.0, "eps": 1e-6},
        lambda o: madgrad(o["lr"], o["momentum"], o["weight_decay"], o["eps"]),
        {k: ("scale_by_madgrad", k) for k in ("grad_sum_sq", "s", "x0")},
    ),
):
    """MADGRAD, with the options of `madgrad.MADGRAD`; see `functional_optim.madgrad`.

    Args:
      See `scale_by_madgrad` and `Adam`.
    """


class LAMB(
    _Recent,
    row=Row(
        {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.0},
        lambda o: lamb(o["lr"], *pair(o["betas"]), o["eps"], weight_decay=o["weight_decay"]),
        _moments("scale_by_adam"),
    ),
):
    """LAMB, with the options of `torch_optimizer.Lamb`; see `functional_optim.lamb`.

    Args:
      See `AdamW` and `Adam`.
    """


class SophiaG(
    _Recent,
    row=Row(
        {
            "lr": 1e-4,
            "betas": (0.965, 0.99),
            "rho": 0.04,
            "weight_decay": 1e-1,
            "bs": 5120,
        },
        lambda o: chain(
            sophia_step_of_examples(*pair(o["betas"]), o["rho"], o["bs"]),
            add_decayed_weights(o["weight_decay"]),
            scale_by_learning_rate(o["lr"]),
        ),
        {
            "exp_avg": ("sophia_step_of_examples", "mu"),
            "hessian": ("sophia_step_of_examples", "nu"),
        },
    ),
):
    """Sophia-G, with the options of the authors' code, and `bs` among them.

    `bs` is the number of examples, such as tokens, over which the loss is a mean; the authors pass
    it to `step`. Every few steps, call `update_hessian` with the gradients of the loss on labels
    that are drawn from the model's own predictions. For one function that does all of this, see
    `functional_optim.sophia`.

    Args:
      betas: decays of the momentum and of the curvature, each in [0, 1).
      rho: factor of the curvature; `gamma` of `sophia` is rho bs.
      bs: the number of examples in the mean of the loss.
      See `AdamW` and `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.SophiaG({"w": jnp.ones(2)}, lr=0.1, rho=1.0, bs=1, weight_decay=0.0)
      >>> opt.update_hessian({"w": jnp.array([2.0, 0.0])})
      >>> opt.step({"w": jnp.array([0.4, 0.4])})
      >>> [f"{x:.3f}" for x in opt.params["w"]]
      ['0.965', '0.900']
    """

    def update_hessian(self, grads: Updates | None = None) -> None:
        """Averages the squares of gradients into the estimate of the curvature.

        Args:
          grads: gradients of the loss on drawn labels, structured like `params`, with None for a
            missing gradient; without it, `grads` of this optimizer are used.

        Raises:
          ValueError: there are no gradients.
        """
        grads = self.grads if grads is None else grads
        if grads is None:
            raise ValueError(
                "SophiaG.update_hessian: there are no gradients. Call backward on a loss of drawn "
                "labels, or pass the gradients."
            )
        group_grads = self._param_layout.split(grads)
        self.state = [_with_squares(s, g) for s, g in zip(self.state, group_grads, strict=True)]


@jax.jit
def _with_squares(state: State, grads: PyTree) -> State:
    """Returns a state of `SophiaG` with the squares of gradients in its estimate."""
    step = state.sophia_step_of_examples
    gain = 1 - step.hyperparams["b2"]

    def averaged(h: Array, g: Any) -> Array:
        if is_absent(g):
            return h
        g = jnp.asarray(g)
        if jnp.iscomplexobj(h):
            parts = [(h.real, g.real), (h.imag, g.imag)]
            return jax.lax.complex(*(averaged(a, b) for a, b in parts))
        return interpolate(h, jnp.square(g.astype(h.dtype)), gain.astype(h.dtype))

    treedef: Any
    flat, treedef = jax.tree.flatten(step.nu)
    leaf_grads = align(step.nu, grads, link="SophiaG.update_hessian", name="grads")
    nu = treedef.unflatten([averaged(h, g) for h, g in zip(flat, leaf_grads, strict=True)])
    return state._replace(sophia_step_of_examples=step._replace(nu=nu))
