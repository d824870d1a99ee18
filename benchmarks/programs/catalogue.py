"""The public programs that are run, and the results that are compared."""

import dataclasses

__all__ = ["PROGRAMS", "Program"]


@dataclasses.dataclass(frozen=True)
class Program:
    """A file of a public repository at a commit.

    Attributes:
      repository: owner and name on GitHub.
      path: the file, a notebook or a script.
      result: the result that is compared, as an expression in the variables of the program at its
        end; `printed("loss=")` is the last number that it printed after these words, and
        `printed("loss=", 0)` the first.
      what: the name of the result in the table.
    """

    repository: str
    path: str
    result: str
    what: str = "loss"

    @property
    def commit(self) -> str:
        """The commit at which the file is read."""
        return COMMITS[self.repository]


COMMITS = {
    "google-deepmind/optax": "2edbcbe2390da13983b92cbef94ac0460ecde1c5",
    "google/flax": "18f8f311c275d57f46d95e41b15aa97b454754c0",
    "patrick-kidger/diffrax": "5ea5fcb05058bd22548300a10ea5ef5ce7fb75bb",
    "patrick-kidger/equinox": "9336d820b2ef66b360fc6cb3611b3da5cefbb14d",
}

_TOYS = "examples/nnx_toy_examples"
_BATCH = "dict(image=EXAMPLES, label=LABELS)"

PROGRAMS = (
    Program("patrick-kidger/equinox", "docs/examples/train_rnn.ipynb", "printed('loss=')"),
    Program(
        "patrick-kidger/equinox",
        "docs/examples/stateful.ipynb",
        "compute_loss(model, state, xs, ys)[0]",
    ),
    Program("patrick-kidger/diffrax", "docs/examples/neural_ode.ipynb", "printed('Loss: ')"),
    Program("google/flax", f"{_TOYS}/03_train_state.py", "test_step(state, (X, Y))['loss']"),
    Program("google/flax", f"{_TOYS}/04_data_parallel_with_jit.py", "loss"),
    Program("google/flax", f"{_TOYS}/07_array_leaves.py", "test_step(model, (X, Y))['loss']"),
    Program(
        "google/flax", "docs/guides/flax_fundamentals/flax_basics.ipynb", "printed('Loss step 100')"
    ),
    Program(
        "google-deepmind/optax",
        "docs/getting_started.ipynb",
        "printed('step 900, loss: ', 0)",
        "loss of its first fit",
    ),
    Program(
        "google-deepmind/optax",
        "docs/getting_started.ipynb",
        "printed('step 100, loss: ')",
        "loss of its last fit, at step 100",
    ),
    Program("google-deepmind/optax", "examples/flax_example.ipynb", "loss(model)"),
    Program(
        "google-deepmind/optax",
        "examples/gradient_accumulation.ipynb",
        f"loss_fn(model_gradient_accumulation, {_BATCH})",
    ),
    Program("google-deepmind/optax", "examples/lbfgs.ipynb", "fun(final_params)"),
    Program(
        "google-deepmind/optax", "examples/meta_learning.ipynb", "thetas[-1]", "parameter, near 10"
    ),
)
