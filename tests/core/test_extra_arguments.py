"""Rules whose `update` needs more than gradients."""

import pytest

from .. import problem
from ..rules import each_with_extra


@each_with_extra
def test_without_what_it_needs_it_says_so(case):
    tx, params = case.make(), problem.arrays()
    with pytest.raises(
        ValueError, match=r"update needs (params and )?\w*(value|grad|logits|obj_fn)"
    ):
        tx.update(params, tx.init(params), params)
