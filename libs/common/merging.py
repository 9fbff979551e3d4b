"""Fields of a later version survive being written by an earlier one. Pure.

Fields of records are only ever added. So a type with more of them is the later one (`fields_count` goes with each record, as a header),
and who has read a record of a later version knows which of its fields it does not know: it writes these back as they were (`merged`).
What it knows and left out is at its default. Elements of a list are matched by their required fields, which say what they are.

Who moves a record (a task to the archive and back) takes along how it is written where it comes from (`LaterRecord`).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec.inspect import CollectionType, DictType, StructType, Type, UnionType


class LaterRecord(NamedTuple):
    """A record as a later version wrote it, for whoever writes elsewhere what was read of it."""

    payload: bytes
    """JSON."""
    more_count: int
    """So many fields more than this version's were known to the one that wrote it."""

    def within(self, field: str) -> "LaterRecord":
        """Put it into a field of another record."""
        return self._replace(payload=msgspec.json.encode({field: msgspec.Raw(self.payload)}))

    def inside(self, field: str) -> "LaterRecord":
        """Take the record that one of its fields holds."""
        return self._replace(payload=msgspec.json.encode(msgspec.json.decode(self.payload).get(field)))


def fields_count(kind: Any) -> int:
    """Count the fields of a type and of all types inside it."""
    seen: set[type] = set()

    def count(info: Type) -> int:
        if isinstance(info, StructType):
            if info.cls in seen:
                return 0
            seen.add(info.cls)
            return len(info.fields) + sum(count(field.type) for field in info.fields)
        return sum(count(inner) for inner in inside(info))

    return count(msgspec.inspect.type_info(kind))


def merged(kind: Any, ours: bytes, theirs: bytes) -> bytes:
    """Write a value as JSON with those fields of what it replaces that its type does not know; what is no JSON has none."""
    try:
        replaced = msgspec.json.decode(theirs)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ours
    return msgspec.json.encode(both(msgspec.inspect.type_info(kind), msgspec.json.decode(ours), replaced))


def encoded(kind: Any, value: Any, later: Iterable[LaterRecord | None]) -> tuple[bytes, int]:
    """Write a value as JSON with those fields that only later versions know, and how many more these know."""
    payload, more_count = msgspec.json.encode(value), 0
    for each in filter(None, later):
        payload, more_count = merged(kind, payload, each.payload), max(more_count, each.more_count)
    return payload, more_count


def both(info: Type, ours: Any, theirs: Any) -> Any:
    """Merge what a type says of two decoded values."""
    if isinstance(info, UnionType):
        structs = [each for each in info.types if not isinstance(each, StructType) or is_of(each, ours)]
        return next((both(each, ours, theirs) for each in structs if fits(each, ours, theirs)), ours)
    if not fits(info, ours, theirs):
        return ours
    if isinstance(info, StructType):
        return both_structs(info, ours, theirs)
    if isinstance(info, CollectionType):
        known = {identity(info.item_type, each): each for each in theirs}
        return [both(info.item_type, each, known.get(identity(info.item_type, each))) for each in ours]
    of_values = info.value_type if isinstance(info, DictType) else info
    return {key: both(of_values, value, theirs.get(key)) for key, value in ours.items()}


def both_structs(info: StructType, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Merge two objects field by field."""
    known = {field.encode_name: field.type for field in info.fields}
    unknown = {name: value for name, value in theirs.items() if name not in known and name != info.tag_field}
    return {
        name: both(known[name], value, theirs.get(name)) if name in known else value for name, value in ours.items()
    } | unknown


def fits(info: Type, ours: Any, theirs: Any) -> bool:
    """Whether two decoded values are of such a kind that there is something to merge."""
    if isinstance(info, StructType | DictType):
        return isinstance(ours, dict) and isinstance(theirs, dict)
    return isinstance(info, CollectionType) and isinstance(ours, list) and isinstance(theirs, list)


def is_of(info: StructType, value: Any) -> bool:
    """Whether an object is of this one among several types."""
    return info.tag_field is None or (isinstance(value, dict) and value.get(info.tag_field) == info.tag)


def identity(info: Type, value: Any) -> bytes:
    """Say what an element of a list is, whatever else became of it."""
    if isinstance(info, StructType) and isinstance(value, dict):
        required = [field.encode_name for field in info.fields if field.required]
        return msgspec.json.encode([value.get(name) for name in required])
    return msgspec.json.encode(value)


def inside(info: Type) -> list[Type]:
    """List the types that a type is made of."""
    if isinstance(info, UnionType):
        return list(info.types)
    if isinstance(info, CollectionType):
        return [info.item_type]
    return [info.key_type, info.value_type] if isinstance(info, DictType) else []
