"""A process of several that share one state: `python -m tests.sharding.spread PORT N RANK`.

Says whether what one process cannot write is refused, and what is gathered first is not.
"""

import sys

import numpy as np
from jax.experimental import multihost_utils

import functional_optim as fo
from functional_optim.interop import safetensors
from functional_optim.sharding import zero1

from .processes import joined_mesh


def refused(save, state, *rest):
    try:
        save(state, *rest)
    except ValueError as error:
        return "'scale_by_adam.mu.w' is sharded over several processes" in str(error).replace(
            "state.", ""
        )
    return False


def main(port, processes, rank):
    mesh = joined_mesh(port, processes, rank)
    params = {"w": np.ones((8, 4), np.float32)}
    state = zero1(fo.adam(0.1), mesh, "data").init(params)
    assert refused(fo.to_state_dict, state)
    assert refused(lambda state: safetensors.save("never", state=state), state)
    gathered = multihost_utils.process_allgather(state, tiled=True)
    named = fo.to_state_dict(gathered)
    assert named["scale_by_adam.mu.w"].shape == (8, 4)
    again = fo.from_state_dict(state, named)
    assert again.scale_by_adam.mu["w"].sharding == state.scale_by_adam.mu["w"].sharding
    print("refused, and gathered")


if __name__ == "__main__":
    main(*sys.argv[1:])
