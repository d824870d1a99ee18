"""A leaf costs no more operations than in optax, or than a formula written by hand.

Operations per leaf are what a leaf more adds to the program of a step; all leaves have shapes of
their own, so that nothing is shared. They are counted in the program as it is lowered, and as XLA
compiles it, with its loops. Calls are not counted, because the called functions are in the text as
well.

Hyperparameters are runtime arguments here, and constants in optax.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import functional_optim as fo

from ..compiling import TEXT

FEW, MANY = 4, 5
"""Numbers of leaves: from four on, each adds the same, as the scalars of leaves are stacked."""

Make = Callable[[Any, Any], fo.GradientTransformation]
"""Makes a transformation of what a library's root and its `contrib` hold."""


class Counts(NamedTuple):
    """Numbers of operations that one more leaf adds to a program."""

    lowered: float
    compiled: float = 0.0
    compiled_on_arrays: float = 0.0
    loops: float = 0.0


@pytest.fixture(autouse=True)
def promotion():
    """Allows implicit promotion, on which optax's arithmetic and the formulas rely."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def usual_side(_: Any, usual: Callable[..., Any], other: Any, *operands: Any) -> Any:
    """Replaces `lax.cond` by its usual side: a norm that did not overflow is not repeated."""
    return usual(*operands)


def leaves(n: int) -> dict[str, Any]:
    """Returns the shapes of the parameters."""
    return {f"p{i:02d}": jax.ShapeDtypeStruct((4 + i, 7), jnp.float32) for i in range(n)}


def program_of(tx: Any, n: int, extra: Any) -> Any:
    """Lowers a training step on `n` leaves."""
    params = leaves(n)

    def step(grads: Any, state: Any, params: Any, extra: Any) -> Any:
        updates, state = tx.update(grads, state, params, **extra)
        return jax.tree.map(jnp.add, params, updates), state

    state = jax.eval_shape(tx.init, params)
    return jax.jit(step).lower(params, state, params, extra)


def counts_of(make_program: Callable[[int], Any], *, compiled: bool) -> Counts:
    """Counts the operations per leaf in the programs of `make_program(number of leaves)`."""
    few, many = (in_program(make_program(n), compiled=compiled) for n in (FEW, MANY))
    return Counts(*((b - a) / (MANY - FEW) for a, b in zip(few, many, strict=True)))


def in_program(program: Any, *, compiled: bool) -> Counts:
    """Counts all operations of a program."""
    lowered = len(re.findall(r"(?:stablehlo|chlo)\.\w+[ \"(]", program.as_text()))
    if not compiled:
        return Counts(lowered)
    text = program.compile(TEXT).as_text()
    operations = re.findall(r"^ .* = ", text, re.M)
    on_arrays = re.findall(r"^ .* = \(?\w+\[\d", text, re.M)
    loops = re.findall(r"\bfusion\(", text)
    return Counts(lowered, len(operations), len(on_arrays), len(loops))


def both(make: Make, extra: Any, *, compiled: bool) -> tuple[Counts, Counts]:
    """Counts the operations of ours, and of optax's."""
    ours, theirs = make(fo, fo.contrib), make(optax, optax.contrib)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "cond", usual_side)
        counted = counts_of(lambda n: program_of(ours, n, extra), compiled=compiled)
    return counted, counts_of(lambda n: program_of(theirs, n, extra), compiled=compiled)


COMPILED: dict[str, Make] = {
    "adamw": lambda o, _: o.adamw(1e-3),
    "sgd-momentum": lambda o, _: o.sgd(1e-3, momentum=0.9),
    "lion": lambda o, _: o.lion(1e-3),
    "rmsprop": lambda o, _: o.rmsprop(1e-3),
    "clip-adam-cosine": lambda o, _: o.chain(
        o.clip_by_global_norm(1.0), o.adam(o.cosine_decay_schedule(1e-3, 100))
    ),
    "adagrad": lambda o, _: o.adagrad(1e-3),
    "trace": lambda o, _: o.trace(0.9),
}
"""Rules whose optimized programs are compared as well."""

LOWERED: dict[str, Make] = {
    **COMPILED,
    "acprop": lambda _, contrib: contrib.acprop(1e-3),
    "adabelief": lambda o, _: o.adabelief(1e-3),
    "adadelta": lambda o, _: o.adadelta(1e-3),
    "adafactor": lambda o, _: o.adafactor(1e-3),
    "adafactor-momentum": lambda o, _: o.adafactor(
        1e-3, momentum=0.9, weight_decay_rate=0.1, min_dim_size_to_factor=2
    ),
    "adam": lambda o, _: o.adam(1e-3),
    "adam-nesterov": lambda o, _: o.adam(1e-3, nesterov=True),
    "adamax": lambda o, _: o.adamax(1e-3),
    "adamaxw": lambda o, _: o.adamaxw(1e-3),
    "adan": lambda o, _: o.adan(1e-3),
    "adaptive_grad_clip": lambda o, _: o.adaptive_grad_clip(1.0),
    "add_decayed_weights": lambda o, _: o.add_decayed_weights(0.1),
    "add_noise": lambda o, _: o.add_noise(0.1, 0.5, 0),
    "ademamix": lambda _, contrib: contrib.ademamix(1e-3),
    "adopt": lambda _, contrib: contrib.adopt(1e-3),
    "adopt-nesterov": lambda _, contrib: contrib.adopt(1e-3, nesterov=True),
    "amsgrad": lambda o, _: o.amsgrad(1e-3),
    "apply_every": lambda o, _: o.apply_every(2),
    "centralize": lambda o, _: o.centralize(),
    "clip": lambda o, _: o.clip(1.0),
    "clip_by_block_rms": lambda o, _: o.clip_by_block_rms(1.0),
    "clip_by_global_norm": lambda o, _: o.clip_by_global_norm(1.0),
    "cocob": lambda _, contrib: contrib.cocob(),
    "dadapt_adamw": lambda _, contrib: contrib.dadapt_adamw(),
    "dog": lambda _, contrib: contrib.dog(),
    "dowg": lambda _, contrib: contrib.dowg(),
    "ema": lambda o, _: o.ema(0.9),
    "ema-biased": lambda o, _: o.ema(0.9, debias=False),
    "fromage": lambda o, _: o.fromage(1e-3),
    "keep_params_nonnegative": lambda o, _: o.keep_params_nonnegative(),
    "lamb": lambda o, _: o.lamb(1e-3),
    "lars": lambda o, _: o.lars(1e-3),
    "mechanize": lambda o, contrib: contrib.mechanize(o.sgd(1.0)),
    "momo": lambda _, contrib: contrib.momo(),
    "momo_adam": lambda _, contrib: contrib.momo_adam(),
    "madgrad": lambda _, contrib: contrib.madgrad(1e-3),
    "muon": lambda _, contrib: contrib.muon(1e-3),
    "nadam": lambda o, _: o.nadam(1e-3),
    "nadamw": lambda o, _: o.nadamw(1e-3),
    "normalize_by_update_norm": lambda o, _: o.normalize_by_update_norm(),
    "novograd": lambda o, _: o.novograd(1e-3),
    "optimistic_adam_v2": lambda o, _: o.optimistic_adam_v2(1e-3),
    "optimistic_gradient_descent": lambda o, _: o.optimistic_gradient_descent(1e-3),
    "polyak_sgd": lambda o, _: o.polyak_sgd(),
    "prodigy": lambda _, contrib: contrib.prodigy(),
    "radam": lambda o, _: o.radam(1e-3),
    "rmsprop-centered": lambda o, _: o.rmsprop(1e-3, centered=True),
    "rmsprop-momentum": lambda o, _: o.rmsprop(1e-3, momentum=0.9),
    "rprop": lambda o, _: o.rprop(1e-3),
    "scale": lambda o, _: o.scale(0.9),
    "scale_by_distance_over_gradients": lambda o, _: o.scale_by_distance_over_gradients(),
    "scale_by_factored_rms": lambda o, _: o.scale_by_factored_rms(min_dim_size_to_factor=2),
    "scale_by_param_block_norm": lambda o, _: o.scale_by_param_block_norm(),
    "scale_by_param_block_rms": lambda o, _: o.scale_by_param_block_rms(),
    "scale_by_rss": lambda o, _: o.scale_by_rss(),
    "scale_by_schedule": lambda o, _: o.scale_by_schedule(o.linear_schedule(1.0, 0.0, 10)),
    "scale_by_sign": lambda o, _: o.scale_by_sign(),
    "scale_by_trust_ratio": lambda o, _: o.scale_by_trust_ratio(),
    "schedule_free": lambda o, contrib: contrib.schedule_free(o.sgd(1e-3), 1e-3),
    "schedule_free_adamw": lambda _, contrib: contrib.schedule_free_adamw(1e-3, 10),
    "schedule_free_sgd": lambda _, contrib: contrib.schedule_free_sgd(1e-3),
    "set_to_zero": lambda o, _: o.set_to_zero(),
    "sgd": lambda o, _: o.sgd(1e-3),
    "sgd-nesterov": lambda o, _: o.sgd(1e-3, momentum=0.9, nesterov=True),
    "sign_sgd": lambda o, _: o.sign_sgd(1e-3),
    "signum": lambda o, _: o.signum(1e-3),
    "simplified_ademamix": lambda _, contrib: contrib.simplified_ademamix(1e-3, alpha=1.0),
    "sm3": lambda o, _: o.sm3(1e-3),
    "yogi": lambda o, _: o.yogi(1e-3),
    "zero_nans": lambda o, _: o.zero_nans(),
}

EXTRA = {name: {"value": 1.0} for name in ("momo", "momo_adam", "polyak_sgd")}
"""Arguments that `update` needs besides gradients and parameters."""

ABOVE = {
    "momo_adam": "the step computes the moments again, which costs less than to write them",
    "muon": "the rounds are written out, and in optax a loop: XLA fuses them, with fewer loops",
    "zero_nans": "it counts the NaNs, and optax finds only whether there is one",
}
"""Rules with more operations than in optax, or than the formula -> why."""

SCALARS = {"lion": 2, "rmsprop": 1}
"""Operations more than in optax, all on scalars: loops compute 1 - b once, not for each element."""


def cases(names: Any) -> list[Any]:
    """Returns one parameter for each name.

    Names in ABOVE must stay above, or be taken out here.
    """
    return [
        pytest.param(
            name,
            marks=[pytest.mark.xfail(strict=True, reason=ABOVE[name])] if name in ABOVE else [],
        )
        for name in names
    ]


@pytest.mark.parametrize("name", cases(sorted(LOWERED.keys() - COMPILED.keys())))
def test_operations_of_the_lowered_program_are_at_most_those_of_optax(name):
    ours, theirs = both(LOWERED[name], EXTRA.get(name, {}), compiled=False)
    assert 0 < ours.lowered <= theirs.lowered


@pytest.mark.parametrize("name", cases(COMPILED))
def test_operations_and_loops_of_both_programs_are_at_most_those_of_optax(name):
    ours, theirs = both(COMPILED[name], {}, compiled=True)
    assert 0 < ours.lowered <= theirs.lowered
    assert ours.compiled <= theirs.compiled + SCALARS.get(name, 0)
    assert ours.compiled_on_arrays <= theirs.compiled_on_arrays
    assert ours.loops <= theirs.loops


# Rules that optax does not have are compared with their formulas. Scalars of a step are arguments.


def asgd(g, p, slots, k):
    u = k["rate"] * (g + k["lambd"] * p)
    moved = p - u
    mean = slots["ax"] + k["weight"] * (moved - slots["ax"])
    return p + k["minus"] * u, {"ax": jnp.where(k["follows"] > 0, moved, mean)}


def sparse_adam(g, p, slots, k):
    m = k["b1"] * slots["m"] + k["m_gain"] * g
    v = k["b2"] * slots["v"] + k["v_gain"] * (g * g)
    u = k["correction"] * m / (jnp.sqrt(v) + k["eps"])
    return p + k["minus_learning_rate"] * u, {"m": m, "v": v}


def adam_with_momentum_decay(g, p, slots, k):
    mu = k["b1"] * slots["mu"] + k["mu_gain"] * g
    nu = k["b2"] * slots["nu"] + k["nu_gain"] * (g * g)
    root = jnp.sqrt(k["nu_correction"] * nu + k["eps_root"]) + k["eps"]
    ahead = k["ahead_mean"] * mu + k["ahead_gain"] * g
    return p + k["minus_learning_rate"] * (ahead / root), {"mu": mu, "nu": nu}


def torch_rmsprop(g, p, slots, k):
    nu = k["decay"] * slots["nu"] + k["gain"] * (g * g)
    return p + k["minus_learning_rate"] * (g / (jnp.sqrt(nu) + k["eps"])), {"nu": nu}


def dampened_sgd(g, p, slots, k):
    trace = k["momentum"] * slots["trace"] + k["gain"] * g
    return p + k["minus_learning_rate"] * trace, {"trace": trace}


def params_ema(g, p, slots, k):
    new, ema = p + g, slots["ema"]
    start = jnp.where(k["near"] > 0, ema, new)  # from the nearer end; see `interpolate`
    return p + g, {"ema": start + k["step"] * (new - ema)}


def laprop(g, p, slots, k):
    nu = k["b2"] * slots["nu"] + k["nu_gain"] * (g * g)
    root = jnp.maximum(jnp.sqrt(nu) + k["eps"], k["tiny"])
    mu = k["b1"] * slots["mu"] + k["mu_gain"] * (g / root)
    u = k["mu_weight"] * mu + k["weight_decay"] * p
    return p + k["minus_learning_rate"] * u, {"mu": mu, "nu": nu}


def adam_direction(g, slots, k):
    mu = k["b1"] * slots["mu"] + k["mu_gain"] * g
    nu = k["b2"] * slots["nu"] + k["nu_gain"] * (g * g)
    return k["mu_weight"] * mu / (jnp.sqrt(nu + k["eps_root"]) + k["eps"]), {"mu": mu, "nu": nu}


def stable_adamw(g, p, slots, k):
    u, new = adam_direction(g, slots, k)
    mean = jnp.sum(g * g / jnp.maximum(new["nu"], k["floor"])) * (1 / g.size)
    u = (u + k["weight_decay"] * p) / jnp.maximum(k["root"] * jnp.sqrt(mean), 1.0)
    return p + k["minus_learning_rate"] * u, new


def cautious_adamw(g, p, slots, k):
    u, new = adam_direction(g, slots, k)
    agrees = u * jnp.sign(g) > 0
    fraction = jnp.sum(agrees.astype(jnp.float32)) * (1 / g.size)
    u = jnp.where(agrees, u * (1 / jnp.maximum(fraction, k["least"])), 0.0)
    return p + k["minus_learning_rate"] * (u + k["weight_decay"] * p), new


def spam(g, p, slots, k):
    bound = jnp.sqrt(k["threshold"] * slots["nu"])
    g = jnp.where(k["cuts"] > 0, jnp.minimum(jnp.maximum(g, -bound), bound), g)
    mu = k["b1"] * slots["mu"] + k["mu_gain"] * g
    nu = k["b2"] * slots["nu"] + k["nu_gain"] * (g * g)
    u = k["mu_weight"] * mu / (jnp.sqrt(nu) + k["eps"]) + k["weight_decay"] * p
    return p + k["minus_learning_rate"] * u, {"mu": mu, "nu": nu}


def adabound(g, p, slots, k):
    g = g + k["weight_decay"] * p
    mu = k["b1"] * slots["mu"] + k["mu_gain"] * g
    nu = k["b2"] * slots["nu"] + k["nu_gain"] * (g * g)
    root = jnp.maximum(jnp.sqrt(nu) + k["eps"], k["tiny"])
    rate = jnp.minimum(jnp.maximum(k["rate"] / root, k["lower"]), k["upper"])
    return p + k["minus"] * (rate * mu), {"mu": mu, "nu": nu}


def adam_mini(g, p, slots, k):
    mu = k["b1"] * slots["mu"] + k["mu_gain"] * g
    mean = jnp.sum(g * g, keepdims=True) * (1 / g.size)
    nu = k["b2"] * slots["nu"] + k["nu_gain"] * mean
    u = mu * (k["mu_weight"] / (jnp.sqrt(nu) + k["eps"])) + k["weight_decay"] * p
    return p + k["minus_learning_rate"] * u, {"mu": mu, "nu": nu}


def mars(g, p, slots, k):
    c = g + k["weight"] * (g - slots["previous"])
    c = c / jnp.maximum(jnp.sqrt(jnp.sum(c * c)), 1.0)
    u, new = adam_direction(c, slots, k)
    u = u + k["weight_decay"] * p
    return p + k["minus_learning_rate"] * u, {**new, "previous": g}


def grokfast(g, p, slots, k):
    ema = k["decay"] * slots["ema"] + k["gain"] * g
    return p + k["minus_learning_rate"] * (g + k["lamb"] * ema), {"ema": ema}


def hyperball(g, p, slots, k):
    def scaled(x):
        norm = jnp.sqrt(jnp.sum(x * x))
        some = norm > 0
        return jnp.where(some, slots["radius"] / jnp.where(some, norm, 1.0), 0.0) * x

    q = scaled(p - k["learning_rate"] * scaled(g))
    return p + (q - p), {"radius": slots["radius"]}


FORMULAS: dict[str, tuple[Callable[[], fo.GradientTransformation], Callable[..., Any]]] = {
    "asgd": (lambda: fo.asgd(1e-2), asgd),
    "sparse_adam": (lambda: fo.sparse_adam(1e-3), sparse_adam),
    "adam-momentum_decay": (
        lambda: fo.adam(1e-3, nesterov=True, momentum_decay=4e-3),
        adam_with_momentum_decay,
    ),
    "rmsprop-torch": (lambda: fo.rmsprop(1e-3, eps_in_sqrt=False), torch_rmsprop),
    "sgd-dampening": (lambda: fo.sgd(1e-3, momentum=0.9, dampening=0.1), dampened_sgd),
    "params_ema": (lambda: fo.params_ema(0.9), params_ema),
    "laprop": (lambda: fo.laprop(1e-3, weight_decay=0.1), laprop),
    "stable_adamw": (lambda: fo.stable_adamw(1e-3), stable_adamw),
    "cautious_adamw": (lambda: fo.cautious_adamw(1e-3), cautious_adamw),
    "spam": (lambda: fo.spam(1e-3, weight_decay=0.1), spam),
    "adabound": (lambda: fo.adabound(1e-3, weight_decay=0.1), adabound),
    "adam_mini": (lambda: fo.adam_mini(1e-3, weight_decay=0.1), adam_mini),
    "mars": (lambda: fo.mars(1e-3, weight_decay=0.1), mars),
    "grokfast": (lambda: fo.chain(fo.grokfast(), fo.scale_by_learning_rate(1e-3)), grokfast),
    "hyperball": (lambda: fo.hyperball(1e-3), hyperball),
}


class _Scalars(dict[str, Any]):
    """Finds the names of the scalars that a formula reads."""

    def __missing__(self, name: str) -> Any:
        self[name] = jnp.float32(0.5)
        return self[name]


def formula_program(formula: Callable[..., Any], n: int) -> Any:
    """Lowers a step by a formula, leaf by leaf."""
    params, scalars, names = leaves(n), _Scalars(), _Scalars()
    one = jax.ShapeDtypeStruct((), jnp.float32)
    jax.eval_shape(lambda x: formula(x, x, names, scalars), one)

    def step(grads: Any, slots: Any, params: Any, scalars: Any) -> Any:
        made = {
            k: formula(grads[k], params[k], {s: tree[k] for s, tree in slots.items()}, scalars)
            for k in params
        }
        return {k: p for k, (p, _) in made.items()}, {k: s for k, (_, s) in made.items()}

    slots = dict.fromkeys(names, params)
    return jax.jit(step).lower(params, slots, params, dict(scalars))


@pytest.mark.parametrize("name", cases(FORMULAS))
def test_operations_are_at_most_those_of_a_formula(name):
    make, formula = FORMULAS[name]
    ours = counts_of(functools.partial(program_of, make(), extra={}), compiled=False)
    plain = counts_of(functools.partial(formula_program, formula), compiled=False)
    assert 0 < ours.lowered <= plain.lowered
