"""The race of the optimizers: `python -m benchmarks.race`."""
