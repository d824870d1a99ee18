"""Describes what a transformation will do to each parameter, and what state that takes."""
