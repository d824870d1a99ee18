"""L-BFGS with the inverse Hessian as a matrix: no recursion, no rings."""

from collections import deque

import numpy as np


class InverseHessian:
    """The matrix of the last m pairs, computed by the update of BFGS itself."""

    def __init__(self, m, scaled=True):
        self.pairs, self.scaled, self.last = deque(maxlen=m), scaled, None

    def direction(self, x, g):
        """Computes H g, with the pair from the last x and g."""
        n = len(x)
        if self.last is not None:
            s, y = x - self.last[0], g - self.last[1]
            if s @ y > np.finfo(float).eps * np.sqrt((s @ s) * (y @ y)):
                self.pairs.append((s, y))
        self.last = x.copy(), g.copy()
        if not self.scaled:
            h = np.eye(n)
        elif self.pairs:
            s, y = self.pairs[-1]
            h = np.eye(n) * (s @ y) / (y @ y)
        else:
            h = np.eye(n) * min(1.0, 1.0 / np.linalg.norm(g))
        for s, y in self.pairs:
            v = np.eye(n) - np.outer(y, s) / (s @ y)
            h = v.T @ h @ v + np.outer(s, s) / (s @ y)
        return h @ g
