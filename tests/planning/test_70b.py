"""The example that plans 70 billion parameters: bytes in closed form, without any array."""

import collections
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

import functional_optim as fo

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plan_70b.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def models(example):
    """Makes the model by the number of its layers: all, and a few, which are planned sooner."""
    whole = example["model"]()
    return {
        len(layers): {**whole, "layers": layers}
        for layers in (whole["layers"], [*whole["layers"][:3]])
    }


@pytest.fixture(scope="module")
def plans(example, models):
    """Plans the whole model once, and 3 of its layers with the other optimizers."""
    before = len(jax.live_arrays())
    plans = {}
    for name, (tx, specs) in example["PLANS"].items():
        params = models[LAYERS[name]]
        plans[name] = fo.describe(tx, params, specs(params), example["MESH"])
    assert len(jax.live_arrays()) <= before
    return plans


LAYERS = collections.defaultdict(lambda: 3, {"AdamW": 80})


def sizes(params):
    """Counts the elements of the matrices, and of the vectors of the norms."""
    sizes = np.array([p.size for p in jax.tree.leaves(params)])
    matrices = sizes >= 8192 * 1024
    return int(sizes[matrices].sum()), int(sizes[~matrices].sum())


@pytest.mark.parametrize("layers", [80, 3])
def test_the_model(models, layers):
    per_layer = 2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28_672
    expected = layers * per_layer + 2 * 128_256 * 8192, (layers * 2 + 1) * 8192
    assert sizes(models[layers]) == expected


@pytest.mark.parametrize(
    ("name", "matrices", "vectors"),
    [
        ("AdamW", 8 / 64, 8),
        ("AdamW, zero1", 8 / 1024, 8 / 16),
        ("AdamW, first moment in bfloat16", 6 / 1024, 6),
    ],
)
def test_bytes_for_each_element(plans, models, name, matrices, vectors):
    plan, (large, small) = plans[name], sizes(models[LAYERS[name]])
    assert plan.nbytes_on_a_device - plan.shared == matrices * large + vectors * small


def test_adafactor_keeps_rows_and_columns(plans):
    up = plans["Adafactor"]["layers.2.up"]
    assert up.nbytes == 4 * (8192 + 28_672)
    assert up.nbytes_on_a_device == 4 * (8192 // 16 + 28_672 // 64)


def test_eight_bits_are_codes_and_a_scale_for_each_block(plans):
    up = plans["AdamW, moments in 8 bits"]["layers.2.up"]
    assert up.nbytes == 2 * 8192 * (28_672 + 4 * 28_672 // 256)
    assert up.nbytes_on_a_device == up.nbytes // 1024


def test_it_prints(plans):
    assert "mu float32[8192, 28672], P('data', 'model')" in str(plans["AdamW, zero1"])
