"""How the tags of an order and of the configuration are written where providers are picky about letters.

An order's tags are keys and values (the cluster id is one); the configuration's are words, or `key=value` and
`key:value`. Some providers have words only (`flat_tags`), others pairs of a narrow alphabet (`labels`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

LONGEST_LABEL: Final = 63
NO_TAG_LETTER: Final = re.compile(r"[^A-Za-z0-9_:-]")
NO_LABEL_LETTER: Final = re.compile(r"[^A-Za-z0-9_.-]")
SEPARATOR: Final = re.compile(r"[=:]")


def flat_tags(configured: Sequence[str], ordered: Mapping[str, str]) -> list[str]:
    """Write tags as words of letters, digits, `_`, `-` and `:`; each once, the configured first."""
    words = [*configured, *(f"{key}:{value}" if value else key for key, value in ordered.items())]
    return list(dict.fromkeys(NO_TAG_LETTER.sub("_", word) for word in words))


def pairs(configured: Sequence[str], ordered: Mapping[str, str]) -> dict[str, str]:
    """Write tags as keys and values; what an order says wins."""
    split = [[*SEPARATOR.split(word, maxsplit=1), ""][:2] for word in configured]
    return {key: value for key, value in split if key} | dict(ordered)


def labels(configured: Sequence[str], ordered: Mapping[str, str]) -> dict[str, str]:
    """Write tags as labels: at most 63 letters, digits, `_`, `.` and `-`, the outermost no sign."""
    found = {label(key): label(value) for key, value in pairs(configured, ordered).items()}
    return {key: value for key, value in found.items() if key}


def label(text: str) -> str:
    """Write one key or value of a label."""
    return NO_LABEL_LETTER.sub("_", text)[:LONGEST_LABEL].strip("_.-")
