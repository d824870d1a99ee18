"""Models of torch continue here: weights and moments laid out as Flax and Equinox have them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from functional_optim import optim
from functional_optim.interop.torch import import_model

from ..golden import models_store
from .torch_models import LIBRARIES

MODELS = ("mlp", "convnet", "transformer")
RUNS = {name: models_store.read(name) for name in MODELS}


@pytest.fixture(autouse=True)
def double():
    """Enables float64, and promotion, because Flax's layers also have numbers in float32."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def losses(apply, params, state, run):
    """Returns the losses of the steps after the model was saved."""

    def loss(params, x, labels):
        logits = apply(params, x).reshape(labels.size, -1)
        rows = jnp.arange(labels.size)
        return -jax.nn.log_softmax(logits)[rows, labels.ravel()].mean()

    opt = optim.AdamW(optim.path_groups(params, {"bias": {"weight_decay": 0.5}}))
    opt.load_state_dict(state)
    return [float(opt.minimize(loss, run.inputs, run.labels)) for _ in run.losses]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_run_of_torch_continues_with_equal_losses(library, name):
    make, layout = LIBRARIES[library]
    run = RUNS[name]
    like, apply, modules = make(name, run.inputs)
    params, state = import_model(
        run.model, like, layout=layout, modules=modules, optimizer=run.optimizer, names=run.names
    )
    assert jax.tree.structure(params) == jax.tree.structure(like)
    np.testing.assert_allclose(losses(apply, params, state, run), run.losses, rtol=1e-7)


def test_a_square_kernel_and_its_moments_are_transposed():
    run = RUNS["mlp"]
    like, _, modules = LIBRARIES["linen"][0]("mlp", run.inputs)
    params, state = import_model(
        run.model, like, layout="flax", modules=modules, optimizer=run.optimizer, names=run.names
    )
    np.testing.assert_array_equal(params["Dense_0"]["kernel"], run.model["0.weight"].T)
    (number,) = (
        k
        for group in state["param_groups"]
        for k, name in zip(group["params"], group["param_names"], strict=True)
        if name == "Dense_0.kernel"
    )
    for entry in ("exp_avg", "exp_avg_sq"):
        theirs = run.optimizer["state"][0][entry]
        np.testing.assert_array_equal(state["state"][number][entry], theirs.T)
        assert not np.array_equal(theirs, theirs.T)
    assert state["state"][number]["step"] == run.optimizer["state"][0]["step"]


@pytest.mark.parametrize(
    "wrap",
    ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}", "module.module.{}"],
)
def test_names_of_wrappers_are_taken_off(wrap):
    run = RUNS["convnet"]
    like, *_ = LIBRARIES["linen"][0]("convnet", run.inputs)
    wrapped = {wrap.format(k): x for k, x in run.model.items()}
    names = [[wrap.format(k) for k in group] for group in run.names]
    options = {"layout": "flax", "optimizer": run.optimizer}
    plain = import_model(run.model, like, names=run.names, **options)
    found = import_model(wrapped, like, names=names, **options)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_a_compiled_module_within_a_model():
    saved = {"fc._orig_mod.weight": np.ones((3, 2)), "fc._orig_mod.bias": np.ones(3)}
    like = {"fc": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}
    assert import_model(saved, like, layout="flax")["fc"]["kernel"].shape == (2, 3)


def test_statistics_of_batch_normalization():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=True, name="bn")(nn.Dense(2, name="fc")(x))

    variables = Model().init(jax.random.key(0), jnp.ones((1, 2)))
    arrays = {
        "fc.weight": np.arange(4.0).reshape(2, 2),
        "fc.bias": np.arange(2.0),
        "bn.weight": np.arange(2.0) + 1,
        "bn.bias": np.arange(2.0) + 2,
        "bn.running_mean": np.arange(2.0) + 3,
        "bn.running_var": np.arange(2.0) + 4,
        "bn.num_batches_tracked": np.array(7),
    }
    found = import_model(arrays, variables, layout="flax")
    for here, there in [("mean", "running_mean"), ("var", "running_var")]:
        np.testing.assert_array_equal(found["batch_stats"]["bn"][here], arrays[f"bn.{there}"])
    np.testing.assert_array_equal(found["params"]["bn"]["scale"], arrays["bn.weight"])
    alone = import_model(arrays, variables["params"], layout="flax")
    np.testing.assert_array_equal(alone["fc"]["kernel"], arrays["fc.weight"].T)
    entry = {"momentum_buffer": np.arange(2.0)}
    groups = [{"params": [0, 1, 2, 3], "lr": 0.5, "momentum": 0.9}]
    torchs = {"state": {3: entry}, "param_groups": groups}  # in the order of the model
    params, state = import_model(arrays, variables, layout="flax", optimizer=torchs)
    opt = optim.SGD(params["params"], momentum=0.1)
    opt.load_state_dict(state)
    assert opt.state[0].trace.trace["bn"]["bias"].tolist() == [0.0, 1.0]
    assert opt.param_groups[0]["momentum"] == 0.9


def test_statistics_in_the_state_of_an_nnx_module():
    state = nnx.state(nnx.BatchNorm(2, rngs=nnx.Rngs(0)))
    arrays = {k: np.full(2, i) for i, k in enumerate(["weight", "bias", "running_mean"])}
    found = import_model(arrays | {"running_var": np.full(2, 3.0)}, state, layout="flax")
    assert [float(found[k].get_value()[0]) for k in ("scale", "bias", "mean", "var")] == [
        0,
        1,
        2,
        3,
    ]


def test_a_tree_in_the_layout_of_torch():
    like = {"layers": [{"weight": jnp.zeros((2, 3))}, {"weight": jnp.zeros((3, 2), jnp.bfloat16)}]}
    saved = {f"layers.{i}.weight": np.arange(6.0).reshape(2 + i, 3 - i) for i in range(2)}
    found = import_model(saved, like, layout="torch")
    for i in range(2):
        x = found["layers"][i]["weight"]
        assert x.dtype == like["layers"][i]["weight"].dtype
        np.testing.assert_array_equal(x.astype(jnp.float64), saved[f"layers.{i}.weight"])


LIKE = {"fc": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}
SAVED = {"fc.weight": np.zeros((3, 2)), "fc.bias": np.zeros(3)}
GROUPS = [{"params": [0]}, {"params": [1]}]


@pytest.mark.parametrize(
    ("saved", "options", "text"),
    [
        (SAVED, {"layout": "keras"}, r"layout must be one of 'flax', .*got 'keras'"),
        (
            SAVED,
            {"layout": "equinox"},
            r"'fc\.kernel' is not in the model of torch, as 'fc\.kernel'",
        ),
        ({"fc.weight": np.zeros((3, 2))}, {}, r"'fc\.bias' is not in .*Pass modules="),
        (SAVED | {"out.weight": np.zeros(2)}, {}, r"'out\.weight' of torch has no place here"),
        (
            SAVED | {"fc.weight": np.zeros((2, 3))},
            {},
            r"'fc\.kernel' has shape \(2, 3\), and 'fc\.weight' \(2, 3\)",
        ),
        (
            SAVED,
            {"optimizer": {"state": {}, "param_groups": GROUPS}, "names": ["fc.weight", "fc.bias"]},
            r"groups of \[1, 1\] parameters, and the names are \[2\]\. Pass names=\[\[",
        ),
        (
            SAVED,
            {"optimizer": {"state": {}, "param_groups": GROUPS}},
            r"groups of \[1, 1\] parameters",
        ),
        (
            SAVED,
            {
                "optimizer": {"state": {0: {"exp_avg": np.zeros(3)}}, "param_groups": GROUPS},
                "names": [["fc.weight"], ["fc.bias"]],
            },
            r"'exp_avg' of 'fc\.weight' has shape \(3,\), and the parameter \(3, 2\)",
        ),
        (
            SAVED,
            {
                "optimizer": {"state": {}, "param_groups": [{"params": [0]}]},
                "names": ["fc.extra"],
            },
            r"the optimizer has 'fc\.extra', which the tree does not",
        ),
    ],
)
def test_arrays_that_do_not_match_are_an_error(saved, options, text):
    with pytest.raises(ValueError, match=f"import_model: .*{text}"):
        import_model(saved, LIKE, **{"layout": "flax"} | options)


def test_a_missing_path_of_modules_is_an_error():
    saved = {"enc.weight": np.ones((3, 3)), "dec.weight": np.zeros((3, 3))}
    like = {"enc": {"kernel": jnp.zeros((3, 3))}, "dec": {"kernel": jnp.zeros((3, 3))}}
    swapped = import_model(saved, like, layout="flax", modules={"enc": "dec", "dec": "enc"})
    assert swapped["dec"]["kernel"][0, 0] == 1
    with pytest.raises(ValueError, match="'encoder' of modules is above no parameter here"):
        import_model(saved, like, layout="flax", modules={"encoder": "dec", "decoder": "enc"})
