"""Parts of the demo: batches, the count of compilations, and checkpoints that are removed first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim.demo import data
from functional_optim.demo.checkpoint import Checkpoints
from functional_optim.demo.config import Config
from functional_optim.demo.progress import Progress
from functional_optim.demo.race import count_compilations


@pytest.fixture(scope="module")
def digits():
    return data.load(0)


def test_held_out_images_are_stratified_and_not_trained_on(digits):
    counts = np.bincount(np.asarray(digits.test_labels))
    assert counts.sum() == 360
    assert counts.min() >= 34
    seen = {image.tobytes() for image in np.asarray(digits.train_images)}
    assert len(seen) == 1437
    assert not seen & {image.tobytes() for image in np.asarray(digits.test_images)}


def test_split_follows_the_seed(digits):
    assert (np.asarray(data.load(0).test_images) == np.asarray(digits.test_images)).all()
    assert (np.asarray(data.load(1).test_images) != np.asarray(digits.test_images)).any()


def test_batches_are_the_training_images_moved_by_a_pixel_at_most(digits):
    _, batches = data.draw(jax.random.key(0), digits, 100)
    assert batches.images.shape == (14, 100, 8, 8)
    padded = np.pad(np.asarray(digits.train_images), ((0, 0), (1, 1), (1, 1)))
    moved = {
        (padded[i, r : r + 8, c : c + 8].tobytes(), int(label)): (r, c)
        for i, label in enumerate(np.asarray(digits.train_labels))
        for r in range(3)
        for c in range(3)
    }
    images = np.asarray(batches.images).reshape(-1, 8, 8)
    labels = np.asarray(batches.labels).ravel()
    offsets = [moved[x.tobytes(), int(y)] for x, y in zip(images, labels, strict=True)]
    assert np.mean([offset == (1, 1) for offset in offsets]) == pytest.approx(4 / 9, abs=0.05)


def test_each_epoch_draws_other_batches(digits):
    key, first = data.draw(jax.random.key(0), digits, 64)
    _, second = data.draw(key, digits, 64)
    assert (np.asarray(first.labels) != np.asarray(second.labels)).any()


def test_compilations_are_counted_by_function():
    def counted(x):
        return 2 * x

    def other(x):
        return 3 * x

    inputs = [jnp.ones(2), jnp.zeros(2), jnp.ones(3)]
    with count_compilations("counted") as compiled:
        for x in inputs:
            jax.jit(counted)(x), jax.jit(other)(x)
    assert len(compiled) == 2


def test_fresh_removes_the_checkpoints_of_another_configuration(tmp_path):
    directory = tmp_path / "checkpoints"
    old = Checkpoints(directory, Config(seed=0))
    old.save(5, {"w": jnp.ones(2)})
    old.close()
    new = Checkpoints(directory, Config(seed=1), fresh=True)
    assert new.latest_epoch == 0
    new.close()


def test_progress_without_a_terminal_prints_ten_lines(capsys):
    with Progress("work", 40) as progress:
        for i in range(40):
            progress.advance({"i": str(i)})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "work 4/40: i 3"
    assert lines[-1] == "work 40/40: i 39"
    assert len(lines) == 10
