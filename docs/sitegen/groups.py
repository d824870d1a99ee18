"""The groups of public names: one page of the site for each.

A name belongs to the group that lists the longest part of its place: the module that defines it,
or `module:name`. An algorithm that no group lists is an optimizer; if it imports a module
of matrices, it is a matrix rule.
"""

import importlib
import inspect
import re
from dataclasses import dataclass

from .names import PACKAGE, Public, public_names, within


@dataclass(frozen=True)
class Group:
    """A page with a table of public names."""

    slug: str
    title: str
    about: str
    places: tuple[str, ...]


GROUPS = (
    Group(
        "optimizers",
        "Optimizers",
        "Update rules that need a learning rate, each as an optimizer and, where it is useful "
        "alone, as a link of a chain.",
        ("algorithms",),
    ),
    Group(
        "matrix_rules",
        "Matrix rules",
        "Optimizers that treat the matrices of a network as matrices: by orthogonalization, or "
        "by preconditioners of rows and columns.",
        ("algorithms.muon", "algorithms.newton_schulz", "transforms.matrices"),
    ),
    Group(
        "learning_rate_free",
        "Learning-rate-free optimizers",
        "Optimizers that find their learning rate, or adapt it, while they train.",
        (
            "algorithms.cocob",
            "algorithms.dadapt",
            "algorithms.dog",
            "algorithms.hypergradient",
            "algorithms.mechanic",
            "algorithms.momo",
            "algorithms.polyak",
            "algorithms.prodigy",
        ),
    ),
    Group(
        "second_order",
        "Second order and line searches",
        "Quasi-Newton methods, line searches, and second derivatives of losses.",
        (
            "algorithms.lbfgs",
            "algorithms.minimize",
            "second_order",
            "transforms.backtracking",
            "transforms.from_state",
            "transforms.zoom",
        ),
    ),
    Group(
        "averages",
        "Averages and evaluation points",
        "The point at which a model is evaluated, where it is not the one that is trained.",
        (
            "algorithms.primal_averaging",
            "algorithms.schedule_free",
            "transforms.averaging",
            "transforms.evaluation",
            "transforms.lookahead",
            "transforms.target_update",
        ),
    ),
    Group(
        "composition",
        "Composition and hyperparameters",
        "How transformations are chained, applied and written for any tree, and how their "
        "hyperparameters are read and set.",
        ("core", "transforms.naming", "transforms.leaf_counts", "schedules.injecting"),
    ),
    Group(
        "wrappers",
        "Wrappers",
        "Transformations around another one: for some parameters only, every few steps, or under a "
        "condition.",
        (
            "algorithms.cautious:cautious",
            "transforms.accumulation",
            "transforms.apply_every",
            "transforms.complex_parts",
            "transforms.conditional",
            "transforms.densify",
            "transforms.flattening",
            "transforms.guard",
            "transforms.masking",
            "transforms.sam",
            "transforms.selective",
        ),
    ),
    Group(
        "clipping",
        "Clipping and normalization",
        "Links that bound or normalize gradients and updates.",
        (
            "transforms.blocks",
            "transforms.clipping",
            "transforms.norm_constraint",
            "transforms.normalizing",
            "transforms.per_example",
            "transforms.rescale_heads",
            "transforms.trust_ratio",
            "transforms.unit_norm",
            "transforms.unitwise",
        ),
    ),
    Group(
        "links",
        "Other links",
        "Links for the learning rate, weight decay, momentum, noise, constraints and measurements.",
        (
            "algorithms.cautious:cautious_weight_decay",
            "algorithms.grokfast",
            "contrib:reduce_on_plateau",
            "transforms",
        ),
    ),
    Group(
        "precision",
        "Precision and memory",
        "Training with narrow parameters, narrow state, or scaled losses.",
        (
            "core.leaf.packing",
            "core.leaf.quantized",
            "quantization",
            "transforms.kahan",
            "transforms.loss_scaling",
            "transforms.master",
            "transforms.packing",
            "transforms.remainder",
            "transforms.stochastic_rounding",
        ),
    ),
    Group(
        "schedules",
        "Schedules",
        "Functions of the step, for learning rates and all other hyperparameters.",
        ("schedules", "core.rules.schedule", "core.protocol:Schedule"),
    ),
    Group("losses", "Losses", "Losses of predictions, before their mean.", ("losses",)),
    Group(
        "projections",
        "Projections",
        "Projections of trees onto sets.",
        ("projections",),
    ),
    Group(
        "optim",
        "Stateful optimizers",
        "The classes of `torch.optim`, on arrays of JAX.",
        ("optim",),
    ),
    Group(
        "lr_schedulers",
        "Schedulers of stateful optimizers",
        "The classes of `torch.optim.lr_scheduler`.",
        ("optim.lr_scheduler",),
    ),
    Group(
        "swa_utils",
        "Averages of stateful optimizers",
        "The names of `torch.optim.swa_utils`.",
        ("optim.swa_utils",),
    ),
    Group(
        "sharding",
        "Sharding, microbatches and planning",
        "States on a mesh, batches in parts, kernels for the CPU, and what a transformation needs.",
        ("sharding", "microbatching", "native", "planning"),
    ),
    Group(
        "checkpoints",
        "Checkpoints and interoperability",
        "States by name, files, and states and models of other libraries.",
        ("serialization", "interop"),
    ),
    Group(
        "writing_rules",
        "Writing a rule",
        "What the author of an update rule needs.",
        ("rules", "core.decorators"),
    ),
    Group(
        "testing",
        "Testing a transformation",
        "The conformance kit: what any transformation must satisfy.",
        ("testing",),
    ),
    Group(
        "linear_algebra",
        "Linear algebra and assignment",
        "Numerical methods on which optimizers are built.",
        ("linear_algebra", "assignment", "perturbations"),
    ),
    Group(
        "tree",
        "Trees and numerics",
        "Arithmetic of trees of arrays, and functions that neither overflow nor give NaN.",
        ("tree", "core.numerics"),
    ),
    Group(
        "types",
        "Types",
        "Types for annotations, and the types of states under optax's names.",
        ("core.types", "core.state_types", "core.state", "contrib"),
    ),
)
"""In the order of the site's menu."""

MATRICES = re.compile(r"^from \S*\b(?:matrices|newton_schulz)\b\S* import", re.MULTILINE)

NO_MATRIX_RULES = ("algorithms.mars",)
"""Modules that import a module of matrices, although their rule is elementwise."""


def group_of(name: Public) -> Group:
    """Returns the group of a public name."""
    shown_in = name.module.__name__.removeprefix(PACKAGE).removeprefix(".")
    place = shown_in or name.home
    fitting = [
        (len(listed), group)
        for group in GROUPS
        for listed in group.places
        if within(place, listed) or listed == f"{place}:{name.original}"
    ]
    if not fitting:
        raise ValueError(
            f'{name.full} has no group. Add "{place}" to the places of one in groups.py.'
        )
    found = max(fitting, key=lambda pair: pair[0])[1]
    if "algorithms" in found.places and _is_matrix_rule(name.home):
        return next(group for group in GROUPS if group.slug == "matrix_rules")
    return found


def _is_matrix_rule(home: str) -> bool:
    text = inspect.getsource(importlib.import_module(f"{PACKAGE}.{home}"))
    return bool(MATRICES.search(text)) and home not in NO_MATRIX_RULES


def grouped() -> dict[Group, list[Public]]:
    """Returns the names of each group, in the order of the alphabet."""
    groups: dict[Group, list[Public]] = {group: [] for group in GROUPS}
    for name in public_names():
        groups[group_of(name)].append(name)
    return {g: sorted(names, key=lambda p: p.short.lower()) for g, names in groups.items()}
