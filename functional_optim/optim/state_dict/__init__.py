"""Writes and reads state_dicts in torch's format."""
