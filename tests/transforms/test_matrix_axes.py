"""Which parameters have matrices: by description, and by the names and shapes of layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.transforms.matrices import (
    Blocks,
    MatrixAxes,
    MatrixLeaves,
    Vectors,
    on_matrices,
)

from ..extras import need

D, HEADS, LAYERS, VOCABULARY = 8, 2, 3, 11


def routes(params):
    """Returns how muon treats each parameter: path -> text of `describe`."""
    described = fo.describe(fo.muon(0.02), params)
    return {leaf.path: leaf.routes[0] for leaf in described.leaves}


# Arrays as matrices.

CUTS = [
    (MatrixAxes(), (4, 6), None, [(1, 4, 6)]),
    (MatrixAxes(1, 0), (4, 6), None, [(1, 6, 4)]),
    (MatrixAxes((0, 1, 2), 3), (3, 3, 2, 5), None, [(1, 18, 5)]),
    (MatrixAxes(2, 3), (3, 3, 2, 5), None, [(9, 2, 5)]),
    (MatrixAxes(1, 2), (3, 4, 8), None, [(3, 4, 8)]),
    (MatrixAxes(0, 1, split_outputs=3), (4, 12), None, [(3, 4, 4)]),
    (MatrixAxes(1, 0, split_inputs=2), (4, 12), None, [(2, 6, 4)]),
    (MatrixAxes(1, 2, split_outputs=(2, 2, 4)), (3, 4, 8), None, [(6, 4, 2), (3, 4, 4)]),
    (MatrixAxes(), (10, 7), 4, [(2, 4, 4), (2, 4, 3), (1, 2, 4), (1, 2, 3)]),
    (MatrixAxes(split_outputs=2), (8, 8), 4, [(4, 4, 4)]),
    (MatrixAxes(), (0, 4), None, [(1, 0, 4)]),
]


@pytest.mark.parametrize(("axes", "shape", "block_size", "expected"), CUTS)
def test_joining_inverts_splitting(axes, shape, block_size, expected):
    x = jnp.arange(float(np.prod(shape))).reshape(shape)
    blocks = Blocks(axes, shape, block_size)
    arrays = blocks.split(x)
    assert blocks.shapes == [a.shape for a in arrays] == expected
    np.testing.assert_array_equal(blocks.join(arrays, x), x)


def test_parts_lie_side_by_side():
    x = jnp.arange(24.0).reshape(2, 12)
    query, key, value = Blocks(MatrixAxes(split_outputs=3), x.shape).split(x)[0]
    np.testing.assert_array_equal(query, x[:, :4])
    np.testing.assert_array_equal(key, x[:, 4:8])
    np.testing.assert_array_equal(value, x[:, 8:])


BAD_AXES = [
    ({"inputs": "0"}, TypeError, "inputs must be an axis or a tuple of axes, got '0'"),
    ({"outputs": True}, TypeError, "outputs must be an axis or a tuple of axes, got True"),
    ({"split_inputs": 0}, TypeError, "split_inputs must be a positive integer"),
    ({"split_outputs": (2, -1)}, TypeError, "split_outputs must be a positive integer"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD_AXES)
def test_bad_axes_are_errors(arguments, kind, message):
    with pytest.raises(kind, match=message):
        MatrixAxes(**arguments)


BAD_FITS = [
    (MatrixAxes(0, 2), "give each axis once"),
    (MatrixAxes(0, 0), "give each axis once"),
    (MatrixAxes(split_outputs=5), "split_outputs=5 does not fit"),
    (MatrixAxes(split_inputs=(1, 1)), "add up to it"),
]


@pytest.mark.parametrize(("axes", "message"), BAD_FITS)
def test_axes_that_do_not_fit_name_the_parameter(axes, message):
    params = {"block": {"w": jnp.ones((4, 6))}}
    with pytest.raises(ValueError, match=rf"(?i)muon: .*at 'block\.w': .*{message}"):
        fo.muon(0.1, muon_weight_dimension_numbers=axes).init(params)


def test_optax_numbers_are_accepted():
    optax = pytest.importorskip("optax")
    numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1), output_axis=2)
    params = {"w": jnp.ones((2, 3, 4)), "b": jnp.ones(3)}
    tx = fo.muon(0.1, muon_weight_dimension_numbers={"w": numbers, "b": None})
    assert routes_of(tx, params) == {"w": "muon: a matrix of 6 x 4", "b": ANY}


ANY = "adam: by its axes, which are None"


def routes_of(tx, params):
    return {leaf.path: leaf.routes[0] for leaf in fo.describe(tx, params).leaves}


# Slots of rules for matrices.


@fo.rules.leaf_rule(
    slots=lambda p: {
        "mu": jnp.zeros_like(p),
        "gram": jnp.zeros((*p.shape[:-2], *p.shape[-2:-1] * 2)),
    }
)
def with_factor(g, slots, p, ctx):
    """Keeps a sum of gradients, and of their Gram matrices."""
    del p, ctx
    mu = slots.mu + g
    return mu, {"mu": mu, "gram": slots.gram + g @ jnp.swapaxes(g, -2, -1)}


@pytest.mark.parametrize("jit", [False, True])
def test_slots_like_the_matrices_have_the_shape_of_the_parameter(jit):
    leaves = MatrixLeaves.of({"w": MatrixAxes(1, 0, split_inputs=(2, 4)), "b": None}, "test")
    tx = on_matrices(with_factor(), leaves)
    params = {"w": jnp.arange(24.0).reshape(4, 6), "b": jnp.ones(3)}
    state = tx.init(params)
    update = jax.jit(tx.update) if jit else tx.update
    updates, state = update(params, state, params)
    updates, state = update(params, state, params)
    assert state.mu["w"].shape == (4, 6)
    assert [x.shape for x in state.gram["w"]] == [(1, 2, 2), (1, 4, 4)]
    np.testing.assert_array_equal(updates["w"], 2 * params["w"])
    np.testing.assert_array_equal(updates["b"], params["b"])
    first = params["w"][:, :2].T
    np.testing.assert_allclose(state.gram["w"][0][0], 2 * first @ first.T)


def test_a_square_factor_is_not_taken_for_a_slot_like_the_parameter():
    tx = on_matrices(with_factor(), MatrixLeaves.of(MatrixAxes(), "test"))
    state = tx.init({"w": jnp.ones((4, 4))})
    assert state.mu["w"].shape == (4, 4)
    assert state.gram["w"].shape == (1, 4, 4)


def test_a_missing_gradient_keeps_the_slots():
    leaves = MatrixLeaves.of({"v": MatrixAxes(split_outputs=(1, 3)), "w": MatrixAxes()}, "test")
    tx = on_matrices(with_factor(), leaves)
    params = {"v": jnp.ones((2, 4)), "w": jnp.ones((2, 2))}
    _, state = tx.update(params, tx.init(params), params)
    updates, after = tx.update({"v": None, "w": params["w"]}, state, params)
    assert updates["v"] is None
    np.testing.assert_array_equal(after.mu["v"], state.mu["v"])
    np.testing.assert_array_equal(after.gram["v"][0], state.gram["v"][0])
    np.testing.assert_array_equal(after.mu["w"], 2 * params["w"])


@pytest.mark.parametrize("factory", [fo.muon, fo.soap, fo.shampoo, fo.galore])
def test_a_missing_leaf_is_named(factory):
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    tx = factory(0.1)
    with pytest.raises(ValueError, match="no leaf at 'b', where the parameters have a leaf"):
        tx.update({"w": params["w"]}, tx.init(params), params)


def test_one_program_serves_all_learning_rates():
    def update_of(rate):
        return on_matrices(
            fo.chain(with_factor(), fo.scale_by_learning_rate(rate)),
            MatrixLeaves.of(None, "test"),
        ).update

    assert update_of(0.1) is update_of(0.2)


# Models of other libraries.


def gpt2_of(linen):
    """Returns a transformer with GPT-2's names, of Flax linen."""

    class Block(linen.Module):
        @linen.compact
        def __call__(self, x, _=None):
            y = linen.LayerNorm(name="ln_1")(x)
            y = linen.Dense(3 * D, name="c_attn")(y)[..., :D]
            x = x + linen.Dense(D, name="c_proj")(y)
            y = linen.Dense(4 * D, name="c_fc")(linen.LayerNorm(name="ln_2")(x))
            return x + linen.Dense(D, name="c_proj_2")(y), None

    class Model(linen.Module):
        stacked: bool

        @linen.compact
        def __call__(self, tokens):
            x = linen.Embed(VOCABULARY, D, name="wte")(tokens)
            x = x + self.param("wpe", linen.initializers.normal(), (5, D))
            if self.stacked:
                scan = linen.scan(
                    Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=LAYERS
                )
                x, _ = scan(name="h")(x, None)
            else:
                for i in range(LAYERS):
                    x, _ = Block(name=f"h_{i}")(x)
            return linen.Dense(VOCABULARY, name="lm_head")(linen.LayerNorm(name="ln_f")(x))

    return Model


@pytest.mark.parametrize("stacked", [False, True])
def test_gpt2_of_linen(stacked):
    need("flax")
    from flax import linen

    model = gpt2_of(linen)(stacked)
    tokens = jnp.zeros(5, jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]
    got = routes(params)
    expected = {
        "c_attn": f"{D} x {D}, split in 3",
        "c_proj": f"{D} x {D}",
        "c_fc": f"{D} x {4 * D}",
        "c_proj_2": f"{4 * D} x {D}",
    }
    check_gpt2(got, expected, "kernel", stacked)


def check_gpt2(got, expected, leaf, stacked):
    count = f"{LAYERS} matrices of" if stacked else "a matrix of"
    matrices = {path: text for path, text in got.items() if text.startswith("muon")}
    layers = 1 if stacked else LAYERS
    assert len(matrices) == len(expected) * layers, got
    for path, text in matrices.items():
        layer = path.split(".")[-2]
        assert path.endswith(leaf)
        sides = expected[layer].split(",")[0]
        split = expected[layer][len(sides) :]
        rows, columns = map(int, sides.split(" x "))
        whole = f"{rows} x {columns * 3 if split else columns}"
        assert text == f"muon: {count} {whole}{split}"


@pytest.mark.parametrize("stacked", [False, True])
def test_attention_of_nnx(stacked):
    need("flax")
    from flax import nnx

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.LayerNorm(D, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(HEADS, D, rngs=rngs, decode=False)
            self.fc = nnx.Linear(D, 4 * D, rngs=rngs)
            self.proj = nnx.Linear(4 * D, D, use_bias=False, rngs=rngs)

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(VOCABULARY, D, rngs=rngs)
            if stacked:

                @nnx.split_rngs(splits=LAYERS)
                @nnx.vmap(in_axes=(0,), out_axes=0)
                def make(rngs):
                    return Block(rngs)

                self.blocks = make(rngs)
            else:
                self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS)])
            self.norm = nnx.LayerNorm(D, rngs=rngs)
            self.head = nnx.Linear(D, VOCABULARY, rngs=rngs)

    params = nnx.state(Model(nnx.Rngs(0)), nnx.Param)
    got = routes(params)
    count = f"{LAYERS} matrices of" if stacked else "a matrix of"
    expected = {
        "attention.query.kernel": f"{D} x {D}",
        "attention.key.kernel": f"{D} x {D}",
        "attention.value.kernel": f"{D} x {D}",
        "attention.out.kernel": f"{D} x {D}",
        "fc.kernel": f"{D} x {4 * D}",
        "proj.kernel": f"{4 * D} x {D}",
    }
    matrices = {path: text for path, text in got.items() if text.startswith("muon")}
    assert len(matrices) == len(expected) * (1 if stacked else LAYERS)
    for path, text in matrices.items():
        sides = next(v for k, v in expected.items() if path.endswith(k))
        assert text == f"muon: {count} {sides}"
    assert got["embed.embedding"] == "adam: an embedding by the name 'embedding'"
    assert got["head.kernel"] == "adam: a head by the name 'head'"


@pytest.mark.parametrize("stacked", [False, True])
def test_transformer_of_equinox(stacked):
    need("equinox")
    import equinox as eqx

    class Block(eqx.Module):
        norm: eqx.nn.LayerNorm
        attention: eqx.nn.MultiheadAttention
        fc: eqx.nn.Linear
        proj: eqx.nn.Linear

        def __init__(self, key):
            self.norm = eqx.nn.LayerNorm(D)
            self.attention = eqx.nn.MultiheadAttention(HEADS, D, key=key)
            self.fc = eqx.nn.Linear(D, 4 * D, key=key)
            self.proj = eqx.nn.Linear(4 * D, D, use_bias=False, key=key)

    class Model(eqx.Module):
        embed: eqx.nn.Embedding
        blocks: list
        norm: eqx.nn.LayerNorm
        lm_head: eqx.nn.Linear

        def __init__(self, key):
            keys = jax.random.split(key, LAYERS)
            self.embed = eqx.nn.Embedding(VOCABULARY, D, key=key)
            self.blocks = eqx.filter_vmap(Block)(keys) if stacked else [Block(k) for k in keys]
            self.norm = eqx.nn.LayerNorm(D)
            self.lm_head = eqx.nn.Linear(D, VOCABULARY, key=key)

    params = eqx.filter(Model(jax.random.key(0)), eqx.is_inexact_array)
    got = routes(params)
    count = f"{LAYERS} matrices of" if stacked else "a matrix of"
    matrices = {path: text for path, text in got.items() if text.startswith("muon")}
    assert len(matrices) == 6 * (1 if stacked else LAYERS), got
    for path, text in matrices.items():
        # Equinox has (outputs, inputs); the text has inputs first.
        sides = {"fc": f"{D} x {4 * D}", "proj": f"{4 * D} x {D}"}.get(
            path.split(".")[-2], f"{D} x {D}"
        )
        assert text == f"muon: {count} {sides}"
    assert got["embed.weight"] == "adam: an embedding by the name 'embed'"
    assert got["lm_head.weight"] == "adam: a head by the name 'lm_head'"


CONVNETS = {
    "linen": {
        "Conv_0": {"kernel": (3, 3, 1, 8), "bias": (8,)},
        "BatchNorm_0": {"scale": (8,), "bias": (8,)},
        "Conv_1": {"kernel": (3, 3, 8, 16), "bias": (16,)},
        "Dense_0": {"kernel": (64, 32), "bias": (32,)},
        "head": {"kernel": (32, 10), "bias": (10,)},
    },
    "haiku": {
        "net/~/conv2_d": {"w": (3, 3, 3, 8), "b": (8,)},
        "net/~/conv2_d_1": {"w": (3, 3, 8, 16), "b": (16,)},
        "net/~/linear": {"w": (64, 32), "b": (32,)},
        "net/~/logits": {"w": (32, 10), "b": (10,)},
    },
    "equinox": {
        "conv1": {"weight": (8, 1, 3, 3), "bias": (8, 1, 1)},
        "layers": [{"weight": (16, 8, 3, 3), "bias": (16, 1, 1)}],
        "fc": {"weight": (32, 64), "bias": (32,)},
        "head": {"weight": (10, 32), "bias": (10,)},
    },
}


def shapes(tree):
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s, jnp.float32), tree, is_leaf=lambda x: isinstance(x, tuple)
    )


@pytest.mark.parametrize("library", CONVNETS)
def test_convnets(library):
    got = routes(shapes(CONVNETS[library]))
    assert sorted(v for v in got.values() if v.startswith("muon")) == [
        "muon: a matrix of 64 x 32",
        "muon: a matrix of 72 x 16",
    ]
    assert sum("a first convolution" in v for v in got.values()) == 1
    assert sum("a head" in v for v in got.values()) == 1


ASKED = {
    "a depthwise convolution": {"conv": {"kernel": (4, 1, 64), "bias": (64,)}},
    "a bilinear tensor": {"bilinear": {"weight": (8, 8, 8), "bias": (8,)}},
    "a stack of vectors": {"layers": {"w": (12, 8, 8), "g": (12, 8)}},
    "an unknown kernel": {"mixer": {"kernel": (2, 3, 4, 5)}},
    "stacked layers without names": {"layers": (4, 8, 8)},
    "fused in unequal parts": {"qkv": {"kernel": (8, 16)}},
}


@pytest.mark.parametrize("tree", ASKED.values(), ids=ASKED)
def test_the_error_for_an_ambiguous_name_shows_rules_that_resolve_it(tree):
    params = shapes({**tree, "fc": {"kernel": (8, 8)}})
    with pytest.raises(ValueError, match="may be matrices or not") as caught:
        fo.muon(0.1).init(params)
    message = str(caught.value)
    assert "fc.kernel: [8, 8], a matrix of 8 x 8" in message
    line = next(x for x in message.splitlines() if "fo.MatrixAxes(" in x)
    # The lines that the message writes resolve it.
    rules = eval(message[message.index("fo.axes_by_name(") :], {"fo": fo})
    assert line
    described = fo.describe(fo.muon(0.1, muon_weight_dimension_numbers=rules), params)
    assert all(leaf.links for leaf in described.leaves)


def test_norms_of_stacked_layers_are_never_matrices():
    got = routes(shapes({"layers": {"ln": {"scale": (12, 8)}, "fc": {"kernel": (12, 8, 16)}}}))
    assert got["layers.ln.scale"].startswith("adam")
    assert got["layers.fc.kernel"] == "muon: 12 matrices of 8 x 16"


def test_a_matrix_next_to_a_stack_of_another_length_is_a_matrix():
    blocks = {"kernel": (3, 8, 8), "bias": (3, 8)}
    tree = shapes({"blocks": {"up": blocks}, "mix": {"kernel": (8, 16)}})
    got = fo.axes_by_name()(tree)
    assert got["mix"]["kernel"] == MatrixAxes(0, 1)
    assert got["blocks"]["up"]["kernel"] == MatrixAxes(1, 2)


def test_rules_come_before_names():
    axes = fo.axes_by_name({"^w$": None, r"experts": MatrixAxes(1, 2)})
    params = {"w": jnp.ones((2, 2)), "v": jnp.ones((2, 2)), "experts": jnp.ones((3, 2, 2))}
    found = axes(params)
    assert isinstance(found["w"], Vectors)
    assert found["v"] == MatrixAxes()
    assert found["experts"] == MatrixAxes(1, 2)


def test_a_rule_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match="the rule 'wq' matches no parameter"):
        fo.axes_by_name({"wq": MatrixAxes()})({"w": jnp.ones((2, 2))})
    with pytest.raises(ValueError, match="regular expression"):
        fo.axes_by_name({"(": MatrixAxes()})


def test_a_stack_equals_its_matrices():
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.standard_normal((3, 4, 6)))
    stacked = fo.muon(0.1, muon_weight_dimension_numbers=MatrixAxes(1, 2))
    single = fo.muon(0.1, muon_weight_dimension_numbers=MatrixAxes())
    whole, _ = stacked.update(w, stacked.init(w), w)
    for one, x in zip(whole, w, strict=True):
        np.testing.assert_allclose(one, single.update(x, single.init(x), x)[0], rtol=1e-12)


def test_a_fused_weight_equals_its_parts():
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.standard_normal((4, 12)))
    fused = fo.muon(0.1, muon_weight_dimension_numbers=MatrixAxes(split_outputs=(4, 2, 6)))
    single = fo.muon(0.1, muon_weight_dimension_numbers=MatrixAxes())
    whole, _ = fused.update(w, fused.init(w), w)
    for start, end in ((0, 4), (4, 6), (6, 12)):
        x = w[:, start:end]
        part = single.update(x, single.init(x), x)[0]
        np.testing.assert_allclose(whole[:, start:end], part, rtol=1e-12)
