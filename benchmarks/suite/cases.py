"""The cases: each measures a rule on a tree, for some contestants."""

import dataclasses

__all__ = ["CASES", "Case"]

ALL = ("optax", "ours", "ours, native", "stateful", "torch fused", "torch foreach")
PURE = ("optax", "ours", "ours, native")
STORED = (
    "optax",
    "ours",
    *(f"ours, {x}{r}" for x in ("bfloat16", "8 bits") for r in ("", " at random")),
)
SMALLER = (*PURE, "ours, packed", "stateful", "stateful, native", "torch fused", "torch foreach")


@dataclasses.dataclass(frozen=True)
class Case:
    """The measurements of one process."""

    tree: str
    rule: str
    names: tuple[str, ...] = ALL
    rounds: int = 15
    first: int = 0  # rounds in which compilation and memory are measured
    note: str = ""

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (self.rule, self.tree, self.note)))


ONE, MANY = "one leaf of 10M", "1,000 leaves of 32 x 32"
GPT2, SMALL = "GPT-2 small, 148 leaves", "leaves of 16"

CASES = [
    *(Case(ONE, rule, rounds=25) for rule in ("SGD, momentum", "Adam", "AdamW", "Lion")),
    Case(ONE, "Adafactor", ("optax", "ours", "torch foreach")),
    Case("8 matrices of 512 x 512", "Muon", ("optax", "ours"), rounds=7),
    *(Case(f"{n} matrices of 4 shapes", "Muon", ("optax", "ours"), 7, first=3) for n in (8, 48)),
    Case(ONE, "AdamW", STORED, rounds=9, first=1, note="moments in fewer bits"),
    Case(GPT2, "AdamW", (*ALL, "ours, packed"), rounds=9, first=3),
    Case("GPT-2 small, bfloat16", "AdamW", (*PURE, "torch fused"), rounds=9),
    Case("embedding of 1,000,000 x 64", "AdamW", (*PURE, "torch fused"), rounds=9),
    Case(MANY, "AdamW", SMALLER, rounds=15, first=2),
    Case("1,000 leaves of distinct shapes", "AdamW", PURE, rounds=5, first=1),
    *(Case(f"{n} {SMALL}", "AdamW", SMALLER, rounds=25) for n in (4, 16, 64)),
    Case(f"256 {SMALL}", "AdamW", SMALLER, rounds=25, first=2),
]
