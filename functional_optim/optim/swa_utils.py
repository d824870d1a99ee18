"""torch.optim.swa_utils: averages of parameters over a run, and batch statistics for them."""

from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from ..core.protocol import PyTree
from ..serialization.versions import FORMAT_VERSION, VERSION_KEY
from ..serialization.writing import to_state_dict
from .averages import Average, AveragedTree, AvgFn, Each, MultiAvgFn, Placement
from .lr_scheduler.swa import SWALR
from .state_dict.entries import load_named_state

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    """Makes the `avg_fn` of an exponential moving average: decay averaged + (1 - decay) current.

    Args:
      decay: weight of the average, in [0, 1].

    Raises:
      ValueError: decay outside [0, 1].
    """
    return Average(decay)


def get_swa_avg_fn() -> AvgFn:
    """Makes the `avg_fn` of the mean: averaged + (current - averaged) / (num_averaged + 1)."""
    return Average()


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAvgFn:
    """Makes the `multi_avg_fn` that applies `get_ema_avg_fn` to lists of arrays.

    Args:
      See `get_ema_avg_fn`.
    """
    return Each(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> MultiAvgFn:
    """Makes the `multi_avg_fn` that applies `get_swa_avg_fn` to lists of arrays."""
    return Each(get_swa_avg_fn())


class AveragedModel:
    """Averages parameters over time, with equal weights or by a given function.

    The first `update_parameters` copies its model. The average of arrays narrower than float32 is
    kept in float32, and returned in their dtype by `module`. Leaves that are not floating arrays
    (counters, the functions of an equinox module) come from the last model. Batch statistics are a
    separate tree, `buffers`.

    Differences: torch's `multi_avg_fn` writes into its first list; here it returns the list of
    averages. torch finds the buffers in the model, and averages in the parameters' dtype.

    Args:
      model: tree of parameters, copied.
      device: device or sharding on which the average is kept.
      avg_fn: `avg_fn(averaged, current, num_averaged)` of two arrays; None for the mean.
      multi_avg_fn: like avg_fn, for two lists of arrays.
      use_buffers: average the buffers as well; otherwise they are copied.
      buffers: tree of statistics, copied.

    Attributes:
      n_averaged: number of models averaged.

    Raises:
      ValueError: both avg_fn and multi_avg_fn are given.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> average = optim.swa_utils.AveragedModel({"w": jnp.zeros(1)})
      >>> for w in (1.0, 2.0, 6.0):
      ...     average.update_parameters({"w": jnp.full(1, w)})
      >>> average.module
      {'w': Array([3.], dtype=float32)}

    Reference: Izmailov, Podoprikhin, Garipov, Vetrov & Wilson, Averaging weights leads to wider
    optima and better generalization, UAI 2018, Algorithm 1, arXiv:1803.05407.
    """

    def __init__(
        self,
        model: PyTree,
        device: Placement | None = None,
        avg_fn: AvgFn | None = None,
        multi_avg_fn: MultiAvgFn | None = None,
        use_buffers: bool = False,
        *,
        buffers: PyTree = None,
    ) -> None:
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("Only one of avg_fn and multi_avg_fn should be provided.")
        self.n_averaged = 0
        self.use_buffers = use_buffers
        self._function = multi_avg_fn or Each(avg_fn or get_swa_avg_fn())
        self._model = AveragedTree("AveragedModel", model, device)
        self._buffers = AveragedTree("AveragedModel: buffers", buffers, device)

    @property
    def module(self) -> PyTree:
        """The averaged model."""
        return self._model.tree

    @property
    def params(self) -> PyTree:
        """The averaged model, under the name that parameters have in an optimizer."""
        return self.module

    @property
    def buffers(self) -> PyTree:
        """The buffers of the averaged model."""
        return self._buffers.tree

    def __call__(self, *args: PyTree, **kwargs: PyTree) -> PyTree:
        """Calls the averaged model, if models are functions."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: PyTree, buffers: PyTree = None) -> None:
        """Averages one more model.

        Raises:
          ValueError: model or buffers have another structure or shape.
        """
        trees = [(self._model, model, True), (self._buffers, buffers, self.use_buffers)]
        for averaged, tree, is_mean in trees:
            if is_mean and self.n_averaged:
                averaged.average(tree, self._function, self.n_averaged)
            else:
                averaged.copy(tree)
        self.n_averaged += 1

    def state_dict(self) -> dict[str, np.ndarray]:
        """Returns NumPy arrays: `n_averaged`, `module.<path>` and `buffers.<path>`.

        The averaging function is not saved.
        """
        named = to_state_dict(self._arrays())
        del named[VERSION_KEY]  # torch has no version
        return {"n_averaged": np.asarray(self.n_averaged, np.int64), **named}

    def load_state_dict(self, state_dict: Mapping[str, PyTree]) -> None:
        """Restores a result of `state_dict`, or of torch's class for the same paths.

        Raises:
          ValueError: a path is missing or unexpected, or a shape differs.
        """
        saved = {**state_dict, VERSION_KEY: FORMAT_VERSION}
        count = saved.pop("n_averaged", self.n_averaged)
        loaded = load_named_state("AveragedModel.load_state_dict", self._arrays(), saved)
        self._model.replace(loaded.get("module"))
        self._buffers.replace(loaded.get("buffers"))
        self.n_averaged = int(count)

    def _arrays(self) -> dict[str, PyTree]:
        return {"buffers": self._buffers.arrays, "module": self._model.arrays}


def update_bn(
    loader: Iterable[PyTree],
    params: PyTree,
    statistics: Callable[[PyTree, PyTree], PyTree],
    device: Placement | None = None,
) -> PyTree:
    """Computes batch statistics for averaged parameters, for which no batch has been evaluated.

    The result is the mean of `statistics(params, batch)` over the loader, with equal weights, as
    torch's layers compute it with momentum None. With Flax, for example:

        def statistics(params, x):
            variables = {"params": params, "batch_stats": initial}
            _, new = model.apply(variables, x, mutable=["batch_stats"])  # momentum=0
            return new["batch_stats"]

    Differences: torch's function writes into the layers of a model; here the function that
    computes the statistics is an argument, and they are returned.

    Args:
      loader: batches; if a batch is a tuple or list, its first element is used.
      params: parameters of the averaged model, such as `AveragedModel.module`.
      statistics: returns the statistics of one batch, as a tree of arrays.
      device: device or sharding to which batches are moved first.

    Raises:
      ValueError: the loader is empty.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> batches = [jnp.array([1.0, 3.0]), jnp.array([4.0])]
      >>> optim.swa_utils.update_bn(batches, 2.0, lambda scale, x: {"mean": (scale * x).mean()})
      {'mean': Array(6., dtype=float32)}
    """
    mean: AveragedModel | None = None
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        batch_statistics = statistics(params, x if device is None else jax.device_put(x, device))
        mean = AveragedModel(batch_statistics) if mean is None else mean
        mean.update_parameters(batch_statistics)
    if mean is None:
        raise ValueError("update_bn: the loader is empty. Pass at least one batch.")
    return mean.module
