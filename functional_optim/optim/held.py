"""The state of a group between its steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from ..core.protocol import PyTree
from ..core.renumber import place_number
from .form import Form
from .ledger import Arrays

__all__ = ["Held"]


class Held:
    """A state, in the form in which a step took it last.

    Flattening a tree of many links at each step would be slow.

    Attributes:
      form: what the arrays are.
      arrays: of the state.
    """

    def __init__(self, leaves: Sequence[Any], treedef: Any):
        self.form = Form.as_it_is(treedef)
        self.arrays: Arrays = list(leaves)

    @classmethod
    def of(cls, state: PyTree) -> "Held":
        """Holds a state as it is."""
        return cls(*jax.tree.flatten(state))

    @property
    def treedef(self) -> Any:
        """The structure of the state."""
        return self.form.plain

    @property
    def state(self) -> PyTree:
        """The state, as its transformation made it; what is held stays as it is."""
        with jax.ensure_compile_time_eval():  # in a program that is traced, it is a constant
            return self.treedef.unflatten(self.form.open(self.arrays))

    def take(self, form: Form) -> Arrays:
        """What a step of this form takes."""
        if form is not self.form and form != self.form:
            # All that is done with it here is done in this context: in another, JAX compiles anew.
            with jax.ensure_compile_time_eval():
                arrays = form.close(self.form.open(self.arrays))
                if any(isinstance(x, jax.core.Tracer) for x in arrays):
                    return arrays  # of a program that is being traced, which what is held outlives
                form.ledger.warm(arrays)
            self.form, self.arrays = form, arrays
        return self.arrays

    def edit(self, function: Callable[[PyTree], PyTree]) -> None:
        """Puts in the state's place what a function makes of it, which is like it."""
        with jax.ensure_compile_time_eval():
            self.arrays = self.form.arrays(function(self.form.state(self.arrays)))

    def write(self, numbers: Mapping[int, float]) -> None:
        """Sets scalars, by their positions among the leaves of the state."""
        ledger, entry = self.form.ledger, self.form.entry
        if ledger.places and numbers.keys() <= entry.keys():
            with jax.ensure_compile_time_eval():  # an edit outlives the program it is made in
                for i, number in numbers.items():
                    self.arrays[0] = ledger.with_number(self.arrays[0], entry[i], number)
            return
        leaves = self.take(Form.as_it_is(self.treedef))
        for i, number in numbers.items():
            leaves[i] = place_number(number, leaves[i])
