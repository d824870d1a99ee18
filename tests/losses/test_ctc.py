"""CTC against the sum over all alignments, in float64."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .cases import FRAME_PADDINGS, FRAMES, LABEL_PADDINGS, LABELS

ARGUMENTS = (FRAMES, FRAME_PADDINGS, LABELS, LABEL_PADDINGS)


def spelled(path, blank):
    """Returns the labels that a sequence of frames spells."""
    merged = [k for k, _ in itertools.groupby(path)]
    return tuple(k for k in merged if k != blank)


def probability(logits, labels, blank, ends=None):
    """Sums over all alignments, or over those that end in a blank, or in a label."""
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        if spelled(path, blank) == tuple(labels) and (ends is None or (path[-1] == blank) == ends):
            total += np.prod(p[np.arange(len(p)), list(path)])
    return total


@pytest.mark.parametrize("blank", [0, 4])
def test_the_loss_is_that_of_all_alignments(x64, blank):
    # Without a label that is the blank.
    labels = np.where(blank == LABELS, 1, LABELS)
    frames = FRAMES[:, :5]
    found = fo.ctc_loss(frames, FRAME_PADDINGS[:, :5], labels, LABEL_PADDINGS, blank_id=blank)
    for b, (x, skipped, ids, padded) in enumerate(
        zip(frames, FRAME_PADDINGS[:, :5], labels, LABEL_PADDINGS, strict=True)
    ):
        expected = -np.log(probability(x[skipped == 0], ids[padded == 0], blank))
        np.testing.assert_allclose(found[b], expected, rtol=1e-9)


def test_the_forward_probabilities_are_those_of_the_frames_so_far(x64):
    x, labels = FRAMES[:1, :4], np.array([[2, 2]])
    none = np.zeros((1, 4)), np.zeros((1, 2))
    loss, blank, label = fo.ctc_loss_with_forward_probs(x, none[0], labels, none[1])
    assert (blank.shape, label.shape) == ((4, 1, 3), (4, 1, 2))
    for t, n in itertools.product(range(4), range(3)):
        said = labels[0, :n]
        at_end = None if t == 3 else True  # the last row is of whatever the frames end in
        expected = probability(x[0, : t + 1], said, 0, at_end)
        np.testing.assert_allclose(np.exp(blank[t, 0, n]), expected, rtol=1e-9, atol=1e-300)
        if n:
            expected = probability(x[0, : t + 1], said, 0, False)
            np.testing.assert_allclose(np.exp(label[t, 0, n - 1]), expected, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(loss, -blank[-1, 0, -1])


def test_all_results_equal_those_of_optax(x64):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = optax.ctc_loss_with_forward_probs(*map(jnp.asarray, ARGUMENTS))
    found = fo.ctc_loss_with_forward_probs(*ARGUMENTS)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        for f in (fo.ctc_loss_with_forward_probs, optax.ctc_loss_with_forward_probs)
    )
    assert ours == theirs


def test_paddings_may_be_booleans_and_padded_values_do_not_matter():
    skipped, padded = FRAME_PADDINGS > 0, LABEL_PADDINGS > 0
    x = jnp.where(skipped[..., None], jnp.nan, FRAMES)
    labels = np.where(padded, 99, LABELS)
    found = fo.ctc_loss(x, skipped, labels, padded)
    np.testing.assert_allclose(found, fo.ctc_loss(*ARGUMENTS), rtol=1e-6)


def test_labels_that_do_not_fit_are_improbable_and_derivatives_finite():
    x, none = jnp.zeros((1, 2, 3)), np.zeros((1, 2))
    for labels, fit in ((np.array([[1, 1]]), False), (np.array([[1, 2]]), True)):
        loss, slope = jax.value_and_grad(lambda x, y=labels: fo.ctc_loss(x, none, y, none).sum())(x)
        assert (loss < 9e4) == fit
        assert jnp.isfinite(slope).all()


def test_a_label_outside_the_classes_gives_nan():
    labels = LABELS.copy()
    labels[0, 1] = 5
    found = fo.ctc_loss(FRAMES, FRAME_PADDINGS, labels, LABEL_PADDINGS)
    assert jnp.isnan(found).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({2: LABELS.astype(float)}, TypeError, "labels must be integers, got float"),
        ({1: FRAME_PADDINGS[:, :2]}, ValueError, r"got \(3, 6, 5\), \(3, 2\), \(3, 3\)"),
        ({2: LABELS[:2]}, ValueError, r"labels and label_paddings \(batch, labels\)"),
        ({0: FRAMES[0]}, ValueError, r"logits must have shape \(batch, frames, classes\)"),
    ],
)
def test_arguments_that_do_not_go_together_are_errors(change, error, text):
    arguments = [change.get(i, x) for i, x in enumerate(ARGUMENTS)]
    with pytest.raises(error, match=text):
        fo.ctc_loss(*arguments)
