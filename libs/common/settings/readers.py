"""How what was given as text, or stands in a JSON file, becomes the value of a setting.

Types are `int`, `float`, `str`, `bool`, `Path`, `Secret`, `Literal` of texts, one of these `| None`, and `list` of one. What does
not fit raises ValueError with what it should be.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from clusterodm.libs.common.secret import Secret

TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})
WHOLE: Final = re.compile(r"-?[0-9]+")
NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
"""As people and JSON write numbers; Python reads more: 1_000, the digits of other scripts, inf."""


def read(kind: Any, given: Any) -> Any:
    """Make a value of a type of what was given. Raises ValueError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return None if given is None else read(next(one for one in arguments if one is not NoneType), given)
    if origin is Literal:
        return choice(arguments, given)
    if origin is list:
        if not isinstance(given, list):
            raise ValueError("input should be a valid list")
        return [read(arguments[0], one) for one in given]
    return READERS[kind](given)


def choice(choices: tuple[str, ...], given: Any) -> str:
    """Read one of several words."""
    if isinstance(given, str) and given in choices:
        return given
    *first, last = map(repr, choices)
    raise ValueError(f"input should be {' or '.join([', '.join(first), last] if first else [last])}")


def whole(given: Any) -> int:
    """Read a whole number: a text of plain digits, or a number of JSON, which has one kind of them (3000.0)."""
    wanted = "a valid integer"
    value = number(given, wanted)
    if not value.is_integer() or (isinstance(given, str) and not WHOLE.fullmatch(given.strip())):
        raise ValueError(f"input should be {wanted}")
    return int(value) if isinstance(given, float) else int(given)


def number(given: Any, wanted: str = "a valid number") -> float:
    """Read a number; what is infinite (1e400, too) or none (nan) is refused, for no timer takes it."""
    plain = NUMBER.fullmatch(given.strip()) if isinstance(given, str) else type(given) in {int, float}
    with suppress(OverflowError):
        if plain and math.isfinite(value := float(given)):
            return value
    raise ValueError(f"input should be {wanted}")


def truth(given: Any) -> bool:
    """Read yes or no."""
    word = str(given).lower() if isinstance(given, bool | int | str) else ""
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise ValueError("input should be a valid boolean")


def text(given: Any) -> str:
    """Read a text."""
    if isinstance(given, str):
        return given
    raise ValueError("input should be a valid string")


def path(given: Any) -> Path:
    """Read a path."""
    if isinstance(given, str | os.PathLike):
        return Path(given)
    raise ValueError("input is not a valid path")


def secret(given: Any) -> Secret:
    """Read a text that is to be hidden."""
    return given if isinstance(given, Secret) else Secret(text(given))


READERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    int: whole,
    float: number,
    bool: truth,
    str: text,
    Path: path,
    Secret: secret,
}


def plain_kind(kind: Any) -> Any:
    """Take `| None` and `list[...]` off a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return plain_kind(next(one for one in arguments if one is not NoneType))
    return plain_kind(arguments[0]) if origin is list else kind


def choices_of(kind: Any) -> tuple[str, ...]:
    """List the words that a setting may be; empty: it is no choice."""
    return get_args(plain_kind(kind)) if get_origin(plain_kind(kind)) is Literal else ()
