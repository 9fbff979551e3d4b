"""JSON from outside: what nodes answer, what clients and browsers send. One function reads it, and one exception comes out of it.

Whoever writes JSON to us may write anything: too much, nested a thousand deep, bytes that are no UTF-8, another shape. Each of
these is a different exception somewhere below, and an exception that nobody expects is a 500, or a loop that ends. Here it is
`Malformed`, whose message holds nothing of the content. Bounds, before anything is built: length, number of values, UTF-8; then the shape,
which is a type, and depth. What our own services write to each other does not come here.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

Shape = TypeVar("Shape")

LIMIT_BYTES: Final = 1 << 20
"""Unless the caller expects more."""
DEEPEST: Final = 64
"""Brackets inside brackets: NodeODM and its clients need four. Far less than Python's stack takes, wherever the value is walked."""
MOST_COUNT: Final = 2_000_000
"""Values side by side. The console of a node is long because its lines are; 64 MB of `[],` are a gigabyte of lists, and half a minute."""
TOO_DEEP: Final = "nested too deeply"
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
    require_shallow(value)
    return value


def decode_any_json(content: bytes, *, limit_bytes: int = LIMIT_BYTES) -> Any:
    """Read untrusted JSON of any shape. Raises Malformed."""
    return decode_json(content, Any, limit_bytes=limit_bytes)


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
