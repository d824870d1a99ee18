"""Declarations of a rule's arguments: metadata of their annotations."""

import dataclasses
import enum
import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

from jax.typing import DTypeLike

from ..numerics.validation import Interval
from ..protocol import Hyperparameter

__all__ = [
    "Argument",
    "Bound",
    "Decay",
    "Fraction",
    "InitOnly",
    "Kind",
    "NonNegative",
    "Optional_",
    "Positive",
    "RandomKey",
    "SlotDtype",
    "StateDtype",
    "Static",
    "Within",
    "read_arguments",
]

T = TypeVar("T")

Within = Interval
"""`Within("[0, 1)")`: the interval in which a concrete number must lie."""


class Kind(enum.Enum):
    """The use of an argument's value."""

    HYPERPARAMETER = "a number, array or schedule: kept in the state, a scalar array in the maths"
    STATIC = "an option that shapes the program (a switch, a mode, a number of rounds)"
    INIT_ONLY = "a number that only `slots` reads: not kept, and of no use to the maths"
    RANDOM_KEY = "a key, kept in the state; the maths gets one for each update and leaf"
    SLOT_DTYPE = "the dtype of a slot"
    STATE_DTYPE = "the dtype of all slots, or a dict of dtypes by slot"


# An enum and not an object, so that a pickled rule still has the same marker.
class _Optional(enum.Enum):
    OPTIONAL = "may be None: the maths then gets None, and is compiled separately"


class SlotDtype:
    """`SlotDtype("mu")`: the argument is the dtype of the slot `mu`, or of several slots."""

    def __init__(self, *slots: str):
        self.slots = slots

    def __repr__(self) -> str:
        return f"SlotDtype({', '.join(map(repr, self.slots))})"


Optional_ = _Optional.OPTIONAL
"""`Annotated[float | None, Optional_]`: None leaves the number out of state and program."""

InitOnly = Kind.INIT_ONLY
"""`Annotated[float, InitOnly]`: a number that only `slots` reads, and that the state lacks."""

RandomKey = Kind.RANDOM_KEY
"""`Annotated[Any, RandomKey]`: a key of random numbers, kept in the state."""

Static = Annotated[T, Kind.STATIC]
"""`Static[bool]`: an option that shapes the program."""

StateDtype = Annotated[DTypeLike | Mapping[str, DTypeLike] | None, Kind.STATE_DTYPE]
"""The dtype of all slots, or a dict of dtypes by slot."""

Decay = Annotated[Hyperparameter, Within("[0, 1)")]
"""A hyperparameter in [0, 1)."""

Fraction = Annotated[Hyperparameter, Within("[0, 1]")]
"""A hyperparameter in [0, 1]."""

NonNegative = Annotated[Hyperparameter, Within("[0, inf)")]
"""A hyperparameter in [0, inf)."""

Bound = Annotated[Hyperparameter, Within("[0, inf]")]
"""A hyperparameter from 0 on; infinity bounds nothing."""

Positive = Annotated[Hyperparameter, Within("(0, inf)")]
"""A hyperparameter in (0, inf)."""


@dataclasses.dataclass(frozen=True)
class Argument:
    """An argument of a rule, as its annotation declares it."""

    name: str
    kind: Kind = Kind.HYPERPARAMETER
    interval: Interval | None = None
    optional: bool = False
    slots: tuple[str, ...] = ()  # of a SLOT_DTYPE, the slots that have this dtype


def read_arguments(
    rule: str, parameters: Sequence[inspect.Parameter]
) -> tuple[dict[str, Argument], list[inspect.Parameter]]:
    """Reads the annotations of a rule's arguments.

    Returns:
      The arguments by name, and the parameters with the plain types as their annotations.

    Raises:
      TypeError: an annotation has unknown metadata, or declares two kinds.
    """
    arguments, plain = {}, []
    for parameter in parameters:
        annotation = parameter.annotation
        metadata: tuple[object, ...] = ()
        # Without `Annotated`, a declaration would be read as a type, and declare nothing.
        if isinstance(annotation, (Kind, SlotDtype, Interval, _Optional)):
            raise TypeError(
                f"{rule}: the annotation of {parameter.name} is {annotation!r} alone. Write "
                "Annotated[<type>, ...] with it."
            )
        if get_origin(annotation) is Annotated:
            annotation, *metadata_list = get_args(annotation)
            metadata = tuple(metadata_list)
        arguments[parameter.name] = _read_metadata(rule, parameter.name, metadata)
        # Users read the factory's signature, where the declarations would be noise.
        plain.append(parameter.replace(annotation=annotation))
    return arguments, plain


def _read_metadata(rule: str, name: str, metadata: tuple[object, ...]) -> Argument:
    fields: dict[str, Any] = {}  # of the `Argument`
    for item in metadata:
        declared: dict[str, Any]
        if isinstance(item, Kind):
            declared = {"kind": item}
        elif isinstance(item, SlotDtype):
            declared = {"kind": Kind.SLOT_DTYPE, "slots": item.slots}
        elif isinstance(item, Interval):
            declared = {"interval": item}
        elif item is Optional_:
            declared = {"optional": True}
        else:
            raise TypeError(
                f"{rule}: the annotation of {name} holds {item!r}, which is not a declaration. "
                'Use Within("[0, 1)"), Static[bool], Optional_, SlotDtype("mu"), InitOnly or '
                "RandomKey."
            )
        if fields.keys() & declared.keys():
            raise TypeError(f"{rule}: the annotation of {name} declares two kinds. Choose one.")
        fields |= declared
    return Argument(name, **fields)
