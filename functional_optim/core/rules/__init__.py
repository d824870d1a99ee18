"""Rules: the maths of one array with its declarations, and its arguments in a user's call.

The modules, each on those before it:

- `arguments`: kinds and bounds of a rule's arguments, in their annotations.
- `context`: the slots and the scalars that the maths reads.
- `spec`: a rule as its author declares it.
- `bound_rule`: a rule with the options of a user, which decides the program.
- `schedule`, `by_label`, `rng_keys`: values of arguments that are more than a number.
- `init`: makes the state of a rule.
- `bounds`: finds the bounds of the hyperparameters in a transformation.
"""
