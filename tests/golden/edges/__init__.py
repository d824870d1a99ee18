"""Cases written by hand, for mistakes that a port of torch makes easily."""

from . import ada, adam, lbfgs, matrix, sgd, sparse

EDGES = [*sgd.EDGES, *adam.EDGES, *ada.EDGES, *matrix.EDGES, *sparse.EDGES, *lbfgs.EDGES]
