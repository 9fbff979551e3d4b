"""How JavaScript reads and writes values. Pure.

NodeODM's option rules are JavaScript's own (`parseInt`, `parseFloat`, template strings, `JSON.parse`), and clients have met
its results and its error texts for years. Only what these rules need is here; the texts are those of the V8 in Node.js up
to version 18: "Unexpected token b in JSON at position 1".
"""

import json
import math
import re
from typing import Any, Final, NoReturn

from clusterodm.libs.common.untrusted import Malformed, require_shallow

SPACE: Final = re.compile(r"[ \t\n\r]*")
STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
FLOAT_TEXT: Final = re.compile(r"\s*([+-]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))")
INT_TEXT: Final = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|(?!0[xX])[0-9]+)")
SCANNED_LENGTH: Final = 64 * 1024
"""A longer text is not searched for V8's own place of a fault: that takes seconds for a megabyte, and anybody can send one."""
EXACT_DIGITS: Final = 15
"""Every whole number of so many digits is the same in JavaScript."""
EXACT_MAX: Final = 2**53
PLAIN_EXPONENTS: Final = range(-6, 21)
"""Between these powers of ten JavaScript writes a number without an exponent."""


class BadJson(ValueError):
    """The text is not JSON; the message is V8's."""


# --- JSON.parse ----------------------------------------------------------------------------------------------------


def parse_json(text: str) -> Any:
    """Read JSON. Raises BadJson with V8's words, or because it is nested too deeply."""
    try:
        value = json.loads(text, parse_int=whole, parse_constant=not_json)
        require_shallow(value)
    except (RecursionError, Malformed):
        raise BadJson("The JSON is nested too deeply") from None
    except ValueError as error:
        raise BadJson(complaint(text, first_fault(text) if len(text) <= SCANNED_LENGTH else place_of(error))) from None
    return value


def place_of(error: ValueError) -> int:
    """Say where Python stopped reading: near V8's place, and known without reading again."""
    return error.pos if isinstance(error, json.JSONDecodeError) else 0


def whole(digits: str) -> int | float:
    """Read a whole number as JavaScript does: beyond 15 digits it is only near."""
    return int(digits) if len(digits) <= EXACT_DIGITS else tidy(float(digits))


def tidy(number: float) -> int | float:
    """Write whole numbers as such (JavaScript knows one kind of number, 5.0 is written 5)."""
    return int(number) if number.is_integer() and abs(number) < EXACT_MAX else number


def not_json(word: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python would take."""
    raise ValueError(word)


def complaint(text: str, at: int) -> str:
    """Say as V8 does where the text stops being JSON."""
    if at >= len(text):
        return "Unexpected end of JSON input"
    if text[at] == '"':
        return f"Unexpected string in JSON at position {at}"
    if text[at].isdecimal() or text[at] == "-":
        return f"Unexpected number in JSON at position {at}"
    return f"Unexpected token {text[at]} in JSON at position {at}"


class JsonFault(Exception):
    """The place of the first character that does not belong."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def first_fault(text: str) -> int:
    """Scan JSON without recursion; return the place of the first character that does not belong, or the end."""
    closers: list[str] = []
    at = 0
    try:
        while True:
            at = skip_value_start(text, at, closers)
            at = skip_closers(text, at, closers)
            if not closers:
                return skip_space(text, at)
            at = after_comma(text, at, closers[-1])
    except JsonFault as fault:
        return fault.at


def skip_value_start(text: str, at: int, closers: list[str]) -> int:
    """Go past one scalar, or into containers up to the first scalar or empty container."""
    while True:
        at = skip_space(text, at)
        opener = text[at : at + 1]
        if opener not in {"[", "{"}:
            return skip_scalar(text, at)
        closers.append("]" if opener == "[" else "}")
        inside = skip_space(text, at + 1)
        if text[inside : inside + 1] == closers[-1]:
            return inside
        at = skip_key(text, inside) if opener == "{" else inside


def skip_closers(text: str, at: int, closers: list[str]) -> int:
    """Go past every bracket that closes here."""
    at = skip_space(text, at)
    while closers and text[at : at + 1] == closers[-1]:
        closers.pop()
        at = skip_space(text, at + 1)
    return at


def after_comma(text: str, at: int, closer: str) -> int:
    """Go past a comma, and past the key behind it in an object."""
    at = expect(text, at, ",")
    return skip_key(text, skip_space(text, at)) if closer == "}" else at


def skip_key(text: str, at: int) -> int:
    """Go past `"key":`."""
    if text[at : at + 1] != '"':
        raise JsonFault(at)
    return expect(text, skip_space(text, skip_scalar(text, at)), ":")


def expect(text: str, at: int, wanted: str) -> int:
    """Go past the one character that must stand here."""
    if text[at : at + 1] != wanted:
        raise JsonFault(at)
    return at + 1


def skip_space(text: str, at: int) -> int:
    """Go past white space."""
    found = SPACE.match(text, at)
    return found.end() if found else at


def skip_scalar(text: str, at: int) -> int:
    """Go past a string, a number or a word."""
    if text.startswith('"', at):
        return skip_string(text, at)
    if text[at : at + 1] in set("-0123456789") and at < len(text):
        return skip_number(text, at)
    for word in ("true", "false", "null"):
        if text[at : at + 1] == word[0]:
            for offset, letter in enumerate(word):
                expect(text, at + offset, letter)
            return at + len(word)
    raise JsonFault(at)


def skip_string(text: str, at: int) -> int:
    """Go past a string."""
    found = STRING.match(text, at)
    end = found.end() if found else at
    if text.startswith("\\", end):
        raise JsonFault(bad_escape(text, end))
    return expect(text, end, '"')


def bad_escape(text: str, at: int) -> int:
    """Find the character at which an escape goes wrong."""
    if not text.startswith("u", at + 1):
        return at + 1
    digits = re.compile(r"[0-9a-fA-F]{0,3}").match(text, at + 2)
    return digits.end() if digits else at + 2


def skip_number(text: str, at: int) -> int:
    """Go past a number."""
    found = NUMBER.match(text, at)
    if not found:
        raise JsonFault(at + 1)
    end = found.end()
    rest = text[end : end + 1]
    if rest and rest in ".eE" and not (rest == "." and "." in found.group()):
        raise JsonFault(end + (2 if rest != "." and text[end + 1 : end + 2] in {"+", "-"} else 1))
    return end


# --- values --------------------------------------------------------------------------------------------------------


class Undefined:
    """JavaScript's `undefined`: the key was not there."""

    def __repr__(self) -> str:
        """Show it as JavaScript does."""
        return "undefined"


UNDEFINED: Final = Undefined()


def text_of(value: Any) -> str:
    """Write a value as `${value}` does."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, list):
        return ",".join("" if item is None else text_of(item) for item in value)
    return "[object Object]" if isinstance(value, dict) else str(value)


def number_text(number: float) -> str:
    """Write a number as JavaScript does."""
    if isinstance(number, int):
        return str(number)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if not number:
        return "0"
    mantissa, _, exponent = f"{number!r}e0".partition("e")
    digits, power = decimal_parts(mantissa, int(exponent.partition("e")[0]))
    sign = "-" if number < 0 else ""
    return sign + (plain(digits, power) if power in PLAIN_EXPONENTS else scientific(digits, power))


def decimal_parts(mantissa: str, exponent: int) -> tuple[str, int]:
    """Take `12.5`, 3 apart into its digits `125` and the power of ten of the first of them."""
    before, _, after = mantissa.lstrip("-").partition(".")
    digits = (before + after).lstrip("0")
    zeros = len(before + after) - len(digits)
    return digits.rstrip("0") or "0", exponent + len(before) - 1 - zeros


def plain(digits: str, power: int) -> str:
    """Write digits without an exponent."""
    if power < 0:
        return "0." + "0" * (-power - 1) + digits
    whole_part, fraction = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
    return f"{whole_part}.{fraction}" if fraction else whole_part


def scientific(digits: str, power: int) -> str:
    """Write digits with an exponent."""
    fraction = f".{digits[1:]}" if digits[1:] else ""
    return f"{digits[0]}{fraction}e{power:+d}"


def parse_float(value: Any) -> int | float:
    """Read a number as `parseFloat` does: what stands at the beginning counts, the rest does not; NaN for none."""
    found = FLOAT_TEXT.match(text_of(value))
    if not found:
        return math.nan
    return tidy(float(found.group(1).replace("Infinity", "inf")))


def parse_int(value: Any) -> int | float:
    """Read a whole number as `parseInt` does, hexadecimal ones too; NaN for none."""
    found = INT_TEXT.match(text_of(value))
    if not found:
        return math.nan
    sign, digits = found.groups()
    number = from_hex(digits) if digits[:2] in {"0x", "0X"} else float(digits)
    return tidy(-number if sign == "-" else number)


def from_hex(digits: str) -> float:
    """Read a hexadecimal number; one too big for JavaScript is infinite."""
    try:
        return float(int(digits, 16))
    except OverflowError:
        return math.inf
