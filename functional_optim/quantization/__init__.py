"""Quantized moments: arrays of states in fewer bits.

The modules, each on those before it:

- `dynamic_map`: the 256 numbers that a code of 8 bits may be.
- `blocks`: the blocks of an array, each with a scale.
- `placing`: shards codes and scales with the array.
- `formats`: the formats, which quantize and decode an array.
- `low_bit`: `low_bit_state`, which quantizes the moments of a transformation.
"""
