"""SOAP-Muon: SOAP's direction, orthogonalized."""

from collections.abc import Callable

from ..core.composed import composed
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import StateDtype
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..sharding.matrices import MatrixSharding
from ..transforms.matrices import MatrixLeaves, on_matrices
from .muon import scale_by_shape
from .newton_schulz import STANDARD, Rounds
from .orthogonalize_on_mesh import orthogonalize_by
from .soap import scale_by_soap
from .with_adam import with_adam_for_others

__all__ = ["soap_muon"]


@composed
def soap_muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int = 5,
    b1: ScalarOrSchedule = 0.95,
    b2: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    precondition_frequency: ScalarOrSchedule = 10,
    shampoo_beta: ScalarOrSchedule = -1.0,
    weight_decay_mask: MaskOrFn = None,
    *,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    matrix_sharding: MatrixSharding | None = None,
    consistent_rms: ScalarOrSchedule | None = None,
    max_precond_dim: int = 10000,
    one_sided: bool = False,
    stagger: bool = False,
    state_dtype: StateDtype = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """SOAP-Muon for matrices, and Adam for all other parameters.

    The update of a matrix is the direction of `scale_by_soap`, replaced by a nearly orthogonal
    matrix with the same singular vectors, and scaled by the shape:

        p <- p - learning_rate (s orthogonalize(u) + weight_decay p),    u from `scale_by_soap`
        s  = sqrt(max(1, outputs / inputs)), or consistent_rms sqrt(max(outputs, inputs))

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p:
    with the first s, it is about the spectral norm of the step, as in `muon`. The first update
    moves parameters that are not matrices, and decays matrices.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      axes: which parameters are matrices, and along which axes: a tree of `MatrixAxes`, a prefix of
        one, or a function of the parameters, with None for the parameters that Adam trains. None
        for `axes_by_name()`, which decides by names and shapes.
      matrix_sharding: how the devices of a mesh share the orthogonalization; see
        `sharding.MatrixSharding`. None leaves it to the compiler.
      consistent_rms: root mean square of a step; 0.2 for learning rates of AdamW.
      state_dtype: dtype of the slots of matrices.
      See `scale_by_soap`, `orthogonalize` and `muon` for the others.

    Differences: the records of the modded-nanogpt speedrun compute v from squares of the look-ahead
    momentum, and not of the gradient, with b2 = shampoo_beta = 0.9; they precondition the matrices
    of multi-layer perceptrons alone, and combine this with further changes.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix (the message lists all parameters).

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> params = {"w": jnp.eye(2), "b": jnp.zeros(2)}
      >>> tx = fo.soap_muon(0.02)
      >>> grads = {"w": jnp.array([[3.0, 4.0], [1.0, -2.0]]), "b": jnp.ones(2)}
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update(grads, state, params)
      >>> sizes = jnp.linalg.svd(updates["w"])[1] / 0.02
      >>> bool(jnp.all((0.6 < sizes) & (sizes < 1.3)))
      True

    Reference: Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, ICLR 2025,
    arXiv:2409.11321. Jordan et al., github.com/KellerJordan/modded-nanogpt, track 3, the record of
    2026-05-04, for the combination.
    """
    leaves = MatrixLeaves.of(axes, "soap_muon")
    rule = scale_by_soap(
        b1,
        b2,
        eps,
        precondition_frequency,
        shampoo_beta,
        max_precond_dim=max_precond_dim,
        one_sided=one_sided,
        stagger=stagger,
        state_dtype=state_dtype,
    )
    direction = (
        on_matrices(rule, leaves),
        on_matrices(orthogonalize_by(matrix_sharding)(ns_coeffs, ns_steps), leaves),
        on_matrices(scale_by_shape(consistent_rms), leaves),
    )
    return with_adam_for_others(
        direction,
        leaves,
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        adam_weight_decay=adam_weight_decay,
        adam_learning_rate=adam_learning_rate,
    )
