"""The options of a task: which there are, and what NodeODM makes of a client's choice. Pure.

The list is `options.json`: names, types, domains and defaults are ODM's, the
words are ours. A choice arrives as JSON text, `[{"name": ..., "value": ...}]`.
Unknown names are dropped without a word; values are converted as JavaScript
would; all bad ones are refused together, as a JSON array inside a string.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

Option = dict[str, Any]
Chosen = list[dict[str, Any]]

POST_PROCESSING: Final = ("pc-ept", "cog", "gltf")
MISSING: Final = object()
FLOAT: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
INT: Final = re.compile(r"\s*([+-]?\d+)")
BETWEEN: Final = re.compile(r"(?:float|integer): ([-+.\d]+) <= x <= ([-+.\d]+)\Z")
COMPARED: Final = re.compile(r"(?:float|integer) (>=|>|<|<=) ([-+.\d]+)\Z")
COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": lambda value, bound: value >= bound,
    ">": lambda value, bound: value > bound,
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
}


class OptionsRefused(ValueError):
    """The client's choice cannot be used; the message is what NodeODM answers."""


def load(path: Path | None = None) -> list[Option]:
    """Read a list of options; the built-in one by default."""
    return msgspec.json.decode((path or Path(__file__).with_name("options.json")).read_bytes(), type=list[Option])


def choose(text: object, known: Sequence[Option]) -> Chosen:
    """Check and convert a client's choice, in the order of the known options.

    Raises: OptionsRefused.
    """
    asked = parse_json(text) if isinstance(text, str) and text else text
    by_name = _by_name(asked if isinstance(asked, list) else [])
    chosen: Chosen = []
    errors: list[dict[str, str]] = []
    for option in known:
        if option["name"] in by_name:
            try:
                value = _value(option, by_name[option["name"]])
                chosen.append({"name": option["name"], "value": value})
            except OptionsRefused as refused:
                errors.append({"name": option["name"], "error": str(refused)})
    if errors:
        raise OptionsRefused(json.dumps(errors, separators=(",", ":"), ensure_ascii=False))
    return chosen


def with_post_processing(chosen: Chosen, known: Sequence[Option], *, skip: bool) -> Chosen:
    """Add what NodeODM turns on by itself, unless the client asked to skip it or chose otherwise."""
    names = {option["name"] for option in known}
    taken = {option["name"] for option in chosen}
    added = [name for name in POST_PROCESSING if name in names and name not in taken]
    return chosen if skip else chosen + [{"name": name, "value": True} for name in added]


def parse_json(text: str) -> Any:
    """Read JSON. Raises: OptionsRefused with the words of the engine below NodeODM (V8)."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise OptionsRefused(_v8_words(error, text)) from None


def _by_name(asked: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in asked:
        if entry is None:
            raise OptionsRefused("Cannot read properties of null (reading 'name')")
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            found.setdefault(entry["name"], entry.get("value", MISSING))
    return found


def _value(option: Option, given: Any) -> Any:
    value = CONVERT.get(option["type"], lambda same: same)(given)
    domain = option["domain"]
    if isinstance(domain, list):
        if value not in domain:
            raise OptionsRefused(f"Invalid value {_js(value)} (not in enum)")
    elif domain and not _in_domain(domain, value):
        raise OptionsRefused(f"Invalid value {_js(value)} (out of range)")
    return None if value is MISSING else _whole(value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "1") or value in ("false", "0"):
        return value in ("true", "1")
    raise OptionsRefused(f"Cannot convert {_js(value)} to boolean")


def _to_float(value: Any) -> float:
    match = FLOAT.match(_js(value))
    return float(match.group(1)) if match else math.nan


def _to_int(value: Any) -> float:
    match = INT.match(_js(value))
    return int(match.group(1)) if match else math.nan


CONVERT: Final[Mapping[str, Callable[[Any], Any]]] = {"bool": _to_bool, "float": _to_float, "int": _to_int}


def _in_domain(domain: str, value: Any) -> bool:
    if domain in ("string", "path"):
        return True
    if domain == "json":
        return _is_json(value)
    return isinstance(value, int | float) and not math.isnan(value) and _in_range(domain, value)


def _in_range(domain: str, value: float) -> bool:
    if domain.startswith(("positive", "negative")):
        return value >= 0 if domain.startswith("positive") else value <= 0
    if domain in ("integer", "float"):
        return math.isfinite(value)
    between, compared = BETWEEN.match(domain), COMPARED.match(domain)
    if between:
        return float(between.group(1)) <= value <= float(between.group(2))
    if compared:
        return COMPARE[compared.group(1)](value, float(compared.group(2)))
    if domain == "percent":
        return 0 <= value <= 100  # noqa: PLR2004 - per cent
    raise OptionsRefused(f"Domain value cannot be handled: '{domain}' : '{_js(value)}'")


def _is_json(value: Any) -> bool:
    try:
        parse_json(value)
    except (OptionsRefused, TypeError):
        return False
    return True


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _js(value: Any) -> str:
    """Write a value as JavaScript does inside a text."""
    if value is MISSING or value is None:
        return "undefined" if value is MISSING else "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return "[object Object]" if isinstance(value, dict) else str(_whole(value))


def _v8_words(error: json.JSONDecodeError, text: str) -> str:
    at = error.pos
    if error.msg.startswith("Unterminated string"):
        return f"Unterminated string in JSON at position {len(text)}"
    if error.msg.startswith("Extra data"):
        return f"Unexpected non-whitespace character after JSON at position {at}"
    if at >= len(text) or any(word.startswith(text[at:]) for word in ("true", "false", "null")):
        return "Unexpected end of JSON input"
    if error.msg.startswith("Expecting property name"):
        return f"Expected property name or '}}' in JSON at position {at}"
    return f"Unexpected token '{text[at]}', \"{text}\" is not valid JSON"
