"""Writes `model_*.json` and `model_*.npz`: models of torch in a run, and how it continued.

In an environment with torch: `python -m tests.golden.make_models`.
"""

from typing import Any

import numpy as np
import torch

from .models_store import write

BEFORE, AFTER = 5, 20
"""Steps before the model is saved, and after."""


def mlp() -> Any:
    """Makes two layers, the first of them square."""
    return torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))


class ConvNet(torch.nn.Module):
    """Convolutions, the second as many channels in as out, normalization, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.norm = torch.nn.GroupNorm(2, 4)
        self.conv2 = torch.nn.Conv2d(4, 4, 3, stride=2, bias=False)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.conv1(x)))
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


class Transformer(torch.nn.Module):
    """An embedding, one block with attention, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 6)
        self.norm1 = torch.nn.LayerNorm(6)
        self.attention = torch.nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm2 = torch.nn.LayerNorm(6)
        self.up = torch.nn.Linear(6, 8)
        self.down = torch.nn.Linear(8, 6)
        self.head = torch.nn.Linear(6, 7, bias=False)

    def forward(self, tokens: Any) -> Any:
        x = self.embed(tokens)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.down(torch.relu(self.up(self.norm2(x))))
        return self.head(x)


def _images(rng: Any) -> Any:
    return torch.from_numpy(rng.random_sample((4, 3, 6, 5)) - 0.5)


def _rows(rng: Any) -> Any:
    return torch.from_numpy(rng.random_sample((8, 6)) - 0.5)


def _tokens(rng: Any) -> Any:
    return torch.from_numpy(rng.random_sample((3, 5)) * 7).long()


MODELS = {"mlp": (mlp, _rows), "convnet": (ConvNet, _images), "transformer": (Transformer, _tokens)}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    for name, (make, inputs) in MODELS.items():
        torch.manual_seed(0)
        model, rng = make(), np.random.RandomState(0)
        x = inputs(rng)
        *shape, classes = model(x).shape
        labels = torch.from_numpy(rng.random_sample(shape) * classes).long()
        optimizer = torch.optim.AdamW(_groups(model), lr=0.02)
        for _ in range(BEFORE):
            _step(model, optimizer, x, labels)
        saved = _copy(model.state_dict()), _copy(optimizer.state_dict())
        losses = [_step(model, optimizer, x, labels) for _ in range(AFTER)]
        write(name, *saved, _names(model, optimizer), x.numpy(), labels.numpy(), losses)


def _groups(model: Any) -> list[dict[str, Any]]:
    """Divides the parameters: weights decay and biases do not, as many programs have it."""
    named = dict(model.named_parameters())
    biases = [p for name, p in named.items() if name.endswith("bias")]
    weights = [p for name, p in named.items() if not name.endswith("bias")]
    return [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]


def _names(model: Any, optimizer: Any) -> list[list[str]]:
    name_of = {p: name for name, p in model.named_parameters()}
    return [[name_of[p] for p in group["params"]] for group in optimizer.param_groups]


def _step(model: Any, optimizer: Any, x: Any, labels: Any) -> float:
    optimizer.zero_grad()
    logits = model(x)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _copy(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.detach().numpy().copy()
    if isinstance(tree, dict):
        return {k: _copy(x) for k, x in tree.items()}
    return [_copy(x) for x in tree] if isinstance(tree, list) else tree


if __name__ == "__main__":
    main()
