"""A page of right uses, which mypy --strict and pyright must accept."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo
from functional_optim import optim

params: fo.Params = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
grads: fo.Updates = jax.tree.map(jnp.ones_like, params)


def loss_fn(p: fo.Params, x: jax.Array) -> jax.Array:
    return jnp.sum((x @ p["dense"]["kernel"] + p["dense"]["bias"]) ** 2)


def loss_and_aux(p: fo.Params, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    return loss_fn(p, x), {"x": x}


# Numbers of any kind, and schedules, are hyperparameters.
fo.adam(1e-3)
fo.adam(1)
fo.adam(np.float32(1e-3), b1=np.asarray(0.9), b2=jnp.asarray(0.99))
fo.adam(fo.cosine_decay_schedule(1e-3, 1000), eps=fo.linear_schedule(1e-6, 1e-8, 10))
fo.sgd(lambda step: 0.1 / (1 + step), momentum=0.9, nesterov=True)
fo.sgd(0.1, momentum=None)
fo.adamw(1e-3, weight_decay=0.1, mask={"dense": {"kernel": True, "bias": False}})
fo.adamw(learning_rate=1e-3, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
fo.adamw(1e-3, mu_dtype=jnp.bfloat16, nesterov=True)
fo.lion(1e-4, b1=0.95, weight_decay=0.1)
fo.rmsprop(1e-2, centered=True, momentum=0.9)
fo.adafactor(learning_rate=None)
fo.muon(1e-2, ns_steps=5)

# Composition.
schedule: fo.Schedule = fo.warmup_cosine_decay_schedule(0.0, 1e-3, 100, 1000)
tx: fo.GradientTransformation = fo.chain(
    fo.clip_by_global_norm(1.0),
    fo.scale_by_adam(b1=0.9, b2=0.95),
    fo.add_decayed_weights(0.1, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
    fo.scale_by_learning_rate(schedule),
)
fo.masked(fo.adam(1e-3), {"dense": {"kernel": True, "bias": False}})
fo.partition({"fast": fo.adam(1e-2), "slow": fo.sgd(1e-3)}, lambda p: {"dense": "fast"})
fo.apply_if_finite(fo.adam(1e-3), max_consecutive_errors=3)
fo.inject_hyperparams(fo.adam)(learning_rate=1e-3)

# A training loop.
state: fo.OptState = tx.init(params)
updates, state = tx.update(grads, state, params)
params = fo.apply_updates(params, updates)
params, state = fo.apply_gradients(tx, grads, state, params)
rate: jax.Array = fo.get_hyperparams(state)["learning_rate"]
norm: jax.Array = fo.metrics(state)["global_norm"]
state = fo.set_hyperparams(state, {"b1": 0.8})


@dataclasses.dataclass(frozen=True)
class TrainState:
    """The values that a training loop carries, as in Flax's TrainState."""

    params: fo.Params
    opt_state: fo.OptState
    tx: fo.GradientTransformation

    @classmethod
    def create(cls, params: fo.Params, tx: fo.GradientTransformation) -> "TrainState":
        return cls(params, tx.init(params), tx)

    def apply_gradients(self, grads: fo.Updates) -> "TrainState":
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        params = fo.apply_updates(self.params, updates)
        return dataclasses.replace(self, params=params, opt_state=opt_state)


train_state = TrainState.create(params, fo.adamw(1e-3)).apply_gradients(grads)


def make_optimizer(
    factory: Callable[[float], fo.GradientTransformation],
) -> fo.GradientTransformation:
    return factory(1e-3)


make_optimizer(fo.adam)
make_optimizer(lambda lr: fo.sgd(lr, momentum=0.9))

# The stateful side: trees, groups, paths, names.
opt: optim.AdamW = optim.AdamW(params, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
optim.AdamW([jnp.ones(2), jnp.ones(3)], 1e-3)
optim.AdamW(params, lr=fo.cosine_decay_schedule(1e-3, 1000))
optim.AdamW(params, lr=np.float32(1e-3), betas=(jnp.asarray(0.9), jnp.asarray(0.99)))
optim.Adam([{"params": params, "lr": 1e-4}, {"params": jnp.ones(2)}], lr=1e-3, amsgrad=True)
optim.SGD([("w", jnp.ones(2)), ("b", jnp.zeros(1))], lr=0.1, momentum=0.9, nesterov=True)
optim.SGD(optim.path_groups(params, {r"bias$": {"weight_decay": 0.0}}), lr=0.1)
optim.SGD(optim.path_groups(params, [(lambda path, x: x.ndim < 2, {"lr": 0.0})]), lr=0.1)
optim.Muon({"w": jnp.eye(2)}, adjust_lr_fn="original")
optim.Adafactor(params, eps=(None, 1e-3))
optim.LBFGS(params, line_search_fn="strong_wolfe", max_eval=None)
wrapped: optim.Optimizer = optim.Optimizer(params, tx)

x = jnp.ones(2)
opt.step(grads)
opt.step({"dense": None})
opt.step(lambda p: loss_fn(p, x))
opt.step(closure=lambda p: loss_fn(p, x))
loss: jax.Array = opt.minimize(loss_fn, x)
loss, aux = opt.minimize(loss_and_aux, x, has_aux=True)
loss = opt.backward(loss_fn, x)
total_norm: jax.Array = opt.clip_grad_norm_(1.0)
opt.step()
opt.zero_grad()
opt.param_groups[0]["lr"] = 1e-4
opt.params = params
count: int = opt.step_count
defaults: dict[str, object] = opt.defaults
saved: dict[str, object] = opt.state_dict()
opt.load_state_dict(saved, names=["dense.bias", "dense.kernel"])
opt.add_param_group({"params": jnp.ones(2), "lr": 0.1})
if isinstance(wrapped, optim.AdamW):
    wrapped.load_state_dict(saved)
handle = opt.register_step_post_hook(lambda opt, args, kwargs: None)
handle.remove()

# Schedulers, and averages.
warmup = optim.lr_scheduler.LinearLR(opt, start_factor=0.1, total_iters=5)
decay = optim.lr_scheduler.CosineAnnealingLR(opt, T_max=100, eta_min=1e-5)
scheduler: optim.lr_scheduler.LRScheduler = optim.lr_scheduler.SequentialLR(
    opt, [warmup, decay], milestones=[5]
)
scheduler.step()
last: list[float] = scheduler.get_last_lr()
optim.lr_scheduler.LambdaLR(opt, lr_lambda=lambda epoch: 0.95**epoch)
optim.lr_scheduler.OneCycleLR(opt, max_lr=[0.1, 0.2], epochs=2, steps_per_epoch=10)
optim.lr_scheduler.ReduceLROnPlateau(opt, mode="min", patience=3).step(loss)


class Halving(optim.lr_scheduler.LRScheduler):
    """A scheduler written as for torch."""

    def get_lr(self) -> list[float]:
        return [group["lr"] / 2 for group in self.optimizer.param_groups]


average = optim.swa_utils.AveragedModel(
    opt.params, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.99)
)
average.update_parameters(opt.params)
clipped, total_norm = optim.clip_grad_norm(grads, 1.0)
