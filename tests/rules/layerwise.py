"""Rules that compute norms or means of a whole leaf, and rules that bound or replace elements."""

import functional_optim as fo

from ..oracles import layerwise as oracles
from .adam import ADAM_RANGES
from .table import RATE_RANGES, Entry, ranges

NOT_NEGATIVE = "[0, inf)"
TRUST = tuple((k, -1.0, NOT_NEGATIVE) for k in ("min_norm", "trust_coefficient", "eps"))

RULES = (
    Entry(
        fo.scale_by_trust_ratio,
        {
            "": {"trust_coefficient": 1e-3},
            "bounded": {"min_norm": 2.0, "trust_coefficient": 0.1, "eps": 0.5},
        },
        bad=ranges(*TRUST),
        oracle=oracles.scale_by_trust_ratio,
    ),
    Entry(
        fo.adaptive_grad_clip,
        {"": {"clipping": 0.01}, "axis": {"clipping": 0.01, "eps": 2.0, "axis": -1}},
        bad=ranges(("clipping", -1.0, "[0, inf]"), ("eps", -1.0, NOT_NEGATIVE), clipping=0.1),
        oracle=oracles.adaptive_grad_clip,
    ),
    Entry(fo.centralize, {"": {}}, oracle=oracles.centralize),
    Entry(
        fo.normalize_by_update_norm,
        {"": {}, "long": {"scale_factor": 3.0, "eps": 0.5}},
        bad=ranges(("eps", -1.0, NOT_NEGATIVE)),
        oracle=oracles.normalize_by_update_norm,
    ),
    Entry(fo.keep_params_nonnegative, {"": {}}, oracle=oracles.keep_params_nonnegative),
    Entry(fo.zero_nans, {"": {}}),
    Entry(
        fo.lamb,
        {"": {"learning_rate": 1e-3}, "decay": {"learning_rate": 1e-3, "weight_decay": 0.1}},
        bad=ranges(*RATE_RANGES) + ranges(*ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.lamb,
    ),
    Entry(
        fo.lars,
        {
            "": {"learning_rate": 0.1},
            "nesterov": {"learning_rate": 0.1, "weight_decay": 0.1, "nesterov": True, "eps": 0.5},
        },
        bad=ranges(*RATE_RANGES) + ranges(("momentum", -1.0, NOT_NEGATIVE), learning_rate=0.1),
        oracle=oracles.lars,
    ),
    Entry(
        fo.fromage,
        {"": {"learning_rate": 1e-2}},
        bad=ranges(*RATE_RANGES) + ranges(("min_norm", -1.0, NOT_NEGATIVE), learning_rate=0.1),
        oracle=oracles.fromage,
    ),
)
