"""A reader who follows an update through the package meets few functions, in few modules."""

import sys
from collections import defaultdict
from pathlib import Path

import jax.numpy as jnp

import functional_optim as fo

PACKAGE = Path(fo.__file__).parent

MATHS = ("algorithms/", "transforms/", "core/numerics/moments.py")
"""Modules of the maths of rules; the others are the engine."""

MOST_FUNCTIONS = {"engine": 44, "maths": 9}
MOST_MODULES = {"engine": 10, "maths": 4}
"""Of adamw on two arrays."""

RARE = ("native/", "core/leaf/", "core/trees/sparse_rows", "core/trees/varying")
"""Modules of features that few need: kernels, sparse rows, packed and quantized slots, meshes."""


def entered(call):
    """Returns the functions of the package that a call enters, by module."""
    found = defaultdict(set)

    def record(frame, event, _):
        code = frame.f_code
        # Comprehensions, generators and lambdas are read within their function.
        if event == "call" and not code.co_name.startswith("<"):
            path = Path(code.co_filename)
            if path.is_relative_to(PACKAGE):
                found[str(path.relative_to(PACKAGE))].add(code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(record)
    try:
        call()
    finally:
        sys.setprofile(before)
    return dict(found)


def test_an_update_enters_few_functions_in_few_modules():
    params = {"w": jnp.ones((3, 4, 19)), "b": jnp.ones((4, 19))}  # shapes that no other test traces
    tx = fo.adamw(1e-3)
    state = tx.init(params)
    found = entered(lambda: tx.update(params, state, params))
    assert "scale_by_adam" in found["algorithms/adam.py"], "the maths was traced"
    assert not [k for k in found if k.startswith(RARE)]
    for part in ("engine", "maths"):
        in_part = {k: v for k, v in found.items() if k.startswith(MATHS) == (part == "maths")}
        assert len(in_part) <= MOST_MODULES[part], sorted(in_part)
        assert sum(map(len, in_part.values())) <= MOST_FUNCTIONS[part], in_part
