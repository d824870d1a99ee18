"""The engine: aligns leaves, computes the scalars of a step, runs rules, builds the next state."""
