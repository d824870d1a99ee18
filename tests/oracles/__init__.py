"""The published algorithms in NumPy and float64, with which the package is compared.

Each follows the text of its paper, or of torch where the paper leaves a choice, and not our
code. It takes the arguments of the factory of its name and returns a function of one step:
`(grads, params) -> updates`, dictionaries of arrays.
"""
