"""torch.optim's classes: torch's options, and the transformation that they make."""
