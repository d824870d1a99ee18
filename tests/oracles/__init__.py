"""The published algorithms once more, in NumPy and float64: what the package is compared with.

Each follows the text of its paper, or of torch where the paper leaves a choice, and not our
code. It takes the arguments of the factory of its name and returns a function of one step:
`(grads, params) -> updates`, dictionaries of arrays.
"""
