"""torch.optim's classes: each a recipe from the options of a group to a transformation."""
