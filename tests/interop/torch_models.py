"""The models of `tests/golden/make_models.py` in Flax linen, nnx and Equinox.

Each function returns a tree of parameters, `apply(params, inputs) -> logits` and the names of
modules that torch calls otherwise.
"""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

KEY = jax.random.key(0)


def wide(tree):
    """Converts floating-point arrays to float64."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def channels_last(images):
    return jnp.moveaxis(images, 1, -1)


class LinenMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = jnp.tanh(nn.Dense(6)(x))
        return nn.Dense(3)(hidden)


class LinenConvNet(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.Conv(4, (3, 3), name="conv1")(channels_last(images))
        x = nn.relu(nn.GroupNorm(2, epsilon=1e-5, name="norm")(x))
        x = nn.Conv(4, (3, 3), strides=2, padding="VALID", use_bias=False, name="conv2")(x)
        return nn.Dense(3, name="head")(nn.relu(x).mean((1, 2)))


class LinenTransformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(7, 6, name="embed")(tokens)
        y = nn.LayerNorm(epsilon=1e-5, name="norm1")(x)
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(y, y)
        y = nn.LayerNorm(epsilon=1e-5, name="norm2")(x)
        x = x + nn.Dense(6, name="down")(nn.relu(nn.Dense(8, name="up")(y)))
        return nn.Dense(7, use_bias=False, name="head")(x)


LINEN = {
    "mlp": (LinenMLP, {"Dense_0": "0", "Dense_1": "2"}),
    "convnet": (LinenConvNet, {}),
    "transformer": (LinenTransformer, {}),
}


def linen(name, inputs):
    make, modules = LINEN[name]
    model = make()
    params = wide(model.init(KEY, inputs)["params"])
    return params, lambda params, x: model.apply({"params": params}, x), modules


class NnxMLP(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(6, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)])

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.layers[0](x)))


class NnxConvNet(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.GroupNorm(4, 2, epsilon=1e-5, rngs=rngs)
        self.conv2 = nnx.Conv(4, 4, (3, 3), strides=2, padding="VALID", use_bias=False, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, images):
        x = nnx.relu(self.norm(self.conv1(channels_last(images))))
        return self.head(nnx.relu(self.conv2(x)).mean((1, 2)))


class NnxTransformer(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(7, 6, rngs=rngs)
        self.norm1 = nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs)
        self.up = nnx.Linear(6, 8, rngs=rngs)
        self.down = nnx.Linear(8, 6, rngs=rngs)
        self.head = nnx.Linear(6, 7, use_bias=False, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        x = x + self.attention(self.norm1(x))
        x = x + self.down(nnx.relu(self.up(self.norm2(x))))
        return self.head(x)


NNX = {
    "mlp": (NnxMLP, {"layers.0": "0", "layers.1": "2"}),
    "convnet": (NnxConvNet, {}),
    "transformer": (NnxTransformer, {}),
}


def in_nnx(name, inputs):
    del inputs
    make, modules = NNX[name]
    graph, params, rest = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)
    return wide(params), lambda params, x: nnx.merge(graph, params, rest)(x), modules


class EquinoxConvNet(eqx.Module):
    conv1: eqx.nn.Conv2d
    norm: eqx.nn.GroupNorm
    conv2: eqx.nn.Conv2d
    head: eqx.nn.Linear

    def __init__(self):
        self.conv1 = eqx.nn.Conv2d(3, 4, 3, padding=1, key=KEY)
        self.norm = eqx.nn.GroupNorm(2, 4)
        self.conv2 = eqx.nn.Conv2d(4, 4, 3, stride=2, use_bias=False, key=KEY)
        self.head = eqx.nn.Linear(4, 3, key=KEY)

    def __call__(self, image):
        x = jax.nn.relu(self.norm(self.conv1(image)))
        return self.head(jax.nn.relu(self.conv2(x)).mean((1, 2)))


class EquinoxTransformer(eqx.Module):
    embed: eqx.nn.Embedding
    norm1: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    norm2: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self):
        biases = [f"use_{which}_bias" for which in ("query", "key", "value", "output")]
        self.embed = eqx.nn.Embedding(7, 6, key=KEY)
        self.norm1, self.norm2 = eqx.nn.LayerNorm(6), eqx.nn.LayerNorm(6)
        self.attention = eqx.nn.MultiheadAttention(2, 6, **dict.fromkeys(biases, True), key=KEY)
        self.up = eqx.nn.Linear(6, 8, key=KEY)
        self.down = eqx.nn.Linear(8, 6, key=KEY)
        self.head = eqx.nn.Linear(6, 7, use_bias=False, key=KEY)

    def __call__(self, tokens):
        x = jax.vmap(self.embed)(tokens)
        y = jax.vmap(self.norm1)(x)
        x = x + self.attention(y, y, y)
        y = jax.nn.relu(jax.vmap(self.up)(jax.vmap(self.norm2)(x)))
        return jax.vmap(self.head)(x + jax.vmap(self.down)(y))


def _equinox_mlp():
    return eqx.nn.MLP(6, 3, 6, 1, activation=jnp.tanh, key=KEY)


EQUINOX = {
    "mlp": (_equinox_mlp, {"layers.0": "0", "layers.1": "2"}),
    "convnet": (EquinoxConvNet, {}),
    "transformer": (EquinoxTransformer, {}),
}


def equinox(name, inputs):
    del inputs
    make, modules = EQUINOX[name]
    params, static = eqx.partition(make(), eqx.is_inexact_array)
    return wide(params), lambda params, x: jax.vmap(eqx.combine(params, static))(x), modules


LIBRARIES = {"linen": (linen, "flax"), "nnx": (in_nnx, "flax"), "equinox": (equinox, "equinox")}
