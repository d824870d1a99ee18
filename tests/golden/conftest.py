"""Excludes modules that need torch from the collection of doctests."""

collect_ignore = [
    "configurations.py",
    "in_torch.py",
    "make_golden.py",
    "make_models.py",
    "sched_in_torch.py",
    "make_sched.py",
]
