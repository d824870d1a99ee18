"""Wrong uses, each of which mypy --strict and pyright must refuse at the line that is marked."""

import jax.numpy as jnp

import functional_optim as fo
from functional_optim import optim

params: fo.Params = {"w": jnp.ones((2, 3))}
opt = optim.AdamW(params, lr=1e-3)

# A misspelt argument, or one too many.
fo.adam(1e-3, bta=0.9)  # wrong
fo.adamw(1e-3, weight_decy=0.1)  # wrong
fo.sgd(lr=0.1)  # wrong
fo.sgd(0.1, momentun=0.9)  # wrong
fo.scale_by_adam(bta=0.9)  # wrong
fo.clip_by_global_norm(max_norn=1.0)  # wrong
fo.lion(1e-3, 0.9, 0.99, None, 0.1, None, "hard")  # wrong
optim.AdamW(params, lrr=1)  # wrong
optim.AdamW(params, learning_rate=1e-3)  # wrong
optim.SGD(params, 0.1, 0.9, 0.0, 0.0, True, False)  # wrong
optim.lr_scheduler.StepLR(opt, step_sise=3)  # wrong

# A missing argument.
fo.adam()  # wrong
fo.sgd(momentum=0.9)  # wrong
optim.AdamW()  # wrong
optim.Optimizer(params)  # wrong
optim.lr_scheduler.StepLR(opt)  # wrong

# An argument of another type.
fo.adam("nonsense")  # wrong
fo.adam(1e-3, b1=[0.9, 0.99])  # wrong
fo.adamw(None)  # wrong
fo.sgd(0.1, nesterov="yes")  # wrong
fo.sgd({"learning_rate": 0.1})  # wrong
fo.chain(0.1)  # wrong
fo.chain(fo.clip_by_global_norm, fo.adam(1e-3))  # wrong
fo.masked(1e-3, True)  # wrong
optim.AdamW(params, lr="1e-3")  # wrong
optim.AdamW(params, betas=0.9)  # wrong
optim.AdamW(params, betas=(0.9, 0.99, 0.999))  # wrong
optim.AdamW(params, amsgrad=None)  # wrong
optim.Muon(params, ns_steps=2.5)  # wrong
optim.Optimizer(params, 1e-3)  # wrong
optim.lr_scheduler.StepLR({"w": jnp.ones(2)}, step_size=3)  # wrong
optim.lr_scheduler.MultiStepLR(opt, milestones=3)  # wrong

# A name that does not exist, and a result of another type.
fo.adamm(1e-3)  # wrong
optim.AdamWW(params)  # wrong
opt.parameters()  # wrong
opt.stepp()  # wrong
opt.zero_grad(to_none=True)  # wrong
opt.minimize()  # wrong
fo.adam(1e-3).initialize(params)  # wrong
tx: fo.GradientTransformation = fo.adam  # wrong
sgd: optim.SGD = opt  # wrong
rate: str = fo.get_hyperparams(opt.state)["lr"]  # wrong
loss: str = opt.minimize(lambda p: p["w"].sum())  # wrong
