"""Joins the processes of a test, each of which has one device."""

import jax
from jax.sharding import AxisType, Mesh


def joined_mesh(port: str, processes: str, rank: str) -> Mesh:
    """Waits for all processes, and makes a mesh of their devices."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", int(processes), int(rank))
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
