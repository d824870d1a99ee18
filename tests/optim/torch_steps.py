"""One step of each class of torch.optim in NumPy and float64, from any state.

Written from torch 2.13's `_single_tensor_*` functions. A step takes the parameter, the gradient,
the parameter's state, and the options; it returns the new parameter, and the new state.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray
State = dict[str, Any]
Step = Callable[[Array, Array, State, dict[str, Any]], tuple[Array, State]]


def lerp(a: Array, b: Array, weight: float) -> Array:
    return a + weight * (b - a)


def sgd(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    g = g + o["weight_decay"] * p
    buffer = state.get("momentum_buffer")
    buffer = g if buffer is None else o["momentum"] * buffer + (1 - o["dampening"]) * g
    u = g + o["momentum"] * buffer if o["nesterov"] else buffer
    return p - o["lr"] * u, {"momentum_buffer": buffer}


def adam(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    (b1, b2), t = o["betas"], state["step"] + 1
    if o.get("decoupled_weight_decay", True):  # AdamW has no such option
        p = p * (1 - o["lr"] * o["weight_decay"])
    else:
        g = g + o["weight_decay"] * p
    m, v = lerp(state["exp_avg"], g, 1 - b1), b2 * state["exp_avg_sq"] + (1 - b2) * g * g
    new, largest = {"step": t, "exp_avg": m, "exp_avg_sq": v}, v
    if o["amsgrad"]:
        largest = np.maximum(state["max_exp_avg_sq"], v)
        new["max_exp_avg_sq"] = largest
    denominator = np.sqrt(largest) / np.sqrt(1 - b2**t) + o["eps"]
    return p - o["lr"] / (1 - b1**t) * m / denominator, new


def nadam(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    (b1, b2), t = o["betas"], state["step"] + 1
    g = g + o["weight_decay"] * p
    mu = b1 * (1 - 0.5 * 0.96 ** (t * o["momentum_decay"]))
    mu_next = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * o["momentum_decay"]))
    product = state["mu_product"] * mu
    m, v = lerp(state["exp_avg"], g, 1 - b1), b2 * state["exp_avg_sq"] + (1 - b2) * g * g
    denominator = np.sqrt(v / (1 - b2**t)) + o["eps"]
    p = p - o["lr"] * (1 - mu) / (1 - product) * g / denominator
    p = p - o["lr"] * mu_next / (1 - product * mu_next) * m / denominator
    return p, {"step": t, "mu_product": product, "exp_avg": m, "exp_avg_sq": v}


def radam(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    (b1, b2), t = o["betas"], state["step"] + 1
    g = g + o["weight_decay"] * p
    m, v = lerp(state["exp_avg"], g, 1 - b1), b2 * state["exp_avg_sq"] + (1 - b2) * g * g
    u, longest = m / (1 - b1**t), 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    if length > 5:
        u = u * np.sqrt(1 - b2**t) / (np.sqrt(v) + o["eps"])
        u = u * np.sqrt((length - 4) * (length - 2) * longest)
        u = u / np.sqrt((longest - 4) * (longest - 2) * length)
    return p - o["lr"] * u, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def adamax(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    (b1, b2), t = o["betas"], state["step"] + 1
    g = g + o["weight_decay"] * p
    m = lerp(state["exp_avg"], g, 1 - b1)
    largest = np.maximum(b2 * state["exp_inf"], np.abs(g) + o["eps"])
    new = {"step": t, "exp_avg": m, "exp_inf": largest}
    return p - o["lr"] / (1 - b1**t) * m / largest, new


def adagrad(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    t = state["step"] + 1
    g = g + o["weight_decay"] * p
    total = state["sum"] + g * g
    lr = o["lr"] / (1 + (t - 1) * o["lr_decay"])
    return p - lr * g / (np.sqrt(total) + o["eps"]), {"step": t, "sum": total}


def adadelta(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    rho, eps = o["rho"], o["eps"]
    g = g + o["weight_decay"] * p
    square = rho * state["square_avg"] + (1 - rho) * g * g
    delta = np.sqrt(state["acc_delta"] + eps) / np.sqrt(square + eps) * g
    moved = rho * state["acc_delta"] + (1 - rho) * delta * delta
    new = {"step": state["step"] + 1, "square_avg": square, "acc_delta": moved}
    return p - o["lr"] * delta, new


def rmsprop(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    g = g + o["weight_decay"] * p
    square = o["alpha"] * state["square_avg"] + (1 - o["alpha"]) * g * g
    mean = lerp(state["grad_avg"], g, 1 - o["alpha"])
    # A negative variance counts as 0, as the class says; torch gives NaN.
    u = g / (np.sqrt(np.maximum(square - mean * mean, 0.0)) + o["eps"])
    buffer = o["momentum"] * state["momentum_buffer"] + u
    new = {"step": state["step"] + 1, "square_avg": square, "grad_avg": mean}
    return p - o["lr"] * buffer, new | {"momentum_buffer": buffer}


def rprop(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    agreement = np.sign(g * state["prev"])
    factor = np.choose(agreement.astype(int) + 1, [o["etas"][0], 1.0, o["etas"][1]])
    size = np.clip(state["step_size"] * factor, *o["step_sizes"])
    g = np.where(agreement < 0, 0.0, g)
    return p - size * np.sign(g), {"step": state["step"] + 1, "prev": g, "step_size": size}


def asgd(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    t, eta, mu = state["step"] + 1, state["eta"], state["mu"]
    g = g + o["weight_decay"] * p
    p = p * (1 - o["lambd"] * eta) - eta * g
    ax = lerp(state["ax"], p, mu)
    eta = o["lr"] / (1 + o["lambd"] * o["lr"] * t) ** o["alpha"]
    return p, {"step": t, "eta": eta, "mu": 1 / max(1, t - o["t0"]), "ax": ax}


def adafactor(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    t, (eps, floor) = state["step"] + 1, o["eps"]
    weight, rate = t ** o["beta2_decay"], min(o["lr"], 1 / np.sqrt(t))
    rate = rate * max(floor, np.sqrt(np.mean(p * p)))
    p = p * (1 - o["lr"] * o["weight_decay"])
    if "variance" in state:
        new = {"variance": lerp(state["variance"], g * g, weight)}
        estimate = new["variance"]
    else:
        row = lerp(state["row_var"], np.mean(g * g, -1, keepdims=True), weight)
        column = lerp(state["col_var"], np.mean(g * g, -2, keepdims=True), weight)
        new = {"row_var": row, "col_var": column}
        estimate = row @ column / np.maximum(np.mean(row, -2, keepdims=True), eps)
    u = g / np.sqrt(np.maximum(estimate, eps * eps))
    u = u / max(1.0, np.sqrt(np.mean(u * u)) / o["d"])
    return p - rate * u, {"step": t} | new


def lion(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    (b1, b2), m = o["betas"], state["exp_avg"]
    p = p * (1 - o["lr"] * o["weight_decay"])
    return p - o["lr"] * np.sign(lerp(m, g, 1 - b1)), {"exp_avg": lerp(m, g, 1 - b2)}


def muon(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    buffer = lerp(state["momentum_buffer"], g, 1 - o["momentum"])
    x = lerp(g, buffer, o["momentum"])
    x = x / max(np.linalg.norm(x), o["eps"])
    x = x.T if p.shape[0] > p.shape[1] else x
    a, b, c = o["ns_coefficients"]
    for _ in range(o["ns_steps"]):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.T if p.shape[0] > p.shape[1] else x
    p = p * (1 - o["lr"] * o["weight_decay"])
    rate = o["lr"] * np.sqrt(max(1, p.shape[0] / p.shape[1]))
    return p - rate * x, {"momentum_buffer": buffer}


def sparse_adam(p: Array, g: Array, state: State, o: dict[str, Any]) -> tuple[Array, State]:
    """Leaves rows of zeros unchanged, because a sparse gradient does not have them."""
    (b1, b2), t = o["betas"], state["step"] + 1
    rows = np.any(g != 0, axis=1, keepdims=True)
    m = np.where(rows, lerp(state["exp_avg"], g, 1 - b1), state["exp_avg"])
    v = np.where(rows, lerp(state["exp_avg_sq"], g * g, 1 - b2), state["exp_avg_sq"])
    rate = o["lr"] * np.sqrt(1 - b2**t) / (1 - b1**t)
    u = np.where(rows, m / (np.sqrt(v) + o["eps"]), 0.0)
    return p - rate * u, {"step": t, "exp_avg": m, "exp_avg_sq": v}
