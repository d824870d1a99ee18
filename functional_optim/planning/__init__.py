"""Describes the effect of a transformation on each parameter, and the state that it needs."""
