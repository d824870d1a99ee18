"""The classes are called as torch's are."""

import inspect

import pytest

from functional_optim import optim

from ..golden.signatures import OPTIMIZERS, SCHEDULERS, bare


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_signature_is_torchs(name):
    assert bare(getattr(optim, name)) == OPTIMIZERS[name]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedulers_signature_is_torchs(name):
    assert bare(getattr(optim.lr_scheduler, name)) == SCHEDULERS[name]


def test_a_signature_shows_annotations_and_class():
    assert inspect.signature(optim.SGD).parameters["nesterov"].annotation is bool
    assert optim.SGD.__name__ == optim.SGD.__qualname__ == "SGD"
    assert issubclass(optim.SGD, optim.Optimizer)
