"""Writes `schedulers.json` and `schedulers.npz`: runs of torch's schedulers.

In an environment with torch: `python -m tests.golden.make_sched`.
"""

import json
import warnings
from typing import Any

import numpy as np

from .run import Arrays
from .sched_cases import cases
from .sched_in_torch import TORCH
from .store import HERE


def main() -> None:
    written: list[dict[str, Any]] = []
    arrays: Arrays = {}
    warnings.simplefilter("ignore")  # step(epoch) is deprecated there
    for i, case in enumerate(cases()):
        named: dict[str, Any] = {"id": f"{i:03d}", **case, "error": None}
        try:
            rates, last, states = TORCH.play(case)
        except Exception as error:
            named["error"] = type(error).__name__
        else:
            arrays |= {f"{named['id']}/lr": padded(rates), f"{named['id']}/last_lr": padded(last)}
            named["state_dicts"] = [plain(state) for state in states]
        written.append(named)
    text = ",\n".join(json.dumps(c, allow_nan=False) for c in written)
    (HERE / "schedulers.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    np.savez_compressed(HERE / "schedulers.npz", **arrays)  # type: ignore[arg-type]
    print(f"{len(written)} cases")


def padded(rates: list[list[float]]) -> np.ndarray:
    """As one array, with NaN where a group is not there yet."""
    n = max(map(len, rates))
    return np.array([row + [np.nan] * (n - len(row)) for row in rates])


def plain(value: Any) -> Any:
    """A state_dict as JSON has it."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


if __name__ == "__main__":
    main()
