"""The schedulers' golden file: cases as JSON, tracks as numbers of columns that are kept once."""

import json
from typing import Any

import numpy as np

from .sched_cases import Case
from .sched_run import FIELDS, Row, Track, table
from .store import HERE


def write(cases: list[Case], tracks: list[Track]) -> None:
    """Writes `schedulers.json` and `schedulers.npz`."""
    columns: dict[bytes, int] = {}
    lines = []
    for i, (case, track) in enumerate(zip(cases, tracks, strict=True)):
        kept = {k: [_number(columns, c) for c in _columns(getattr(track, k))] for k in FIELDS}
        # The states of every seventh case, which suffice to test their names and loading.
        states = {"states": plain(track.states)} if i % 7 == 0 and track.states else {}
        named = {"id": f"{i:04d}", **case, "error": track.error, **kept, **states}
        lines.append(json.dumps(named, allow_nan=False))
    text = ",\n".join(lines)
    (HERE / "data" / "schedulers.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    vectors = [np.frombuffer(c) for c in columns]
    ends = np.cumsum([len(v) for v in vectors])
    np.savez_compressed(HERE / "data" / "schedulers.npz", values=np.concatenate(vectors), ends=ends)


def read() -> list[Case]:
    """Reads the cases, each with the arrays of its track, `(steps + 1, groups)`.

    A group that is added is NaN before; a run that ended with an error is short.
    """
    cases = json.loads((HERE / "data" / "schedulers.json").read_text(encoding="utf-8"))
    with np.load(HERE / "data" / "schedulers.npz") as file:
        columns = np.split(file["values"], file["ends"][:-1])
    for case in cases:
        case.update({k: np.stack([columns[i] for i in case[k]], axis=1) for k in FIELDS})
        case["states"] = _unplain(case.get("states", []))
    return cases


def _columns(rows: list[Row]) -> list[np.ndarray]:
    return list(table(rows).T)


def _number(columns: dict[bytes, int], column: np.ndarray) -> int:
    return columns.setdefault(np.ascontiguousarray(column).tobytes(), len(columns))


def plain(value: Any) -> Any:
    """Returns a state_dict as JSON has it; a number that is not finite becomes a text."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return repr(value) if isinstance(value, float) and not np.isfinite(value) else value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unplain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unplain(v) for v in value]
    return float(value) if value in ("inf", "-inf", "nan") else value
