"""Parameters that are kept in float32 beside narrow ones."""

import functional_optim as fo

from .table import Entry

RULES = (Entry(fo.master_weights, {"": {}}),)
