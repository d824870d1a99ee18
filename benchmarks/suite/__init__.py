"""What `benchmarks/run.py` measures: trees, rules, contestants, and how they take turns."""
