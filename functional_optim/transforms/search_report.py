"""Messages that line searches print."""

import jax

__all__ = ["report"]

Array = jax.Array


def report(link: str, decreased: Array, value: Array, slope: Array) -> None:
    """Prints that a search found no decrease."""

    def print_message() -> None:
        jax.debug.print(
            link + ": no step found that decreases the loss, at value {value} and slope {slope}.",
            value=value,
            slope=slope,
        )

    jax.lax.cond(decreased, lambda: None, print_message)
