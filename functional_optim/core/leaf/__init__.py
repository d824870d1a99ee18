"""One leaf: its dtypes, and the ways in which its slots are stored and computed.

The modules, each on those before it:

- `dtypes`: the dtypes of slots, and complex arrays as pairs of real ones.
- `stacking`: stacks arrays of equal shape, and unstacks them, in few kernels.
- `packing`: slots of small leaves, stacked.
- `quantized`: slots in fewer bits, as nodes of the state; the formats register here.
- `elementwise`: runs elementwise maths on a part of a leaf.
- `single_cpu`: a condition that XLA resolves when it knows the device.
- `unfused`: keeps XLA from fusing two loops.
- `blockwise`: computes a leaf with quantized slots one block at a time.
"""
