"""The protocol of transformations, and the engine that runs rules; it contains no algorithm.

The modules and folders, each on those before it:

- `signatures`, `lazy`, `composed`: matching a call to a signature; names that are imported on first
  use; names of factories in errors.
- `state`, `protocol`, `types`: the state's container, the pair `(init, update)`, type aliases.
- `caching`: one object for equal values, by which programs are found.
- `functions`: users' functions, as keys of programs.
- `numerics/`: maths on single arrays and scalars.
- `trees/`: trees of arrays.
- `adapter`: calls any `update`, of this package or another.
- `leaf/`: one leaf: dtypes, stacked slots, quantized slots.
- `rules/`: rules, their declarations and their arguments.
- `engine/`: the update, in four stages.
- `chain`: transformations one after another, with neighbouring rules fused.
- `traced_hyperparams`, `decorators`: `leaf_rule` and `tree_rule`, which make factories.
- `stateless`, `state_types`: transformations without state; types under optax's names.
- `apply_gradients`, `hyperparams`: what users call besides `init` and `update`.
"""
