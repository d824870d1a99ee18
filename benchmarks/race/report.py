"""The page: tables and pictures of the results."""

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

from functional_optim.demo.optimizers import ARGUMENTS, BASES, EXCLUDED, names

from .entrants import KNOWN
from .pictures import curves, heat_map
from .results import Result, Results, Setup
from .tasks import TASKS

__all__ = ["PROTOCOL", "write_page"]

PROTOCOL = """## How it is run

- Each optimizer is tuned on each task by one sweep of {settings} settings. The learning rates go
  from 3e-5 to 30, a factor of 2.5 apart. Each is combined with two values of a momentum (the
  default, and 0.5), or of the argument that `benchmarks/race/entrants.py` names. If an optimizer
  finds its learning rate, the sweep varies the arguments that its authors leave open. All settings
  and seeds of a sweep are one program, made by `vmap` over the hyperparameters in the state.
- The learning rate is constant, and weight decay has the optimizer's default. A seed decides the
  initial parameters and the batches, which are the same for all optimizers.
- The loss is measured on held-out examples every {every} steps, with the parameters that
  `eval_params` returns.
- **Final loss** is the held-out loss at the end, for the setting with the lowest one: the mean over
  seeds, with the smallest and the largest in brackets. **Steps to target** is the median over seeds
  for the fastest setting. **Settings that arrive** is the number of settings that reach the target
  in the median over seeds. **Diverged** is the number of settings whose loss is not finite.
- **State** is the size of the state of one run. **Step** is the time of a step of one run,
  including its gradient, compiled alone: the mean of 40 steps, the smallest of three repetitions.
  On a busy machine it is an upper bound.

The settings are chosen by the loss that is reported, as in most tables of this kind. There are at
most 360 held-out examples, and {seeds}, so differences of a few per cent are noise. The tasks are
small, and large tasks have another order of optimizers.
"""


def write_page(results: Results, tasks: Sequence[str], page: Path) -> None:
    """Writes the page, and its pictures into a folder of its name."""
    pictures = page.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    found = {task: list(results.of(task)) for task in tasks}
    lines = [*_head(results, found)]
    for task, rows in found.items():
        done = [r for r in rows if "error" not in r]
        if not done:
            continue
        (pictures / f"{task}_rates.svg").write_text(heat_map(TASKS[task], done), encoding="utf-8")
        (pictures / f"{task}_curves.svg").write_text(curves(TASKS[task], done), encoding="utf-8")
        lines += [*_task(task, rows, pictures.name)]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _head(results: Results, found: dict[str, list[Result]]) -> Iterator[str]:
    rows = [r for of_task in found.values() for r in of_task]
    done = [r for r in rows if "error" not in r]
    setup = results.setup
    given = {"tasks": ",".join(found), **dataclasses.asdict(setup)}
    usual = {"tasks": ",".join(TASKS), **dataclasses.asdict(Setup())}
    options = " ".join(f"--{k} {v}" for k, v in given.items() if v != usual[k])
    command = f'make race ARGS="{options}"' if options else "make race"
    yield "# The race of the optimizers\n"
    yield (
        "This page, which `make race` writes, compares all optimizers of the package on small "
        "tasks: how fast they reach a target, how low their loss gets, and how much memory and "
        "time they need.\n"
    )
    yield f"The results are from `{command}`" + (f", {_machine(rows)}." if rows else ".")
    missing = [
        f"{len({*names()} - {r['name'] for r in of_task})} of {len(names())} on {task}"
        for task, of_task in found.items()
        if {*names()} - {r["name"] for r in of_task}
    ]
    if missing:
        yield f"Optimizers that have not run: {'; '.join(missing)}."
    if unrun := [task for task in TASKS if task not in found]:
        yield f"Tasks that have not run: {', '.join(unrun)}."
    settings = min((len(r["final_of_settings"]) for r in done), default=32)
    seeds = "one seed" if setup.seeds == 1 else f"{setup.seeds} seeds"
    yield ""
    yield PROTOCOL.format(settings=settings, every=setup.every, seeds=seeds)
    yield "These arguments differ from the defaults, besides those that a sweep sets:\n"
    bases = {name: {"base_optimizer": base} for name, base in BASES.items()}
    for name, arguments in sorted({**ARGUMENTS, **bases}.items()):
        yield f"- `{name}`: {', '.join(f'{k} {_shown(v)}' for k, v in arguments.items())}"
    yield "\n## Optimizers that do not reach a target\n"
    yield from _troubles(rows)
    yield "\nThese do not take part:\n"
    for name, reason in EXCLUDED.items():
        yield f"- `{name}`: {reason}"


def _machine(rows: Sequence[Result]) -> str:
    one = rows[0]["machine"]
    loads = [r["machine"]["load"] for r in rows]
    seconds = sum(r.get("seconds", 0) for r in rows)
    return (
        f"on {one['cores']} cores ({one['processor']}) with a load of {min(loads):.0f} to "
        f"{max(loads):.0f}, jax {one['jax']}, Python {one['Python']}: {len(rows)} sweeps, "
        f"{seconds / 60:.0f} minutes in all, on {datetime.date.today().isoformat()}"
    )


def _troubles(rows: Sequence[Result]) -> Iterator[str]:
    """Lists errors, and optimizers that reach no target: how a broken rule would be found."""
    listed = [r for r in rows if "error" in r or r["steps_to_target"] is None]
    if not listed:
        yield "Every optimizer reaches the target of every task on which it ran."
        return
    yield "| optimizer | task | target | lowest final loss | its setting | reason, if known |"
    yield "|---|---|---|---|---|---|"
    for r in listed:
        target, reason = TASKS[r["task"]].target, KNOWN.get(r["name"], "")
        shown = ("error", _cell(r["error"])) if "error" in r else (_number(r["final"]), _setting(r))
        yield f"| `{r['name']}` | {r['task']} | {target:g} | {' | '.join(shown)} | {reason} |"


def _task(task: str, rows: Sequence[Result], folder: str) -> Iterator[str]:
    about, done = TASKS[task], [r for r in rows if "error" not in r]
    steps = done[0]["steps"]
    yield f"\n## {about.title[0].upper()}{about.title[1:]}\n"
    yield (
        f"`{task}`: {done[0]['parameters']:,} parameters, {steps} steps of {about.batch} examples, "
        f"target {about.target:g} nats.\n"
    )
    yield f"![Held-out loss of the best over the steps]({folder}/{task}_curves.svg)\n"
    yield f"![Final loss over the settings]({folder}/{task}_rates.svg)\n"
    yield (
        "| optimizer | steps to target | final loss | settings that arrive | diverged "
        "| state, bytes | step, µs | best setting |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for r in sorted(done, key=_rank):
        count = len(r["final_of_settings"])
        yield (
            f"| `{r['name']}` | {_number(r['steps_to_target'])} | {_number(r['final'])} {_range(r)}"
            f" | {r['reached']} of {count} | {r['diverged']} | {r['state_bytes']:,} "
            f"| {r['step_microseconds']:.0f} | {_setting(r)} |"
        )


def _rank(r: Result) -> tuple[float, float]:
    steps, final = r["steps_to_target"], r["final"]
    return (steps if steps is not None else 1e9, final if final is not None else 1e9)


def _number(x: float | None) -> str:
    return "none" if x is None else f"{x:.4g}"


def _range(r: Result) -> str:
    seeds = [x for x in r["final_of_seeds"] if x is not None]
    return f"({min(seeds):.3g} to {max(seeds):.3g})" if len(seeds) > 1 else ""


def _setting(r: Result) -> str:
    parts = {k.rpartition(".")[2]: v[r["best"]] for k, v in r["settings"].items()}
    return ", ".join(f"{k} {v:.2g}" for k, v in parts.items())


def _shown(value: object) -> str:
    """Shows a number; a transformation has no short name, and the code has its arguments."""
    return f"{value}" if isinstance(value, (int, float, str)) else "as in the code"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
