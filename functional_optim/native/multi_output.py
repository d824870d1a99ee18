"""An option of XLA for CPU steps, which must be set before JAX initializes its backend."""

import os
from typing import Any

import jax

__all__ = ["OPTION", "use_multi_output_fusion", "with_option"]

OPTION = "xla_cpu_use_multi_output_fusion"
_FLAG = "--xla_backend_extra_options"


def use_multi_output_fusion() -> None:
    """Lets XLA compute several results in one loop on the CPU, by an option in `XLA_FLAGS`.

    Without the option, the new parameter, mu and nu have a loop over the leaf each, and the loops
    read the same arrays again. XLA reads the variable once: call this function before any other of
    JAX, or set the variable outside of the program,

        XLA_FLAGS=--xla_backend_extra_options=xla_cpu_use_multi_output_fusion

    Other options in `XLA_FLAGS` are kept. XLA's option is experimental, and off by default.

    Raises:
      RuntimeError: JAX has initialized its backend already.

    Example:
      >>> import functional_optim as fo
      >>> fo.native.use_multi_output_fusion()  # doctest: +SKIP
    """
    if _has_started():
        raise RuntimeError(
            "native.use_multi_output_fusion: JAX has started, and XLA reads XLA_FLAGS only then. "
            "Call it before the first array is made, or set XLA_FLAGS outside of the program: "
            f"XLA_FLAGS={_FLAG}={OPTION}"
        )
    os.environ["XLA_FLAGS"] = with_option(os.environ.get("XLA_FLAGS", ""))


def with_option(flags: str) -> str:
    """Returns the flags with the option added to the one flag that lists backend options."""
    words = flags.split()
    for i, word in enumerate(words):
        name, _, value = word.partition("=")
        if name == _FLAG:
            options = [x for x in value.split(",") if x and x.partition("=")[0] != OPTION]
            words[i] = f"{_FLAG}={','.join([*options, OPTION])}"
            return " ".join(words)
    return " ".join([*words, f"{_FLAG}={OPTION}"])


def _has_started() -> bool:
    """Tells whether the backend is initialized, without initializing it."""
    config: Any = jax.config
    before = config.jax_num_cpu_devices
    try:
        # JAX refuses to change this option once there is a backend.
        config.update("jax_num_cpu_devices", before + 1 if before > 0 else 2)
    except RuntimeError:
        return True
    config.update("jax_num_cpu_devices", before)
    return False
