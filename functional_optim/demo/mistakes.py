"""The held-out images that the network gets wrong, as SVG."""

import jax
import numpy as np

from . import model
from .data import Digits

__all__ = ["mistakes"]

_SHOWN = 12


def mistakes(params: model.Params, digits: Digits) -> list[tuple[str, str]]:
    """Returns the first few mistakes: an image as SVG, its digit, and the digit that was read."""
    read = np.asarray(jax.numpy.argmax(model.logits(params, digits.test_images), axis=1))
    labels = np.asarray(digits.test_labels)
    images = np.asarray(digits.test_images)
    wrong = np.flatnonzero(read != labels)[:_SHOWN]
    return [(_picture(images[i]), f"{labels[i]} read as {read[i]}") for i in wrong]


def _picture(image: np.ndarray) -> str:
    """Draws one square per pixel, darker where there is more ink."""
    squares = "".join(
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill-opacity="{ink:.2f}"/>'
        for (y, x), ink in np.ndenumerate(image)
        if ink > 0
    )
    return f'<svg viewBox="0 0 8 8" role="img">{squares}</svg>'
