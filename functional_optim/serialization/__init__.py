"""Converts states to flat dictionaries of arrays under readable names, and back."""
