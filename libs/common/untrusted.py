"""JSON from outside: what nodes answer, what clients and browsers send. One function reads it, and one exception comes out of it.

Whoever writes JSON to us may write anything: too much, nested a thousand deep, bytes that are no UTF-8, another shape. Each of
these is a different exception somewhere below, and an exception that nobody expects is a 500, or a loop that ends. Here it is
`Malformed`, whose message holds nothing of the content. Bounds, before anything is built: length, number of values, UTF-8; then the shape,
which is a type, and depth. What our own services write to each other does not come here.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec
import msgspec.inspect

Shape = TypeVar("Shape")

LIMIT_BYTES: Final = 1 << 20
"""Unless the caller expects more."""
DEEPEST: Final = 64
"""Brackets inside brackets: NodeODM and its clients need four. Far less than Python's stack takes, wherever the value is walked."""
MOST_COUNT: Final = 2_000_000
"""Values side by side. The console of a node is long because its lines are; 64 MB of `[],` are a gigabyte of lists, and half a minute."""
TOO_DEEP: Final = "nested too deeply"
SCALAR_TYPES: Final = (
    msgspec.inspect.NoneType, msgspec.inspect.BoolType, msgspec.inspect.IntType, msgspec.inspect.FloatType, msgspec.inspect.StrType,
)  # fmt: skip
SCALARS: Final = frozenset((str, int, float, bool, type(None)))


class Malformed(ValueError):
    """It cannot be read as what it should be; the message says why, and may be shown to whoever sent it."""


def decode_json(content: bytes, shape: type[Shape], *, limit_bytes: int = LIMIT_BYTES, strict: bool = True) -> Shape:
    """Read untrusted JSON into a type. Raises Malformed, and nothing else. `strict`: "1" is no number."""
    if len(content) > limit_bytes:
        raise Malformed(f"longer than {limit_bytes} bytes")
    if len(content) > MOST_COUNT and content.count(b",") > MOST_COUNT:
        raise Malformed("too many values")
    try:
        if not content.isascii():
            content.decode()  # what is skipped of it is not looked at below
        value = msgspec.json.decode(content, type=shape, strict=strict)
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    except RecursionError:
        raise Malformed(TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise Malformed(str(error)) from None
    if not is_flat(cast("Any", shape)):
        require_shallow(value)
    return value


@cache
def is_flat(shape: Any) -> bool:
    """Whether a type holds nothing that could hold anything else."""
    known = msgspec.inspect.type_info(shape)
    return isinstance(known, msgspec.inspect.StructType) and all(is_scalar(field.type) for field in known.fields)


def is_scalar(known: msgspec.inspect.Type) -> bool:
    """Whether a type is one of JSON's that are no containers, or some of them."""
    if isinstance(known, msgspec.inspect.UnionType):
        return all(is_scalar(each) for each in known.types)
    return isinstance(known, SCALAR_TYPES)


def decode_any_json(content: bytes, *, limit_bytes: int = LIMIT_BYTES) -> Any:
    """Read untrusted JSON of any shape. Raises Malformed."""
    return decode_json(content, Any, limit_bytes=limit_bytes)


def read_json(text: str) -> Any:
    """Read JSON that an operator wrote, a file or a variable: a mistake is told with its line and column. Raises ValueError.

    A key that stands twice in an object is a mistake: one of its values would count for nothing, and nobody could see which.
    """
    try:
        content = json.loads(text, object_pairs_hook=without_doubles, parse_constant=refuse_constant)
    except RecursionError:
        raise Malformed(TOO_DEEP) from None
    require_shallow(content)
    return content


def refuse_constant(name: str) -> None:
    """Raise Malformed for `NaN` and `Infinity`, which Python would read and JSON does not have."""
    raise Malformed(f"{name} is no number of JSON")


def without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs. Raises Malformed when two have one key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counted = Counter(key for key, _ in pairs)
        raise Malformed(
            f"the key {next(key for key, count in counted.items() if count > 1)!r} stands twice in one object"
        )
    return found


def require_shallow(value: Any) -> None:
    """Raise Malformed when a value has too many levels. Level by level: no depth can exhaust the stack here."""
    level = [value]
    for _ in range(DEEPEST):
        if not level:
            return
        level = [part for each in level for part in parts_of(each) if type(part) not in SCALARS]
    if level:
        raise Malformed(TOO_DEEP)


def parts_of(value: Any) -> Iterable[Any]:
    """Say what is inside a container; inside anything else (a date, an enumeration) nothing is."""
    match value:
        case dict():
            return value.values()
        case list() | tuple():
            return value
        case msgspec.Struct():
            return msgspec.structs.astuple(value)
        case _:
            return ()
