"""What goes wrong without a word in a training loop, and must not."""

import copy
import gc
import json
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.interop.torch import to_torch
from functional_optim.optim.lr_scheduler import LRScheduler, StepLR

from ..trees import assert_same
from .test_compilation import compilations

SIGN = fo.GradientTransformation(lambda params: (), lambda g, state, params: (g, state))
"""A transformation of somebody else, which keeps no hyperparameters."""


def two():
    return {"q": jnp.ones((3, 3)), "k": jnp.zeros((3, 3))}


def ones(optimizer):
    return jax.tree.map(jnp.ones_like, optimizer.params)


def stepped(optimizer):
    optimizer.step(ones(optimizer))
    return optimizer


def torch_file(options=None):
    """As torch writes it for a model that defines q before k."""
    state = {i: {"momentum_buffer": np.full((3, 3), 1.0 + i)} for i in (0, 1)}
    group = {"lr": 0.5, "momentum": 0.9, "params": [0, 1], **(options or {})}
    return {"state": state, "param_groups": [group]}


# State dicts.


def test_a_file_without_names_is_not_matched_to_a_dict():
    optimizer = optim.SGD(two(), momentum=0.9)
    with pytest.raises(ValueError, match=r"names=\[\.\.\.\]"):
        optimizer.load_state_dict(torch_file())


def test_names_can_be_given():
    optimizer = optim.SGD(two(), momentum=0.9)
    optimizer.load_state_dict(torch_file(), names=["q", "k"])
    trace = optimizer.state[0].trace.trace
    assert (float(trace["q"][0, 0]), float(trace["k"][0, 0])) == (1.0, 2.0)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("names", [["q"], ["q", "q"], ["q", "v"], ["q", "k", "v"]], ids=str)
def test_names_that_do_not_fit_are_refused(names):
    with pytest.raises(ValueError, match=r"SGD\.load_state_dict: .*Nothing was loaded"):
        optim.SGD(two(), momentum=0.9).load_state_dict(torch_file(), names=names)


@pytest.mark.parametrize("make", [list, tuple], ids=["list", "tuple"])
def test_a_flat_list_is_matched_by_position(make):
    optimizer = optim.SGD(make(two().values()), momentum=0.9)
    optimizer.load_state_dict(torch_file())
    assert [float(x[0, 0]) for x in optimizer.state[0].trace.trace] == [1.0, 2.0]


def test_entries_that_belong_to_no_parameter_are_refused():
    saved = torch_file()
    saved["state"][99] = saved["state"].pop(1)
    with pytest.raises(ValueError, match="entries for 99, which no group lists"):
        optim.SGD(list(two().values()), momentum=0.9).load_state_dict(saved)


def test_a_state_without_entries_starts_anew():
    optimizer = stepped(optim.SGD(two(), lr=0.1, momentum=0.9))
    optimizer.load_state_dict({**torch_file(), "state": {}})
    assert optimizer.state_dict()["state"] == {}
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("cls", [optim.Adam, optim.AdamW, optim.RMSprop])
def test_a_state_crosses_json(cls):
    optimizer = stepped(stepped(cls(two(), lr=0.1)))
    text = json.dumps(optimizer.state_dict(), default=lambda a: a.tolist())
    other = cls(optimizer.copy_params())
    other.load_state_dict(json.loads(text))
    assert_same(other.state, optimizer.state)
    assert_same(stepped(other).params, stepped(optimizer).params)


def test_ulps_of_another_step_are_left_alone():
    optimizer = optim.Adam({"w": jnp.zeros(64)}, betas=(0.9, 0.99))
    for seed in range(7):
        optimizer.step({"w": jax.random.normal(jax.random.key(seed), 64)})
    saved = optimizer.state_dict()
    entry = saved["state"][0]
    assert entry["exp_avg_ulp"][0] == 7
    entry["step"] = np.float32(8)
    plain = copy.deepcopy(saved)
    del plain["state"][0]["exp_avg_ulp"]
    plain["state"][0].pop("exp_avg_sq_ulp", None)
    states = []
    for each_one in (saved, plain):
        other = optim.Adam({"w": jnp.zeros(64)}, betas=(0.9, 0.99))
        other.load_state_dict(each_one)
        states.append(other.state)
    assert_same(*states)


def test_a_run_resumes_with_its_parameters_grouped_otherwise():
    one = stepped(optim.AdamW(two(), lr=0.5))
    groups = [{"params": {k: p}, "weight_decay": 0.0} for k, p in one.copy_params().items()]
    several = optim.AdamW(groups, lr=0.1)
    several.load_state_dict(one.state_dict())
    assert [float(s.scale_by_adam.steps[0]) for s in several.state] == [1.0, 1.0]
    assert [g["lr"] for g in several.param_groups] == [0.1, 0.1]
    back = optim.AdamW(several.copy_params()[1] | several.copy_params()[0], lr=0.2)
    back.load_state_dict(several.state_dict())
    assert_same(back.state[0].scale_by_adam.nu, one.state[0].scale_by_adam.nu)


def test_groups_in_another_order_take_their_own_options():
    def make(order, lrs):
        params = two()
        return optim.SGD(
            [{"params": {k: params[k]}, "lr": lr} for k, lr in zip(order, lrs, strict=True)]
        )

    other = make("kq", (1.0, 2.0))
    other.load_state_dict(make("qk", (0.25, 0.5)).state_dict())
    assert [group["lr"] for group in other.param_groups] == [0.5, 0.25]


def test_names_have_the_group_in_front_only_where_they_clash():
    groups = [{"params": {"a": jnp.ones(1), "w": jnp.ones(1)}}, {"params": {"w": jnp.ones(1)}}]
    saved = optim.SGD(groups).state_dict()["param_groups"]
    assert [group["param_names"] for group in saved] == [["a", "0.w"], ["1.w"]]


class Tensor:
    """What of a torch tensor a file is read by."""

    def __init__(self, value):
        self.value = np.asarray(value)
        self.shape = self.value.shape

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        if self.value.dtype.name == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.value

    def float(self):
        return Tensor(self.value.astype(np.float32))


def test_tensors_in_a_file_are_read():
    saved = torch_file({"lr": Tensor(0.25)})
    for entry in saved["state"].values():
        entry["momentum_buffer"] = Tensor(entry["momentum_buffer"].astype(jnp.bfloat16))
    optimizer = optim.SGD(list(two().values()), momentum=0.9)
    optimizer.load_state_dict(saved)
    assert [float(x[0, 0]) for x in optimizer.state[0].trace.trace] == [1.0, 2.0]
    assert float(optimizer.param_groups[0]["lr"]) == 0.25


def test_torch_is_imported_only_to_make_tensors(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch needs torch\. Install it: pip install torch"):
        to_torch(optim.SGD(two()).state_dict())


def test_torch_goes_on_with_a_state_of_ours():
    torch = pytest.importorskip("torch")
    params = [jnp.arange(6.0).reshape(2, 3), jnp.ones(3)]
    ours = stepped(stepped(optim.AdamW(params, lr=np.float32(0.125))))
    tensors = [torch.nn.Parameter(torch.tensor(np.array(p))) for p in ours.params]
    theirs = torch.optim.AdamW(tensors)
    theirs.load_state_dict(to_torch(ours.state_dict()))
    assert sorted(theirs.state_dict()["state"][0]) == ["exp_avg", "exp_avg_sq", "step"]
    for p in tensors:
        p.grad = torch.ones_like(p)
    theirs.step()
    for p, q in zip(stepped(ours).params, tensors, strict=True):
        np.testing.assert_allclose(p, q.detach().numpy(), rtol=1e-6)


# What a step is given.


def test_gradients_of_a_module_are_no_closure():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.Linear(2, 2, key=jax.random.key(0))
    optimizer = optim.SGD(model, lr=0.5)
    optimizer.step(jax.tree.map(jnp.ones_like, model))
    np.testing.assert_array_equal(optimizer.params.weight, model.weight - 0.5)


def test_a_closure_of_torch_is_told_what_to_take():
    optimizer = optim.SGD(two())
    with pytest.raises(TypeError, match=r"closure\(params\) -> loss"):
        optimizer.step(lambda: 0.0)


def test_gradients_and_a_closure_are_too_much():
    optimizer = optim.SGD(two())
    with pytest.raises(TypeError, match="gradients and a closure"):
        optimizer.step(two(), closure=lambda params: params["q"].sum())


def test_none_stands_for_a_subtree_and_for_a_group():
    params = [{"params": {"a": {"w": jnp.ones(2), "b": jnp.ones(1)}, "c": jnp.ones(1)}}]
    optimizer = optim.SGD([*params, {"params": two()}], lr=1.0, momentum=0.9)
    optimizer.step([{"a": None, "c": jnp.ones(1)}, None])
    assert_same(optimizer.params[0]["a"], {"w": jnp.ones(2), "b": jnp.ones(1)})
    assert_same(optimizer.params[0]["c"], jnp.zeros(1))
    assert_same(optimizer.params[1], two())
    optimizer.grads = [None, two()]
    optimizer.backward(lambda params: params[0]["c"].sum())
    optimizer.step()
    assert_same(optimizer.params[1]["q"], jnp.zeros((3, 3)))


def test_a_group_of_path_groups_takes_none_for_a_subtree():
    tree = {"a": two(), "b": {"w": jnp.ones(1)}}
    optimizer = optim.SGD(optim.path_groups(tree, {"^b": {}}), lr=1.0)
    optimizer.step({"a": None, "b": {"w": jnp.ones(1)}})
    assert_same(optimizer.params, {"a": two(), "b": {"w": jnp.zeros(1)}})


@pytest.mark.parametrize("how", ["step", "minimize"])
def test_the_parameters_may_be_the_gradients(how):
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    for _ in range(2):
        if how == "step":
            optimizer.step(optimizer.params)
        else:
            optimizer.minimize(lambda p, q: jnp.vdot(p["w"], q["w"]), optimizer.params)
    assert_same(optimizer.params, {"w": jnp.full(2, 0.25)})


# What happens to a step.


@pytest.mark.parametrize("transform", [jax.jit, jax.grad], ids=["jit", "grad"])
def test_a_step_within_a_trace_is_refused_and_changes_nothing(transform):
    optimizer = optim.SGD({"w": jnp.ones(())}, lr=0.5)

    def step(g):
        optimizer.step({"w": g})
        return optimizer.params["w"]

    with pytest.raises(RuntimeError, match=r"SGD\.step: called within a trace"):
        transform(step)(jnp.ones(()))
    with pytest.raises(RuntimeError, match=r"SGD\.backward: called within a trace"):
        transform(lambda x: optimizer.backward(lambda p, x: p["w"] * x, x))(jnp.ones(()))
    gradients = {"w": jnp.ones(())}
    with pytest.raises(RuntimeError, match=r"SGD\.step: called within a trace"):
        jax.jit(lambda: optimizer.step(gradients))()
    assert optimizer.step_count == 0
    assert_same(stepped(optimizer).params, {"w": jnp.full((), 0.5)})


def test_a_run_within_one_trace_is_allowed():
    def run(start):
        optimizer = optim.SGD({"w": start}, lr=0.5)
        return stepped(stepped(optimizer)).params["w"]

    assert jax.jit(run)(jnp.ones(2)).tolist() == [0.0, 0.0]


def test_a_step_that_lost_its_arguments_says_so(monkeypatch):
    optimizer = optim.SGD({"w": jnp.ones(2)})

    def fail(params, states, grads):
        jax.tree.map(lambda x: x.delete(), params)
        raise OSError("the device is gone")

    monkeypatch.setattr(optimizer._compiled(), "step", fail, raising=False)
    with pytest.raises(RuntimeError, match=r"SGD\.step: .* lost\. Restore .*checkpoint") as caught:
        optimizer.step({"w": jnp.ones(2)})
    assert isinstance(caught.value.__cause__, OSError)


def test_copies_of_params_outlive_a_step():
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    best = optimizer.copy_params()
    stepped(optimizer)
    assert_same(best, {"w": jnp.ones(2)})


@pytest.mark.parametrize("how", ["minimize", "backward"])
def test_what_a_loss_closed_over_is_freed_with_it(how):
    optimizer = optim.SGD({"w": jnp.ones(2)})
    batches = []
    for i in range(3):
        batch = jnp.full(2, float(i))
        getattr(optimizer, how)(lambda p, batch=batch: jnp.sum(p["w"] * batch))
        batches.append(weakref.ref(batch))
    del batch
    gc.collect()
    assert [ref() for ref in batches] == [None] * 3


@pytest.mark.parametrize("kind", ["method", "callable", "unhashable"])
def test_a_loss_of_any_kind_compiles_once(kind):
    class Loss:
        def __init__(self):
            self.scale = jnp.ones(())

        def __call__(self, p):
            return jnp.sum(p["w"]) * self.scale

    class Unhashable(Loss):
        __hash__ = None

    optimizer, loss = (
        optim.SGD({"w": jnp.ones(21)}),
        (Unhashable if kind == "unhashable" else Loss)(),
    )
    with compilations() as found:
        for _ in range(3):
            optimizer.minimize(loss.__call__ if kind == "method" else loss)
    assert found.count("jit(optimizer_minimize)") == 1


# Groups and their options.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda w: [{"params": w, "lr": 0.5}, {"param": w}], r"entry 1 has no 'params'.*'param'"),
        (lambda w: [{"params": w}, w], "entry 1 has no 'params'"),
        (lambda w: {"params": w, "lr": 0.5}, "Wrap it in a list"),
        (lambda w: [("w", w)], r"Pass dict\(\.\.\.\)"),
    ],
    ids=["misspelt", "mixed", "dict", "pairs"],
)
def test_what_looks_like_groups_is_no_tree(given, message):
    with pytest.raises(TypeError, match=f"SGD: .*{message}"):
        optim.SGD(given(jnp.ones(2)))


def test_a_refused_group_leaves_the_others_as_they_are():
    optimizer = optim.SGD([{"params": jnp.ones(1)}], lr=0.5)
    with pytest.raises(TypeError, match="int32"):
        optimizer.add_param_group({"params": jnp.ones(1, int), "lr": 1.0})
    optimizer.add_param_group({"params": jnp.ones(1), "lr": 0.5})
    stepped(optimizer)
    optimizer.param_groups[1]["lr"] = 1.0
    stepped(optimizer)
    assert [p.tolist() for p in optimizer.params] == [[0.0], [-0.5]]


@pytest.mark.parametrize(
    "act",
    [
        lambda groups: groups.reverse(),
        lambda groups: groups.pop(),
        lambda groups: groups.append({"params": jnp.ones(1)}),
        lambda groups: groups.clear(),
        lambda groups: groups.sort(key=id),
        lambda groups: groups.__delitem__(0),
        lambda groups: groups.__setitem__(slice(None), []),
        lambda groups: groups.__iadd__([{}]),
    ],
    ids=["reverse", "pop", "append", "clear", "sort", "del", "slice", "iadd"],
)
def test_the_list_of_groups_keeps_its_entries(act):
    optimizer = optim.SGD([{"params": jnp.ones(1)}, {"params": jnp.ones(1)}])
    with pytest.raises(TypeError, match="cannot be removed, replaced or reordered"):
        act(optimizer.param_groups)
    stepped(optimizer)


def test_a_group_is_edited_by_assigning_a_dict():
    optimizer = optim.SGD([{"params": jnp.ones(1)}], lr=0.5)
    optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 1.0}
    assert_same(stepped(optimizer).params, [jnp.zeros(1)])


def test_state_cannot_be_taken_apart():
    optimizer = optim.SGD(two(), momentum=0.9)
    assert isinstance(optimizer.state, tuple)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda p: optim.SGD(p), "learning_rate"),
        (lambda p: optim.SGD(p), "weight_decy"),
        (lambda p: optim.Optimizer(p, fo.adamw(0.1)), "lr"),
        (lambda p: optim.Optimizer(p, SIGN), "lr"),
    ],
    ids=["other", "misspelt", "wrapped", "foreign"],
)
def test_an_option_without_effect_cannot_be_set(make, key):
    optimizer = make(two())
    with pytest.raises(ValueError, match=f"group 0 has the unknown option '{key}'"):
        optimizer.param_groups[0][key] = 0.0
    with pytest.raises(ValueError, match="unknown option"):
        optimizer.add_param_group({"params": jnp.ones(1), key: 0.0})


def test_the_keys_of_torchs_schedulers_can_be_set_and_deleted():
    optimizer = optim.SGD([{"params": two(), "max_momentum": 0.95, "name": "all"}])
    group = optimizer.param_groups[0]
    group.update(base_momentum=0.8, max_lr=1.0, initial_lr=0.5)
    del group["initial_lr"]
    assert group.pop("max_lr") == 1.0
    assert group.pop("initial_lr", None) is None
    optimizer.add_param_group({**group, "params": jnp.ones(1)})


def test_an_update_that_is_refused_sets_nothing():
    optimizer = optim.SGD(two(), lr=0.5)
    for wrong in ({"lr": 1.0, "params": two()}, {"lr": 1.0, "weight_decy": 0.1}):
        with pytest.raises((TypeError, ValueError)):
            optimizer.param_groups[0].update(wrong)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_options_cannot_be_edited_in_place():
    betas, lr = [0.5, 0.9], np.array(0.5)
    optimizer = optim.Adam({"w": jnp.ones(1)}, lr=lr, betas=betas)
    lr[...] = 0.0
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.9)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.param_groups[0]["lr"][...] = 0.0
    assert_same(stepped(optimizer).params, {"w": jnp.full(1, 0.5)})


@pytest.mark.parametrize(
    ("betas", "kind"),
    [((0.9,), ValueError), ((), ValueError), ((0.9,) * 3, ValueError), (0.9, TypeError)],
)
@pytest.mark.parametrize("cls", [optim.Adam, optim.AdamW, optim.Lion])
def test_betas_are_two(cls, betas, kind):
    with pytest.raises(kind, match="betas must be"):
        cls(two(), betas=betas)


def test_differentiable_is_for_all_groups():
    with pytest.raises(ValueError, match="group 0: differentiable is False for the optimizer"):
        optim.SGD([{"params": two(), "differentiable": True}])
    optimizer = optim.SGD(two())
    optimizer.param_groups[0]["differentiable"] = True
    with pytest.raises(ValueError, match="differentiable is False for the optimizer"):
        optimizer.step(two())


def test_nesterov_outlives_a_momentum_of_zero():
    optimizer = optim.SGD({"w": jnp.zeros(1)}, lr=1.0, momentum=0.5, nesterov=True)
    stepped(optimizer)
    optimizer.param_groups[0]["momentum"] = 0
    stepped(optimizer)
    assert optimizer.params["w"].tolist() == [-2.5]


def test_tied_parameters_warn():
    w = jnp.ones(2)
    with pytest.warns(UserWarning, match=r"'0\.emb' and '0\.head' .* are one array"):
        optim.SGD({"emb": w, "head": w})


EDITS = {
    "SGD": {"lr": 0.25, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.2},
    "Adam": {"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.1, "weight_decay": 0.2},
    "AdamW": {"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.1, "weight_decay": 0.2},
    "RMSprop": {"lr": 0.25, "alpha": 0.5, "eps": 0.1, "weight_decay": 0.2, "momentum": 0.5},
    "Lion": {"lr": 0.25, "betas": (0.5, 0.75), "weight_decay": 0.2},
}


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, edits in EDITS.items() for option in edits]
)
def test_an_edit_that_goes_into_the_state_is_as_one_by_the_recipe(name, option, monkeypatch):
    """Edited twice: at first the transformation may have to be made again, and then not."""
    value = EDITS[name][option]
    first = value[::-1] if isinstance(value, tuple) else value / 2
    more = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = stepped(getattr(optim, name)(two(), **more))
    optimizer.param_groups[0][option] = first
    stepped(optimizer)
    expected = copy.deepcopy(optimizer)
    expected._groups[0].places = {}
    for each_one in (optimizer, expected):
        each_one.param_groups[0][option] = value
    monkeypatch.setattr(type(optimizer), "recipe", None)
    stepped(optimizer)
    monkeypatch.undo()
    assert_same(optimizer.params, stepped(expected).params)
    assert_same(optimizer.state, expected.state)


def test_an_edit_goes_by_a_guard_of_transfers():
    optimizer = stepped(optim.SGD(two()))
    gradients = two()
    optimizer.param_groups[0]["lr"] = 0.25
    with jax.transfer_guard("disallow"):
        optimizer.step(gradients)


# Schedulers.


@pytest.mark.parametrize("tx", [fo.sgd(1.0), fo.chain(fo.clip(9.0), fo.adam(1.0))], ids=str)
def test_the_learning_rate_of_a_wrapped_transformation_is_scheduled(tx):
    optimizer = optim.Optimizer({"w": jnp.zeros(1)}, tx)
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    for _ in range(2):
        stepped(optimizer)
        scheduler.step()
    np.testing.assert_allclose(optimizer.params["w"], [-1.5], rtol=1e-6)


def test_what_has_no_learning_rate_cannot_be_scheduled():
    with pytest.raises(KeyError, match=r"StepLR: .*neither an option 'lr' nor 'learning_rate'"):
        StepLR(optim.Optimizer(two(), SIGN), 1)


def test_base_lrs_can_be_edited():
    optimizer = optim.SGD({"w": jnp.ones(1)}, lr=1.0)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    scheduler.base_lrs[0] = 8.0
    stepped(optimizer)
    scheduler.step()
    assert scheduler.get_last_lr() == [4.0]
    scheduler.base_lrs = [16.0]
    scheduler.step()
    assert scheduler.get_last_lr() == [4.0]


def test_a_scheduler_written_for_torch_works():
    class Warmup(optim.lr_scheduler._LRScheduler):
        def __init__(self, optimizer, steps, last_epoch=-1):
            self.steps = steps
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            factor = min(1.0, (self.last_epoch + 1) / self.steps)
            return [base * factor for base in self.base_lrs]

    optimizer = optim.SGD({"w": jnp.ones(1)}, lr=1.0)
    scheduler = Warmup(optimizer, 4)
    assert optimizer.param_groups[0]["lr"] == 0.25
    stepped(optimizer)
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5]
    other = Warmup(optimizer, 7)
    other.load_state_dict(scheduler.state_dict())
    assert (other.steps, other.last_epoch) == (4, 1)


def test_a_scheduler_without_a_rule_says_so():
    with pytest.raises(NotImplementedError, match="must define get_lr"):
        LRScheduler(optim.SGD(two()))


def test_the_state_of_another_scheduler_is_refused():
    scheduler = StepLR(optim.SGD(two()), 2)
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match=r"StepLR\.load_state_dict: there is no 'T_max'"):
        scheduler.load_state_dict({"last_epoch": 7, "T_max": 5})
    assert scheduler.state_dict() == before
