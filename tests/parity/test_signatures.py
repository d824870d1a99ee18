"""The signatures that the tests hold are those of the torch that is installed."""

import pytest
import torch

from ..golden.signatures import OPTIMIZERS, SCHEDULERS, bare


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    assert bare(getattr(torch.optim, name)) == OPTIMIZERS[name]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(name):
    assert bare(getattr(torch.optim.lr_scheduler, name)) == SCHEDULERS[name]
