"""Rules whose `update` needs more than gradients."""

import pytest

from .. import problem
from ..rules import each_with_extra


@each_with_extra
def test_errors_name_a_missing_extra_argument(case):
    tx, params = case.make(), problem.arrays()
    with pytest.raises(
        ValueError, match=r"update needs (params and )?\w*(value|grad|logits|obj_fn)"
    ):
        tx.update(params, tx.init(params), params)
