"""Hyperparameters that differ from leaf to leaf, by the leaf's label."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from ..protocol import Hyperparameter, PyTree
from ..trees.labels import Labeller, as_labeller, resolve_labels
from ..trees.placeholders import is_any_params
from ..trees.structure import leaf_paths

__all__ = ["ByLabel", "by_label"]


@dataclasses.dataclass(frozen=True)
class ByLabel:
    """A hyperparameter with a value for each label.

    Attributes:
      values: label and value of each.
      labeller: the labels of the parameters.
      where: factory and argument that the user gave the labels to, for errors; None if they are
        an argument of `by_label`.
    """

    values: tuple[tuple[str, Hyperparameter], ...]
    labeller: Labeller
    where: tuple[str, str] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, as texts, which are part of names in the state."""
        return tuple(label for label, _ in self.values)

    def of_leaves(self, link: str, name: str, params: PyTree) -> list[str]:
        """Returns the label of each leaf.

        Raises:
          ValueError: a leaf has a label without a value; the message names it.
        """
        if is_any_params(params):
            # The label does not matter, because callers read only the structure of the state.
            return [self.labels[0]] * len(jax.tree.leaves(params))
        # Some factories take labels in an argument of their own, which an error must name.
        where = self.where or (link, f"the labels of {name}")
        labels = resolve_labels(*where, self.labeller, params, None)
        leaf_labels = []
        for i, label in enumerate(jax.tree.leaves(labels)):
            if str(label) not in self.labels:
                raise ValueError(
                    f"{link}: {name} has no value for {label!r}, the label of the parameter at "
                    f"'{leaf_paths(labels)[i]}'. Its labels are: {', '.join(self.labels)}."
                )
            leaf_labels.append(str(label))
        return leaf_labels

    def __repr__(self) -> str:
        return f"by_label({dict(self.values)!r}, {self.labeller!r})"


def by_label(values: Mapping[Any, Hyperparameter], param_labels: PyTree | Labeller) -> Any:
    """Gives a hyperparameter a different value for each label of the parameters.

    Pass it in place of a number. There is still one transformation, whose state has all leaves;
    each leaf reads the value of its label from the state, so that other values do not recompile.
    `get_hyperparams` and `set_hyperparams` name the values `learning_rate.<label>`.

    `init` computes the label of each leaf, and the state keeps it under `groups`.

    A hyperparameter must have one value if a quantity of the whole tree depends on it. An example
    is the learning rate of `prodigy`, which makes one estimate from all parameters; its authors'
    code does not allow different learning rates either, except 0. Instead, `freeze` parameters, put
    `scale(by_label(...))` after the optimizer, or use `partition`, which estimates for each label.

    Args:
      values: label -> number, scalar array or schedule.
      param_labels: tree of labels shaped like the parameters (or a prefix of that), or a
        function of the parameters that returns one, such as `path_labels`.

    Raises:
      ValueError: there are no values, or two labels read the same; when `init` is called, a leaf
        has a label without a value.
      TypeError: when the factory is called, a quantity of the whole tree or the program depends on
        the argument, so that all leaves must have the same value.

    Example:
      >>> import functional_optim as fo
      >>> labels = fo.path_labels({"^head": "head"}, default="base")
      >>> tx = fo.sgd(fo.by_label({"base": 0.25, "head": 0.5}, labels))
      >>> params = {"body": 1.0, "head": 1.0}
      >>> state = tx.init(params)
      >>> tx.update(params, state, params)[0]
      {'body': Array(-0.25, dtype=float32), 'head': Array(-0.5, dtype=float32)}
      >>> {name: float(value) for name, value in fo.get_hyperparams(state).items()}
      {'learning_rate.base': 0.25, 'learning_rate.head': 0.5}
    """
    # Labels become texts, as in the names of the state, where 1 and "1" are the same.
    named = tuple((str(label), value) for label, value in values.items())
    if not named or len({name for name, _ in named}) < len(named):
        raise ValueError(
            f"by_label: there must be labels, and no two may read the same, got "
            f"{list(values)!r}. Give each label one value."
        )
    return ByLabel(named, as_labeller(param_labels))
