"""Trees of arrays: their structure, where their arrays lie, and arithmetic on them.

The modules, each on those before it:

- `sparse_rows`: updates of some rows of a table.
- `containers`: nodes around one array, such as a `Param` of nnx.
- `structure`: paths of leaves, and aligning one tree with another.
- `placeholders`: a stand-in for the parameters, by which slots are found in a state.
- `labels_by_shape`, `labels`: which leaf belongs to which part of a transformation.
- `partitioning`, `placement`: where the arrays of a state lie.
- `varying`: types of arrays within `jax.shard_map`.
- `arithmetic`, `norms`: trees as vectors.
- `apply`: adds updates to parameters.
"""
