"""Runs cases in torch, with its plain implementation."""

import contextlib
import copy
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .cases import Case, decode
from .losses import loss
from .problem import Problem, Rows
from .run import Arrays, Run

_FLAGS = ("foreach", "fused", "capturable", "differentiable")
"""Options that choose an implementation, and do not change the numbers."""


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Makes torch's own scalars (`step`, `eta`, ...) float64 where the parameters are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if dtype == "float32" else torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def run(case: Case, problem: Problem, begun: tuple[Arrays, Any] | None = None) -> Run:
    """Plays a case; given parameters and a state_dict, from where they were saved."""
    with precision(case["dtype"]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: sparse tensors, losses as floats
        return _run(case, problem, begun)


def _run(case: Case, problem: Problem, begun: tuple[Arrays, Any] | None) -> Run:
    start = problem.start if begun is None else begun[0]
    params = {k: torch.nn.Parameter(torch.from_numpy(np.array(x))) for k, x in start.items()}
    optimizer = _make(case, problem, params)
    if begun is not None:
        optimizer.load_state_dict(begun[1])
    closure = _Closure(problem, params, optimizer) if problem.loss else None
    result = Run(defaults={k: encode(v) for k, v in optimizer.defaults.items()})
    for t in range(case["saved"] if begun else 0, case["steps"]):
        for e in case["events"]:
            if e["step"] == t:
                optimizer.param_groups[e["group"]] |= _options({e["key"]: e["value"]})
        try:
            _step(optimizer, params, problem, t, closure, result)
        except Exception as error:
            result.error = f"{type(error).__name__} at step {t}"
            return result
        result.params[t] = {k: x.detach().numpy().copy() for k, x in params.items()}
        if t + 1 == case.get("saved"):
            result.saved, result.saved_groups = _state(optimizer, params), _groups(optimizer)
    result.state = _state(optimizer, params)
    return result


def _make(case: Case, problem: Problem, params: dict[str, Any]) -> Any:
    made = getattr(torch.optim, case["optimizer"])
    kwargs = {k: v for k, v in case["kwargs"].items() if k not in _FLAGS}
    if "foreach" in inspect.signature(made).parameters:
        kwargs["foreach"] = False
    groups: list[dict[str, Any]] = [{"params": [params[k] for k in g]} for g in problem.groups]
    groups[-1] |= _options(case["overrides"])
    return made(groups if len(groups) > 1 else groups[0]["params"], **_options(kwargs))


def _step(
    optimizer: Any, params: dict[str, Any], problem: Problem, t: int, closure: Any, result: Run
) -> None:
    if closure is None:
        for k, g in problem.at(t).items():
            params[k].grad = None if g is None else _gradient(g, params[k])
        optimizer.step()
    else:
        closure.calls = 0
        result.losses.append(float(optimizer.step(closure)))
        first = optimizer.state[next(iter(params.values()))]
        result.counts.append([first["n_iter"], first["func_evals"], closure.calls])


def _gradient(g: Any, p: Any) -> Any:
    if not isinstance(g, Rows):
        return torch.from_numpy(np.array(g))
    indices = torch.from_numpy(g.indices.astype(np.int64)[None])
    values = torch.from_numpy(g.values.copy())
    return torch.sparse_coo_tensor(indices, values, p.shape)


class _Closure:
    """The loss of all parameters but `never`, which gets no gradient; counts its calls."""

    def __init__(self, problem: Problem, params: dict[str, Any], optimizer: Any):
        self.kind, self.optimizer, self.calls = problem.loss, optimizer, 0
        self.params = [params[k] for k in problem.names if k != "never"]

    def __call__(self) -> Any:
        self.calls += 1
        self.optimizer.zero_grad()
        parts = [torch.view_as_real(p) if p.is_complex() else p for p in self.params]
        x = torch.cat([p.reshape(-1) for p in parts])
        value = loss(str(self.kind), x, lambda v: torch.from_numpy(v).to(x.dtype))
        value.backward()
        return value


def encode(value: Any) -> Any:
    """Returns a value as a case has it."""
    if isinstance(value, torch.Tensor):
        return {"array": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    return [encode(v) for v in value] if isinstance(value, tuple) else value


def _options(options: dict[str, Any]) -> dict[str, Any]:
    return {
        k: decode(v, lambda data, dtype: torch.tensor(data, dtype=getattr(torch, dtype)))
        for k, v in options.items()
    }


def _groups(optimizer: Any) -> list[dict[str, Any]]:
    return [
        {k: encode(v) for k, v in group.items() if k != "params"}
        for group in copy.deepcopy(optimizer.param_groups)
    ]


def _state(optimizer: Any, params: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Returns the entries of the state; `al` of LBFGS is room to compute in."""
    return {
        k: {
            name: _numbers(x)
            for name, x in optimizer.state[p].items()
            if x is not None and name != "al"
        }
        for k, p in params.items()
        if optimizer.state.get(p)
    }


def _numbers(x: Any) -> np.ndarray:
    if isinstance(x, list):
        return np.stack([_numbers(part) for part in x]) if x else np.zeros(0)
    if isinstance(x, torch.Tensor):
        x = x.to_dense() if x.is_sparse else x  # SGD's momentum of sparse gradients
        return x.detach().numpy().copy()
    return np.asarray(x, np.float64)
