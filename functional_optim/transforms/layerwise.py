"""Learning rates that fall from the output of a model to its input."""

from collections.abc import Callable, Sequence

from ..core.numerics.validation import Interval, as_number
from ..core.protocol import Hyperparameter, PyTree
from ..core.rules.by_label import by_label
from ..core.trees.labels import path_labels

__all__ = ["layerwise_decay"]


def layerwise_decay(
    learning_rate: float,
    decay: float,
    layers: Sequence[str | Callable[[str, PyTree], bool]],
) -> Hyperparameter:
    """Makes a learning rate that is smaller by a factor for each layer from the output down.

    With L layers, the parameters of layer i = 0 (at the input), ..., L - 1 (at the output) have

        learning_rate decay^(L - 1 - i)

    The hyperparameters have the names `learning_rate.0`, ..., `learning_rate.<L - 1>`. For a rate
    that follows a schedule, add the decay as a link after the optimizer: `chain(adamw(schedule),
    scale(layerwise_decay(1.0, decay, layers)))`.

    Args:
      learning_rate: learning rate of the last layer.
      decay: the factor, in (0, 1]; 0.65 to 0.95 are common.
      layers: from input to output, a pattern of key paths or a predicate of path and leaf each,
        as in `path_labels`: the first that matches decides, and each parameter must be matched.

    Raises:
      ValueError: a number is out of range, or there are no layers; when `init` is called, a
        parameter belongs to no layer, or a layer has none.

    Example:
      >>> import functional_optim as fo
      >>> rate = fo.layerwise_decay(0.5, 0.5, ["^embed", "^block", "^head"])
      >>> state = fo.sgd(rate).init({"embed": 1.0, "block": 1.0, "head": 1.0})
      >>> float(fo.get_hyperparams(state)["learning_rate.0"])
      0.125

    Reference: J. Howard and S. Ruder, Universal Language Model Fine-tuning for Text
      Classification, ACL 2018, section 3.2, arXiv:1801.06146.
    """
    if not layers:
        raise ValueError("layerwise_decay: layers must be patterns, got none. Pass one for each.")
    rate = as_number(learning_rate, "layerwise_decay: learning_rate", Interval("[0, inf)"))
    factor = as_number(decay, "layerwise_decay: decay", Interval("(0, 1]"))
    values = {i: rate * factor ** (len(layers) - 1 - i) for i in range(len(layers))}
    return by_label(values, path_labels([(layer, i) for i, layer in enumerate(layers)]))
