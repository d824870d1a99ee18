"""Muon: momentum, orthogonalized."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.moments import MeanWeights, running_mean
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices
from ..transforms.recipe import joined, optimizer
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam
from .newton_schulz import orthogonalize

__all__ = ["muon", "muon_momentum", "scale_by_muon", "scale_by_shape"]

Array = jax.Array
Factory = Callable[..., GradientTransformation]


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p)},
    static=("nesterov",),
    slot_dtypes={"mu_dtype": "mu"},
    bounds={"beta": "[0, 1]"},
)
def muon_momentum(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    beta: Hyperparameter = 0.95,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by Muon's running mean of them, which is not bias-corrected.

    For one parameter of shape `*p`: mu <- beta mu + (1 - beta) g; u = mu, or with nesterov
    beta mu + (1 - beta) g once more. `beta` `()` has no unit; mu and u are in units of g.
    """
    del p, now, mu_dtype
    mu = running_mean(slots.mu, g, MeanWeights(drift=0.0, gain=1 - beta))
    u = running_mean(g, mu, MeanWeights(drift=0.0, gain=beta)) if nesterov else mu
    return u, {"mu": mu}


@leaf_rule(static=("rows_are_outputs",), optional=("consistent_rms",), parts=False)
def scale_by_shape(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    consistent_rms: Hyperparameter | None = None,
    *,
    rows_are_outputs: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """Scales orthogonal matrices by their shape, so that one learning rate fits all.

    For a matrix of shape `(inputs, outputs)`, the last two axes of a leaf:

        u = sqrt(max(1, outputs / inputs)) g                   Jordan et al.
        u = consistent_rms sqrt(max(inputs, outputs)) g        Liu et al., where it is given

    `consistent_rms` `()` is the root mean square that u has if g is orthogonal; 0.2 is about
    that of AdamW's steps.

    Args:
      rows_are_outputs: the shape is `(outputs, inputs)`, as in torch.
    """
    del slots, p, now
    outputs, inputs = g.shape[-2:] if rows_are_outputs else g.shape[:-3:-1]
    if g.size == 0:
        return g, {}
    if consistent_rms is None:
        factor = jnp.asarray(max(1.0, outputs / inputs) ** 0.5)
    else:
        factor = consistent_rms * max(outputs, inputs) ** 0.5
    return factor.astype(g.dtype) * g, {}


@joined(muon_momentum, orthogonalize, order=("ns_coeffs", "ns_steps", "beta", "eps", "mu_dtype"))
def scale_by_muon() -> None:
    """Orthogonalizes a running mean of updates: `muon_momentum`, then `orthogonalize`.

    For one parameter of shape `*p`, whose last two axes are a matrix:

        mu <- beta mu + (1 - beta) g
        u   = orthogonalize(mu), or orthogonalize(beta mu + (1 - beta) g) with nesterov

    The state keeps mu, of shape `*p`, in units of g. u has no unit: its singular values are
    near 1, whatever the size of g.

    Args:
      mu_dtype: dtype in which mu is kept.
      nesterov: look ahead of the mean.
      ns_coeffs: what the iteration computes; this and the rest: see `orthogonalize`.

    Differences: as in the authors' code and in torch, whose documentation gives the mean as a
    sum. optax corrects the bias of mu, with one step more, and of g: this changes the mixture
    with nesterov, early in a run. It keeps the triples in its state.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_muon(ns_steps=10, ns_coeffs=((1.5, -0.5, 0.0),))
      >>> g = {"w": jnp.array([[3.0, 4.0], [4.0, -3.0]])}
      >>> [round(float(u), 3) for u in tx.update(g, tx.init(g))[0]["w"].ravel()]
      [0.6, 0.8, 0.8, -0.6]

    Reference: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    kellerjordan.github.io/posts/muon.
    """


def _routed(
    factory: Factory,
    route: Callable[[GradientTransformation, MatrixLeaves], GradientTransformation],
    **names: str,
) -> Factory:
    """A factory for some of the parameters, which takes their specs, too.

    Args:
      factory: of a link.
      route: makes of the link and the specs the link for these parameters.
      **names: argument -> the factory's name of it; those that are not named keep defaults.
    """
    known = inspect.signature(factory).parameters
    alone = inspect.Parameter.KEYWORD_ONLY
    own = [known[old].replace(name=new, kind=alone) for new, old in names.items()]
    specs = inspect.Parameter(_SPECS, alone, default=None, annotation=Any)

    def link(**given: Any) -> GradientTransformation:
        leaves = MatrixLeaves.of(given.pop(_SPECS))
        return route(factory(**{names[k]: v for k, v in given.items()}), leaves)

    link.__signature__ = inspect.Signature([*own, specs])  # type: ignore[attr-defined]
    return link


_SPECS = "muon_weight_dimension_numbers"


def _to_matrices(link: GradientTransformation, leaves: MatrixLeaves) -> GradientTransformation:
    return masked(link, leaves.where(matrices=True))


def _to_others(link: GradientTransformation, leaves: MatrixLeaves) -> GradientTransformation:
    return masked(link, leaves.where(matrices=False))


def _same(factory: Factory, *left_out: str) -> dict[str, str]:
    """All arguments of a factory under their own names, but for some."""
    return {k: k for k in inspect.signature(factory).parameters if k not in left_out}


def _descend(
    learning_rate: Hyperparameter,
    *,
    adam_learning_rate: Hyperparameter | None = None,
    muon_weight_dimension_numbers: Any = None,
) -> GradientTransformation:
    if adam_learning_rate is None:
        return scale_by_learning_rate(learning_rate)
    leaves = MatrixLeaves.of(muon_weight_dimension_numbers)
    return chain(
        _to_matrices(scale_by_learning_rate(learning_rate), leaves),
        _to_others(scale_by_learning_rate(adam_learning_rate), leaves),
    )


@optimizer(
    _routed(muon_momentum, _to_matrices, **_same(muon_momentum, "state_dtype")),
    _routed(orthogonalize, on_matrices, **_same(orthogonalize, "eps_as_floor")),
    _routed(scale_by_shape, on_matrices, consistent_rms="consistent_rms"),
    _routed(
        add_decayed_weights, _to_matrices, weight_decay="weight_decay", weight_decay_mask="mask"
    ),
    _routed(
        scale_by_adam,
        _to_others,
        mu_dtype="mu_dtype",
        adam_b1="b1",
        adam_b2="b2",
        adam_eps="eps",
        adam_eps_root="eps_root",
    ),
    _routed(add_decayed_weights, _to_others, adam_weight_decay="weight_decay"),
    _descend,
    order=(
        "ns_coeffs",
        "ns_steps",
        "beta",
        "eps",
        "weight_decay",
        "weight_decay_mask",
        "mu_dtype",
    ),
    last=lambda learning_rate: chain(),
)
def muon() -> None:
    """Muon for matrices, and Adam for all other parameters.

    A matrix goes by `scale_by_muon`, and is scaled by its shape; decay is decoupled:

        p <- p - learning_rate (s u + weight_decay p),    u from `scale_by_muon`
        s  = sqrt(max(1, outputs / inputs)), or consistent_rms sqrt(max(outputs, inputs))

    All other parameters go by `scale_by_adam` with `adam_weight_decay`, and by the same
    learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p:
    with the first s, it is about the spectral norm of the step.

    Muon is for hidden layers. The authors leave embeddings and the last layer to Adam, which
    are matrices, too: give `muon_weight_dimension_numbers` to say which are which.

    Args:
      weight_decay_mask: which matrices decay, see `masked`.
      mu_dtype: dtype of the momentum, and of Adam's first moment.
      consistent_rms: root mean square of a step, 0.2 for AdamW's learning rates.
      muon_weight_dimension_numbers: tree of `MuonDimensionNumbers`, or a prefix of one, with
        None for what is Adam's; or a function of the parameters that returns one. Without it,
        the parameters of two axes are matrices, `(inputs, outputs)`, and no others.

    Differences: see `scale_by_muon` and `orthogonalize`. Here Adam is Adam; optax gives it
    nesterov and Muon's eps. The authors' defaults for Adam are b2 0.95 and eps 1e-10, and
    their shape is torch's, `(outputs, inputs)`.

    Raises:
      ValueError: as the links; or axes do not fit a parameter.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.eye(2), "b": jnp.zeros(2), "embedding": jnp.ones((5, 2))}
      >>> tx = fo.muon(
      ...     0.02,
      ...     muon_weight_dimension_numbers={
      ...         "w": fo.MuonDimensionNumbers(0, 1), "b": None, "embedding": None
      ...     },
      ... )
      >>> state = tx.init(params)
      >>> state.muon_momentum.mu["b"], state.scale_by_adam.mu["b"].shape
      (MaskedNode(), (2,))

    Reference: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    kellerjordan.github.io/posts/muon. Liu et al., Muon is Scalable for LLM Training, 2025,
    arXiv:2502.16982, for consistent_rms.
    """
