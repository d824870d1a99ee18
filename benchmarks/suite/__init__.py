"""The measurements of `benchmarks/run.py`: trees, rules, contestants, and their turns."""
