"""The engine, which lifts rules on one array to trees. One update has four stages.

The modules, each on those before it:

- `backends`: the list of native backends.
- `stacks`, `leaf_table`: stage 1, which aligns and checks updates, slots and parameters.
- `measuring`: norms and other quantities of the whole tree.
- `step_scalars`: stage 2, which computes counts, schedules, bias corrections.
- `executors`: stage 3, the function of a leaf, and its executors for each kind of leaf.
- `whole_tree`: stage 3 for rules that compute all leaves together.
- `fused`: the driver, which runs the four stages; stage 4 builds the next state.
"""
