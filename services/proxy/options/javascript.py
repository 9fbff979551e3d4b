"""How JavaScript reads and writes values. Pure.

NodeODM's option rules are JavaScript's own (`parseInt`, `parseFloat`, template strings, `JSON.parse`), and clients have met
its results and its error texts for years. Only what these rules need is here; the texts are those of the V8 in Node.js up
to version 18, "Unexpected token b in JSON at position 1"; clients show them and look for nothing in them, so the place is the parser's of Python.
"""

import json
import math
import re
from typing import Any, Final, NoReturn

from clusterodm.libs.common.untrusted import Malformed, require_shallow

FLOAT_TEXT: Final = re.compile(r"\s*([+-]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))")
INT_TEXT: Final = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|(?!0[xX])[0-9]+)")
EXACT_DIGITS: Final = 15
"""Every whole number of so many digits is the same in JavaScript."""
EXACT_MAX: Final = 2**53
PLAIN_EXPONENTS: Final = range(-6, 21)
"""Between these powers of ten JavaScript writes a number without an exponent."""


class BadJson(ValueError):
    """The text is not JSON; the message is in V8's words."""


# --- JSON.parse ----------------------------------------------------------------------------------------------------


def parse_json(text: str) -> Any:
    """Read JSON. Raises BadJson with V8's words, or because it is nested too deeply."""
    try:
        value = json.loads(text, parse_int=whole, parse_constant=not_json)
        require_shallow(value)
    except (RecursionError, Malformed):
        raise BadJson("The JSON is nested too deeply") from None
    except ValueError as error:
        raise BadJson(complaint(text, place_of(error, text))) from None
    return value


def place_of(error: ValueError, text: str) -> int:
    """Say where Python stopped reading: at V8's place, or at the beginning of what goes wrong there; a string without an end ends with the text."""
    if not isinstance(error, json.JSONDecodeError):
        return max(0, text.find(str(error)))
    return len(text) if error.msg.startswith("Unterminated string") else error.pos


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
