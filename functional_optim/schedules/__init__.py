"""Pure functions of the step, whose numbers live in the state."""
