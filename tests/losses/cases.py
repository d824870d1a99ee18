"""Losses with arguments of a valid form; optax, which the names are from, is the oracle."""

import jax
import numpy as np

SCORES = np.array([[0.3, -1.2, 2.0], [4.0, 3.5, -0.5], [-2.0, 0.1, 0.2], [0.0, 0.0, 0.0]])
OTHERS = SCORES[::-1] * 0.7 + 0.2
DISTRIBUTIONS = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0], [0.9, 0.05, 0.05]])
POSITIVE = np.abs(SCORES) + 0.1
CLASSES = np.array([2, 0, 1, 1])
SIGNS = np.where(OTHERS > 0, 1, -1)
BITS = (SIGNS + 1) // 2
SOFT = np.clip(POSITIVE / 4, 0.02, 0.98)
WHERE = np.array([[True, True, False]] * 4)

MAPS = np.cos(np.arange(2 * 3 * 4 * 3)).reshape(2, 3, 4, 3)
REGIONS = np.eye(3)[np.arange(24).reshape(2, 3, 4) % 5 % 3]
FRAMES = np.sin(1.7 * np.arange(3 * 6 * 5)).reshape(3, 6, 5) * 2
LABELS = np.array([[1, 2, 2], [3, 3, 4], [4, 1, 0]])
FRAME_PADDINGS = np.array([[0] * 6, [0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1]], float)
LABEL_PADDINGS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1]], float)

CASES = {
    "squared_error": [((SCORES, OTHERS), {}), ((SCORES,), {})],
    "l2_loss": [((SCORES, OTHERS), {})],
    "huber_loss": [((SCORES, OTHERS), {}), ((SCORES, OTHERS), {"delta": 0.3})],
    "log_cosh": [((SCORES, OTHERS), {}), ((SCORES * 1e3,), {})],
    "cosine_similarity": [
        ((POSITIVE, OTHERS), {}),
        ((POSITIVE, OTHERS), {"axis": 0}),
        ((POSITIVE, OTHERS), {"where": WHERE}),
        ((SCORES, OTHERS), {"epsilon": 1e-3}),
    ],
    "cosine_distance": [((POSITIVE, OTHERS), {})],
    "sigmoid_binary_cross_entropy": [((SCORES, BITS), {}), ((SCORES * 50, SOFT), {})],
    "softmax_cross_entropy": [
        ((SCORES, DISTRIBUTIONS), {}),
        ((SCORES, DISTRIBUTIONS), {"axis": 0}),
        ((SCORES, DISTRIBUTIONS), {"where": WHERE}),
    ],
    "safe_softmax_cross_entropy": [((SCORES, DISTRIBUTIONS), {})],
    "softmax_cross_entropy_with_integer_labels": [
        ((SCORES, CLASSES), {}),
        ((SCORES.T, CLASSES), {"axis": 0}),
        ((SCORES.reshape(2, 2, 3), np.array([5, 2])), {"axis": (1, 2)}),
        ((SCORES * 100, CLASSES), {}),
    ],
    "poly_loss_cross_entropy": [
        ((SCORES, DISTRIBUTIONS), {}),
        ((SCORES, DISTRIBUTIONS), {"epsilon": -1.0}),
    ],
    "sigmoid_focal_loss": [
        ((SCORES, BITS), {}),
        ((SCORES, BITS), {"alpha": 0.25, "gamma": 1.5}),
        ((SCORES, SOFT), {"gamma": 0.0}),
        ((SCORES, SOFT), {"gamma": 0.5}),
    ],
    "smooth_labels": [((DISTRIBUTIONS, 0.1), {}), ((DISTRIBUTIONS, 0.3), {"axis": 0})],
    "kl_divergence": [
        ((np.log(SOFT), DISTRIBUTIONS), {}),
        ((np.log(SOFT), DISTRIBUTIONS), {"where": WHERE}),
        ((np.log(SOFT), DISTRIBUTIONS), {"axis": None}),
    ],
    "kl_divergence_with_log_targets": [((np.log(SOFT), np.log(POSITIVE)), {})],
    "generalized_kl_divergence": [((np.log(SOFT), POSITIVE), {})],
    "ntxent": [((OTHERS, np.array([0, 0, 1, 1])), {"temperature": 0.5})],
    "triplet_margin_loss": [
        ((SCORES, OTHERS, POSITIVE), {}),
        ((SCORES, OTHERS, POSITIVE), {"norm_degree": 2, "margin": 3.0, "axis": 0}),
    ],
    "ctc_loss": [
        ((FRAMES, FRAME_PADDINGS, LABELS, LABEL_PADDINGS), {}),
        ((FRAMES, FRAME_PADDINGS, LABELS, LABEL_PADDINGS), {"blank_id": 4, "log_epsilon": -1e3}),
    ],
    "dice_loss": [
        ((MAPS, REGIONS), {}),
        ((MAPS, REGIONS), {"alpha": 0.3, "beta": 0.7, "smooth": 0.1, "reduction": "sum"}),
        ((MAPS, REGIONS), {"reduction": "none", "ignore_background": True, "axis": (1,)}),
        ((MAPS, REGIONS), {"class_weights": np.array([0.5, 1.0, 2.0])}),
        ((MAPS[..., 0], REGIONS[..., :1]), {}),
        ((MAPS[..., :1], REGIONS[..., 0]), {}),
    ],
    "multiclass_generalized_dice_loss": [
        ((MAPS, REGIONS), {}),
        ((MAPS, REGIONS), {"smooth": 0.1, "ignore_background": True}),
    ],
    "binary_dice_loss": [
        ((MAPS[..., 0], REGIONS[..., 0]), {}),
        ((MAPS[..., :1], REGIONS[..., :1]), {"smooth": 0.5}),
    ],
    "ranking_softmax_loss": [
        ((SCORES, POSITIVE), {}),
        ((SCORES, POSITIVE), {"where": WHERE, "weights": SOFT}),
        ((SCORES, POSITIVE), {"where": WHERE, "reduce_fn": None}),
        ((SCORES, POSITIVE), {"reduce_fn": jax.numpy.sum}),
    ],
    "hinge_loss": [((SCORES, SIGNS), {})],
    "perceptron_loss": [((SCORES, SIGNS), {})],
    "sparsemax_loss": [((SCORES, BITS), {})],
    "multiclass_hinge_loss": [((SCORES, CLASSES), {})],
    "multiclass_perceptron_loss": [((SCORES, CLASSES), {})],
    "multiclass_sparsemax_loss": [((SCORES, CLASSES), {}), ((SCORES * 5, CLASSES), {})],
}

CALLS = [(name, *call) for name, calls in CASES.items() for call in calls]


def in_float64(values):
    """Converts arrays to JAX arrays in the widest dtypes."""
    return jax.tree.map(lambda x: jax.numpy.asarray(x) if np.ndim(x) else x, values)
