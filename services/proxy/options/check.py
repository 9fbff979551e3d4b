"""Are the options of a task what a node would take? Pure.

NodeODM's own rules, so that a client hears at once and from the cluster what it would hear from a node later: only options
that the node knows count, each value is converted to the option's type and held against its domain, and all complaints
come together as a JSON array in the order of the node's list. Where the cluster has never seen an option list, options go
to the node unchecked.

Differences, on purpose: `null` among the options is skipped (the original answers with an accident of its language);
numbers that JSON cannot write (NaN, Infinity) are out of range even where an option has no domain; and the value of a text
option is text when it reaches a node, an absent or null one does not count as chosen. NodeODM hands text options to a shell
line as they are and ends with an exception, all its tasks with it, when one is something else.

Split-merge: where the parts of a dataset that is cut into parts are sent.
ODM running on a node sends the parts back to the cluster, so the option `sm-cluster` must be an address of the cluster that
the node can reach. Whatever the client wrote there is replaced: it would send its parts, and the token, elsewhere.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.model.nodes import NodeOption, OptionValue
from clusterodm.services.proxy.options.javascript import UNDEFINED, BadJson, parse_float, parse_int, parse_json, text_of

SIMPLE: Final = re.compile(r"(positive |negative )?(integer|float)")
BETWEEN: Final = re.compile(r"(float|integer): ([-+.\d]+) <= x <= ([-+.\d]+)")
BOUND: Final = re.compile(r"(float|integer) (>=|>|<=|<) ([-+.\d]+)")
COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}

TEXTS: Final = frozenset(["string", "path"])

SPLIT: Final = "split"
SM_CLUSTER: Final = "sm-cluster"
NOT_A_CLUSTER: Final = "Cannot use this node as a split-merge cluster."
"""The original's words."""


class Unfit(ValueError):
    """A value is not what its option takes; the message is NodeODM's."""


def check_options(raw: str | None, known: Sequence[NodeOption]) -> tuple[OptionValue, ...]:
    """Read and check the form field `options`. Raises Refused with NodeODM's words."""
    chosen = read_options(raw)
    if not known:
        return unchecked(chosen)
    accepted: list[OptionValue] = []
    complaints: list[dict[str, str]] = []
    named = {name: entry for entry in reversed(chosen) if isinstance(name := entry.get("name"), str)}
    for option in known:
        entry = named.get(option.name)
        if entry is None:
            continue
        value = entry.get("value", UNDEFINED)
        if option.type in TEXTS and (value is None or value is UNDEFINED):
            continue
        try:
            accepted.append(OptionValue(option.name, fit(option, value)))
        except Unfit as unfit:
            complaints.append({"name": option.name, "error": str(unfit)})
    refuse(complaints)
    return tuple(accepted)


def read_options(raw: str | None) -> list[dict[str, Any]]:
    """Read the field: a JSON array of objects; nothing, and anything else that is JSON, is no options."""
    if not raw:
        return []
    try:
        parsed = parse_json(raw)
    except BadJson as bad:
        raise Refused(sendable(str(bad))) from None
    return [entry for entry in parsed if isinstance(entry, dict)] if isinstance(parsed, list) else []


def unchecked(chosen: Iterable[dict[str, Any]]) -> tuple[OptionValue, ...]:
    """Take options as they are, as far as they can be options at all. Of two of one name the first counts."""
    taken: dict[str, OptionValue] = {}
    complaints: list[dict[str, str]] = []
    for entry in chosen:
        name, value = entry.get("name"), entry.get("value")
        if not isinstance(name, str) or name in taken or value is None:
            continue
        try:
            taken[name] = OptionValue(sendable(name), scalar(value))
        except Unfit as unfit:
            complaints.append({"name": sendable(name), "error": str(unfit)})
    refuse(complaints)
    return tuple(taken.values())


def refuse(complaints: Sequence[dict[str, str]]) -> None:
    """Raise Refused when there are complaints, written as JavaScript writes JSON."""
    if complaints:
        raise Refused(json.dumps(complaints, ensure_ascii=False, separators=(",", ":")))


def fit(option: NodeOption, value: Any) -> str | int | float | bool:
    """Convert a value to its option's type and hold it against the domain. Raises Unfit."""
    converted = CONVERT.get(option.type, same)(value)
    if isinstance(option.domain, list):
        if converted not in option.domain:
            raise Unfit(f"Invalid value {shown(converted)} (not in enum)")
    elif option.domain and not in_domain(option.domain, converted):
        raise Unfit(out_of_range(converted))
    return scalar(converted)


def scalar(value: Any) -> str | int | float | bool:
    """Return a value that a task can carry to a node. Raises Unfit for arrays, objects, NaN and Infinity."""
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, list | dict) or (isinstance(value, float) and not math.isfinite(value)):
        raise Unfit(out_of_range(value))
    answer: int | float | bool = value
    return answer


def to_boolean(value: Any) -> bool:
    """Read a boolean or one of its four words. Raises Unfit."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in BOOLEANS:
        return BOOLEANS[value]
    raise Unfit(f"Cannot convert {shown(value)} to boolean")


def to_text(value: Any) -> str:
    """Write a value as text. Raises Unfit for arrays and objects."""
    if isinstance(value, list | dict):
        raise Unfit(out_of_range(value))
    return text_of(value)


def same(value: Any) -> Any:
    """Leave a value as it is."""
    return value


CONVERT: Final[dict[str, Callable[[Any], Any]]] = {
    "float": parse_float,
    "int": parse_int,
    "bool": to_boolean,
    "string": to_text,
    "path": to_text,
}


def in_domain(domain: str, value: Any) -> bool:
    """Say whether a domain, as NodeODM's option lists write them, holds a value. Raises Unfit for an unknown domain."""
    if domain in {"string", "path"}:
        return True
    if domain == "json":
        return isinstance(value, str) and is_json(value)
    if domain == "percent":
        return compare(operator.ge, value, 0) and compare(operator.le, value, 100)
    if found := SIMPLE.fullmatch(domain):
        return in_simple(found.group(1) or "", found.group(2), value)
    return in_bounds(domain, value)


def in_bounds(domain: str, value: Any) -> bool:
    """Check domains with figures in them: `integer: 1 <= x <= 14`, `float > 0.0`."""
    if found := BETWEEN.fullmatch(domain):
        kind, low, high = found.groups()
        return compare(operator.ge, value, bound(kind, low)) and compare(operator.le, value, bound(kind, high))
    if found := BOUND.fullmatch(domain):
        kind, sign, figure = found.groups()
        return compare(COMPARE[sign], value, bound(kind, figure))
    raise Unfit(f"Domain value cannot be handled: '{domain}' : '{shown(value)}'")


def in_simple(sign: str, kind: str, value: Any) -> bool:
    """Check `integer`, `positive float` and their like; zero is positive and negative, as in NodeODM."""
    if sign:
        return compare(operator.ge if sign == "positive " else operator.le, value, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind == "float" or float(value).is_integer()


def compare(holds: Callable[[Any, Any], bool], value: Any, limit: float) -> bool:
    """Compare as JavaScript does for what comes here: text counts as the number it is, and NaN is in no range."""
    number = value if isinstance(value, int | float) else parse_float(value)
    return not math.isnan(number) and holds(number, limit)


def bound(kind: str, figure: str) -> float:
    """Read a figure of a domain."""
    return parse_float(figure) if kind == "float" else parse_int(figure)


def is_json(text: str) -> bool:
    """Say whether a text is JSON."""
    try:
        parse_json(text)
    except BadJson:
        return False
    return True


def out_of_range(value: Any) -> str:
    """Say NodeODM's words for a value outside of its domain."""
    return f"Invalid value {shown(value)} (out of range)"


def shown(value: Any) -> str:
    """Write a value into a complaint."""
    return sendable(text_of(value))


def sendable(text: str) -> str:
    """Replace halves of UTF-16 pairs, which JSON may name but UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def rewrite_split(
    options: Sequence[OptionValue], *, enabled: bool, address: str, token: str
) -> tuple[OptionValue, ...]:
    """Point `sm-cluster` to the cluster when `split` is set; take it out where split-merge is not served.

    `address` is how clients reach the cluster (`http://host:port`); `token` is that of this client.
    """
    if not enabled:
        return tuple(option for option in options if option.name != SM_CLUSTER)
    cluster = OptionValue(SM_CLUSTER, cluster_url(address, token))
    rewritten = tuple(cluster if option.name == SM_CLUSTER else option for option in options)
    names = {option.name for option in options}
    return (*rewritten, cluster) if SPLIT in names and SM_CLUSTER not in names else rewritten


def cluster_url(address: str, token: str) -> str:
    """Write the cluster's address as ODM wants it: the token is a query parameter."""
    root = address.rstrip("/") + "/"
    return f"{root}?token={quote(token, safe='')}" if token else root


def check_seed(has_seed: bool, *, enabled: bool) -> None:
    """Raise Refused for a sub-model (it brings a `seed.zip`) where split-merge is not served."""
    if has_seed and not enabled:
        raise Refused(NOT_A_CLUSTER)
