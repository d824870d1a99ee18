"""States as flat dictionaries of arrays under readable names, and back."""
