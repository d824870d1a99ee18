"""What a transformation will do and what that takes, told before training."""
