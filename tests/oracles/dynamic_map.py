"""The dynamic map and its blocks by the paper's text (arXiv:2110.02861, section 2), in float64.

A number is made of a sign bit, zeros that count the exponent of ten, an indicator bit, and the
bits left for the fraction, which divide 0.1 to 1 evenly. Without a sign its bit joins the
fraction.
"""

import numpy as np

BITS = 8


def table(signed):
    """Returns all numbers that 8 bits can write, ascending."""
    found = {0.0, 1.0}
    for zeros in range(BITS - 1):
        fraction_bits = BITS - 2 - zeros + (not signed)
        count = 2**fraction_bits
        for fraction in range(count):
            low = 0.1 + 0.9 * fraction / count
            high = 0.1 + 0.9 * (fraction + 1) / count
            value = (low + high) / 2 / 10**zeros
            found |= {value, -value} if signed else {value}
    return np.array(sorted(found))


def nearest(y, signed):
    """Returns the codes of the nearest numbers, by trying all."""
    return np.abs(table(signed)[:, None] - np.asarray(y, np.float64)[None]).argmin(0)


def round_trip(x, block):
    """Returns an array as it comes back, in blocks of the flat one; and the largest magnitudes."""
    flat = np.asarray(x, np.float64).reshape(-1, block)
    largest = np.abs(flat).max(1)
    rows = [
        table((row < 0).any())[nearest(row / s, (row < 0).any())] * s if s else 0 * row
        for row, s in zip(flat, largest, strict=True)
    ]
    return np.stack(rows).reshape(np.shape(x)), largest
