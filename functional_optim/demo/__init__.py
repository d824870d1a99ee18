"""A whole job with this library: train, checkpoint, resume, compare, sweep, report."""
