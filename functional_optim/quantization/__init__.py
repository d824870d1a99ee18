"""Arrays of states in fewer bits."""
