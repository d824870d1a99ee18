"""Trees of arrays: their structure, the sharding of their arrays, and arithmetic on them.

The modules, each on those before it:

- `structure`: kinds of leaves, paths of leaves, and aligning one tree with another.
- `sparse_rows`: updates of some rows of a table.
- `placeholders`: a stand-in for the parameters, by which slots are found in a state.
- `labels`: which leaf belongs to which part of a transformation.
- `varying`: types of arrays within `jax.shard_map`.
- `placement`: on which devices the arrays of a state are.
- `arithmetic`, `norms`: trees as vectors.
- `apply`: adds updates to parameters.
"""
