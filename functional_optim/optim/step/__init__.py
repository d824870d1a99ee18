"""The compiled step of the stateful interface, and how the state is stored between steps."""
