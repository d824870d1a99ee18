"""The network: three dense layers."""

import jax
import jax.numpy as jnp

__all__ = ["Params", "accuracy", "init", "logits", "loss_fn"]

Params = dict[str, dict[str, jax.Array]]

_WIDTHS = {"hidden_0": (64, 256), "hidden_1": (256, 256), "readout": (256, 10)}


def init(key: jax.Array) -> Params:
    """Draws kernels with variance 2 / fan-in, with which rectified layers keep the scale.

    Reference: He et al., Delving Deep into Rectifiers, ICCV 2015, equation 10,
    arXiv:1502.01852.
    """
    keys = jax.random.split(key, len(_WIDTHS))
    return {
        name: {
            "kernel": jnp.sqrt(2 / shape[0]) * jax.random.normal(k, shape),
            "bias": jnp.zeros(shape[1]),
        }
        for k, (name, shape) in zip(keys, _WIDTHS.items(), strict=True)
    }


def logits(params: Params, images: jax.Array) -> jax.Array:
    """Scores of the ten digits: `(n, 8, 8)` to `(n, 10)`."""
    x = images.reshape(len(images), 64)
    for name in ("hidden_0", "hidden_1"):
        x = jax.nn.relu(_dense(params[name], x))
    return _dense(params["readout"], x)


def _dense(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"][None, :]


def loss_fn(params: Params, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes the mean cross-entropy `()`, in nats."""
    log_p = jax.nn.log_softmax(logits(params, images))
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def accuracy(params: Params, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes the share `()` of images whose digit has the highest score."""
    return jnp.mean(jnp.argmax(logits(params, images), axis=1) == labels)
