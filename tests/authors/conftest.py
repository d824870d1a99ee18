"""Without torch, the script that runs the authors' code is not imported."""

collect_ignore = ["make_golden.py", "make_sampled.py"]
