"""A complete job with this library: train, checkpoint, resume, compare, sweep, report."""
