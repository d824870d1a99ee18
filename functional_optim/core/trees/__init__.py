"""Trees: structure, labels, placement, norms, arithmetic, sparse rows."""
