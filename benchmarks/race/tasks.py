"""The tasks: small models, on data sets of scikit-learn and on the text of the licence."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo

__all__ = ["TASKS", "Task"]

Params = dict[str, Any]
LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"


class Task(NamedTuple):
    """A model and its data.

    Attributes:
      title: the model, and its data.
      data: loads training inputs and targets, and held-out inputs and targets.
      init: makes parameters from a key.
      loss_fn: mean loss of parameters on inputs and targets, in nats.
      batch: number of examples of a step, which are drawn with replacement.
      steps: number of steps of a run.
      target: held-out loss that a run should reach.
    """

    title: str
    data: Callable[[], tuple[np.ndarray, ...]]
    init: Callable[[jax.Array], Params]
    loss_fn: Callable[[Params, jax.Array, jax.Array], jax.Array]
    batch: int
    steps: int
    target: float


def _kernels(key: jax.Array, shapes: dict[str, tuple[int, ...]], gain: float = 2.0) -> Params:
    """Draws kernels of variance gain / fan-in; their last axis is that of the outputs."""
    keys = jax.random.split(key, len(shapes))
    return {
        name: jnp.sqrt(gain / np.prod(shape[:-1])) * jax.random.normal(k, shape)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(fo.softmax_cross_entropy_with_integer_labels(logits, labels))


# Logistic regression of a table.


@functools.cache
def _table() -> tuple[np.ndarray, ...]:
    """Loads the table of breast cancers, 569 rows of 30 columns, and standardizes its columns."""
    from sklearn import datasets, model_selection  # its import takes two seconds

    x, y = datasets.load_breast_cancer(return_X_y=True)
    train_x, test_x, train_y, test_y = model_selection.train_test_split(
        x, y, test_size=169, stratify=y, random_state=0
    )
    mean, std = train_x.mean(0), train_x.std(0)
    scaled = (((part - mean) / std).astype(np.float32) for part in (train_x, test_x))
    train_x, test_x = scaled
    return train_x, train_y.astype(np.float32), test_x, test_y.astype(np.float32)


def _table_init(key: jax.Array) -> Params:
    return {"weights": 0.3 * jax.random.normal(key, (30,)), "bias": jnp.zeros(())}


def _table_loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    logits = x @ params["weights"] + params["bias"][None]
    return jnp.mean(fo.sigmoid_binary_cross_entropy(logits, y))


# The digits: 1,797 images of 8 by 8.


@functools.cache
def _digits() -> tuple[np.ndarray, ...]:
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    train_x, test_x, train_y, test_y = model_selection.train_test_split(
        (digits.images / 16).astype(np.float32),
        digits.target.astype(np.int32),
        test_size=360,
        stratify=digits.target,
        random_state=0,
    )
    return train_x, train_y, test_x, test_y


def _mlp_init(key: jax.Array) -> Params:
    kernels = _kernels(key, {"hidden": (64, 32), "hidden_1": (32, 32), "readout": (32, 10)})
    biases = {"hidden": jnp.zeros(32), "hidden_1": jnp.zeros(32), "readout": jnp.zeros(10)}
    return kernels | {f"{name}_bias": b for name, b in biases.items()}


def _mlp_loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    x = x.reshape(len(x), 64)
    for name in ("hidden", "hidden_1"):
        x = jax.nn.relu(x @ params[name] + params[f"{name}_bias"][None])
    return _cross_entropy(x @ params["readout"] + params["readout_bias"][None], y)


def _convnet_init(key: jax.Array) -> Params:
    shapes = {"conv": (3, 3, 1, 8), "conv_1": (3, 3, 8, 16), "readout": (16, 10)}
    kernels = _kernels(key, shapes)
    # By these names, optimizers of matrices find the kernels of convolutions.
    return {k: {"kernel": x, "bias": jnp.zeros(x.shape[-1])} for k, x in kernels.items()}


def _convolve(x: jax.Array, params: Params) -> jax.Array:
    """Convolves images `(n, h, w, c)` by one product, which vmap over kernels keeps fast."""
    h, w = x.shape[1] - 2, x.shape[2] - 2
    windows = [x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    flat = jnp.stack(windows, axis=3).reshape(*x.shape[:1], h, w, -1)
    kernel, bias = params["kernel"], params["bias"]
    return jax.nn.relu(flat @ kernel.reshape(-1, kernel.shape[-1]) + bias[None, None, None])


def _convnet_loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    x = _convolve(x[..., None], params["conv"])
    x = x.reshape(len(x), 3, 2, 3, 2, 8).mean(axis=(2, 4))
    x = _convolve(x, params["conv_1"])[:, 0, 0]
    return _cross_entropy(x @ params["readout"]["kernel"] + params["readout"]["bias"][None], y)


# A transformer of one block, on the characters of the licence.

WIDTH, CONTEXT, HEADS = 24, 24, 2


@functools.cache
def _characters() -> tuple[np.ndarray, ...]:
    """Returns all windows of the licence's characters; the last 1,500 characters are held out."""
    text = " ".join(LICENSE.read_text(encoding="utf-8").lower().split())
    codes = np.array([_alphabet().index(c) for c in text], np.int32)
    train, held_out = codes[:-1500], codes[-1500:]

    def windows(codes: np.ndarray, stride: int) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)[::stride]

    train, held_out = windows(train, 1), windows(held_out, CONTEXT)
    return train[:, :-1], train[:, 1:], held_out[:, :-1], held_out[:, 1:]


@functools.cache
def _alphabet() -> list[str]:
    return sorted({*LICENSE.read_text(encoding="utf-8").lower()} - {"\n"})


def _transformer_init(key: jax.Array) -> Params:
    size = len(_alphabet())
    kernels = {
        "attend": (WIDTH, 3 * WIDTH),
        "attended": (WIDTH, WIDTH),
        "up": (WIDTH, 4 * WIDTH),
        "down": (4 * WIDTH, WIDTH),
        "readout": (WIDTH, size),
    }
    first, second, third = jax.random.split(key, 3)
    return _kernels(first, kernels, 1.0) | {
        "embed": 0.5 * jax.random.normal(second, (size, WIDTH)),
        "position": 0.5 * jax.random.normal(third, (CONTEXT, WIDTH)),
        "norm": jnp.ones(WIDTH),
        "norm_1": jnp.ones(WIDTH),
        "norm_2": jnp.ones(WIDTH),
    }


def _normalized(x: jax.Array, scale: jax.Array) -> jax.Array:
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(mean_square + 1e-6) * scale[None, None]


def _transformer_loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    h = params["embed"][x] + params["position"][None]
    qkv = (_normalized(h, params["norm"]) @ params["attend"]).reshape(len(x), CONTEXT, 3, HEADS, -1)
    q, k, v = (qkv[:, :, i] for i in range(3))
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(WIDTH // HEADS)
    causal = jnp.tril(jnp.ones((CONTEXT, CONTEXT), bool))[None, None]
    weights = jax.nn.softmax(jnp.where(causal, scores, -1e9), axis=-1)
    attended = jnp.einsum("bhts,bshd->bthd", weights, v).reshape(h.shape)
    h = h + attended @ params["attended"]
    h = h + jax.nn.relu(_normalized(h, params["norm_1"]) @ params["up"]) @ params["down"]
    return _cross_entropy(_normalized(h, params["norm_2"]) @ params["readout"], y)


TASKS = {
    "table": Task(
        "logistic regression, table of breast cancers (30 columns)",
        *(_table, _table_init, _table_loss),
        batch=32,
        steps=200,
        target=0.10,
    ),
    "mlp": Task(
        "perceptron of three layers, digits",
        *(_digits, _mlp_init, _mlp_loss),
        batch=32,
        steps=200,
        target=0.20,
    ),
    "convnet": Task(
        "two convolutions and a dense layer, digits",
        *(_digits, _convnet_init, _convnet_loss),
        batch=32,
        steps=200,
        target=0.30,
    ),
    "transformer": Task(
        "transformer of one block, characters of the licence",
        *(_characters, _transformer_init, _transformer_loss),
        batch=8,
        steps=200,
        target=2.5,
    ),
}
