"""Trains a small transformer on characters with four optimizers, and compares their steps.

    python examples/characters.py

This program tunes the learning rate of AdamW, SOAP, Muon and NorMuon, each in one sweep: `vmap`
maps the whole run over the rates, which are arrays in the state, so each optimizer is compiled
once. It then prints how many steps each needs to reach the final loss of AdamW;
`--picture curves.svg` also draws the curves. The text is the language reference that Python's
`help` shows. The program takes 500 seconds of CPU time, which is six minutes or more on two cores;
with `--steps 40` it takes two minutes.
"""

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo

Array = jax.Array
Params = dict[str, Any]

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 2, 64, 4, 32, 16
EVERY = 10
"""Steps between two measurements of the loss on held-out text."""

RATES = tuple(float(rate) for rate in np.geomspace(1e-3, 5e-2, 8).round(5))


def optimizers() -> dict[str, fo.GradientTransformation]:
    """Returns the optimizers; their rate rises to its peak in 20 steps, and is then constant.

    With the scale "match_rms" the matrices of Muon move as far as they would with AdamW, so one
    grid of rates fits all four. The betas are the values of the authors.
    """
    rate = fo.warmup_constant_schedule(0.0, 1.0, 20)
    return {
        "adamw": fo.adamw(rate, b1=0.9, b2=0.95, weight_decay=0.0),
        "soap": fo.soap(rate, weight_decay=0.0, adam_weight_decay=0.0),
        "muon": fo.muon(rate, scale="match_rms", adam_b2=0.95),
        "normuon": fo.normuon(rate, scale="match_rms", adam_b2=0.95),
    }


# The data


def characters() -> tuple[Array, Array]:
    """Returns the text as numbers below 96, for training and held out (the last tenth)."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    codes = np.frombuffer(text.encode("ascii", "ignore"), np.uint8).astype(np.int32)
    # Printable characters are 32 to 126; the line break becomes 127, and others are left out.
    codes = np.where(codes == ord("\n"), 127, codes)
    codes = codes[(codes >= 32) & (codes < 128)] - 32
    held_out = len(codes) // 10
    return jnp.asarray(codes[:-held_out]), jnp.asarray(codes[-held_out:])


def sample(key: Array, text: Array, size: int) -> Array:
    """Cuts pieces `(size, CONTEXT + 1)` out of a text, at random places."""
    starts = jax.random.randint(key, (size, 1), 0, len(text) - CONTEXT)
    return text[starts + jnp.arange(CONTEXT + 1)[None]]


# The model


def init(key: Array) -> Params:
    """Makes the parameters, with the weights of all layers stacked for `scan`."""
    keys = iter(jax.random.split(key, 7))

    def normal(*shape: int, std: float) -> Array:
        return std * jax.random.normal(next(keys), shape)

    def kernel(inputs: int, outputs: int) -> Params:
        return {"kernel": normal(LAYERS, inputs, outputs, std=inputs**-0.5)}

    return {
        "embedding": {
            "character": normal(96, WIDTH, std=0.5),
            "position": normal(CONTEXT, WIDTH, std=0.5),
        },
        "layers": {
            "norm_1": {"scale": jnp.ones((LAYERS, WIDTH))},
            "qkv": kernel(WIDTH, 3 * WIDTH),
            "out": kernel(WIDTH, WIDTH),
            "norm_2": {"scale": jnp.ones((LAYERS, WIDTH))},
            "up": kernel(WIDTH, 4 * WIDTH),
            "down": kernel(4 * WIDTH, WIDTH),
        },
        "norm": {"scale": jnp.ones(WIDTH)},
        "head": {"kernel": normal(WIDTH, 96, std=WIDTH**-0.5)},
    }


def loss_fn(params: Params, pieces: Array) -> Array:
    """Computes the mean of -log p(next character), in nats."""
    inputs, labels = pieces[:, :-1], pieces[:, 1:]
    x = params["embedding"]["character"][inputs] + params["embedding"]["position"][None]

    def layer(x: Array, p: Params) -> tuple[Array, None]:
        x = x + attention(norm(x, p["norm_1"]), p)
        return x + jax.nn.gelu(norm(x, p["norm_2"]) @ p["up"]["kernel"]) @ p["down"]["kernel"], None

    x, _ = jax.lax.scan(layer, x, params["layers"])
    logits = norm(x, params["norm"]) @ params["head"]["kernel"]
    return fo.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def norm(x: Array, p: Params) -> Array:
    """Divides by the root mean square of the last axis."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * p["scale"]


def attention(x: Array, p: Params) -> Array:
    """Mixes each position with those before it."""
    qkv = (x @ p["qkv"]["kernel"]).reshape(*x.shape[:2], 3, HEADS, WIDTH // HEADS)
    mixed = jax.nn.dot_product_attention(*(qkv[:, :, i] for i in range(3)), is_causal=True)
    return mixed.reshape(x.shape) @ p["out"]["kernel"]


# The sweep


class Curves(NamedTuple):
    """Losses on held-out text, `(rates, measurements)`, and the CPU seconds that the sweep took."""

    losses: np.ndarray
    seconds: float


def sweep(
    tx: fo.GradientTransformation, text: Array, held_out: Array, steps: int, seed: int
) -> Curves:
    """Trains once for each rate, in one compiled program, from equal parameters and batches."""
    start, batches, measured = jax.random.split(jax.random.key(seed), 3)
    test = sample(measured, held_out, 128)

    def step(carry: tuple[Params, Any], key: Array) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        grads = jax.grad(loss_fn)(params, sample(key, text, BATCH))
        return fo.apply_gradients(tx, grads, state, params), None

    def measure(carry: tuple[Params, Any], keys: Array) -> tuple[tuple[Params, Any], Array]:
        carry, _ = jax.lax.scan(step, carry, keys)
        return carry, loss_fn(carry[0], test)

    # The state is made within the mapped function, so only arrays that depend on the rate get an
    # axis of rates. The count gets none, and SOAP's `cond` on it still skips the decompositions.
    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def run(rate: Array, keys: Array) -> Array:
        params = init(start)
        state = fo.set_hyperparams(tx.init(params), {"learning_rate.peak_value": rate})
        return jax.lax.scan(measure, (params, state), keys)[1]

    began = time.process_time()
    keys = jax.random.split(batches, (steps // EVERY, EVERY))
    losses = np.asarray(run(jnp.array(RATES), keys))
    return Curves(losses, time.process_time() - began)


class Result(NamedTuple):
    """The best run of an optimizer: its rate, its curve, and its steps to the target."""

    rate: float
    losses: np.ndarray
    steps: int | None


def best(losses: np.ndarray, target: float) -> Result:
    """Picks the run that first reaches the target; if none does, the one that ends lowest."""
    reached = losses <= target
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), losses.shape[1])
    # Runs that diverge have NaN, which is never the smallest here.
    row = int(np.lexsort((np.nan_to_num(losses[:, -1], nan=np.inf), first))[0])
    steps = EVERY * (int(first[row]) + 1) if reached[row].any() else None
    return Result(RATES[row], losses[row], steps)


# Output


def routing() -> str:
    """Lists how Muon trains each parameter, as a matrix or with Adam, and why."""
    plan = fo.describe(optimizers()["muon"], jax.eval_shape(init, jax.random.key(0)))
    lines = [f"{leaf.path:28}{leaf.array.shape!s:15}{leaf.routes[0]}" for leaf in plan.leaves]
    return "\n".join(lines)


def table(results: dict[str, Result], curves: dict[str, Curves], steps: int) -> str:
    """Writes the results as a table in Markdown."""
    lines = ["| Optimizer | Best rate | Steps to the target | Loss at the end | CPU seconds |"]
    lines.append("|---|--:|--:|--:|--:|")
    for name, result in results.items():
        reached = result.steps or f"over {steps}"
        edge = " (edge of the grid)" if result.rate in (RATES[0], RATES[-1]) else ""
        numbers = f"{result.losses[-1]:.3f} | {curves[name].seconds:.0f}"
        lines.append(f"| `{name}` | {result.rate:.2g}{edge} | {reached} | {numbers} |")
    return "\n".join(lines)


def draw(results: dict[str, Result], curves: dict[str, Curves], target: float, file: Path) -> None:
    """Draws the curves of the best rates, and the loss at the end for all rates."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fo", "font.size": 9}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, result in results.items():
            x = EVERY * (1 + np.arange(len(result.losses)))
            left.plot(x, result.losses, label=f"{name}, {result.rate:.2g}")
            right.plot(RATES, curves[name].losses[:, -1], ".-", label=name)
        top = np.log(96) if len(x) < 10 else results["adamw"].losses[len(x) // 10]
        left.axhline(target, color="grey", linestyle=":", linewidth=1)
        left.set(xlabel="step", ylabel="held-out loss, nats", ylim=(target - 0.2, top))
        right.set(xscale="log", xlabel="learning rate", ylabel="loss at the end")
        right.set_ylim(target - 0.2, top)
        left.legend(frameon=False)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all sweeps, and prints their results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=400, help=f"a multiple of {EVERY}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="a file.svg or file.png")
    options = parser.parse_args(arguments)
    text, held_out = characters()
    print(
        f"{len(text)} characters to train on.\n\nHow Muon trains each parameter:\n\n{routing()}\n"
    )
    curves = {}
    for name, tx in optimizers().items():
        curves[name] = sweep(tx, text, held_out, options.steps, options.seed)
        print(f"{name}: {len(RATES)} rates in {curves[name].seconds:.0f} CPU seconds", flush=True)
    target = float(np.nanmin(curves["adamw"].losses[:, -1]))
    results = {name: best(curve.losses, target) for name, curve in curves.items()}
    print(f"\nThe target is the final loss of AdamW, {target:.3f}.\n")
    print(table(results, curves, options.steps))
    if options.picture:
        draw(results, curves, target, options.picture)


if __name__ == "__main__":
    main()
