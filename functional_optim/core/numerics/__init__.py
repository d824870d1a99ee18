"""Maths on single arrays and scalars, without trees.

The modules, each on those before it:

- `array_namespace`: NumPy or `jax.numpy`, by the array.
- `precision`: the dtypes in which numbers are computed and stored, and casts between them.
- `products`: sums of products in full precision.
- `matrices`: matrices in the last two axes of an array.
- `moments`: moments of updates, their bias corrections, and the scalars of Adam's step.
- `rounding`: rounding to a narrower dtype.
- `safe`: norms with a derivative at 0.
- `validation`: checks of the numbers that users pass.
"""
