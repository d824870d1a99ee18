"""Writes `data/format_1.json.xz` and `data/format_1.safetensors`: states of format 1.

Run it with the version of the package that wrote format 1, the last one of which is commit 0ecc04e:

    git worktree add /tmp/base 0ecc04e
    cp tests/serialization/make_format_1.py /tmp/base/tests/serialization/
    cd /tmp/base && python -m tests.serialization.make_format_1 <path of tests/serialization/data>

For each case the file holds the parameters and the state after `BEFORE` steps, and the parameters
after `AFTER` more. A newer version of the package must read the state and reach those parameters.
"""

import base64
import dataclasses
import json
import lzma
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo
from functional_optim import optim

from ..rules import cases, cases_with_extra

BEFORE, AFTER = 3, 5

SMALL = {"b": (2,), "w": (2, 3)}
MANY = {"a": [(2,)] * 5, "b": (3,)}
LARGE = {"b": (2,), "w": (16, 32)}

VARIANTS = (
    "adam-amsgrad",
    "adamw-mask",
    "ema-biased",
    "nadam-torch",
    "params_ema-from-first",
    "params_swa-later",
    "rmsprop-momentum",
    "scale_by_adam-b1=0",
    "scale_by_adam-momentum_decay",
    "scale_by_adam-nesterov-amsgrad",
    "scale_by_amsgrad-biased",
    "scale_by_asgd-averaged",
    "scale_by_asgd-slowed",
    "scale_by_factored_rms-factored",
    "scale_by_radam-torch",
    "scale_by_rms-centered-bias_correction",
    "sgd-dampening",
    "sgd-momentum",
    "sgd-nesterov",
    "trace-dampening",
)
"""Variants of a factory whose state differs from that of the plain one."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is saved in the middle.

    Attributes:
      make: makes the transformation.
      shapes: of the parameters.
      update: `(tx, grads, state, params) -> (updates, state)`.
      without: number of a step -> key of the parameter whose gradient is None there.
      edits: number of a step -> hyperparameters that are set before it.
      dtype: of the parameters.
    """

    make: Callable[[], Any]
    shapes: Any = dataclasses.field(default_factory=lambda: SMALL)
    update: Callable[..., Any] = lambda tx, grads, state, params: tx.update(grads, state, params)
    without: Mapping[int, str] = dataclasses.field(default_factory=dict)
    edits: Mapping[int, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    dtype: Any = np.float32

    def arrays(self, seed: int) -> Any:
        """Draws normal numbers in the shapes of the parameters."""
        rng = np.random.default_rng(seed)

        def draw(shape: tuple[int, ...]) -> jax.Array:
            x = rng.standard_normal(shape)
            if jnp.issubdtype(self.dtype, jnp.complexfloating):
                x = x + 1j * rng.standard_normal(shape)
            return jnp.asarray(x, self.dtype)

        return jax.tree.map(draw, self.shapes, is_leaf=lambda x: isinstance(x, tuple))

    def steps(self, tx: Any, params: Any, state: Any, begin: int, end: int) -> tuple[Any, Any]:
        """Makes the steps with the numbers from `begin` to `end` - 1."""
        for i in range(begin, end):
            grads = self.arrays(seed=i)
            if i in self.without:
                grads = {**grads, self.without[i]: None}
            if i in self.edits:
                state = fo.set_hyperparams(state, self.edits[i])
            updates, state = self.update(tx, grads, state, params)
            params = fo.apply_updates(params, updates)
        return params, state


def runs() -> dict[str, Run]:
    """Returns all runs by name."""
    table = {case.name: case for case in [*cases(), *cases_with_extra()]}
    found = {
        name: Run(case.make, update=case.update)
        for name, case in table.items()
        if "-" not in name or name in VARIANTS or name.startswith("chain-")
    }
    absent = {1: "b", 3: "w", 5: "w"}
    for name in (
        "adafactor",
        "adamw",
        "adan",
        "amsgrad",
        "asgd",
        "chain-clip-adam-schedule",
        "ema",
        "lion",
        "nadam-torch",
        "params_ema",
        "params_swa",
        "radam",
        "sgd-dampening",
        "sgd-momentum",
        "yogi",
    ):
        found[f"{name}, None gradients"] = dataclasses.replace(found[name], without=absent)
    never = dict.fromkeys(range(1, BEFORE + 1), "b")
    for name in ("adamw", "asgd", "nadam-torch", "params_ema", "sgd-dampening"):
        found[f"{name}, b not yet updated"] = dataclasses.replace(found[name], without=never)
    labels = {"w": "fast", "b": "slow"}
    rates = fo.by_label({"fast": 0.1, "slow": 0.01}, labels)
    decays = fo.by_label({"fast": 0.5, "slow": 0.9}, labels)
    found |= {
        "decays that change": Run(
            lambda: fo.adamw(0.1), edits={2: {"b1": 0.5, "b2": 0.7}, BEFORE + 1: {"b1": 0.8}}
        ),
        "hyperparameters by label": Run(lambda: fo.adam(rates, b1=decays)),
        "asgd by label": Run(lambda: fo.asgd(rates), without={2: "b"}),
        "narrow moments": Run(lambda: fo.adamw(0.1, mu_dtype="bfloat16")),
        "complex parameters": Run(lambda: fo.adamw(0.1), dtype=np.complex64),
        "packed, many": Run(lambda: fo.packed(fo.adamw(0.1)), MANY),
        "packed, None gradients": Run(lambda: fo.packed(fo.nadam(0.1)), MANY, without={2: "b"}),
        "8 bits": Run(lambda: fo.low_bit_state(fo.adamw(0.1), min_size=256), LARGE),
        "bfloat16": Run(lambda: fo.low_bit_state(fo.adamw(0.1), "bfloat16", min_size=256), LARGE),
        "one array": Run(lambda: fo.adamw(0.1), (3,)),
        "optimizer in a wrapper in a chain": Run(
            lambda: fo.chain(
                fo.clip(1.0), fo.apply_if_finite(fo.chain(fo.ema(0.9), fo.adam(0.1)), 3)
            )
        ),
    }
    return found


def optimizer() -> Any:
    """Makes an `Optimizer` over a transformation, at the start."""
    params = Run(lambda: None).arrays(seed=0)
    return optim.Optimizer(params, fo.adamw(0.1))


def step_optimizer(opt: Any, begin: int, end: int) -> None:
    """Makes the steps with the numbers from `begin` to `end` - 1."""
    for i in range(begin, end):
        opt.step(Run(lambda: None).arrays(seed=i))


def encoded(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns arrays by name, in the terms of JSON."""
    found = {k: np.asarray(x) for k, x in arrays.items()}
    return {
        k: [x.dtype.name, list(x.shape), base64.b64encode(x.tobytes()).decode()]
        for k, x in found.items()
    }


def decoded(arrays: Mapping[str, list[Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Reverses `encoded`."""
    return {
        k: np.frombuffer(base64.b64decode(data), jnp.dtype(dtype)).reshape(shape)
        for k, (dtype, shape, data) in arrays.items()
    }


def main(folder: Path) -> None:
    """Writes the files."""
    from functional_optim.interop import safetensors

    records = {}
    for name, run in runs().items():
        with jax.disable_jit():
            tx, params = run.make(), run.arrays(seed=0)
            params, state = run.steps(tx, params, tx.init(params), 1, BEFORE + 1)
            saved = fo.to_state_dict(state)
            last, _ = run.steps(tx, params, state, BEFORE + 1, BEFORE + AFTER + 1)
        parts = (fo.to_state_dict(params), saved, fo.to_state_dict(last))
        records[name] = [encoded(part) for part in parts]
        print(name)
        if name == "adamw, None gradients":
            path = folder / "format_1.safetensors"
            safetensors.save(path, params=params, state=state, step=BEFORE)
    opt = optimizer()
    step_optimizer(opt, 1, BEFORE + 1)
    middle, saved = fo.to_state_dict(opt.params), opt.state_dict()
    step_optimizer(opt, BEFORE + 1, BEFORE + AFTER + 1)
    parts = (middle, saved["state"], fo.to_state_dict(opt.params))
    records["an Optimizer over a transformation"] = [encoded(part) for part in parts]
    text = json.dumps({"optimizer_groups": saved["param_groups"], "runs": records})
    (folder / "format_1.json.xz").write_bytes(lzma.compress(text.encode(), preset=9))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
