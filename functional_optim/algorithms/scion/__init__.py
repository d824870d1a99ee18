"""Scion: steps towards the minimizers of a linear function over balls of layers' norms.

The modules, each on those before it:

- `balls`: a norm of a layer, and the minimizer over its ball.
- `roles`: finds the norm, and the axes, of each parameter.
- `optimizer`: `scale_by_scion` and `scion`.
- `first_params`: parameters on the balls, `scion_init`.
"""

from .balls import ScionNorm
from .first_params import scion_init
from .optimizer import scale_by_scion, scion

__all__ = ["ScionNorm", "scale_by_scion", "scion", "scion_init"]
