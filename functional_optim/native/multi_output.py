"""An option of XLA for steps on the CPU, which has to be set before JAX starts."""

import os
from typing import Any

import jax

__all__ = ["OPTION", "use_multi_output_fusion", "with_option"]

OPTION = "xla_cpu_use_multi_output_fusion"
_FLAG = "--xla_backend_extra_options"


def use_multi_output_fusion() -> None:
    """Lets XLA make several results in one loop on the CPU, by an option of `XLA_FLAGS`.

    Without it, each of the new parameter, mu and nu has a loop over the leaf, and two of them
    read what another has read. XLA reads the variable once: call this before anything else of
    JAX, or set it outside of the program,

        XLA_FLAGS=--xla_backend_extra_options=xla_cpu_use_multi_output_fusion

    What `XLA_FLAGS` has is kept. The option is one of XLA's experiments, and off by default.

    Raises:
      RuntimeError: JAX has started already.

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
    """Returns the flags with the option, in the one flag that holds all of its kind."""
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
        # It may be changed as long as there are none.
        config.update("jax_num_cpu_devices", before + 1 if before > 0 else 2)
    except RuntimeError:
        return True
    config.update("jax_num_cpu_devices", before)
    return False
