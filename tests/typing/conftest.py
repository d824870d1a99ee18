"""The two pages are read by type checkers, and not imported: one of them is wrong in every line."""

collect_ignore = ["accepted.py", "refused.py"]
