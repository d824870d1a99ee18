"""Cases made by hand: what a port gets wrong first."""

from . import ada, adam, lbfgs, matrix, sgd, sparse

EDGES = [*sgd.EDGES, *adam.EDGES, *ada.EDGES, *matrix.EDGES, *sparse.EDGES, *lbfgs.EDGES]
