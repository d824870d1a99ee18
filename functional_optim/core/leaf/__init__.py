"""One leaf: its dtypes, and the forms in which its slots are stored."""
