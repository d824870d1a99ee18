"""Each name of torch.optim is on the page, exists where it says, and has torch's signature."""

import functools
import inspect
import re
from pathlib import Path

import pytest

from functional_optim import optim

from ..golden.signatures import bare, read

PAGE = Path(__file__).parents[2] / "docs" / "from_torch.md"
CODE = re.compile(r"`([^`]+)`")
TORCH = read()


def rows():
    """Maps names of torch to names here, or None.

    It reads the tables whose head is a module of torch.
    """
    found, module = {}, None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            module = None
        elif cells[0].startswith("`torch."):
            module = cells[0].strip("`")
        elif module and "`" in cells[0]:
            for name in CODE.findall(cells[0]):
                target = (CODE.findall(cells[1]) or [None])[0]
                found[f"{module}.{name}"] = target and target.replace("*", name)
    return found


HERE = rows()

DIFFERENT = {
    "torch.optim.Optimizer": "any transformation, in the place of defaults",
    "torch.optim.Optimizer.step": "gradients may be handed in",
    "torch.optim.swa_utils.AveragedModel": "buffers are handed in",
    "torch.optim.swa_utils.update_bn": "a model is parameters and a function",
    **{name: "of gradients" for name in TORCH if name.startswith("torch.nn.utils.")},
}
"""Functions that are called differently from torch; the page describes the differences."""


def resolve(name):
    first, *rest = name.split(".")
    return functools.reduce(getattr, rest, {"optim": optim, "opt": optim.Optimizer}[first])


def test_the_page_has_every_name_of_torch():
    assert set(HERE) == set(TORCH)


@pytest.mark.parametrize("name", [name for name, target in HERE.items() if target])
def test_a_name_is_where_the_page_says_and_has_the_signature_of_torch(name):
    found = resolve(HERE[name])
    assert TORCH[name] is None or (bare(found) == TORCH[name]) == (name not in DIFFERENT)


def test_a_signature_shows_annotations_and_class():
    assert inspect.signature(optim.SGD).parameters["nesterov"].annotation is bool
    assert optim.SGD.__name__ == optim.SGD.__qualname__ == "SGD"
    assert issubclass(optim.SGD, optim.Optimizer)
