"""Checkpoints: parameters, state, step and plain data, written and read again."""

import collections
import functools
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.interop import orbax, safetensors

from ..problem import arrays
from ..trees import assert_same

each_library = pytest.mark.parametrize(
    "library", [safetensors, orbax], ids=["safetensors", "orbax"]
)

TX = fo.chain(
    fo.clip_by_global_norm(1.0), fo.adamw(fo.warmup_cosine_decay_schedule(0.0, 0.1, 2, 9))
)


def _grads(params):
    return jax.grad(lambda p: sum(jnp.sum(jnp.cos(x)) for x in jax.tree.leaves(p)))(params)


def run(params, state, steps):
    for _ in range(steps):
        params, state = _step(params, state)
    return params, state


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _step(params, state):
    updates, state = TX.update(_grads(params), state, params)
    return fo.apply_updates(params, updates), state


@each_library
def test_a_donating_run_continues_after_a_restore(library, tmp_path):
    params, state = run(arrays(), TX.init(arrays()), 3)
    library.save(tmp_path / "c", params=params, state=state, step=3)
    expected = run(params, state, 4)  # which donates the arrays that were saved

    shapes = jax.eval_shape(lambda: (arrays(), TX.init(arrays())))
    for params, state in ((arrays(), TX.init(arrays())), shapes):
        saved = library.load(tmp_path / "c", params=params, state=state)
        assert saved.step == 3
        assert saved.report.complete
        assert_same(run(saved.params, saved.state, 4), expected)


def test_an_asynchronous_checkpoint_has_the_values_at_the_call(tmp_path):
    params, state = run(arrays(), TX.init(arrays()), 1)
    copy = jax.tree.map(np.array, (params, state))
    saving = orbax.save(tmp_path / "c", params=params, state=state, wait=False)
    run(params, state, 5)
    saving.wait()
    saved = orbax.load(tmp_path / "c", params=arrays(), state=TX.init(arrays()))
    assert_same(jax.tree.map(np.array, (saved.params, saved.state)), copy)


@each_library
def test_an_optimizer_and_its_schedulers_continue(library, tmp_path):
    def make():
        opt = optim.AdamW(
            [{"params": {"w": jnp.ones((3, 4))}}, {"params": {"b": jnp.ones(4)}, "lr": 0.5}], lr=0.1
        )
        warm = optim.lr_scheduler.LinearLR(opt, total_iters=2)
        falling = optim.lr_scheduler.ExponentialLR(opt, 0.9)
        return opt, optim.lr_scheduler.SequentialLR(opt, [warm, falling], milestones=[2])

    def go_on(opt, scheduler, steps):
        for _ in range(steps):
            opt.step(jax.tree.map(jnp.cos, opt.params))
            scheduler.step()
        return jax.tree.map(np.array, (opt.params, opt.state))

    opt, scheduler = make()
    go_on(opt, scheduler, 3)
    extra = {"optimizer": opt.state_dict(), "scheduler": scheduler.state_dict()}
    library.save(tmp_path / "c", params=opt.params, step=opt.step_count, extra=extra)
    expected = go_on(opt, scheduler, 3)

    again, its = make()
    saved = library.load(tmp_path / "c", params=again.params)
    again.params = saved.params
    again.load_state_dict(saved.extra["optimizer"])
    its.load_state_dict(saved.extra["scheduler"])
    assert saved.step == again.step_count == 3
    assert_same(go_on(again, its, 3), expected)


@each_library
def test_arrays_of_every_dtype_and_shape_round_trip(library, tmp_path):
    dtypes = ["bool", "int8", "uint32", "int64", "float16", "bfloat16", "float64", "complex64"]
    params = {name: np.array([[0, 1, 2]]).astype(jnp.dtype(name)) for name in dtypes}
    params |= {"scalar": np.float32(3), "none": np.zeros((0, 3), np.float32)}
    if library is safetensors:  # orbax writes those that TensorStore knows
        params |= {
            "wide": np.ones(2, np.complex128),
            "e4m3b11": np.ones(2, ml_dtypes.float8_e4m3b11fnuz),
        }
    library.save(tmp_path / "c", params=params)
    saved = library.load(tmp_path / "c")
    assert saved.state is None
    assert {k: x.dtype for k, x in saved.params.items()} == {k: x.dtype for k, x in params.items()}
    assert_same(saved.params, {k: np.asarray(x) for k, x in params.items()})


@each_library
def test_plain_data_round_trips(library, tmp_path):
    extra = {
        "none": None,
        "numbers": [1, 0.1, float("inf"), True],
        "betas": (0.9, (0.999,)),
        3: {"$odd": "text"},
        "keys": {
            (1, ("a", None)): 2,
            1.5: 3,
            None: 4,
            np.int64(5): 6,
            "$tuple": 7,
            True: np.ones(1),
        },
        "names": {"a": np.ones(1), "a#1": np.zeros(1), "a/b": np.ones(2), "": 1, "\u2603": 2},
        "array": np.arange(3, dtype=np.int16),
        "scalar": np.float32(0.1),
        "deep": {"a.b": np.ones(1), "a": {"b": np.zeros(1)}},
    }
    library.save(tmp_path / "c", extra=extra)
    assert repr(library.load(tmp_path / "c").extra) == repr(extra)


REFUSED = {
    "function": ([1, len], r"\.1' is of type builtin_function_or_method\. Pass plain data"),
    "key": ({frozenset("b"): 1}, r"\(its key\)' is of type frozenset. Pass plain data"),
    "bytes": (b"b", "is of type bytes"),
    "named tuple": (collections.namedtuple("Pair", "x")(1), "is of type Pair"),
    "masked": (np.ma.array([1, 2], mask=[0, 1]), "is of type MaskedArray"),
    "texts": (np.array(["b"]), "has the dtype <U1, and a checkpoint holds arrays of numbers"),
    "text": (np.str_("b"), "has the dtype <U1, .*Python string"),
    "objects": (np.array([None]), "has the dtype object"),
    "structure": (np.zeros(1, [("x", "f4")]), "has the dtype"),
    "random key": (jax.random.key(0), r"has the dtype key<fry>.*jax\.random\.key_data"),
}


@each_library
@pytest.mark.parametrize("case", REFUSED)
def test_other_data_is_refused_by_name(library, case, tmp_path):
    """Data that could not be loaded again raises an error when it is saved."""
    value, message = REFUSED[case]
    with pytest.raises(TypeError, match=rf"{library.__name__[-5:]}\.save: 'extra\.a.*{message}"):
        library.save(tmp_path / "c", extra={"a": value})
    assert not list(tmp_path.iterdir())


@each_library
def test_arrays_of_the_other_byte_order_are_read_with_their_values(library, tmp_path):
    arrays = {"x": np.array([1.5, -2.0], ">f4"), "n": np.array([3, 4], "<i8")}
    library.save(tmp_path / "c", params=arrays, extra=arrays)
    saved = library.load(tmp_path / "c")
    assert saved.params["x"].tolist() == saved.extra["x"].tolist() == [1.5, -2.0]
    assert saved.extra["n"].tolist() == [3, 4]


@each_library
def test_a_step_that_is_not_an_integer_is_refused(library, tmp_path):
    with pytest.raises(TypeError, match=r"save: step must be an integer or None, got 2.5"):
        library.save(tmp_path / "c", params=arrays(), step=2.5)
    library.save(tmp_path / "c", params=arrays(), step=np.int64(3))
    assert library.load(tmp_path / "c").step == 3


@each_library
def test_other_parameters_are_reported(library, tmp_path):
    tx, new = fo.adam(0.1), {**arrays(), "new": jnp.full(2, 7.0)}
    library.save(tmp_path / "c", params=arrays(), state=tx.init(arrays()), step=1)
    with pytest.raises(ValueError, match=r"load: the saved state .*\nmissing: 'params.new' \(2,\)"):
        library.load(tmp_path / "c", params=new, state=tx.init(new))
    saved = library.load(tmp_path / "c", params=new, state=tx.init(new), strict=False)
    assert_same(saved.params, new)
    assert "state.scale_by_adam.mu.new" in saved.report.missing
    renamed = {"v": arrays()["w"], "b": arrays()["b"]}
    saved = library.load(tmp_path / "c", params=renamed, state=tx.init(renamed), rename={"w": "v"})
    assert_same(saved.params, renamed)


@each_library
def test_shardings_are_the_templates(library, tmp_path, mesh):
    sharded = jax.NamedSharding(mesh, jax.P("x", "y"))
    params = {"w": jax.device_put(jnp.arange(16.0).reshape(4, 4), sharded)}
    tx = fo.adam(0.1)
    library.save(tmp_path / "c", params=params, state=tx.init(params))
    other = jax.NamedSharding(mesh, jax.P(None, "x"))
    params = {"w": jax.device_put(jnp.zeros((4, 4)), other)}
    saved = library.load(tmp_path / "c", params=params, state=tx.init(params))
    assert saved.params["w"].sharding == saved.state.scale_by_adam.mu["w"].sharding == other
    assert saved.params["w"].sum() == 120


def test_arrays_sharded_over_processes_are_not_written_by_one(tmp_path, monkeypatch):
    """The arrays only pretend; `tests/sharding/test_multihost.py` has real processes."""
    params = arrays()
    for name in ("is_fully_addressable", "is_fully_replicated"):
        monkeypatch.setattr(type(params["w"]), name, property(lambda x: False))
    with pytest.raises(ValueError, match=r"safetensors.save: 'params.b' is sharded over several"):
        safetensors.save(tmp_path / "c", params=params)
    with pytest.raises(ValueError, match=r"to_state_dict: 'b' is sharded .* Use interop.orbax, wh"):
        fo.to_state_dict(params)
    assert not list(tmp_path.iterdir())


def test_an_existing_directory_is_not_overwritten(tmp_path):
    orbax.save(tmp_path / "c", params=arrays())
    with pytest.raises(ValueError, match=r"^interop\.orbax\.save: .*c already exists\. Pass"):
        orbax.save(tmp_path / "c", params=arrays())


@pytest.mark.parametrize(
    ("library", "module"), [(safetensors, "safetensors.numpy"), (orbax, "orbax.checkpoint")]
)
def test_a_missing_library_is_named(library, module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    extra = module.split(".")[0]
    with pytest.raises(ImportError, match=rf"save needs {module}.*functional_optim\[{extra}\]"):
        library.save(tmp_path / "c", params=arrays())
