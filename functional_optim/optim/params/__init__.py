"""Parameters of the stateful interface: groups, names, duplicates, copies."""
