"""Continues a run of PyTorch in JAX, from its checkpoint, with the losses that PyTorch would have.

    python examples/torch_checkpoint.py

`torch_checkpoint.json`, next to this file, has a PyTorch model and its AdamW after 100 steps, and
the losses of the next steps. `--make` writes the file again; only this needs torch. To read a file
of `torch.save`, use `optim.load_torch_checkpoint` in place of `json.loads`. The program takes a few
seconds.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_optim import optim
from functional_optim.interop.torch import import_model

FILE = Path(__file__).with_suffix(".json")
BEFORE, AFTER, WIDTH = 100, 20, 16

X = np.linspace(-2, 2, 64, dtype=np.float32)[:, None]
Y = np.sin(2 * X)


def loss_fn(params: dict[str, dict[str, jax.Array]]) -> jax.Array:
    """Computes the mean square of the error, with kernels `(inputs, outputs)` as in Flax."""
    hidden, head = params["hidden"], params["head"]
    h = jnp.tanh(X @ hidden["kernel"] + hidden["bias"][None])
    return jnp.mean(jnp.square(h @ head["kernel"] + head["bias"][None] - Y))


def make() -> None:
    """Trains with PyTorch, and writes the checkpoint and the losses that follow."""
    import torch  # type: ignore[import-not-found, unused-ignore]

    torch.manual_seed(0)
    layers = torch.nn.Linear(1, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1)
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.from_numpy(X)), torch.from_numpy(Y))
        loss.backward()
        optimizer.step()
        return loss.item()  # type: ignore[no-any-return, unused-ignore]

    for _ in range(BEFORE):
        step()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    text = json.dumps(saved, default=lambda tensor: tensor.tolist(), indent=None)
    saved = json.loads(text) | {"losses": [step() for _ in range(AFTER)]}
    FILE.write_text(json.dumps(saved) + "\n", encoding="utf-8")


def as_arrays(value: Any) -> Any:
    """Converts lists, which JSON has in place of tensors, to arrays."""
    if isinstance(value, dict):
        return {name: as_arrays(part) for name, part in value.items()}
    return np.array(value, np.float32) if isinstance(value, list) else value


def main(arguments: Sequence[str] | None = None) -> float:
    """Continues the run, and returns the largest relative difference of the losses."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--make", action="store_true", help="write the checkpoint, with torch")
    if parser.parse_args(arguments).make:
        make()
    saved = json.loads(FILE.read_text(encoding="utf-8"))
    # Only structure, shapes and dtypes of this tree are used.
    like = {
        "hidden": {"kernel": jnp.zeros((1, WIDTH)), "bias": jnp.zeros(WIDTH)},
        "head": {"kernel": jnp.zeros((WIDTH, 1)), "bias": jnp.zeros(1)},
    }
    params, state = import_model(
        as_arrays(saved["model"]),
        like,
        layout="flax",
        modules={"hidden": "0", "head": "2"},  # positions in torch's Sequential
        optimizer={
            "state": {int(i): as_arrays(x) for i, x in saved["optimizer"]["state"].items()},
            "param_groups": saved["optimizer"]["param_groups"],
        },
    )
    opt = optim.AdamW(params)
    opt.load_state_dict(state)  # including the rate, the decay and the count of steps
    print(f"rate {opt.param_groups[0]['lr']}, decay {opt.param_groups[0]['weight_decay']}")
    losses = np.array([float(opt.minimize(loss_fn)) for _ in saved["losses"]])
    for i in range(0, AFTER, 5):
        print(f"step {BEFORE + i}: {losses[i]:.6f} here, {saved['losses'][i]:.6f} in PyTorch")
    return float(np.abs(losses / np.array(saved["losses"]) - 1).max())


if __name__ == "__main__":
    main()
